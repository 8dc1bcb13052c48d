//! Conversion between float types.

use mscc_ir::DType;

use super::element::{is_compute_float, with_float};
use super::error::KernelError;
use super::grid::Grid;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::map::{Function, map};
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// The same values as another float type, rounded to nearest, ties to even; subnormals are kept. Of f64 to a shorter
/// type than f32, by way of f32, as PyTorch does.
///
/// | value  | shape | dtype                            |
/// |--------|-------|----------------------------------|
/// | `x`    | [..]  | f64, f32, bf16, f16; any strides |
/// | -> `y` | [..]  | f32, bf16, f16; any strides      |
pub struct Cast<'a> {
    /// Operand.
    pub x: &'a View,
    /// Result.
    pub y: &'a View,
}

impl Kernel for Cast<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("cast");
        let Cast { x, y } = *self;
        let takes = is_compute_float(x.dtype()) || x.dtype() == DType::F64;
        check.dtypes(takes && is_compute_float(y.dtype()), &[x, y])?;
        check.dims("y", y, x.dims(), "those of x")
    }

    fn split(&self, threads: usize) -> Split {
        Grid::new(&[self.x], self.y).split(self.x.element_bytes() + self.y.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        if self.x.dtype() == DType::F64 {
            with_float!(self.y.dtype(), Y => {
                map::<f64, Y, 1>(isa, &Same, [self.x], self.y, (split, task));
            });
        } else {
            with_float!(self.x.dtype(), X => with_float!(self.y.dtype(), Y => {
                map::<X, Y, 1>(isa, &Same, [self.x], self.y, (split, task));
            }));
        }
        Ok(())
    }
}

/// The value itself.
struct Same;

impl Function<1> for Same {
    #[inline(always)]
    fn apply<S: Simd>(&self, _: S, [x]: [S::F; 1]) -> S::F {
        x
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::*;

    #[test]
    fn all_pairs_convert_whatever_the_layout() {
        let from = [DType::F64].into_iter().chain(FLOATS);
        for (xd, yd) in from.flat_map(|xd| FLOATS.map(|yd| (xd, yd))) {
            for dims in [&[1][..], &[3, 37], &[]] {
                let x = Tensor::gapped(xd, dims).random(&mut Random::new(3));
                let want = Tensor::zeros(yd, dims).of(&x.get());
                for isa in levels() {
                    let y = Tensor::gapped(yd, dims);
                    run(isa, 2, &Cast { x: &x.view(), y: &y.view() });
                    y.assert_bits(&want.get(), isa.name());
                }
            }
        }
    }

    #[test]
    fn casts_round_to_nearest_even_and_keep_subnormals() {
        let values = [1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, 1e-40, -1e-39, 65519.0, f64::INFINITY];
        let x = Tensor::zeros(mscc_ir::DType::F32, &[6]).of(&values);
        for dtype in FLOATS {
            // The test tensor converts by the `half` crate.
            let want = Tensor::zeros(dtype, &[6]).of(&x.get());
            for isa in levels() {
                let y = Tensor::zeros(dtype, &[6]);
                run(isa, 1, &Cast { x: &x.view(), y: &y.view() });
                y.assert_bits(&want.get(), isa.name());
            }
        }
    }
}
