//! The greatest elements of each row.

use mscc_ir::DType;

use super::element::{Element, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::view::View;

/// The `k` greatest of each row, greatest first, equals by their place; NaN is greatest.
///
/// | value        | shape   | dtype                        |
/// |--------------|---------|------------------------------|
/// | `x`          | [.., D] | f32, bf16, f16; D contiguous |
/// | -> `values`  | [.., k] | as `x`; k contiguous         |
/// | -> `indices` | [.., k] | i32; k contiguous            |
pub struct Topk<'a> {
    /// Operand.
    pub x: &'a View,
    /// The greatest.
    pub values: &'a View,
    /// Where they stood.
    pub indices: &'a View,
}

impl Kernel for Topk<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("topk");
        let Topk { x, values, indices } = *self;
        let fits = x.dtype() == values.dtype() && indices.dtype() == DType::I32;
        check.dtypes(fits && is_compute_float(x.dtype()), &[x, values, indices])?;
        check.shape("x", x, x.rank() >= 1, "[.., D]")?;
        let leading = &x.dims()[..x.rank() - 1];
        let fits = values.rank() == x.rank() && values.dims()[..x.rank() - 1] == *leading;
        check.shape(
            "values",
            values,
            fits && values.last_dim() <= x.last_dim(),
            "[.., k] with k at most D",
        )?;
        check.dims("indices", indices, values.dims(), "those of values")?;
        [("x", x), ("values", values), ("indices", indices)]
            .iter()
            .try_for_each(|(name, view)| check.inner(name, view))
    }

    fn split(&self, threads: usize) -> Split {
        let row_work = 8 * self.x.last_dim() * self.values.last_dim().max(1);
        Split::even(self.x.outer(1).count(), row_work, threads)
    }

    unsafe fn run(&self, _: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let Topk { x, values, indices } = *self;
        let (width, k) = (x.last_dim(), values.last_dim());
        let (x_rows, value_rows, index_rows) = (x.outer(1), values.outer(1), indices.outer(1));
        for row in split.range(task, x_rows.count()) {
            let chosen = indices.as_ptr::<i32>().add(index_rows.offset(row));
            with_float!(x.dtype(), E => {
                let x = x.as_ptr::<E>().add(x_rows.offset(row));
                let values = values.as_ptr::<E>().add(value_rows.offset(row));
                choose(|at| E::get(x.add(at)), width, std::slice::from_raw_parts_mut(chosen, k));
                for (at, from) in std::slice::from_raw_parts(chosen, k).iter().enumerate() {
                    *values.add(at) = *x.add(*from as usize);
                }
            });
        }
        Ok(())
    }
}

/// Keeps the greatest so far in order and puts each element where it belongs.
fn choose(x: impl Fn(usize) -> f32, width: usize, chosen: &mut [i32]) {
    for at in 0..width {
        let kept = at.min(chosen.len());
        let value = x(at);
        let place = chosen[..kept].partition_point(|other| !is_greater(value, x(*other as usize)));
        if place < chosen.len() {
            let last = kept.min(chosen.len() - 1);
            chosen.copy_within(place..last, place + 1);
            chosen[place] = at as i32;
        }
    }
}

fn is_greater(a: f32, b: f32) -> bool {
    a > b || (a.is_nan() && !b.is_nan())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, run};
    use super::*;

    #[test]
    fn equals_stand_by_their_place_and_nan_first() {
        let nan = f64::NAN;
        let x = Tensor::gapped(DType::F32, &[3, 4]).of(&[
            0.5,
            2.0,
            2.0,
            0.0, //
            -1.0,
            nan,
            3.0,
            nan, //
            -0.0,
            0.0,
            f64::NEG_INFINITY,
            -1.0,
        ]);
        let (values, indices) = (Tensor::gapped(DType::F32, &[3, 3]), Tensor::zeros(DType::I32, &[3, 3]));
        run(Isa::Portable, 2, &Topk { x: &x.view(), values: &values.view(), indices: &indices.view() });
        assert_eq!(indices.get(), [1.0, 2.0, 0.0, 1.0, 3.0, 2.0, 0.0, 1.0, 3.0]);
        assert_eq!(values.get()[..3], [2.0, 2.0, 0.5]);
    }

    #[test]
    fn rows_of_any_width_are_sorted_as_by_a_stable_sort() {
        let mut random = Random::new(5);
        for (width, k) in [(1, 1), (7, 7), (256, 8), (33, 0)] {
            for dtype in FLOATS {
                let values: Vec<f64> = (0..4 * width).map(|_| (random.float() * 9.0).round()).collect();
                let x = Tensor::gapped(dtype, &[4, width]).of(&values);
                let (y, at) = (Tensor::gapped(dtype, &[4, k]), Tensor::gapped(DType::I32, &[4, k]));
                run(Isa::Portable, 3, &Topk { x: &x.view(), values: &y.view(), indices: &at.view() });
                for (row, values) in values.chunks(width).enumerate() {
                    let mut order: Vec<usize> = (0..width).collect();
                    // Zeros of either sign are equal.
                    order.sort_by(|a, b| values[*b].partial_cmp(&values[*a]).unwrap().then(a.cmp(b)));
                    let want: Vec<f64> = order[..k].iter().map(|at| *at as f64).collect();
                    assert_eq!(at.get()[row * k..(row + 1) * k], want);
                }
            }
        }
    }
}
