//! Rows summed by where they belong.

use std::marker::PhantomData;
use std::ops::Range;

use mscc_ir::DType;

use super::element::{Element, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
use super::pick::index as checked_index;
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// `y[r] = sum(x[m])` over the m with `index[m] = r`, in order of m; sums in f32, rounded once.
///
/// | value   | shape       | dtype                                       |
/// |---------|-------------|---------------------------------------------|
/// | `x`     | [M, ..S]    | f32, bf16, f16; ..S gapless                 |
/// | `index` | `[M]`         | i32; gapless                                |
/// | -> `y`  | [R, ..S]    | as `x`; ..S gapless; zero where nothing belongs |
///
/// Errors: [`KernelError::Index`] for an index that is not below R.
pub struct IndexAdd<'a> {
    /// Rows.
    pub x: &'a View,
    /// Where they belong.
    pub index: &'a View,
    /// Result.
    pub y: &'a View,
}

impl IndexAdd<'_> {
    fn row(&self) -> usize {
        self.x.dims()[1..].iter().product()
    }
}

impl Kernel for IndexAdd<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("index_add");
        let IndexAdd { x, index, y } = *self;
        let fits = x.dtype() == y.dtype() && index.dtype() == DType::I32;
        check.dtypes(fits && is_compute_float(x.dtype()), &[x, index, y])?;
        check.shape("x", x, x.rank() >= 1, "[M, ..S]")?;
        check.dims("index", index, &x.dims()[..1], "[M]")?;
        check.shape("y", y, y.rank() == x.rank() && y.dims()[1..] == x.dims()[1..], "[R, ..S]")?;
        check.gapless("index", index)?;
        check.gapless_rows("x", x, 1)?;
        check.gapless_rows("y", y, 1)
    }

    fn split(&self, threads: usize) -> Split {
        let rows = self.y.dims()[0];
        let summed = self.x.dims()[0].div_ceil(rows.max(1)) + 1;
        Split::even(rows, summed * self.row() * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        let rows = split.range(task, self.y.dims()[0]);
        let (count, len) = (self.x.dims()[0], rows.len());
        let words = size_of::<u32>();
        let [ends, order, sums] = scratch.areas([len * words, count * words, self.row() * size_of::<f32>()]);
        let ends = std::slice::from_raw_parts_mut(ends.cast::<u32>(), len);
        let order = std::slice::from_raw_parts_mut(order.cast::<u32>(), count);
        self.group(&rows, ends, order)?;
        with_float!(self.x.dtype(), E => {
            isa.dispatch(Sums::<E> { op: self, rows, ends, order, sums: sums.cast(), element: PhantomData });
        });
        Ok(())
    }
}

impl IndexAdd<'_> {
    /// Lists in `order` the m of the first of `rows`, then of the second and so on; `ends` says where each list ends.
    unsafe fn group(&self, rows: &Range<usize>, ends: &mut [u32], order: &mut [u32]) -> TaskResult {
        let targets = self.index.as_ptr::<i32>();
        let (count, limit) = (self.x.dims()[0], self.y.dims()[0]);
        ends.fill(0);
        for m in 0..count {
            let target = checked_index("index_add", "index", m, *targets.add(m), limit)?;
            if rows.contains(&target) {
                ends[target - rows.start] += 1;
            }
        }
        let mut start = 0;
        for end in ends.iter_mut() {
            start += std::mem::replace(end, start);
        }
        for m in 0..count {
            let target = *targets.add(m) as usize;
            if rows.contains(&target) {
                let end = &mut ends[target - rows.start];
                order[*end as usize] = m as u32;
                *end += 1;
            }
        }
        Ok(())
    }
}

struct Sums<'a, E> {
    op: &'a IndexAdd<'a>,
    rows: Range<usize>,
    ends: &'a [u32],
    order: &'a [u32],
    sums: *mut f32,
    element: PhantomData<E>,
}

impl<E: Element> Body for Sums<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sums { op, rows, ends, order, sums, .. } = self;
        let len = op.row();
        let mut start = 0;
        for (row, end) in rows.zip(ends) {
            let members = &order[start..*end as usize];
            start = *end as usize;
            let y = op.y.as_ptr::<E>().wrapping_add(row * op.y.strides()[0]);
            // SAFETY: the rows lie within checked views, members within `x`; `sums` has a row's length.
            unsafe {
                std::ptr::write_bytes(sums, 0, len);
                for m in members {
                    let x = op.x.as_ptr::<E>().wrapping_add(*m as usize * op.x.strides()[0]).cast_const();
                    add_row(s, sums, x, len);
                }
                super::element::convert_row(s, sums.cast_const(), y, len);
            }
        }
    }
}

#[inline(always)]
unsafe fn add_row<S: Simd, E: Element>(s: S, sums: *mut f32, x: *const E, len: usize) {
    let mut i = 0;
    while i < len {
        let n = (len - i).min(S::LANES);
        let sum = s.add(s.load_f32_n(sums.wrapping_add(i), n), E::load_n(s, x.wrapping_add(i), n));
        s.store_f32_n(sums.wrapping_add(i), sum, n);
        i += n;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::super::{Pool, launch};
    use super::*;

    #[test]
    fn rows_come_where_they_belong() {
        let mut random = Random::new(31);
        for (count, rows, len) in [(0, 3, 5), (7, 3, 1), (40, 9, 129), (5, 1, 16)] {
            for dtype in FLOATS {
                let x = Tensor::gapped(dtype, &[count, len]).random(&mut random);
                let targets: Vec<f64> = (0..count).map(|_| (random.bits() % rows as u64) as f64).collect();
                let index = Tensor::zeros(DType::I32, &[count]).of(&targets);
                let mut want = vec![0.0; rows * len];
                for (at, x) in x.get().iter().enumerate() {
                    want[targets[at / len] as usize * len + at % len] += x;
                }
                for isa in levels() {
                    for threads in [1, 3] {
                        let y = Tensor::gapped(dtype, &[rows, len]);
                        run(isa, threads, &IndexAdd { x: &x.view(), index: &index.view(), y: &y.view() });
                        y.assert_close(&want, count as f64, isa.name());
                    }
                }
            }
        }
        let (x, y) = (Tensor::zeros(DType::F32, &[2, 1]), Tensor::zeros(DType::F32, &[2, 1]));
        let index = Tensor::zeros(DType::I32, &[2]).of(&[0.0, 2.0]);
        let kernel = IndexAdd { x: &x.view(), index: &index.view(), y: &y.view() };
        let error = launch(&mut Pool::new(1), Isa::Portable, &kernel).unwrap_err();
        assert!(matches!(error, KernelError::Index { position: 1, limit: 2, .. }), "{error}");
    }
}
