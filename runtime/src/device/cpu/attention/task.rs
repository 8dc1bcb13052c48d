//! One task of attention: the rows of a key head, tile by tile of its keys.

use super::super::dot::{TILE_COLUMNS, Widened, block, block_bytes, prefetch};
use super::super::element::{Element, convert_row, with_float};
use super::super::error::KernelError;
use super::super::isa::Body;
use super::super::math::{exp, tanh};
use super::super::pool::{Scratch, TaskResult};
use super::super::simd::Simd;
use super::super::view::View;
use super::{Attention, Piece};

/// The queries of a piece times the query heads that read one key head.
pub(super) struct Task<'a> {
    pub(super) op: &'a Attention<'a>,
    pub(super) head: usize,
    pub(super) piece: Piece,
    pub(super) scratch: &'a mut Scratch,
}

/// Keys of a tile; a multiple of every vector length.
const TILE_KEYS: usize = 64;

/// A task's scratch memory, all f32; rows are padded to whole cache lines.
struct Areas {
    /// [rows, q_stride]
    q: *mut f32,
    q_stride: usize,
    /// [TILE_KEYS, q_stride]
    k: *mut f32,
    /// [TILE_KEYS, v_stride], padding zero
    v: *mut f32,
    v_stride: usize,
    /// [rows, TILE_KEYS]
    scores: *mut f32,
    /// [rows, v_stride]
    sums: *mut f32,
    /// [rows, 3]: greatest score, sum of exponentials, factor for the older sums
    state: *mut [f32; 3],
    /// For [`block`].
    spare: *mut u8,
}

impl Body for Task<'_> {
    type Output = TaskResult;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> TaskResult {
        // SAFETY: `Kernel::run`'s contract, and every index read from memory is checked below.
        unsafe { self.attend(s) }
    }
}

impl Task<'_> {
    #[inline(always)]
    unsafe fn attend<S: Simd>(self, s: S) -> TaskResult {
        let Task { op, head, piece, scratch } = self;
        let group = op.group();
        let rows = group * piece.queries;
        let (width, v_width) = (op.q.dims()[2], op.v_cache.dims()[3]);
        let (q_stride, v_stride) = (width.next_multiple_of(16), v_width.next_multiple_of(16));
        let sizes = [rows * q_stride, TILE_KEYS * q_stride, TILE_KEYS * v_stride, rows * TILE_KEYS];
        let [q, k, v, scores] = sizes.map(|floats| floats * size_of::<f32>());
        let [sums, state] = [rows * v_stride * size_of::<f32>(), rows * size_of::<[f32; 3]>()];
        let spare = block_bytes::<Widened<S, f32>>(TILE_KEYS);
        let [q, k, v, scores, sums, state, spare] = scratch.areas([q, k, v, scores, sums, state, spare]);
        let areas = Areas {
            q: q.cast(),
            q_stride,
            k: k.cast(),
            v: v.cast(),
            v_stride,
            scores: scores.cast(),
            sums: sums.cast(),
            state: state.cast(),
            spare,
        };
        for row in 0..rows {
            let token = piece.first + row / group;
            let at = token * op.q.strides()[0] + (head * group + row % group) * op.q.strides()[1];
            widen(s, op.q, at, areas.q.add(row * q_stride), width, width);
            std::ptr::write_bytes(areas.sums.add(row * v_stride), 0, v_stride);
            *areas.state.add(row) = [f32::NEG_INFINITY, 0.0, 0.0];
        }
        let first_key = op.window.map_or(0, |window| (piece.position + 1).saturating_sub(window));
        let end = piece.position + piece.queries;
        let mut tile = first_key / TILE_KEYS * TILE_KEYS;
        while tile < end {
            let keys = tile.max(first_key)..(tile + TILE_KEYS).min(end);
            gather_tile(s, op, head, piece.sequence, tile, keys.clone(), end, &areas)?;
            let (from, to) = (keys.start - tile, keys.end - tile);
            score_tile(s, &areas, rows, from, to, width);
            for row in 0..rows {
                let position = piece.position + row / group;
                let row_end = (position + 1).clamp(tile, tile + TILE_KEYS) - tile;
                let seen = op.window.map_or(0, |window| (position + 1).saturating_sub(window));
                let row_from = seen.clamp(tile, tile + TILE_KEYS) - tile;
                weigh_row(s, op, &areas, row, row_from, row_end);
            }
            let mut row = 0;
            while row < rows {
                let count = (rows - row).min(VALUE_ROWS);
                add_values(s, &areas, row, count, from, to);
                row += count;
            }
            tile += TILE_KEYS;
        }
        for row in 0..rows {
            let token = piece.first + row / group;
            let at = token * op.y.strides()[0] + (head * group + row % group) * op.y.strides()[1];
            let sum = s.splat((*areas.state.add(row))[1]);
            let sums = areas.sums.add(row * v_stride);
            with_float!(op.y.dtype(), Y => divide(s, sums, sum, op.y.as_ptr::<Y>().wrapping_add(at), v_width));
        }
        Ok(())
    }
}

