//! Sums of rows, and rows times a factor.

use std::marker::PhantomData;
use std::ops::Range;

use super::element::{Element, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// `y[..] = sum(x[.., j])`, the sum in f32, rounded once.
///
/// | value  | shape   | dtype                        |
/// |--------|---------|------------------------------|
/// | `x`    | [.., D] | f32, bf16, f16; D contiguous |
/// | -> `y` | [..]    | as `x`; any strides          |
pub struct Sum<'a> {
    /// Operand.
    pub x: &'a View,
    /// Result.
    pub y: &'a View,
}

/// `y = x / max(sum(x) + eps, least)` along the last dimension, rounded once.
///
/// | value  | shape   | dtype                            |
/// |--------|---------|----------------------------------|
/// | `x`    | [.., D] | f32, bf16, f16; D contiguous     |
/// | -> `y` | [.., D] | as `x`; D contiguous; may be `x` |
pub struct Renormalize<'a> {
    /// Operand.
    pub x: &'a View,
    /// Added to the sum.
    pub eps: f32,
    /// The least that is divided by.
    pub least: f32,
    /// Result.
    pub y: &'a View,
}

/// `y[.., j] = x[.., j] * factor[..]`, rounded once.
///
/// | value    | shape   | dtype                            |
/// |----------|---------|----------------------------------|
/// | `x`      | [.., D] | f32, bf16, f16; D contiguous     |
/// | `factor` | [..]    | f32, bf16, f16; any strides      |
/// | -> `y`   | [.., D] | as `x`; D contiguous; may be `x` |
pub struct ScaleRows<'a> {
    /// Operand.
    pub x: &'a View,
    /// One factor for each row.
    pub factor: &'a View,
    /// Result.
    pub y: &'a View,
}

impl Kernel for Sum<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("sum");
        let Sum { x, y } = *self;
        check.dtypes(x.dtype() == y.dtype() && is_compute_float(x.dtype()), &[x, y])?;
        check.shape("x", x, x.rank() >= 1, "[.., D]")?;
        check.dims("y", y, &x.dims()[..x.rank() - 1], "[..]")?;
        check.inner("x", x)
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.x.outer(1).count(), self.x.last_dim() * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let rows = split.range(task, self.x.outer(1).count());
        with_float!(self.x.dtype(), X => {
            isa.dispatch(Rows::<X, X> { x: self.x, what: What::Sum, y: self.y, rows, types: PhantomData });
        });
        Ok(())
    }
}

impl Kernel for Renormalize<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("renormalize");
        let Renormalize { x, y, .. } = *self;
        check.dtypes(x.dtype() == y.dtype() && is_compute_float(x.dtype()), &[x, y])?;
        check.shape("x", x, x.rank() >= 1, "[.., D]")?;
        check.dims("y", y, x.dims(), "those of x")?;
        check.inner("x", x)?;
        check.inner("y", y)
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.x.outer(1).count(), 3 * self.x.last_dim() * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let rows = split.range(task, self.x.outer(1).count());
        let what = What::Share { eps: self.eps, least: self.least };
        with_float!(self.x.dtype(), X => {
            isa.dispatch(Rows::<X, X> { x: self.x, what, y: self.y, rows, types: PhantomData });
        });
        Ok(())
    }
}

impl Kernel for ScaleRows<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("scale_rows");
        let ScaleRows { x, factor, y } = *self;
        let floats = is_compute_float(x.dtype()) && is_compute_float(factor.dtype());
        check.dtypes(x.dtype() == y.dtype() && floats, &[x, factor, y])?;
        check.shape("x", x, x.rank() >= 1, "[.., D]")?;
        check.dims("factor", factor, &x.dims()[..x.rank() - 1], "[..]")?;
        check.dims("y", y, x.dims(), "those of x")?;
        check.inner("x", x)?;
        check.inner("y", y)
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.x.outer(1).count(), 2 * self.x.last_dim() * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let rows = split.range(task, self.x.outer(1).count());
        let what = What::Times(self.factor);
        with_float!(self.x.dtype(), X => with_float!(self.factor.dtype(), F => {
            isa.dispatch(Rows::<X, F> { x: self.x, what, y: self.y, rows, types: PhantomData });
        }));
        Ok(())
    }
}

