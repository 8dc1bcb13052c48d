//! How element-wise kernels walk their views.

use super::kernel::Split;
use super::view::{Outer, View};

/// The elements of views of equal sizes as segments of rows, so that one long row can be shared too.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Whether all views are without gaps: then they are one row.
    flat: bool,
    rows: usize,
    len: usize,
    per_row: usize,
}

/// Most elements of a segment; a multiple of every vector length.
const SEGMENT: usize = 4096;

/// A run of neighbouring elements of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) row: usize,
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// Where the rows of one view lie.
pub(crate) struct Lines {
    outer: Outer,
    stride: usize,
}

impl Grid {
    pub(crate) fn new(operands: &[&View], result: &View) -> Grid {
        debug_assert!(operands.iter().all(|view| view.dims() == result.dims()));
        let flat = result.is_contiguous() && operands.iter().all(|view| view.is_contiguous());
        let (rows, len) = if flat {
            (1, result.len())
        } else {
            (result.dims()[..result.rank().saturating_sub(1)].iter().product(), result.last_dim())
        };
        Grid { flat, rows, len, per_row: len.div_ceil(SEGMENT) }
    }

    /// Even shares of the segments; `bytes` are those that one element moves.
    pub(crate) fn split(&self, bytes: usize, threads: usize) -> Split {
        Split::even(self.rows * self.per_row, self.len.min(SEGMENT) * bytes, threads)
    }

    pub(crate) fn segments(&self) -> usize {
        self.rows * self.per_row
    }

    #[inline(always)]
    pub(crate) fn segment(&self, index: usize) -> Segment {
        let (row, start) = if self.per_row == 1 {
            (index, 0)
        } else {
            (index / self.per_row, index % self.per_row * SEGMENT)
        };
        Segment { row, start, len: (self.len - start).min(SEGMENT) }
    }

    pub(crate) fn lines(&self, view: &View) -> Lines {
        if self.flat {
            Lines { outer: Outer::new(&[], &[]), stride: 1 }
        } else {
            Lines { outer: view.outer(1), stride: view.last_stride() }
        }
    }
}

impl Lines {
    /// Elements between neighbours.
    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Offset of a segment's first element.
    #[inline(always)]
    pub(crate) fn offset(&self, segment: Segment) -> usize {
        self.outer.offset(segment.row) + segment.start * self.stride
    }
}
