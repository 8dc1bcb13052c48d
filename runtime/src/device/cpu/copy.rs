//! Copies between layouts: transpose, concat, and the reshapes and splits that need their own memory.

use smallvec::SmallVec;

use super::error::KernelError;
use super::grid::Grid;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::view::View;

/// Copies of views, several in one launch: `to = from` for each pair, for any strides of both.
///
/// | value     | shape         | dtype              |
/// |-----------|---------------|--------------------|
/// | `from`    | [..]          | any of whole bytes |
/// | -> `to`   | that of its `from` | as its `from` |
#[derive(Clone, Debug, Default)]
pub struct Copy {
    pairs: SmallVec<[(View, View); 2]>,
}

impl Copy {
    /// `y = x`.
    pub fn new(x: &View, y: &View) -> Copy {
        Copy { pairs: smallvec::smallvec![(x.clone(), y.clone())] }
    }

    /// `y = x` with dim `i` of `y` being dim `order[i]` of `x`; `None` if `order` is no permutation.
    pub fn transpose(x: &View, order: impl IntoIterator<Item = usize>, y: &View) -> Option<Copy> {
        Some(Copy::new(&x.permute(order)?, y))
    }

    /// `y` = the elements of `x` in their order; `None` if the numbers of elements differ or neither side is
    /// without gaps.
    pub fn reshape(x: &View, y: &View) -> Option<Copy> {
        if let Some(y) = y.reshape(x.dims()) {
            return Some(Copy::new(x, &y));
        }
        Some(Copy::new(&x.reshape(y.dims())?, y))
    }

    /// `y` = the parts joined along a dim; `None` if their sizes there do not add up.
    pub fn concat(parts: &[View], axis: usize, y: &View) -> Option<Copy> {
        let places = cut(y, axis, parts)?;
        Some(Copy { pairs: parts.iter().cloned().zip(places).collect() })
    }

    /// `parts` = `x` cut along a dim; `None` if their sizes there do not add up.
    pub fn split(x: &View, axis: usize, parts: &[View]) -> Option<Copy> {
        let places = cut(x, axis, parts)?;
        Some(Copy { pairs: places.into_iter().zip(parts.iter().cloned()).collect() })
    }
}

/// The slices of `whole` along `axis` that have the parts' sizes, one after the other.
fn cut(whole: &View, axis: usize, parts: &[View]) -> Option<SmallVec<[View; 4]>> {
    let mut start = 0;
    let mut slices = SmallVec::new();
    for part in parts {
        let size = *part.dims().get(axis)?;
        slices.push(whole.slice(axis, start, size)?);
        start += size;
    }
    (start == *whole.dims().get(axis)?).then_some(slices)
}

impl Kernel for Copy {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("copy");
        for (from, to) in &self.pairs {
            check.dtypes(from.dtype() == to.dtype() && from.dtype().bytes().is_some(), &[from, to])?;
            check.dims("to", to, from.dims(), "those of what is copied")?;
        }
        Ok(())
    }

    fn split(&self, threads: usize) -> Split {
        // Every task takes its share of every pair; `rows` is the number of shares.
        let bytes: usize = self.pairs.iter().map(|(from, _)| 2 * from.len() * from.element_bytes()).sum();
        let even = Split::even(bytes.div_ceil(64), 64, threads);
        Split { tasks: even.tasks, rows: even.tasks, ..Split::default() }
    }

    unsafe fn run(&self, _: Isa, split: Split, task: usize, _: &mut Scratch) -> TaskResult {
        for (from, to) in &self.pairs {
            let segments = Grid::new(&[from], to).segments();
            copy_segments(from, to, segments * task / split.rows..segments * (task + 1) / split.rows);
        }
        Ok(())
    }
}

unsafe fn copy_segments(x: &View, y: &View, segments: std::ops::Range<usize>) {
    match x.element_bytes() {
        1 => copy_typed::<u8>(x, y, segments),
        2 => copy_typed::<u16>(x, y, segments),
        4 => copy_typed::<u32>(x, y, segments),
        _ => copy_typed::<u64>(x, y, segments),
    }
}

unsafe fn copy_typed<T>(x: &View, y: &View, segments: std::ops::Range<usize>)
where
    T: std::marker::Copy,
{
    debug_assert_eq!(size_of::<T>(), x.element_bytes());
    let grid = Grid::new(&[x], y);
    let (x_lines, y_lines) = (grid.lines(x), grid.lines(y));
    for index in segments {
        let segment = grid.segment(index);
        let from = x.as_ptr::<T>().wrapping_add(x_lines.offset(segment));
        let to = y.as_ptr::<T>().wrapping_add(y_lines.offset(segment));
        let (step_from, step_to) = (x_lines.stride(), y_lines.stride());
        if step_from == 1 && step_to == 1 {
            std::ptr::copy(from, to, segment.len);
        } else {
            for i in 0..segment.len {
                *to.wrapping_add(i * step_to) = *from.wrapping_add(i * step_from);
            }
        }
    }
}
