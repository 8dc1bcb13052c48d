//! Functions of one value, element by element.

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

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryFunction {
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// `e^x`
    Exp,
    /// `sqrt(x)`
    Sqrt,
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// `1 / (1 + e^-x)`
    Sigmoid,
    /// `x / (1 + e^-x)`
    Silu,
    /// Hyperbolic tangent.
    Tanh,
    /// `x / 2 * (1 + erf(x / sqrt 2))`
    Gelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`
    GeluTanh,
    /// `x * by`
    Scale(f32),
    /// `x + by`
    Shift(f32),
    /// `cap * tanh(x / cap)`
    SoftCap(f32),
    /// `min(max(x, least), greatest)`; NaN stays NaN.
    Clamp(f32, f32),
}

impl UnaryFunction {
    /// All functions.
    pub const ALL: [UnaryFunction; 14] = [
        UnaryFunction::Neg,
        UnaryFunction::Abs,
        UnaryFunction::Exp,
        UnaryFunction::Sqrt,
        UnaryFunction::Relu,
        UnaryFunction::Sigmoid,
        UnaryFunction::Silu,
        UnaryFunction::Tanh,
        UnaryFunction::Gelu,
        UnaryFunction::GeluTanh,
        UnaryFunction::Scale(-1.5),
        UnaryFunction::Shift(0.75),
        UnaryFunction::SoftCap(0.5),
        UnaryFunction::Clamp(-0.25, 0.5),
    ];
}

impl Function<1> for UnaryFunction {
    #[inline(always)]
    fn apply<S: Simd>(&self, s: S, [x]: [S::F; 1]) -> S::F {
        match self {
            UnaryFunction::Neg => s.neg(x),
            UnaryFunction::Abs => s.abs(x),
            UnaryFunction::Exp => math::exp(s, x),
            UnaryFunction::Sqrt => s.sqrt(x),
            UnaryFunction::Relu => s.max(s.splat(0.0), x),
            UnaryFunction::Sigmoid => math::sigmoid(s, x),
            UnaryFunction::Silu => math::silu(s, x),
            UnaryFunction::Tanh => math::tanh(s, x),
            UnaryFunction::Gelu => math::gelu_erf(s, x),
            UnaryFunction::GeluTanh => math::gelu_tanh(s, x),
            UnaryFunction::Scale(by) => s.mul(x, s.splat(*by)),
            UnaryFunction::Shift(by) => s.add(x, s.splat(*by)),
            UnaryFunction::SoftCap(cap) => s.mul(math::tanh(s, s.div(x, s.splat(*cap))), s.splat(*cap)),
            UnaryFunction::Clamp(least, greatest) => s.min(s.splat(*greatest), s.max(s.splat(*least), x)),
        }
    }
}

/// `y = f(x)`, computed in f32, rounded once.
///
/// | value  | shape | dtype                           |
/// |--------|-------|---------------------------------|
/// | `x`    | [..]  | f32, bf16, f16; any strides     |
/// | -> `y` | [..]  | as `x`; any strides; may be `x` |
pub struct Unary<'a> {
    /// The function.
    pub function: UnaryFunction,
    /// Operand.
    pub x: &'a View,
    /// Result.
    pub y: &'a View,
}

impl Kernel for Unary<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("unary");
        let Unary { x, y, .. } = *self;
        check.dtypes(x.dtype() == y.dtype() && is_compute_float(x.dtype()), &[x, y])?;
        check.dims("y", y, x.dims(), "those of x")
    }

    fn split(&self, threads: usize) -> Split {
        Grid::new(&[self.x], self.y).split(2 * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        with_float!(self.y.dtype(), E => map::<E, E, 1>(isa, &self.function, [self.x], self.y, (split, task)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::*;

    fn reference(function: UnaryFunction, x: f64) -> f64 {
        match function {
            UnaryFunction::Neg => -x,
            UnaryFunction::Abs => x.abs(),
            UnaryFunction::Exp => x.exp(),
            UnaryFunction::Sqrt => x.sqrt(),
            UnaryFunction::Relu => x.max(0.0),
            UnaryFunction::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            UnaryFunction::Silu => x / (1.0 + (-x).exp()),
            UnaryFunction::Tanh => x.tanh(),
            UnaryFunction::Gelu => {
                let z = x / 2f64.sqrt();
                let (mut term, mut erf) = (z, z);
                for n in 1..60 {
                    term *= -z * z / f64::from(n);
                    erf += term / f64::from(2 * n + 1);
                }
                x / 2.0 * (1.0 + erf * std::f64::consts::FRAC_2_SQRT_PI)
            }
            UnaryFunction::Scale(by) => x * f64::from(by),
            UnaryFunction::Shift(by) => x + f64::from(by),
            UnaryFunction::SoftCap(cap) => f64::from(cap) * (x / f64::from(cap)).tanh(),
            UnaryFunction::Clamp(least, greatest) => x.clamp(f64::from(least), f64::from(greatest)),
            UnaryFunction::GeluTanh => {
                x / 2.0 * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
            }
        }
    }

    #[test]
    fn functions_match_the_reference_for_all_types_and_layouts() {
        let mut random = Random::new(3);
        for dims in [&[1][..], &[3, 17], &[2, 5, 24], &[9001], &[]] {
            for dtype in FLOATS {
                for function in UnaryFunction::ALL {
                    let mut x = Tensor::gapped(dtype, dims).random(&mut random);
                    if function == UnaryFunction::Sqrt {
                        x.set(&x.get().iter().map(|x| x.abs()).collect::<Vec<_>>());
                    }
                    let want: Vec<f64> = x.get().iter().map(|x| reference(function, *x)).collect();
                    for isa in levels() {
                        for y in [Tensor::zeros(dtype, dims), Tensor::gapped(dtype, dims)] {
                            run(isa, 2, &Unary { function, x: &x.view(), y: &y.view() });
                            y.assert_close(&want, 1.0, &format!("{function:?} {dims:?} {}", isa.name()));
                        }
                    }
                }
            }
        }
    }
}
