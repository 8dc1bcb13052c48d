//! The sum of three values, element by element.

use super::element::{is_compute_float, with_float};
use super::error::KernelError;
use super::grid::Grid;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::map::{Function, map};
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// `y = (x + r) + s`, computed in f32, rounded once.
///
/// | value         | shape | dtype                                            |
/// |---------------|-------|--------------------------------------------------|
/// | `x`, `r`, `s` | [..]  | f32, bf16, f16, equal; any strides               |
/// | -> `y`        | [..]  | as `x`; any strides; may be an operand           |
pub struct AddAdd<'a> {
    /// First operand.
    pub x: &'a View,
    /// Second operand.
    pub r: &'a View,
    /// Third operand.
    pub s: &'a View,
    /// Result.
    pub y: &'a View,
}

impl Kernel for AddAdd<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("add_add");
        let AddAdd { x, r, s, y } = *self;
        let same = [r, s, y].iter().all(|view| view.dtype() == x.dtype());
        check.dtypes(same && is_compute_float(x.dtype()), &[x, r, s, y])?;
        [("r", r), ("s", s), ("y", y)]
            .iter()
            .try_for_each(|(name, view)| check.dims(name, view, x.dims(), "those of x"))
    }

    fn split(&self, threads: usize) -> Split {
        Grid::new(&[self.x, self.r, self.s], self.y).split(4 * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let operands = [self.x, self.r, self.s];
        with_float!(self.x.dtype(), E => map::<E, E, 3>(isa, &Sum, operands, self.y, (split, task)));
        Ok(())
    }
}

struct Sum;

impl Function<3> for Sum {
    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, [x, r, s]: [S::F; 3]) -> S::F {
        simd.add(simd.add(x, r), s)
    }
}
