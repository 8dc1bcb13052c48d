//! The sum of three values, element by element.

use std::marker::PhantomData;
use std::ops::Range;

use super::element::{Element, is_compute_float, load_strided, store_strided, with_float};
use super::error::KernelError;
use super::grid::Grid;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
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

impl AddAdd<'_> {
    fn grid(&self) -> Grid {
        Grid::new(&[self.x, self.r, self.s, self.y])
    }
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
        self.grid().split(4 * self.x.element_bytes(), threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        let grid = self.grid();
        let segments = split.range(task, grid.segments());
        with_float!(self.x.dtype(), E => isa.dispatch(Segments::<E>(self, grid, segments, PhantomData)));
        Ok(())
    }
}

struct Segments<'a, E>(&'a AddAdd<'a>, Grid, Range<usize>, PhantomData<E>);

impl<E: Element> Body for Segments<'_, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Segments(op, grid, segments, _) = self;
        let (x_lines, r_lines, s_lines) = (grid.lines(op.x), grid.lines(op.r), grid.lines(op.s));
        let y_lines = grid.lines(op.y);
        for index in segments {
            let segment = grid.segment(index);
            let x = op.x.as_ptr::<E>().wrapping_add(x_lines.offset(segment));
            let r = op.r.as_ptr::<E>().wrapping_add(r_lines.offset(segment));
            let s = op.s.as_ptr::<E>().wrapping_add(s_lines.offset(segment));
            let y = op.y.as_ptr::<E>().wrapping_add(y_lines.offset(segment));
            let mut i = 0;
            while i < segment.len {
                let n = (segment.len - i).min(S::LANES);
                // SAFETY: the segment lies within the four views.
                unsafe {
                    let x = x.wrapping_add(i * x_lines.stride()).cast_const();
                    let r = r.wrapping_add(i * r_lines.stride()).cast_const();
                    let s = s.wrapping_add(i * s_lines.stride()).cast_const();
                    let sum = simd.add(
                        load_strided(simd, x, x_lines.stride(), n),
                        load_strided(simd, r, r_lines.stride(), n),
                    );
                    let sum = simd.add(sum, load_strided(simd, s, s_lines.stride(), n));
                    store_strided(simd, y.wrapping_add(i * y_lines.stride()), y_lines.stride(), sum, n);
                }
                i += n;
            }
        }
    }
}
