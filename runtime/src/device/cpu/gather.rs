//! Rows of a table.

use mscc_ir::DType;

use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::view::View;

/// `y[i..] = table[indices[i..]]`.
///
/// | value     | shape      | dtype                            |
/// |-----------|------------|----------------------------------|
/// | `table`   | [V, ..S]   | any of whole bytes; rows gapless |
/// | `indices` | [..I]      | i32, i64; gapless                |
/// | -> `y`    | [..I, ..S] | as `table`; rows gapless         |
///
/// Errors: [`KernelError::Index`] for an index outside `0..V`.
pub struct Gather<'a> {
    /// The table.
    pub table: &'a View,
    /// Which rows.
    pub indices: &'a View,
    /// Result.
    pub y: &'a View,
}

impl Gather<'_> {
    /// Bytes of a row.
    fn row_bytes(&self) -> usize {
        self.table.dims()[1..].iter().product::<usize>() * self.table.element_bytes()
    }
}

impl Kernel for Gather<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("gather");
        let Gather { table, indices, y } = *self;
        let index = matches!(indices.dtype(), DType::I32 | DType::I64);
        let whole = table.dtype() == y.dtype() && table.dtype().bytes().is_some();
        check.dtypes(index && whole, &[table, indices, y])?;
        check.shape("table", table, table.rank() >= 1, "[V, ..S]")?;
        let expected: Vec<usize> = indices.dims().iter().chain(&table.dims()[1..]).copied().collect();
        check.dims("y", y, &expected, "[..I, ..S]")?;
        check.gapless("indices", indices)?;
        check.gapless_rows("table", table, 1)?;
        check.gapless_rows("y", y, indices.rank())
    }

    fn split(&self, threads: usize) -> Split {
        Split::even(self.indices.len(), 2 * self.row_bytes(), threads)
    }

    unsafe fn run(&self, _: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let Gather { table, indices, y } = *self;
        let row_bytes = self.row_bytes();
        let element = table.element_bytes();
        let limit = table.dims()[0];
        let rows = y.outer(y.rank() - indices.rank());
        for position in split.range(task, indices.len()) {
            let got = match indices.dtype() {
                DType::I64 => *indices.as_ptr::<i64>().add(position),
                _ => i64::from(*indices.as_ptr::<i32>().add(position)),
            };
            let index = usize::try_from(got)
                .ok()
                .filter(|index| *index < limit)
                .ok_or(KernelError::Index { kernel: "gather", value: "indices", position, got, limit })?;
            let from = table.as_ptr::<u8>().add(index * table.strides()[0] * element);
            let to = y.as_ptr::<u8>().add(rows.offset(position) * element);
            std::ptr::copy_nonoverlapping(from, to, row_bytes);
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
    fn rows_are_picked_and_bad_indices_refused() {
        let table = Tensor::gapped(DType::BF16, &[5, 7]).random(&mut Random::new(1));
        for dtype in [DType::I32, DType::I64] {
            let indices = Tensor::zeros(dtype, &[2, 2]).of(&[4.0, 0.0, 0.0, 3.0]);
            let y = Tensor::gapped(DType::BF16, &[2, 2, 7]);
            run(Isa::Portable, 2, &Gather { table: &table.view(), indices: &indices.view(), y: &y.view() });
            let rows = table.get();
            let want: Vec<f64> = [4, 0, 0, 3].iter().flat_map(|i| rows[i * 7..i * 7 + 7].to_vec()).collect();
            y.assert_bits(&want, "rows");
            for bad in [5.0, -1.0] {
                let indices = Tensor::zeros(dtype, &[2, 2]).of(&[0.0, 0.0, bad, 0.0]);
                let kernel = Gather { table: &table.view(), indices: &indices.view(), y: &y.view() };
                let error = launch(&mut Pool::new(1), Isa::Portable, &kernel).unwrap_err();
                assert!(matches!(error, KernelError::Index { position: 2, limit: 5, .. }), "{error}");
            }
        }
    }
}