/// What becomes of a row.
#[derive(Clone, Copy)]
enum What<'a> {
    Sum,
    /// Divided by its sum and this.
    Share {
        eps: f32,
        least: f32,
    },
    Times(&'a View),
}

struct Rows<'a, X, F> {
    x: &'a View,
    what: What<'a>,
    y: &'a View,
    rows: Range<usize>,
    types: PhantomData<(X, F)>,
}

impl<X: Element, F: Element> Body for Rows<'_, X, F> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rows { x, what, y, rows, .. } = self;
        let len = x.last_dim();
        let inner = usize::from(y.rank() == x.rank());
        let (x_rows, y_rows) = (x.outer(1), y.outer(inner));
        for row in rows {
            let x = x.as_ptr::<X>().wrapping_add(x_rows.offset(row)).cast_const();
            let y = y.as_ptr::<X>().wrapping_add(y_rows.offset(row));
            // SAFETY: the rows and the factors lie within checked views.
            unsafe {
                match what {
                    What::Sum => X::set(y, sum_row(s, x, len)),
                    What::Share { eps, least } => {
                        scale_row(s, x, y, len, 1.0 / (sum_row(s, x, len) + eps).max(least))
                    }
                    What::Times(factor) => {
                        let at = factor.outer(0).offset(row);
                        scale_row(s, x, y, len, F::get(factor.as_ptr::<F>().wrapping_add(at)));
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn sum_row<S: Simd, X: Element>(s: S, x: *const X, len: usize) -> f32 {
    let mut sum = s.splat(0.0);
    let mut i = 0;
    while i < len {
        sum = s.add(sum, X::load_n(s, x.wrapping_add(i), (len - i).min(S::LANES)));
        i += S::LANES;
    }
    s.sum(sum)
}

#[inline(always)]
unsafe fn scale_row<S: Simd, X: Element>(s: S, x: *const X, y: *mut X, len: usize, factor: f32) {
    let factor = s.splat(factor);
    let mut i = 0;
    while i < len {
        let n = (len - i).min(S::LANES);
        X::store_n(s, y.wrapping_add(i), s.mul(X::load_n(s, x.wrapping_add(i), n), factor), n);
        i += n;
    }
}

#[cfg(test)]
mod tests {
    use mscc_ir::DType;

    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::*;

    #[test]
    fn rows_are_summed_shared_and_scaled() {
        let mut random = Random::new(29);
        for len in [1, 5, 16, 131] {
            for dtype in FLOATS {
                let x = Tensor::gapped(dtype, &[2, 3, len]).random(&mut random);
                let factor = Tensor::with_strides(DType::F32, &[2, 3], &[1, 2]).random(&mut random);
                let (rows, factors) = (x.get(), factor.get());
                let sums: Vec<f64> = rows.chunks(len).map(|row| row.iter().sum()).collect();
                let each = |f: &dyn Fn(f64, usize) -> f64| -> Vec<f64> {
                    rows.iter().enumerate().map(|(at, x)| f(*x, at / len)).collect()
                };
                for isa in levels() {
                    let y = Tensor::with_strides(dtype, &[2, 3], &[1, 2]);
                    run(isa, 2, &Sum { x: &x.view(), y: &y.view() });
                    y.assert_close(&sums, len as f64, isa.name());
                    let y = Tensor::gapped(dtype, &[2, 3, len]);
                    run(isa, 2, &ScaleRows { x: &x.view(), factor: &factor.view(), y: &y.view() });
                    y.assert_close(&each(&|x, row| x * factors[row]), 1.0, isa.name());
                    run(isa, 2, &Renormalize { x: &x.view(), eps: 1e3, least: 0.0, y: &y.view() });
                    y.assert_close(&each(&|x, row| x / (sums[row] + 1e3)), 1.0, isa.name());
                }
            }
        }
    }
}
