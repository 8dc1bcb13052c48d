//! From an op to its kernel.

use mscc_ir::kernels::cpu::kernel_for;
use mscc_ir::ops::Op;

use super::error::KernelError;
use super::kernel::Kernel;
use super::view::View;
use super::{
    AddRmsNorm, Argsort, Attention, Binary, BinaryFunction, Bincount, CacheRead, CacheWrite, Cast, Copy,
    FloorDiv, Gather, GroupedMatmul, IndexAdd, KeepGroups, LatentAttention, LayerNorm, Matmul,
    RaggedAttention, Renormalize, RmsNorm, Rope, RopeTable, ScaleRows, Softmax, Sum, TakeAlong, Topk, Unary,
    UnaryFunction,
};

/// Binds an op to operands and results, each in the order that the op declares, and hands the kernel to `then`.
///
/// Ops that are views (reshape, split, transpose) become copies: only those reach a launch that have to move
/// something. What is bound stands on the stack, so that a launch takes no memory.
///
/// # Errors
/// [`KernelError::Arity`], [`KernelError::Attribute`] or [`KernelError::NotInPlace`] if the views are not what
/// the op takes and gives; [`KernelError::Unknown`] if the op has no kernel; those of `then`. Types and sizes are
/// left to [`Kernel::check`].
pub fn with_kernel<R>(
    op: &Op,
    operands: &[View],
    results: &[View],
    then: impl FnOnce(&dyn Kernel) -> Result<R, KernelError>,
) -> Result<R, KernelError> {
    let kind = op.kind();
    let kernel = kind.name();
    let misfit = |attribute| KernelError::Attribute { kernel, attribute };
    match (op, operands, results) {
        (Op::Add(_), [a, b], [y]) => then(&Binary { function: BinaryFunction::Add, a, b, y }),
        (Op::AddRmsNorm(op), [x, r, weight], [y, h]) => {
            then(&AddRmsNorm { x, r, weight, eps: op.eps.0 as f32, y, h })
        }
        (Op::Argsort(_), [keys], [y]) => then(&Argsort { keys, y }),
        (
            Op::Attention(op),
            [q, k_cache, v_cache, block_table, query_start, context_len, sinks @ ..],
            [y],
        ) if sinks.len() <= 1 => then(&Attention {
            q,
            k_cache,
            v_cache,
            block_table,
            query_start,
            context_len,
            sinks: sinks.first(),
            scale: op.scale.0 as f32,
            window: op.window.map(|window| window as usize),
            soft_cap: op.soft_cap.map(|cap| cap.0 as f32),
            y,
        }),
        (Op::Bincount(_), [ids], [y]) => then(&Bincount { ids, y }),
        (Op::CacheRead(_), [cache, block_table, context_len], [y]) => {
            then(&CacheRead { cache, block_table, context_len, y })
        }
        (Op::CacheWrite(_), [cache, rows, slot_mapping], [y]) => {
            if cache.as_ptr::<u8>() != y.as_ptr() || cache.strides() != y.strides() {
                return Err(KernelError::NotInPlace { kernel, value: "cache" });
            }
            then(&CacheWrite { cache, rows, slot_mapping })
        }
        (Op::Cast(_), [x], [y]) => then(&Cast { x, y }),
        (Op::Clamp(op), [x], [y]) => {
            let function = UnaryFunction::Clamp(op.least.0 as f32, op.greatest.0 as f32);
            then(&Unary { function, x, y })
        }
        (Op::Concat(op), _, [y]) => {
            let axis = axis(op.axis, y).ok_or_else(|| misfit("axis"))?;
            then(&Copy::concat(operands, axis, y).ok_or_else(|| misfit("axis"))?)
        }
        (Op::FloorDiv(op), [x], [y]) => then(&FloorDiv { x, by: op.by, y }),
        (Op::Gather(_), [table, indices], [y]) => then(&Gather { table, indices, y }),
        (Op::Gelu(op), [x], [y]) => {
            let function = if op.tanh { UnaryFunction::GeluTanh } else { UnaryFunction::Gelu };
            then(&Unary { function, x, y })
        }
        (Op::GroupedMatmul(op), [x, w, group_sizes], [y]) => {
            then(&GroupedMatmul { x, w, group_sizes, transposed: op.trans_b, y })
        }
        (Op::IndexAdd(_), [x, index], [y]) => then(&IndexAdd { x, index, y }),
        (Op::KeepGroups(op), [x, groups], [y]) => then(&KeepGroups { x, groups, fill: op.fill.0 as f32, y }),
        (
            Op::LatentAttention(op),
            [q, q_rope, latent_cache, rope_cache, block_table, query_start, context_len],
            [y],
        ) => then(&LatentAttention {
            q,
            q_rope,
            latent_cache,
            rope_cache,
            block_table,
            query_start,
            context_len,
            scale: op.scale.0 as f32,
            y,
        }),
        (Op::LayerNorm(op), [x, rest @ ..], [y]) if rest.len() <= 2 => {
            then(&LayerNorm { x, weight: rest.first(), bias: rest.get(1), eps: op.eps.0 as f32, y })
        }
        (Op::Matmul(op), [x, w], [y]) => then(&Matmul { x, w, bias: None, transposed: op.trans_b, y }),
        (Op::Matmul(op), [x, w, bias], [y]) => {
            then(&Matmul { x, w, bias: Some(bias), transposed: op.trans_b, y })
        }
        (Op::Mul(_), [a, b], [y]) => then(&Binary { function: BinaryFunction::Mul, a, b, y }),
        (Op::RaggedAttention(op), [q, q_rope, k, k_rope, v, query_start, context_len], [y]) => {
            let scale = op.scale.0 as f32;
            then(&RaggedAttention { q, q_rope, k, k_rope, v, query_start, context_len, scale, y })
        }
        (Op::Relu(_), [x], [y]) => then(&Unary { function: UnaryFunction::Relu, x, y }),
        (Op::Renormalize(op), [x], [y]) => {
            then(&Renormalize { x, eps: op.eps.0 as f32, least: op.least.0 as f32, y })
        }
        (Op::Reshape(_), [x], [y]) => then(&Copy::reshape(x, y).ok_or_else(|| misfit("shape"))?),
        (Op::RmsNorm(op), [x, weight], [y]) => then(&RmsNorm { x, weight, eps: op.eps.0 as f32, y }),
        (Op::Rope(op), [x, cos, sin], [y]) => then(&Rope { x, cos, sin, interleaved: op.interleaved, y }),
        (Op::RopeTable(op), [positions, frequencies], [cos, sin]) => {
            then(&RopeTable { positions, frequencies, scale: op.scale.0 as f32, cos, sin })
        }
        (Op::Scale(op), [x], [y]) => then(&Unary { function: UnaryFunction::Scale(op.by.0 as f32), x, y }),
        (Op::ScaleRows(_), [x, factor], [y]) => then(&ScaleRows { x, factor, y }),
        (Op::Shift(op), [x], [y]) => then(&Unary { function: UnaryFunction::Shift(op.by.0 as f32), x, y }),
        (Op::Sigmoid(_), [x], [y]) => then(&Unary { function: UnaryFunction::Sigmoid, x, y }),
        (Op::Silu(_), [x], [y]) => then(&Unary { function: UnaryFunction::Silu, x, y }),
        (Op::SoftCap(op), [x], [y]) => {
            then(&Unary { function: UnaryFunction::SoftCap(op.cap.0 as f32), x, y })
        }
        (Op::Softmax(_), [x], [y]) => then(&Softmax { x, y }),
        (Op::Split(op), [x], _) => {
            let axis = axis(op.axis, x).ok_or_else(|| misfit("axis"))?;
            then(&Copy::split(x, axis, results).ok_or_else(|| misfit("sizes"))?)
        }
        (Op::Sum(_), [x], [y]) => then(&Sum { x, y }),
        (Op::Swiglu(_), [a, b], [y]) => then(&Binary { function: BinaryFunction::Swiglu, a, b, y }),
        (Op::TakeAlong(_), [x, indices], [y]) => then(&TakeAlong { x, indices, y }),
        (Op::Topk(_), [x], [values, indices]) => then(&Topk { x, values, indices }),
        (Op::Transpose(op), [x], [y]) => {
            let order = op.permutation.iter().map(|axis| *axis as usize);
            then(&Copy::transpose(x, order, y).ok_or_else(|| misfit("permutation"))?)
        }
        _ if kernel_for(kind).is_some() || kind.is_view() => {
            Err(KernelError::Arity { kernel, operands: operands.len(), results: results.len() })
        }
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

    use super::super::Isa;
    use super::super::testing::{Random, Tensor, run};
    use super::*;

    fn apply(op: impl Into<Op>, operands: &[&Tensor], results: &[&Tensor]) {
        let operands: Vec<View> = operands.iter().map(|tensor| tensor.view()).collect();
        let results: Vec<View> = results.iter().map(|tensor| tensor.view()).collect();
        let launched = with_kernel(&op.into(), &operands, &results, |kernel| {
            run(Isa::detect(), 2, kernel);
            Ok(())
        });
        launched.unwrap();
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
        let check = |op: Op, operands: &[View], results: &[View]| {
            with_kernel(&op, operands, results, |kernel| kernel.check())
        };
        let x = Tensor::zeros(DType::F32, &[2, 3]).view();
        let one = std::slice::from_ref(&x);
        let arity = KernelError::Arity { kernel: "add", operands: 1, results: 1 };
        assert_eq!(check(Add.into(), one, one), Err(arity));
        let eight_bit = Tensor::zeros(DType::U8, &[2, 3]).view();
        assert_eq!(
            check(Silu.into(), std::slice::from_ref(&eight_bit), one),
            Err(KernelError::Dtypes { kernel: "unary", dtypes: vec![DType::U8, DType::F32] })
        );
        let operands = [x.clone(), x.clone()];
        let norm = RmsNorm { eps: Float(1e-6), dtype: None };
        assert!(matches!(check(norm.into(), &operands, one), Err(KernelError::Shape { .. })));
        assert!(matches!(
            check(Concat { axis: 7 }.into(), &operands, one),
            Err(KernelError::Attribute { .. })
        ));
    }
}
