//! Sums over keys: what rows carry from tile to tile and from span to span.

use super::super::element::Element;
use super::super::math::{exp, tanh};
use super::super::simd::Simd;
use super::attend::Attend;
use super::keys::{TILE_KEYS, Tile};

/// Rows on their way through a range of keys.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    /// Weighted values, [rows, v_stride].
    pub(super) values: *mut f32,
    /// Of each row: greatest score, sum of exponentials, factor for the older sums.
    pub(super) state: *mut [f32; 3],
}

/// Where the sums of spans lie between the tasks that make them and the one that merges them.
#[derive(Clone, Copy)]
pub(super) struct Shared {
    /// Of span 0.
    pub(super) sums: *mut f32,
    /// Rows of each span, used or not.
    pub(super) rows: usize,
}

impl Shared {
    /// f32 values for each span, with so many rows.
    pub(super) fn stride(rows: usize, v_width: usize) -> usize {
        rows * stride(v_width) + stride(rows * 3)
    }

    pub(super) unsafe fn sums(self, span: usize, v_width: usize) -> Sums {
        let values = self.sums.wrapping_add(span * Shared::stride(self.rows, v_width));
        Sums { values, state: values.wrapping_add(self.rows * stride(v_width)).cast() }
    }
}

/// Whole cache lines of f32.
pub(super) fn stride(width: usize) -> usize {
    width.next_multiple_of(16)
}

/// By way of a vector, since that is the one exponential there is.
#[inline(always)]
pub(super) unsafe fn exp_one<S: Simd>(s: S, x: f32) -> f32 {
    let mut lane = [0.0f32];
    s.store_f32_n(lane.as_mut_ptr(), exp(s, s.splat(x)), 1);
    lane[0]
}

/// Turns a row's scores into weights: those of keys `from..to`, zero for all other keys of the tile.
#[inline(always)]
pub(super) unsafe fn weigh_row<S: Simd>(
    s: S,
    op: &Attend<'_>,
    scores: *mut f32,
    state: *mut [f32; 3],
    from: usize,
    to: usize,
) {
    let [old_max, old_sum, _] = *state;
    if from >= to {
        std::ptr::write_bytes(scores, 0, TILE_KEYS);
        (*state)[2] = 1.0;
        return;
    }
    for i in (0..from).chain(to..TILE_KEYS) {
        *scores.wrapping_add(i) = f32::NEG_INFINITY;
    }
    let scale = s.splat(op.scale);
    let mut max = s.splat(old_max);
    let mut i = 0;
    while i < TILE_KEYS {
        let mut score = s.mul(s.load_f32(scores.wrapping_add(i)), scale);
        if let Some(cap) = op.soft_cap {
            score = s.mul(tanh(s, s.div(score, s.splat(cap))), s.splat(cap));
        }
        s.store_f32(scores.wrapping_add(i), score);
        i += S::LANES;
    }
    if op.soft_cap.is_some() || op.scale <= 0.0 {
        // Scaling or the cap has made the unseen keys something else than -infinity.
        for i in (0..from).chain(to..TILE_KEYS) {
            *scores.wrapping_add(i) = f32::NEG_INFINITY;
        }
    }
    let mut i = 0;
    while i < TILE_KEYS {
        max = s.max(max, s.load_f32(scores.wrapping_add(i)));
        i += S::LANES;
    }
    let max = s.max_lane(max);
    let mut sum = s.splat(0.0);
    let mut i = 0;
    while i < TILE_KEYS {
        let weight = exp(s, s.sub(s.load_f32(scores.wrapping_add(i)), s.splat(max)));
        s.store_f32(scores.wrapping_add(i), weight);
        sum = s.add(sum, weight);
        i += S::LANES;
    }
    // e^(-infinity) is 0: the first tile has nothing older to scale.
    let factor = exp_one(s, old_max - max);
    *state = [max, old_sum * factor + s.sum(sum), factor];
}

/// `values = values * factor + weights * v` for `M` rows, key by key.
#[inline(always)]
pub(super) unsafe fn add_values<S: Simd, E: Element, const M: usize>(
    s: S,
    scores: *const f32,
    tile: &Tile<E>,
    sums: Sums,
    row: usize,
    v_width: usize,
) {
    let mut column = 0;
    while column + 4 * S::LANES <= v_width {
        add_columns::<S, E, M, 4>(s, scores, tile, sums, row, (stride(v_width), column), S::LANES);
        column += 4 * S::LANES;
    }
    while column < v_width {
        add_columns::<S, E, M, 1>(
            s,
            scores,
            tile,
            sums,
            row,
            (stride(v_width), column),
            S::LANES.min(v_width - column),
        );
        column += S::LANES;
    }
}

/// [`add_values`] for `N` vectors of columns, `len` of them in the last.
#[inline(always)]
unsafe fn add_columns<S: Simd, E: Element, const M: usize, const N: usize>(
    s: S,
    scores: *const f32,
    tile: &Tile<E>,
    sums: Sums,
    row: usize,
    (stride, column): (usize, usize),
    len: usize,
) {
    let out = sums.values.wrapping_add(row * stride + column);
    let mut values = [[s.splat(0.0); N]; M];
    for (m, values) in values.iter_mut().enumerate() {
        let factor = s.splat((*sums.state.wrapping_add(row + m))[2]);
        for (n, value) in values.iter_mut().enumerate() {
            *value = s.mul(s.load_f32(out.wrapping_add(m * stride + n * S::LANES)), factor);
        }
    }
    let weights = scores.wrapping_add(row * TILE_KEYS);
    let mut key = tile.from;
    while key < tile.to {
        let v = tile.v[key].wrapping_add(column);
        let mut loaded = [s.splat(0.0); N];
        for (n, loaded) in loaded.iter_mut().enumerate() {
            let v = v.wrapping_add(n * S::LANES);
            *loaded = if len == S::LANES { E::load(s, v) } else { E::load_n(s, v, len) };
        }
        for (m, values) in values.iter_mut().enumerate() {
            let weight = s.splat(*weights.wrapping_add(m * TILE_KEYS + key));
            for n in 0..N {
                values[n] = s.fma(weight, loaded[n], values[n]);
            }
        }
        key += 1;
    }
    for (m, values) in values.into_iter().enumerate() {
        for (n, value) in values.into_iter().enumerate() {
            s.store_f32(out.wrapping_add(m * stride + n * S::LANES), value);
        }
    }
}
