//! New rows into the paged cache.

use mscc_ir::DType;

use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::view::View;

/// `cache[slot / block, slot % block] = rows[t]` with `slot = slot_mapping[t]`.
///
/// | value          | shape           | dtype                                               |
/// |----------------|-----------------|-----------------------------------------------------|
/// | `cache`        | [P, block, ..S] | any of whole bytes; written in place                |
/// | `rows`         | [T, ..S]        | as `cache`; last dim contiguous                     |
/// | `slot_mapping` | `[T]`             | i32, gapless; negative: the row is not kept         |
///
/// The slots that are not negative must differ from each other: of two rows for one slot either may stay.
/// Errors: [`KernelError::Index`] for a slot beyond the cache.
pub struct CacheWrite<'a> {
    /// The cache, operand and result.
    pub cache: &'a View,
    /// Rows to write.
    pub rows: &'a View,
    /// Slot of each row.
    pub slot_mapping: &'a View,
}

impl Kernel for CacheWrite<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("cache_write");
        let CacheWrite { cache, rows, slot_mapping } = *self;
        let whole = cache.dtype() == rows.dtype() && cache.dtype().bytes().is_some();
        check.dtypes(whole && slot_mapping.dtype() == DType::I32, &[cache, rows, slot_mapping])?;
        check.shape("cache", cache, cache.rank() >= 3, "[P, block, ..S]")?;
        let fits = rows.rank() + 1 == cache.rank() && rows.dims()[1..] == cache.dims()[2..];
        check.shape("rows", rows, fits, "[T, ..S]")?;
        check.dims("slot_mapping", slot_mapping, &rows.dims()[..1], "[T]")?;
        check.gapless("slot_mapping", slot_mapping)?;
        check.inner("cache", cache)?;
        check.inner("rows", rows)
    }

    fn split(&self, threads: usize) -> Split {
        let row_bytes = self.rows.dims()[1..].iter().product::<usize>() * self.rows.element_bytes();
        Split::even(self.rows.dims()[0], 2 * row_bytes, threads)
    }

    unsafe fn run(&self, _: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let CacheWrite { cache, rows, slot_mapping } = *self;
        let bytes = cache.element_bytes();
        let block = cache.dims()[1];
        let limit = cache.dims()[0] * block;
        let (from, to) = (rows.slice_outer(1), cache.slice_outer(2));
        let run_bytes = rows.last_dim() * bytes;
        for position in split.range(task, rows.dims()[0]) {
            let got = *slot_mapping.as_ptr::<i32>().add(position);
            let Ok(slot) = usize::try_from(got) else { continue };
            if slot >= limit {
                let got = i64::from(got);
                return Err(KernelError::Index {
                    kernel: "cache_write",
                    value: "slot_mapping",
                    position,
                    got,
                    limit,
                });
            }
            let row = rows.as_ptr::<u8>().add(position * rows.strides()[0] * bytes);
            let place = slot / block * cache.strides()[0] + slot % block * cache.strides()[1];
            let place = cache.as_ptr::<u8>().add(place * bytes);
            for i in 0..from.count() {
                let (from, to) = (row.add(from.offset(i) * bytes), place.add(to.offset(i) * bytes));
                std::ptr::copy_nonoverlapping(from, to, run_bytes);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, Tensor, run};
    use super::super::{Pool, launch};
    use super::*;

    #[test]
    fn rows_go_to_their_slots() {
        let mut random = Random::new(2);
        let cache = Tensor::zeros(DType::F16, &[3, 4, 2, 5]).random(&mut random);
        // Rows inside a wider, merged result.
        let rows = Tensor::with_strides(DType::F16, &[3, 2, 5], &[24, 6, 1]).random(&mut random);
        let slots = Tensor::zeros(DType::I32, &[3]).of(&[11.0, -1.0, 2.0]);
        let mut want = cache.get();
        want[11 * 10..12 * 10].copy_from_slice(&rows.get()[..10]);
        want[2 * 10..3 * 10].copy_from_slice(&rows.get()[20..]);
        let (cache_view, rows, slot_mapping) = (cache.view(), rows.view(), slots.view());
        run(Isa::Portable, 2, &CacheWrite { cache: &cache_view, rows: &rows, slot_mapping: &slot_mapping });
        cache.assert_bits(&want, "cache");
        let slot_mapping = Tensor::zeros(DType::I32, &[3]).of(&[0.0, 12.0, 1.0]);
        let slot_mapping = slot_mapping.view();
        let kernel = CacheWrite { cache: &cache_view, rows: &rows, slot_mapping: &slot_mapping };
        let error = launch(&mut Pool::new(1), Isa::Portable, &kernel).unwrap_err();
        assert!(matches!(error, KernelError::Index { position: 1, got: 12, limit: 12, .. }), "{error}");
    }
}
