//! Matrix products of groups of rows, each with a matrix of its own.

use mscc_ir::DType;

use super::element::is_compute_float;
use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::matmul::{Job, block_columns, w_strides, wanted_tasks};
use super::pick::index;
use super::pool::{Scratch, TaskResult};
use super::view::View;

/// Rows of `x` in consecutive groups, group e times matrix e; sums in f32, rounded once.
///
/// | value         | shape                                 | dtype                        |
/// |---------------|---------------------------------------|------------------------------|
/// | `x`           | [M, K]                                | f32, bf16, f16; K contiguous |
/// | `w`           | [E, N, K] if `transposed`, else [E, K, N] | f32, bf16, f16           |
/// | `group_sizes` | `[E]`                                   | i32; gapless                 |
/// | -> `y`        | [M, N]                                | f32, bf16, f16; N contiguous |
///
/// The bits of a row are those that [`Matmul`](super::Matmul) gives it. Only matrices of groups that have rows are read.
///
/// Errors: [`KernelError::Index`] for group sizes that are not M together.
pub struct GroupedMatmul<'a> {
    /// Rows in order of group.
    pub x: &'a View,
    /// A matrix for each group.
    pub w: &'a View,
    /// Rows of each group.
    pub group_sizes: &'a View,
    /// Whether matrices are [N, K].
    pub transposed: bool,
    /// Result.
    pub y: &'a View,
}

impl Kernel for GroupedMatmul<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("grouped_matmul");
        let GroupedMatmul { x, w, group_sizes, transposed, y } = *self;
        let floats = [x, w, y].iter().all(|view| is_compute_float(view.dtype()));
        check.dtypes(floats && group_sizes.dtype() == DType::I32, &[x, w, group_sizes, y])?;
        check.shape("x", x, x.rank() == 2, "[M, K]")?;
        check.shape("w", w, w.rank() == 3, "[E, N, K]")?;
        let (n, k) = if transposed { (w.dims()[1], w.dims()[2]) } else { (w.dims()[2], w.dims()[1]) };
        check.shape("w", w, k == x.dims()[1], "[E, N, K] with the K of x")?;
        check.dims("group_sizes", group_sizes, &w.dims()[..1], "[E]")?;
        check.dims("y", y, &[x.dims()[0], n], "[M, N]")?;
        check.gapless("group_sizes", group_sizes)?;
        check.inner("x", x)?;
        check.inner("y", y)
    }

    fn split(&self, threads: usize) -> Split {
        let (n, k) = (self.y.dims()[1], self.x.dims()[1]);
        if n == 0 {
            return Split::default();
        }
        let row_bytes = (k * self.w.element_bytes()).max(1);
        // Tasks cut columns, not groups, whose sizes nobody knows before.
        let columns = block_columns(n, wanted_tasks(threads), row_bytes, true, threads);
        Split { tasks: n.div_ceil(columns), rows: self.x.dims()[0], columns, ..Split::default() }
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        let GroupedMatmul { x, w, group_sizes, transposed, y } = *self;
        let (total, k, n) = (x.dims()[0], x.dims()[1], y.dims()[1]);
        let column = task * split.columns;
        let (w_n, w_k) = w_strides(w, transposed);
        let groups = w.dims()[0];
        let mut row = 0;
        for group in 0..groups {
            let got = *group_sizes.as_ptr::<i32>().add(group);
            let rows = index("grouped_matmul", "group_sizes", group, got, total - row + 1)?;
            if rows > 0 {
                let matrix = group * w.strides()[0] + column * w_n;
                let job = Job {
                    x: x.as_ptr::<u8>(),
                    x_dtype: x.dtype(),
                    x_rows: x.outer(1),
                    y_rows: y.outer(1),
                    row,
                    rows,
                    w: w.as_ptr::<u8>().wrapping_add(matrix * w.element_bytes()),
                    w_dtype: w.dtype(),
                    w_n,
                    w_k,
                    n: split.columns.min(n - column),
                    k,
                    column,
                    bias: None,
                    y,
                    y_base: 0,
                };
                job.run(isa, scratch);
            }
            row += rows;
        }
        if row < total {
            let (kernel, value) = ("grouped_matmul", "group_sizes");
            return Err(KernelError::Index {
                kernel,
                value,
                position: groups,
                got: row as i64,
                limit: total,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::super::{Matmul, Pool, launch};
    use super::*;

    #[test]
    fn each_group_has_the_bits_of_its_product() {
        let mut random = Random::new(37);
        for (sizes, n, k) in [(&[0usize, 3, 1, 0, 20][..], 37, 65), (&[2], 4, 3), (&[0, 0], 5, 2)] {
            let m: usize = sizes.iter().sum();
            for (xd, wd) in FLOATS.into_iter().flat_map(|xd| FLOATS.map(|wd| (xd, wd))) {
                for transposed in [true, false] {
                    let x = Tensor::gapped(xd, &[m, k]).random(&mut random);
                    let dims = if transposed { [sizes.len(), n, k] } else { [sizes.len(), k, n] };
                    let w = Tensor::gapped(wd, &dims).random(&mut random);
                    let counts: Vec<f64> = sizes.iter().map(|size| *size as f64).collect();
                    let counts = Tensor::zeros(DType::I32, &[sizes.len()]).of(&counts);
                    for isa in levels() {
                        let (y, want) = (Tensor::gapped(xd, &[m, n]), Tensor::gapped(xd, &[m, n]));
                        let (x, w, all) = (x.view(), w.view(), want.view());
                        let mut row = 0;
                        for (group, size) in sizes.iter().enumerate() {
                            let w = w.slice(0, group, 1).unwrap();
                            // SAFETY: one matrix of `w`, without its axis of size 1.
                            let w = unsafe { View::new(w.as_ptr(), wd, &w.dims()[1..], &w.strides()[1..]) };
                            let (x, y) = (x.slice(0, row, *size).unwrap(), all.slice(0, row, *size).unwrap());
                            run(isa, 1, &Matmul { x: &x, w: &w, bias: None, transposed, y: &y });
                            row += size;
                        }
                        for threads in [1, 3] {
                            let group_sizes = &counts.view();
                            let kernel =
                                GroupedMatmul { x: &x, w: &w, group_sizes, transposed, y: &y.view() };
                            run(isa, threads, &kernel);
                            y.assert_bits(&want.get(), isa.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_that_are_not_all_rows_are_refused() {
        let (x, y) = (Tensor::zeros(DType::F32, &[3, 2]), Tensor::zeros(DType::F32, &[3, 4]));
        let w = Tensor::zeros(DType::F32, &[2, 4, 2]);
        for (sizes, position) in [([1.0, 3.0], 1), ([-1.0, 4.0], 0), ([1.0, 1.0], 2)] {
            let sizes = Tensor::zeros(DType::I32, &[2]).of(&sizes);
            let (x, w, group_sizes, y) = (&x.view(), &w.view(), &sizes.view(), &y.view());
            let kernel = GroupedMatmul { x, w, group_sizes, transposed: true, y };
            let error = launch(&mut Pool::new(1), Isa::Portable, &kernel).unwrap_err();
            assert!(matches!(&error, KernelError::Index { position: at, .. } if *at == position), "{error}");
        }
    }
}
