//! Softmax over the last dimension.

use std::marker::PhantomData;
use std::ops::Range;

use super::element::{Element, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
use super::math::exp;
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// `y = e^(x - max) / sum(e^(x - max))` along the last dimension, rounded once.
///
/// | value  | shape   | dtype                            |
/// |--------|---------|----------------------------------|
/// | `x`    | [.., D] | f32, bf16, f16; D contiguous     |
/// | -> `y` | [.., D] | as `x`; D contiguous; may be `x` |
pub struct Softmax<'a> {
    /// Operand.
    pub x: &'a View,
    /// Result.
    pub y: &'a View,
}

impl Kernel for Softmax<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("softmax");
        let Softmax { x, y } = *self;
        check.dtypes(x.dtype() == y.dtype() && is_compute_float(x.dtype()), &[x, y])?;
        check.shape("x", x, x.rank() >= 1, "[.., D]")?;
        check.dims("y", y, x.dims(), "those of x")?;
        check.inner("x", x)?;
        check.inner("y", y)
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.x.outer(1).count(), 8 * self.x.last_dim() * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        let rows = split.range(task, self.x.outer(1).count());
        let [exponentials] = scratch.areas([self.x.last_dim() * size_of::<f32>()]);
        with_float!(self.x.dtype(), E => {
            isa.dispatch(Rows::<E>(self, rows, exponentials.cast(), PhantomData));
        });
        Ok(())
    }
}

struct Rows<'a, E>(&'a Softmax<'a>, Range<usize>, *mut f32, PhantomData<E>);

impl<E: Element> Body for Rows<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Rows(op, rows, exponentials, _) = self;
        let (x_rows, y_rows) = (op.x.outer(1), op.y.outer(1));
        for row in rows {
            let x = op.x.as_ptr::<E>().wrapping_add(x_rows.offset(row));
            let y = op.y.as_ptr::<E>().wrapping_add(y_rows.offset(row));
            // SAFETY: the rows lie within checked views, `exponentials` has a row's length.
            unsafe { softmax_row(s, x, exponentials, y, op.x.last_dim()) };
        }
    }
}

#[inline(always)]
unsafe fn softmax_row<S: Simd, E: Element>(s: S, x: *const E, exponentials: *mut f32, y: *mut E, len: usize) {
    let low = s.splat(f32::NEG_INFINITY);
    let mut max = low;
    let mut i = 0;
    while i + S::LANES <= len {
        max = s.max(max, E::load(s, x.wrapping_add(i)));
        i += S::LANES;
    }
    let mut max = s.max_lane(max);
    while i < len {
        max = max.max(E::get(x.wrapping_add(i)));
        i += 1;
    }
    let max = s.splat(max);
    let mut sum = s.splat(0.0);
    let mut i = 0;
    while i < len {
        let n = (len - i).min(S::LANES);
        let e = exp(s, s.sub(E::load_n(s, x.wrapping_add(i), n), max));
        // By way of memory, so that the lanes beyond the row come back as zeros.
        s.store_f32_n(exponentials.wrapping_add(i), e, n);
        sum = s.add(sum, s.load_f32_n(exponentials.wrapping_add(i), n));
        i += n;
    }
    let sum = s.splat(s.sum(sum));
    let mut i = 0;
    while i < len {
        let n = (len - i).min(S::LANES);
        let e = s.load_f32_n(exponentials.wrapping_add(i), n);
        E::store_n(s, y.wrapping_add(i), s.div(e, sum), n);
        i += n;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::*;

    #[test]
    fn matches_the_reference() {
        let mut random = Random::new(11);
        for (rows, len) in [(1, 1), (3, 17), (2, 5), (4, 1000)] {
            for dtype in FLOATS {
                let values: Vec<f64> = (0..rows * len).map(|_| random.float() * 20.0 - 200.0).collect();
                let x = Tensor::gapped(dtype, &[rows, len]).of(&values);
                let softmax = |row: &[f64]| {
                    let max = row.iter().copied().fold(f64::MIN, f64::max);
                    let sum: f64 = row.iter().map(|x| (x - max).exp()).sum();
                    row.iter().map(|x| (x - max).exp() / sum).collect::<Vec<_>>()
                };
                let want: Vec<f64> = x.get().chunks(len).flat_map(softmax).collect();
                for isa in levels() {
                    let y = Tensor::zeros(dtype, &[rows, len]);
                    run(isa, 2, &Softmax { x: &x.view(), y: &y.view() });
                    y.assert_close(&want, 1.0, isa.name());
                }
            }
        }
    }
}