/// Writes a row divided by the sum of its weights.
#[inline(always)]
unsafe fn divide<S: Simd, Y: Element>(s: S, sums: *const f32, by: S::F, y: *mut Y, len: usize) {
    let mut i = 0;
    while i < len {
        let value = s.div(s.load_f32(sums.wrapping_add(i)), by);
        Y::store_n(s, y.wrapping_add(i), value, (len - i).min(S::LANES));
        i += S::LANES;
    }
}

/// Widens `len` elements of a view from offset `at` on to f32 and fills with zeros up to `padded`.
#[inline(always)]
unsafe fn widen<S: Simd>(s: S, from: &View, at: usize, to: *mut f32, len: usize, padded: usize) {
    with_float!(from.dtype(), E => convert_row(s, from.as_ptr::<E>().wrapping_add(at).cast_const(), to, len));
    for i in len..padded {
        *to.wrapping_add(i) = 0.0;
    }
}

/// How many keys ahead their memory is asked for: rows of one head lie far apart, which the machine does not
/// foresee.
const KEYS_AHEAD: usize = 16;

/// Collects the keys and values of absolute positions `keys`, which lie within the tile; `end` is where the
/// task's keys end.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "whose keys, which, and where to")]
unsafe fn gather_tile<S: Simd>(
    s: S,
    op: &Attention<'_>,
    head: usize,
    sequence: usize,
    tile: usize,
    keys: std::ops::Range<usize>,
    end: usize,
    areas: &Areas,
) -> TaskResult {
    let (width, v_width) = (op.k_cache.dims()[3], op.v_cache.dims()[3]);
    for key in keys {
        if key + KEYS_AHEAD < end {
            let [k, v] = place(op, head, sequence, key + KEYS_AHEAD)?;
            prefetch_row(op.k_cache, k, width);
            prefetch_row(op.v_cache, v, v_width);
        }
        let [k, v] = place(op, head, sequence, key)?;
        widen(s, op.k_cache, k, areas.k.wrapping_add((key - tile) * areas.q_stride), width, width);
        widen(s, op.v_cache, v, areas.v.wrapping_add((key - tile) * areas.v_stride), v_width, areas.v_stride);
    }
    Ok(())
}

/// Offsets of a head's key and value for an absolute position below the context's length.
#[inline(always)]
unsafe fn place(
    op: &Attention<'_>,
    head: usize,
    sequence: usize,
    key: usize,
) -> Result<[usize; 2], KernelError> {
    let (pages, block) = (op.k_cache.dims()[0], op.k_cache.dims()[1]);
    let (entry, offset) = (key / block, key % block);
    let got = *op.block_table.as_ptr::<i32>().wrapping_add(sequence * op.block_table.strides()[0] + entry);
    let Some(page) = usize::try_from(got).ok().filter(|page| *page < pages) else {
        let position = sequence * op.block_table.dims()[1] + entry;
        return Err(op.index_error("block_table", position, i64::from(got), pages));
    };
    let at = |strides: &[usize]| page * strides[0] + offset * strides[1] + head * strides[2];
    Ok([at(op.k_cache.strides()), at(op.v_cache.strides())])
}

#[inline(always)]
fn prefetch_row(view: &View, at: usize, len: usize) {
    let row = view.as_ptr::<u8>().wrapping_add(at * view.element_bytes());
    for line in (0..len * view.element_bytes()).step_by(64) {
        prefetch(row.wrapping_add(line));
    }
}

