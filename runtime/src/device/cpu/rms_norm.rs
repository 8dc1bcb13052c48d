//! Normalisation by root mean square, alone and after a residual add.

use std::marker::PhantomData;
use std::ops::Range;

use super::element::{Element, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// `y = x / sqrt(mean(x^2) + eps) * weight`, rounded once.
///
/// | value    | shape   | dtype                                   |
/// |----------|---------|-----------------------------------------|
/// | `x`      | [.., D] | f32, bf16, f16; D contiguous            |
/// | `weight` | `[D]`     | f32, bf16, f16; contiguous              |
/// | -> `y`   | [.., D] | f32, bf16, f16; D contiguous; may be `x` if as `x` |
pub struct RmsNorm<'a> {
    /// Operand.
    pub x: &'a View,
    /// Factor of each element.
    pub weight: &'a View,
    /// Added to the mean square.
    pub eps: f32,
    /// Result.
    pub y: &'a View,
}

/// `h = x + r`, rounded, and `y` = [`RmsNorm`] of that rounded `h`: the bits of the two kernels.
///
/// | value    | shape   | dtype                                   |
/// |----------|---------|-----------------------------------------|
/// | `x`, `r` | [.., D] | f32, bf16, f16, equal; D contiguous     |
/// | `weight` | `[D]`     | f32, bf16, f16; contiguous              |
/// | -> `y`   | [.., D] | f32, bf16, f16; D contiguous; may be `x` or `r` if as `x` |
/// | -> `h`   | [.., D] | as `x`; D contiguous; may be `x` or `r` |
pub struct AddRmsNorm<'a> {
    /// Hidden states.
    pub x: &'a View,
    /// Residual.
    pub r: &'a View,
    /// Factor of each element.
    pub weight: &'a View,
    /// Added to the mean square.
    pub eps: f32,
    /// Normalised sum.
    pub y: &'a View,
    /// Sum.
    pub h: &'a View,
}

/// Runs `$body` with the types of elements.
macro_rules! with_types {
    ($x:expr, $weight:expr, $y:expr, $X:ident, $W:ident, $Y:ident => $body:expr) => {
        with_float!($x.dtype(), $X => with_float!($weight.dtype(), $W => with_float!($y.dtype(), $Y => $body)))
    };
}

impl Kernel for RmsNorm<'_> {
    fn check(&self) -> Result<(), KernelError> {
        check_norm("rms_norm", self.x, self.weight, &[], self.y)
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.x.outer(1).count(), 3 * self.x.last_dim() * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let rows = split.range(task, self.x.outer(1).count());
        let RmsNorm { x, weight, eps, y } = *self;
        with_types!(x, weight, y, X, W, Y => {
            isa.dispatch(Rows::<X, W, Y> { sum: None, x, weight, eps, y, rows, types: PhantomData });
        });
        Ok(())
    }
}

impl Kernel for AddRmsNorm<'_> {
    fn check(&self) -> Result<(), KernelError> {
        check_norm("add_rms_norm", self.x, self.weight, &[("r", self.r), ("h", self.h)], self.y)
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.x.outer(1).count(), 5 * self.x.last_dim() * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let rows = split.range(task, self.x.outer(1).count());
        let AddRmsNorm { x, r, weight, eps, y, h } = *self;
        with_types!(x, weight, y, X, W, Y => {
            isa.dispatch(Rows::<X, W, Y> { sum: Some((x, r)), x: h, weight, eps, y, rows, types: PhantomData });
        });
        Ok(())
    }
}

/// Checks a norm over the last dimension: `others` have the type of `x`, `weight` is [D].
pub(crate) fn check_norm(
    kernel: &'static str,
    x: &View,
    weight: &View,
    others: &[(&'static str, &View)],
    y: &View,
) -> Result<(), KernelError> {
    let check = Check(kernel);
    let mut views = vec![x, weight, y];
    views.extend(others.iter().map(|(_, view)| *view));
    let same = others.iter().all(|(_, view)| view.dtype() == x.dtype());
    let floats = [x, weight, y].iter().all(|view| is_compute_float(view.dtype()));
    check.dtypes(same && floats, &views)?;
    check.shape("x", x, x.rank() >= 1, "[.., D]")?;
    check.dims("weight", weight, &x.dims()[x.rank() - 1..], "[D]")?;
    check.inner("x", x)?;
    check.inner("weight", weight)?;
    for (name, view) in others.iter().chain([&("y", y)]) {
        check.dims(name, view, x.dims(), "those of x")?;
        check.inner(name, view)?;
    }
    Ok(())
}

/// Rows to normalise: `x`, which first becomes the `sum` of two, if given.
struct Rows<'a, X, W, Y> {
    sum: Option<(&'a View, &'a View)>,
    x: &'a View,
    weight: &'a View,
    eps: f32,
    y: &'a View,
    rows: Range<usize>,
    types: PhantomData<(X, W, Y)>,
}

impl<X: Element, W: Element, Y: Element> Body for Rows<'_, X, W, Y> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let len = self.x.last_dim();
        let (x_rows, y_rows) = (self.x.outer(1), self.y.outer(1));
        let terms = self.sum.map(|(a, b)| (a, a.outer(1), b, b.outer(1)));
        for row in self.rows {
            let x = self.x.as_ptr::<X>().wrapping_add(x_rows.offset(row));
            let y = self.y.as_ptr::<Y>().wrapping_add(y_rows.offset(row));
            // SAFETY: the rows lie within checked views.
            unsafe {
                if let Some((a, a_rows, b, b_rows)) = &terms {
                    let a = a.as_ptr::<X>().wrapping_add(a_rows.offset(row));
                    let b = b.as_ptr::<X>().wrapping_add(b_rows.offset(row));
                    add_row(s, a, b, x, len);
                }
                normalise_row(s, x, self.weight.as_ptr::<W>(), self.eps, y, len);
            }
        }
    }
}

