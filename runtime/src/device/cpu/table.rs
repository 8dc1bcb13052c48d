//! From an op to its kernel.
//!
//! To add a kernel: its file beside this one, and its lines here.

use mscc_ir::ops::Op;

use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::view::View;
use super::{
    AddRmsNorm, Attention, Binary, BinaryFunction, CacheWrite, Cast, Copy, Gather, Matmul, RmsNorm, Rope,
    RopeTable, Unary, UnaryFunction,
};

/// A kernel with its operands and results.
#[expect(missing_docs, reason = "each is documented at its type")]
#[expect(clippy::large_enum_variant, reason = "lives on the stack while a launch is made")]
pub enum Bound<'a> {
    AddRmsNorm(AddRmsNorm<'a>),
    Attention(Attention<'a>),
    Binary(Binary<'a>),
    CacheWrite(CacheWrite<'a>),
    Cast(Cast<'a>),
    Copy(Copy),
    Gather(Gather<'a>),
    Matmul(Matmul<'a>),
    RmsNorm(RmsNorm<'a>),
    Rope(Rope<'a>),
    RopeTable(RopeTable<'a>),
    Unary(Unary<'a>),
}

impl Bound<'_> {
    fn kernel(&self) -> &dyn Kernel {
        match self {
            Bound::AddRmsNorm(kernel) => kernel,
            Bound::Attention(kernel) => kernel,
            Bound::Binary(kernel) => kernel,
            Bound::CacheWrite(kernel) => kernel,
            Bound::Cast(kernel) => kernel,
            Bound::Copy(kernel) => kernel,
            Bound::Gather(kernel) => kernel,
            Bound::Matmul(kernel) => kernel,
            Bound::RmsNorm(kernel) => kernel,
            Bound::Rope(kernel) => kernel,
            Bound::RopeTable(kernel) => kernel,
            Bound::Unary(kernel) => kernel,
        }
    }
}

impl Kernel for Bound<'_> {
    fn check(&self) -> Result<(), KernelError> {
        self.kernel().check()
    }

    fn split(&self, threads: usize) -> Split {
        self.kernel().split(threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        self.kernel().run(isa, split, task, scratch)
    }
}

/// Binds an op to operands and results, each in the order that the op declares.
///
/// Ops that are views (reshape, split, transpose) become copies: only those reach a launch that have to move
/// something.
///
/// # Errors
/// [`KernelError::Arity`], [`KernelError::Attribute`] or [`KernelError::NotInPlace`] if the views are not what
/// the op takes and gives; [`KernelError::Unknown`] if the op has no kernel. Types and sizes are left to
/// [`Kernel::check`].
pub fn bind<'a>(op: &Op, operands: &'a [View], results: &'a [View]) -> Result<Bound<'a>, KernelError> {
    let kernel = op.kind().name();
    let arity = || KernelError::Arity { kernel, operands: operands.len(), results: results.len() };
    let misfit = |attribute| KernelError::Attribute { kernel, attribute };
    let unary = |function| match (operands, results) {
        ([x], [y]) => Ok(Bound::Unary(Unary { function, x, y })),
        _ => Err(arity()),
    };
    let binary = |function| match (operands, results) {
        ([a, b], [y]) => Ok(Bound::Binary(Binary { function, a, b, y })),
        _ => Err(arity()),
    };
    let matmul = |transposed| match (operands, results) {
        ([x, w], [y]) => Ok(Bound::Matmul(Matmul { x, w, bias: None, transposed, y })),
        ([x, w, bias], [y]) => Ok(Bound::Matmul(Matmul { x, w, bias: Some(bias), transposed, y })),
        _ => Err(arity()),
    };
    match op {
        Op::Add(_) => binary(BinaryFunction::Add),
        Op::Mul(_) => binary(BinaryFunction::Mul),
        Op::Swiglu(_) => binary(BinaryFunction::Swiglu),
        Op::Silu(_) => unary(UnaryFunction::Silu),
        Op::Cast(_) => match (operands, results) {
            ([x], [y]) => Ok(Bound::Cast(Cast { x, y })),
            _ => Err(arity()),
        },
        Op::Matmul(op) => matmul(op.trans_b),
        Op::AddRmsNorm(op) => match (operands, results) {
            ([x, r, weight], [y, h]) => {
                Ok(Bound::AddRmsNorm(AddRmsNorm { x, r, weight, eps: op.eps.0 as f32, y, h }))
            }
            _ => Err(arity()),
        },
        Op::RmsNorm(op) => match (operands, results) {
            ([x, weight], [y]) => Ok(Bound::RmsNorm(RmsNorm { x, weight, eps: op.eps.0 as f32, y })),
            _ => Err(arity()),
        },
        Op::Gather(_) => match (operands, results) {
            ([table, indices], [y]) => Ok(Bound::Gather(Gather { table, indices, y })),
            _ => Err(arity()),
        },
        Op::CacheWrite(_) => match (operands, results) {
            ([cache, rows, slot_mapping], [y]) => {
                if cache.as_ptr::<u8>() != y.as_ptr() || cache.strides() != y.strides() {
                    return Err(KernelError::NotInPlace { kernel, value: "cache" });
                }
                Ok(Bound::CacheWrite(CacheWrite { cache, rows, slot_mapping }))
            }
            _ => Err(arity()),
        },
        Op::Attention(op) => match (operands, results) {
            ([q, k_cache, v_cache, block_table, query_start, context_len], [y]) => {
                Ok(Bound::Attention(Attention {
                    q,
                    k_cache,
                    v_cache,
                    block_table,
                    query_start,
                    context_len,
                    scale: op.scale.0 as f32,
                    window: op.window.map(|window| window as usize),
                    soft_cap: op.soft_cap.map(|cap| cap.0 as f32),
                    y,
                }))
            }
            _ => Err(arity()),
        },
        Op::Rope(op) => match (operands, results) {
            ([x, cos, sin], [y]) => Ok(Bound::Rope(Rope { x, cos, sin, interleaved: op.interleaved, y })),
            _ => Err(arity()),
        },
        Op::RopeTable(op) => match (operands, results) {
            ([positions, frequencies], [cos, sin]) => {
                Ok(Bound::RopeTable(RopeTable { positions, frequencies, scale: op.scale.0 as f32, cos, sin }))
            }
            _ => Err(arity()),
        },
        Op::Concat(op) => match results {
            [y] => {
                let axis = axis(op.axis, y).ok_or_else(|| misfit("axis"))?;
                Copy::concat(operands, axis, y).map(Bound::Copy).ok_or_else(|| misfit("axis"))
            }
            _ => Err(arity()),
        },
        Op::Split(op) => match operands {
            [x] => {
                let axis = axis(op.axis, x).ok_or_else(|| misfit("axis"))?;
                Copy::split(x, axis, results).map(Bound::Copy).ok_or_else(|| misfit("sizes"))
            }
            _ => Err(arity()),
        },
        Op::Reshape(_) => match (operands, results) {
            ([x], [y]) => Copy::reshape(x, y).map(Bound::Copy).ok_or_else(|| misfit("shape")),
            _ => Err(arity()),
        },
        Op::Transpose(op) => match (operands, results) {
            ([x], [y]) => {
                let order = op.permutation.iter().map(|axis| *axis as usize);
                Copy::transpose(x, order, y).map(Bound::Copy).ok_or_else(|| misfit("permutation"))
            }
            _ => Err(arity()),
        },
        // An op that the CPU does not declare (see `mscc_ir::kernels::cpu`) needs no line here.
        _ => Err(KernelError::Unknown { op: kernel }),
    }
}

/// A dimension counted from the front; negative ones are given from the end.
fn axis(axis: i64, view: &View) -> Option<usize> {
    let rank = i64::try_from(view.rank()).ok()?;
    usize::try_from(if axis < 0 { axis + rank } else { axis }).ok().filter(|axis| *axis < view.rank())
}

#[cfg(test)]
mod tests {
    use mscc_ir::DType;
    use mscc_ir::ops::{Add, Concat, Reshape, RmsNorm, Silu, Split as SplitOp, Transpose};
    use mscc_ir::{Dim, attr::Float};

    use super::super::testing::{Random, Tensor, run};
    use super::*;

    fn apply(op: impl Into<Op>, operands: &[&Tensor], results: &[&Tensor]) {
        let operands: Vec<View> = operands.iter().map(|tensor| tensor.view()).collect();
        let results: Vec<View> = results.iter().map(|tensor| tensor.view()).collect();
        run(Isa::detect(), 2, &bind(&op.into(), &operands, &results).unwrap());
    }

    #[test]
    fn layout_ops_become_copies() {
        let mut random = Random::new(1);
        let x = Tensor::zeros(DType::BF16, &[3, 4, 5]).random(&mut random);
        let y = Tensor::zeros(DType::BF16, &[5, 3, 4]);
        apply(Transpose { permutation: vec![2, 0, 1] }, &[&x], &[&y]);
        let at = |i: usize, j: usize, k: usize| x.get()[(i * 4 + j) * 5 + k];
        assert_eq!(y.get()[(2 * 3 + 1) * 4 + 3], at(1, 3, 2));

        let (a, b) = (Tensor::gapped(DType::BF16, &[3, 1, 5]), Tensor::zeros(DType::BF16, &[3, 3, 5]));
        apply(SplitOp { axis: -2, sizes: vec![Dim::ONE, Dim::constant(3)] }, &[&x], &[&a, &b]);
        assert_eq!(a.get()[5], at(1, 0, 0));
        let back = Tensor::zeros(DType::BF16, &[3, 4, 5]);
        apply(Concat { axis: 1 }, &[&a, &b], &[&back]);
        back.assert_bits(&x.get(), "split and joined");
        let flat = Tensor::zeros(DType::BF16, &[15]);
        apply(Reshape { shape: vec![Dim::constant(15)] }, &[&a], &[&flat]);
        flat.assert_bits(&a.get(), "reshaped");
    }

    #[test]
    fn misfits_are_errors() {
        let x = Tensor::zeros(DType::F32, &[2, 3]).view();
        let one = std::slice::from_ref(&x);
        let arity = KernelError::Arity { kernel: "add", operands: 1, results: 1 };
        assert_eq!(bind(&Add.into(), one, one).err(), Some(arity));
        let eight_bit = Tensor::zeros(DType::U8, &[2, 3]).view();
        let bound = bind(&Silu.into(), std::slice::from_ref(&eight_bit), one).unwrap();
        assert_eq!(
            bound.check(),
            Err(KernelError::Dtypes { kernel: "unary", dtypes: vec![DType::U8, DType::F32] })
        );
        let operands = [x.clone(), x.clone()];
        let norm = RmsNorm { eps: Float(1e-6) }.into();
        assert!(matches!(bind(&norm, &operands, one).unwrap().check(), Err(KernelError::Shape { .. })));
        let concat = Concat { axis: 7 }.into();
        assert!(matches!(bind(&concat, &operands, one), Err(KernelError::Attribute { .. })));
    }
}
