//! Functions of two values, element by element.

use super::element::{is_compute_float, with_float};
use super::error::KernelError;
use super::grid::Grid;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::map::{Function, map};
use super::math;
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// A function of two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryFunction {
    /// `a + b`
    Add,
    /// `a - b`
    Sub,
    /// `a * b`
    Mul,
    /// `a / b`
    Div,
    /// `silu(a) * b`: gate and up projection.
    Swiglu,
}

impl BinaryFunction {
    /// All functions.
    pub const ALL: [BinaryFunction; 5] = [
        BinaryFunction::Add,
        BinaryFunction::Sub,
        BinaryFunction::Mul,
        BinaryFunction::Div,
        BinaryFunction::Swiglu,
    ];
}

impl Function<2> for BinaryFunction {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, [a, b]: [S::F; 2]) -> S::F {
        match self {
            BinaryFunction::Add => s.add(a, b),
            BinaryFunction::Sub => s.sub(a, b),
            BinaryFunction::Mul => s.mul(a, b),
            BinaryFunction::Div => s.div(a, b),
            BinaryFunction::Swiglu => s.mul(math::silu(s, a), b),
        }
    }
}

/// `y = f(a, b)`, computed in f32, rounded once.
///
/// | value    | shape                                     | dtype                               |
/// |----------|-------------------------------------------|-------------------------------------|
/// | `a`, `b` | [..], dims aligned at the end, missing ones and those of size 1 repeated | f32, bf16, f16, equal |
/// | -> `y`   | [..], the larger size of each dim         | as `a`; may be an operand of its own shape |
pub struct Binary<'a> {
    /// The function.
    pub function: BinaryFunction,
    /// First operand.
    pub a: &'a View,
    /// Second operand.
    pub b: &'a View,
    /// Result.
    pub y: &'a View,
}

impl Kernel for Binary<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("binary");
        let Binary { a, b, y, .. } = *self;
        let same = a.dtype() == b.dtype() && a.dtype() == y.dtype();
        check.dtypes(same && is_compute_float(a.dtype()), &[a, b, y])?;
        check.shape("a", a, a.broadcast(y.dims()).is_some(), "those of y, or repeated to them")?;
        check.shape("b", b, b.broadcast(y.dims()).is_some(), "those of y, or repeated to them")
    }

    fn split(&self, threads: usize) -> Split {
        let (a, b) = self.operands();
        Grid::new(&[&a, &b], self.y).split(3 * self.y.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let (a, b) = self.operands();
        with_float!(self.y.dtype(), E => {
            map::<E, E, 2>(isa, &self.function, [&a, &b], self.y, (split, task));
        });
        Ok(())
    }
}

impl Binary<'_> {
    fn operands(&self) -> (View, View) {
        let repeat = |view: &View| view.broadcast(self.y.dims()).expect("check() accepts only what fits");
        (repeat(self.a), repeat(self.b))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::*;

    fn reference(function: BinaryFunction, a: f64, b: f64) -> f64 {
        match function {
            BinaryFunction::Add => a + b,
            BinaryFunction::Sub => a - b,
            BinaryFunction::Mul => a * b,
            BinaryFunction::Div => a / b,
            BinaryFunction::Swiglu => a / (1.0 + (-a).exp()) * b,
        }
    }

    #[test]
    fn functions_match_the_reference_with_repeated_operands() {
        let mut random = Random::new(5);
        let shapes: [(&[usize], &[usize], &[usize]); 6] = [
            (&[3, 17], &[3, 17], &[3, 17]),
            (&[3, 33], &[33], &[3, 33]),
            (&[33], &[5, 33], &[5, 33]),
            (&[2, 3, 19], &[3, 1], &[2, 3, 19]),
            (&[4], &[], &[4]),
            (&[1, 5000], &[7, 1], &[7, 5000]),
        ];
        for (a_dims, b_dims, dims) in shapes {
            for dtype in FLOATS {
                let a = Tensor::gapped(dtype, a_dims).random(&mut random);
                let mut b = Tensor::zeros(dtype, b_dims).random(&mut random);
                b.set(&b.get().iter().map(|b| b + 2f64.copysign(*b)).collect::<Vec<_>>());
                let repeat = |tensor: &Tensor| {
                    let outer = tensor.view().broadcast(dims).unwrap();
                    let (of_view, values) = (tensor.view().outer(0), tensor.get());
                    let places: Vec<usize> = (0..of_view.count()).map(|i| of_view.offset(i)).collect();
                    let outer = outer.outer(0);
                    (0..outer.count())
                        .map(|i| values[places.iter().position(|p| *p == outer.offset(i)).unwrap()])
                        .collect::<Vec<_>>()
                };
                let (left, right) = (repeat(&a), repeat(&b));
                for function in BinaryFunction::ALL {
                    let want: Vec<f64> =
                        left.iter().zip(&right).map(|(a, b)| reference(function, *a, *b)).collect();
                    for isa in levels() {
                        let y = Tensor::gapped(dtype, dims);
                        run(isa, 2, &Binary { function, a: &a.view(), b: &b.view(), y: &y.view() });
                        y.assert_close(&want, 1.0, &format!("{function:?} {dims:?} {}", isa.name()));
                    }
                }
            }
        }
    }
}
