//! Rows out of the paged cache.

use mscc_ir::DType;

use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::pick::index;
use super::pool::{Scratch, TaskResult};
use super::view::View;

/// The cached rows of all sequences, one sequence after the other; zero past the last.
///
/// | value         | shape           | dtype                                              |
/// |---------------|-----------------|----------------------------------------------------|
/// | `cache`       | [P, block, ..S] | any; gapless                                       |
/// | `block_table` | [B, M]          | i32; rows contiguous; only pages in sight are read |
/// | `context_len` | `[B]`             | i32; gapless                                       |
/// | -> `y`        | [C, ..S]        | as `cache`; gapless                                |
///
/// Errors: [`KernelError::Index`] for a page beyond the cache, a context longer than its pages, or more rows than C.
pub struct CacheRead<'a> {
    /// Pages.
    pub cache: &'a View,
    /// Pages of each sequence.
    pub block_table: &'a View,
    /// Tokens of each sequence.
    pub context_len: &'a View,
    /// Result.
    pub y: &'a View,
}

impl CacheRead<'_> {
    fn row_bytes(&self) -> usize {
        self.cache.dims()[2..].iter().product::<usize>() * self.cache.element_bytes()
    }
}

impl Kernel for CacheRead<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("cache_read");
        let CacheRead { cache, block_table, context_len, y } = *self;
        let ints = block_table.dtype() == DType::I32 && context_len.dtype() == DType::I32;
        check.dtypes(ints && cache.dtype() == y.dtype(), &[cache, block_table, context_len, y])?;
        check.shape("cache", cache, cache.rank() >= 2, "[P, block, ..S]")?;
        check.shape(
            "y",
            y,
            y.rank() + 1 == cache.rank() && y.dims()[1..] == cache.dims()[2..],
            "[C, ..S]",
        )?;
        let fits = block_table.rank() == 2 && block_table.dims()[0] == context_len.len();
        check.shape("block_table", block_table, fits, "[B, M]")?;
        check.shape("context_len", context_len, context_len.rank() == 1, "[B]")?;
        check.inner("block_table", block_table)?;
        [("cache", cache), ("context_len", context_len), ("y", y)]
            .iter()
            .try_for_each(|(name, view)| check.gapless(name, view))
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.y.dims()[0], 2 * self.row_bytes(), threads)
    }

    unsafe fn run(&self, _: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let CacheRead { cache, block_table, context_len, y } = *self;
        let (pages, block, row_bytes) = (cache.dims()[0], cache.dims()[1], self.row_bytes());
        let (room, limit) = (block_table.dims()[1] * block, y.dims()[0]);
        let rows = split.range(task, limit);
        let mut start = 0;
        for sequence in 0..context_len.len() {
            let got = *context_len.as_ptr::<i32>().add(sequence);
            let context = index("cache_read", "context_len", sequence, got, room.min(limit - start) + 1)?;
            let table = block_table.as_ptr::<i32>().add(sequence * block_table.strides()[0]);
            for row in rows.start.max(start)..rows.end.min(start + context) {
                let key = row - start;
                let position = sequence * block_table.dims()[1] + key / block;
                let page = index("cache_read", "block_table", position, *table.add(key / block), pages)?;
                let from = cache.as_ptr::<u8>().add((page * block + key % block) * row_bytes);
                std::ptr::copy_nonoverlapping(from, y.as_ptr::<u8>().add(row * row_bytes), row_bytes);
            }
            start += context;
        }
        for row in rows.start.max(start)..rows.end {
            std::ptr::write_bytes(y.as_ptr::<u8>().add(row * row_bytes), 0, row_bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tensor, run};
    use super::super::{Pool, launch};
    use super::*;

    #[test]
    fn sequences_follow_each_other() {
        let cache = Tensor::zeros(DType::F32, &[3, 2, 1]).of(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        let read = |pages: [f64; 4], contexts: [f64; 2], rows: usize| {
            let table = Tensor::gapped(DType::I32, &[2, 2]).of(&pages);
            let contexts = Tensor::zeros(DType::I32, &[2]).of(&contexts);
            let y = Tensor::zeros(DType::F32, &[rows, 1]).of(&vec![9.0; rows]);
            let (cache, block_table) = (&cache.view(), &table.view());
            let kernel = CacheRead { cache, block_table, context_len: &contexts.view(), y: &y.view() };
            launch(&mut Pool::new(2), Isa::Portable, &kernel).map(|()| y.get())
        };
        assert_eq!(read([2.0, 0.0, 1.0, 7.0], [3.0, 1.0], 5).unwrap(), [4.0, 5.0, 0.0, 2.0, 0.0]);
        for (pages, contexts, rows, position) in [
            ([2.0, 3.0, 1.0, 0.0], [3.0, 1.0], 4, 1),
            ([2.0, 0.0, 1.0, 0.0], [5.0, 1.0], 9, 0),
            ([2.0, 0.0, 1.0, 0.0], [3.0, 2.0], 4, 1),
            ([2.0, 0.0, 1.0, 0.0], [3.0, -1.0], 4, 1),
        ] {
            let error = read(pages, contexts, rows).unwrap_err();
            assert!(matches!(&error, KernelError::Index { position: at, .. } if *at == position), "{error}");
        }
        let empty = Tensor::zeros(DType::I32, &[0, 2]);
        let contexts = Tensor::zeros(DType::I32, &[0]);
        let y = Tensor::zeros(DType::F32, &[1, 1]).of(&[9.0]);
        let (cache, block_table) = (&cache.view(), &empty.view());
        run(Isa::Portable, 1, &CacheRead { cache, block_table, context_len: &contexts.view(), y: &y.view() });
        assert_eq!(y.get(), [0.0]);
    }
}
