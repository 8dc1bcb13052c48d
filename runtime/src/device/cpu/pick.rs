//! Elements of rows chosen by index.

use mscc_ir::DType;

use super::element::{Element, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::view::View;

/// `y[.., j] = x[.., indices[.., j]]`.
///
/// | value     | shape   | dtype                        |
/// |-----------|---------|------------------------------|
/// | `x`       | [.., D] | any; D contiguous            |
/// | `indices` | [.., K] | i32; K contiguous            |
/// | -> `y`    | [.., K] | as `x`; K contiguous         |
///
/// Errors: [`KernelError::Index`] for an index that is not below D.
pub struct TakeAlong<'a> {
    /// Operand.
    pub x: &'a View,
    /// Which elements.
    pub indices: &'a View,
    /// Result.
    pub y: &'a View,
}

/// `y[.., g, j]` is `x[.., g, j]` where `g` is among `groups[..]`, else `fill`.
///
/// | value    | shape      | dtype                                  |
/// |----------|------------|----------------------------------------|
/// | `x`      | [.., G, S] | f32, bf16, f16; [G, S] gapless         |
/// | `groups` | [.., K]    | i32; K contiguous                      |
/// | -> `y`   | [.., G, S] | as `x`; [G, S] gapless                 |
///
/// Errors: [`KernelError::Index`] for a group that is not below G.
pub struct KeepGroups<'a> {
    /// Operand.
    pub x: &'a View,
    /// Which groups.
    pub groups: &'a View,
    /// What stands in the other groups.
    pub fill: f32,
    /// Result.
    pub y: &'a View,
}

impl Kernel for TakeAlong<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("take_along");
        let TakeAlong { x, indices, y } = *self;
        check.dtypes(x.dtype() == y.dtype() && indices.dtype() == DType::I32, &[x, indices, y])?;
        check.shape("x", x, x.rank() >= 1, "[.., D]")?;
        let fits = indices.rank() == x.rank() && indices.dims()[..x.rank() - 1] == x.dims()[..x.rank() - 1];
        check.shape("indices", indices, fits, "[.., K]")?;
        check.dims("y", y, indices.dims(), "those of indices")?;
        [("x", x), ("indices", indices), ("y", y)].iter().try_for_each(|(name, view)| check.inner(name, view))
    }

    fn split(&self, threads: usize) -> Split {
        let row_bytes = self.indices.last_dim() * (4 + 2 * self.x.element_bytes());
        Split::even(self.x.outer(1).count(), row_bytes, threads)
    }

    unsafe fn run(&self, _: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let TakeAlong { x, indices, y } = *self;
        let (width, count, element) = (x.last_dim(), indices.last_dim(), x.element_bytes());
        let (x_rows, index_rows, y_rows) = (x.outer(1), indices.outer(1), y.outer(1));
        for row in split.range(task, x_rows.count()) {
            let from = x.as_ptr::<u8>().add(x_rows.offset(row) * element);
            let to = y.as_ptr::<u8>().add(y_rows.offset(row) * element);
            let chosen = indices.as_ptr::<i32>().add(index_rows.offset(row));
            for j in 0..count {
                let at = index("take_along", "indices", row * count + j, *chosen.add(j), width)?;
                std::ptr::copy_nonoverlapping(from.add(at * element), to.add(j * element), element);
            }
        }
        Ok(())
    }
}

impl Kernel for KeepGroups<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("keep_groups");
        let KeepGroups { x, groups, y, .. } = *self;
        let fits = x.dtype() == y.dtype() && groups.dtype() == DType::I32;
        check.dtypes(fits && is_compute_float(x.dtype()), &[x, groups, y])?;
        check.shape("x", x, x.rank() >= 2, "[.., G, S]")?;
        let leading = x.rank() - 2;
        let fits = groups.rank() == leading + 1 && groups.dims()[..leading] == x.dims()[..leading];
        check.shape("groups", groups, fits, "[.., K]")?;
        check.dims("y", y, x.dims(), "those of x")?;
        check.gapless_rows("x", x, leading)?;
        check.gapless_rows("y", y, leading)?;
        check.inner("groups", groups)
    }

    fn split(&self, threads: usize) -> Split {
        let row: usize = self.x.dims()[self.x.rank() - 2..].iter().product();
        Split::even(self.x.outer(2).count(), 2 * row * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, _: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let KeepGroups { x, groups, fill, y } = *self;
        let [.., count, size] = *x.dims() else { return Ok(()) };
        let (x_rows, group_rows, y_rows) = (x.outer(2), groups.outer(1), y.outer(2));
        for row in split.range(task, x_rows.count()) {
            let chosen = groups.as_ptr::<i32>().add(group_rows.offset(row));
            with_float!(x.dtype(), E => {
                let from = x.as_ptr::<E>().add(x_rows.offset(row));
                let to = y.as_ptr::<E>().add(y_rows.offset(row));
                for at in 0..count * size {
                    E::set(to.add(at), fill);
                }
                for j in 0..groups.last_dim() {
                    let position = row * groups.last_dim() + j;
                    let group = index("keep_groups", "groups", position, *chosen.add(j), count)?;
                    std::ptr::copy_nonoverlapping(from.add(group * size), to.add(group * size), size);
                }
            });
        }
        Ok(())
    }
}

/// An index that is below its limit.
pub(crate) fn index(
    kernel: &'static str,
    value: &'static str,
    position: usize,
    got: i32,
    limit: usize,
) -> Result<usize, KernelError> {
    let index = usize::try_from(got).ok().filter(|index| *index < limit);
    index.ok_or(KernelError::Index { kernel, value, position, got: i64::from(got), limit })
}

#[cfg(test)]
mod tests {
    use super::super::testing::Tensor;
    use super::super::{Pool, launch};
    use super::*;

    #[test]
    fn indices_beyond_are_refused() {
        let x = Tensor::zeros(DType::F32, &[2, 2, 3]).of(&(0..12).map(f64::from).collect::<Vec<_>>());
        let y = Tensor::zeros(DType::F32, &[2, 2, 3]);
        let groups = |values: &[f64]| Tensor::zeros(DType::I32, &[2, 1]).of(values);
        let keep = |groups: &Tensor| {
            let kernel = KeepGroups { x: &x.view(), groups: &groups.view(), fill: -9.0, y: &y.view() };
            launch(&mut Pool::new(1), Isa::Portable, &kernel)
        };
        keep(&groups(&[1.0, 0.0])).unwrap();
        assert_eq!(y.get(), [-9.0, -9.0, -9.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, -9.0, -9.0, -9.0]);
        for bad in [2.0, -1.0] {
            let error = keep(&groups(&[0.0, bad])).unwrap_err();
            assert!(matches!(error, KernelError::Index { position: 1, limit: 2, .. }), "{error}");
        }
        let rows = x.view().reshape(&[4, 3]).unwrap();
        let chosen = Tensor::zeros(DType::I32, &[4, 1]).of(&[0.0, 2.0, 3.0, 0.0]);
        let to = Tensor::zeros(DType::F32, &[4, 1]);
        let kernel = TakeAlong { x: &rows, indices: &chosen.view(), y: &to.view() };
        let error = launch(&mut Pool::new(1), Isa::Portable, &kernel).unwrap_err();
        assert!(matches!(error, KernelError::Index { position: 2, limit: 3, .. }), "{error}");
    }
}