#[inline(always)]
unsafe fn add_row<S: Simd, X: Element>(s: S, a: *const X, b: *const X, h: *mut X, len: usize) {
    let mut i = 0;
    while i + S::LANES <= len {
        let sum = s.add(X::load(s, a.wrapping_add(i)), X::load(s, b.wrapping_add(i)));
        X::store(s, h.wrapping_add(i), sum);
        i += S::LANES;
    }
    if i < len {
        let n = len - i;
        let sum = s.add(X::load_n(s, a.wrapping_add(i), n), X::load_n(s, b.wrapping_add(i), n));
        X::store_n(s, h.wrapping_add(i), sum, n);
    }
}

#[inline(always)]
unsafe fn normalise_row<S: Simd, X: Element, W: Element, Y: Element>(
    s: S,
    x: *const X,
    weight: *const W,
    eps: f32,
    y: *mut Y,
    len: usize,
) {
    let mut squares = [s.splat(0.0); 4];
    let mut i = 0;
    while i + 4 * S::LANES <= len {
        for (j, sum) in squares.iter_mut().enumerate() {
            let v = X::load(s, x.wrapping_add(i + j * S::LANES));
            *sum = s.fma(v, v, *sum);
        }
        i += 4 * S::LANES;
    }
    while i < len {
        let v = X::load_n(s, x.wrapping_add(i), (len - i).min(S::LANES));
        squares[0] = s.fma(v, v, squares[0]);
        i += S::LANES;
    }
    let sum = s.sum(s.add(s.add(squares[0], squares[1]), s.add(squares[2], squares[3])));
    let scale = s.splat(1.0 / (sum / len as f32 + eps).sqrt());
    let mut i = 0;
    while i + S::LANES <= len {
        let v = s.mul(X::load(s, x.wrapping_add(i)), scale);
        Y::store(s, y.wrapping_add(i), s.mul(v, W::load(s, weight.wrapping_add(i))));
        i += S::LANES;
    }
    if i < len {
        let n = len - i;
        let v = s.mul(X::load_n(s, x.wrapping_add(i), n), scale);
        Y::store_n(s, y.wrapping_add(i), s.mul(v, W::load_n(s, weight.wrapping_add(i), n)), n);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::super::{Binary, BinaryFunction};
    use super::*;

    fn reference(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
        let normalise = |row: &[f64]| {
            let mean = row.iter().map(|x| x * x).sum::<f64>() / row.len() as f64;
            let scale = 1.0 / (mean + eps).sqrt();
            row.iter().zip(weight).map(|(x, w)| x * scale * w).collect::<Vec<_>>()
        };
        x.chunks(weight.len()).flat_map(normalise).collect()
    }

    #[test]
    fn norms_match_the_reference_and_each_other() {
        let mut random = Random::new(7);
        for (rows, len) in [(1, 1), (3, 17), (37, 64), (5, 257), (2, 1000)] {
            for (xd, wd) in FLOATS.into_iter().flat_map(|xd| FLOATS.map(|wd| (xd, wd))) {
                let x = Tensor::gapped(xd, &[rows, len]).random(&mut random);
                let r = Tensor::zeros(xd, &[rows, len]).random(&mut random);
                let weight = Tensor::zeros(wd, &[len]).random(&mut random);
                let (eps, w) = (1e-6, weight.view());
                for isa in levels() {
                    let y = Tensor::zeros(xd, &[rows, len]);
                    run(isa, 2, &RmsNorm { x: &x.view(), weight: &w, eps, y: &y.view() });
                    y.assert_close(&reference(&x.get(), &weight.get(), 1e-6), 2.0, isa.name());

                    let (sum, normed) = (Tensor::zeros(xd, &[rows, len]), Tensor::zeros(xd, &[rows, len]));
                    let (a, b) = (&x.view(), &r.view());
                    run(isa, 1, &Binary { function: BinaryFunction::Add, a, b, y: &sum.view() });
                    run(isa, 1, &RmsNorm { x: &sum.view(), weight: &w, eps, y: &normed.view() });
                    // In place: h takes the memory of r, y that of x.
                    let (x, r) = (x.clone(), r.clone());
                    let (xv, rv) = (x.view(), r.view());
                    run(isa, 3, &AddRmsNorm { x: &xv, r: &rv, weight: &w, eps, y: &xv, h: &rv });
                    r.assert_bits(&sum.get(), "h");
                    x.assert_bits(&normed.get(), "y");
                }
            }
        }
    }
}
