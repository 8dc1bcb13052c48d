//! A function of one or more values, element by element: what element-wise kernels have in common.

use std::marker::PhantomData;
use std::ops::Range;

use super::element::{Element, load_strided, store_strided};
use super::grid::Grid;
use super::isa::{Body, Isa};
use super::kernel::Split;
use super::simd::Simd;
use super::view::View;

/// A function of `N` values.
pub(crate) trait Function<const N: usize> {
    fn apply<S: Simd>(&self, s: S, x: [S::F; N]) -> S::F;
}

/// One task of `y = function(x)`, cut by [`Grid::split`]; elements of type `X` and `Y`.
///
/// # Safety
/// The views have equal sizes and these types, and no task of the launch runs twice.
pub(crate) unsafe fn map<X: Element, Y: Element, const N: usize>(
    isa: Isa,
    function: &impl Function<N>,
    x: [&View; N],
    y: &View,
    (split, task): (Split, usize),
) {
    let grid = Grid::new(&x, y);
    let segments = split.range(task, grid.segments());
    isa.dispatch(Segments::<_, X, Y, N> { function, x, y, grid, segments, types: PhantomData });
}

struct Segments<'a, F, X, Y, const N: usize> {
    function: &'a F,
    x: [&'a View; N],
    y: &'a View,
    grid: Grid,
    segments: Range<usize>,
    types: PhantomData<(X, Y)>,
}

impl<F: Function<N>, X: Element, Y: Element, const N: usize> Body for Segments<'_, F, X, Y, N> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Segments { function, x, y, grid, segments, .. } = self;
        let (x_lines, y_lines) = (x.map(|x| grid.lines(x)), grid.lines(y));
        for index in segments {
            let segment = grid.segment(index);
            let mut from = x.map(|x| x.as_ptr::<X>().cast_const());
            for (from, lines) in from.iter_mut().zip(&x_lines) {
                *from = from.wrapping_add(lines.offset(segment));
            }
            let to = y.as_ptr::<Y>().wrapping_add(y_lines.offset(segment));
            let mut i = 0;
            while i < segment.len {
                let n = (segment.len - i).min(S::LANES);
                let mut values = [s.splat(0.0); N];
                // SAFETY: the segment lies within all views.
                unsafe {
                    for (operand, value) in values.iter_mut().enumerate() {
                        let stride = x_lines[operand].stride();
                        *value = load_strided(s, from[operand].wrapping_add(i * stride), stride, n);
                    }
                    let stride = y_lines.stride();
                    store_strided(s, to.wrapping_add(i * stride), stride, function.apply(s, values), n);
                }
                i += n;
            }
        }
    }
}
