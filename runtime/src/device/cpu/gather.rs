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
            let index = usize::try_from(got).ok().filter(|index| *index < limit).ok_or(KernelError::Index {
                kernel: "gather",
                value: "indices",
                position,
                got,
                limit,
            })?;
            let from = table.as_ptr::<u8>().add(index * table.strides()[0] * element);
            let to = y.as_ptr::<u8>().add(rows.offset(position) * element);
            std::ptr::copy_nonoverlapping(from, to, row_bytes);
        }
        Ok(())
    }
}
