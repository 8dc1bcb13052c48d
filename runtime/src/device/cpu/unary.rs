//! Functions of one value, element by element.

use std::marker::PhantomData;
use std::ops::Range;

use super::element::{Element, is_compute_float, load_strided, store_strided, with_float};
use super::error::KernelError;
use super::grid::Grid;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
use super::math;
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// A function of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryFunction {
    /// The value itself: a cast, where the types differ.
    Identity,
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
}

impl UnaryFunction {
    /// All functions.
    pub const ALL: [UnaryFunction; 11] = [
        UnaryFunction::Identity,
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
    ];

    #[inline(always)]
    fn apply<S: Simd>(self, s: S, x: S::F) -> S::F {
        match self {
            UnaryFunction::Identity => x,
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
        }
    }
}

/// `y = f(x)`, computed in f32, rounded once.
///
/// | value  | shape | dtype                                  |
/// |--------|-------|----------------------------------------|
/// | `x`    | [..]  | f32, bf16, f16; any strides            |
/// | -> `y` | [..]  | f32, bf16, f16; any strides; may be `x` |
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
        check.dtypes(is_compute_float(x.dtype()) && is_compute_float(y.dtype()), &[x, y])?;
        check.dims("y", y, x.dims(), "those of x")
    }

    fn split(&self, threads: usize) -> Split {
        Grid::new(&[self.x, self.y]).split(self.x.element_bytes() + self.y.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let grid = Grid::new(&[self.x, self.y]);
        let segments = split.range(task, grid.segments());
        with_float!(self.x.dtype(), X => with_float!(self.y.dtype(), Y => {
            isa.dispatch(Segments::<X, Y>(self, grid, segments, PhantomData));
        }));
        Ok(())
    }
}

struct Segments<'a, X, Y>(&'a Unary<'a>, Grid, Range<usize>, PhantomData<(X, Y)>);

impl<X: Element, Y: Element> Body for Segments<'_, X, Y> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Segments(op, grid, segments, _) = self;
        let (x_lines, y_lines) = (grid.lines(op.x), grid.lines(op.y));
        for index in segments {
            let segment = grid.segment(index);
            let x = op.x.as_ptr::<X>().wrapping_add(x_lines.offset(segment));
            let y = op.y.as_ptr::<Y>().wrapping_add(y_lines.offset(segment));
            let mut i = 0;
            while i < segment.len {
                let n = (segment.len - i).min(S::LANES);
                let (x_at, y_at) = (i * x_lines.stride(), i * y_lines.stride());
                // SAFETY: the segment lies within both views.
                unsafe {
                    let value = load_strided(s, x.wrapping_add(x_at).cast_const(), x_lines.stride(), n);
                    store_strided(s, y.wrapping_add(y_at), y_lines.stride(), op.function.apply(s, value), n);
                }
                i += n;
            }
        }
    }
}