/// Scores of all rows with the tile's keys `from..to`.
#[inline(always)]
unsafe fn score_tile<S: Simd>(s: S, areas: &Areas, rows: usize, from: usize, to: usize, width: usize) {
    let mut row = 0;
    while row < rows {
        let count = S::TILE_ROWS.min(rows - row);
        block(
            Widened::<S, f32>::new(s),
            (areas.q.wrapping_add(row * areas.q_stride).cast_const(), areas.q_stride, count),
            (areas.k.wrapping_add(from * areas.q_stride).cast_const(), areas.q_stride, to - from),
            width,
            (areas.scores.wrapping_add(row * TILE_KEYS + from), TILE_KEYS),
            areas.spare,
            (false, TILE_COLUMNS),
        );
        row += count;
    }
}

/// Turns a row's scores into weights: those of keys `from..to`, zero for all other keys of the tile.
#[inline(always)]
unsafe fn weigh_row<S: Simd>(s: S, op: &Attention<'_>, areas: &Areas, row: usize, from: usize, to: usize) {
    let scores = areas.scores.wrapping_add(row * TILE_KEYS);
    let state = areas.state.wrapping_add(row);
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
    // e^(-infinity) is 0: the first tile has nothing older to scale. By way of a vector, since that is the
    // one exponential there is.
    let mut lane = [0.0f32];
    s.store_f32_n(lane.as_mut_ptr(), exp(s, s.splat(old_max - max)), 1);
    *state = [max, old_sum * lane[0] + s.sum(sum), lane[0]];
}

/// Rows whose sums are held in registers together.
const VALUE_ROWS: usize = 4;

#[inline(always)]
unsafe fn add_values<S: Simd>(s: S, areas: &Areas, row: usize, count: usize, from: usize, to: usize) {
    let mut column = 0;
    let lanes = S::LANES;
    while column + 4 * lanes <= areas.v_stride {
        match count {
            4 => add_columns::<S, 4, 4>(s, areas, row, column, from, to),
            3 => add_columns::<S, 3, 4>(s, areas, row, column, from, to),
            2 => add_columns::<S, 2, 4>(s, areas, row, column, from, to),
            _ => add_columns::<S, 1, 4>(s, areas, row, column, from, to),
        }
        column += 4 * lanes;
    }
    while column < areas.v_stride {
        match count {
            4 => add_columns::<S, 4, 1>(s, areas, row, column, from, to),
            3 => add_columns::<S, 3, 1>(s, areas, row, column, from, to),
            2 => add_columns::<S, 2, 1>(s, areas, row, column, from, to),
            _ => add_columns::<S, 1, 1>(s, areas, row, column, from, to),
        }
        column += lanes;
    }
}

/// `sums = sums * factor + weights * values` for `M` rows and `N` vectors of columns, key by key.
#[inline(always)]
unsafe fn add_columns<S: Simd, const M: usize, const N: usize>(
    s: S,
    areas: &Areas,
    row: usize,
    column: usize,
    from: usize,
    to: usize,
) {
    let stride = areas.v_stride;
    let out = areas.sums.wrapping_add(row * stride + column);
    let mut sums = [[s.splat(0.0); N]; M];
    for (m, sums) in sums.iter_mut().enumerate() {
        let factor = s.splat((*areas.state.wrapping_add(row + m))[2]);
        for (n, sum) in sums.iter_mut().enumerate() {
            *sum = s.mul(s.load_f32(out.wrapping_add(m * stride + n * S::LANES)), factor);
        }
    }
    let weights = areas.scores.wrapping_add(row * TILE_KEYS);
    let mut key = from;
    while key < to {
        let v = areas.v.wrapping_add(key * stride + column);
        let mut values = [s.splat(0.0); N];
        for (n, value) in values.iter_mut().enumerate() {
            *value = s.load_f32(v.wrapping_add(n * S::LANES));
        }
        for (m, sums) in sums.iter_mut().enumerate() {
            let weight = s.splat(*weights.wrapping_add(m * TILE_KEYS + key));
            for n in 0..N {
                sums[n] = s.fma(weight, values[n], sums[n]);
            }
        }
        key += 1;
    }
    for (m, sums) in sums.into_iter().enumerate() {
        for (n, sum) in sums.into_iter().enumerate() {
            s.store_f32(out.wrapping_add(m * stride + n * S::LANES), sum);
        }
    }
}
