//! Attention over the paged cache.

use mscc_ir::DType;

use super::dot::{TILE_COLUMNS, Widened, block, block_bytes, prefetch};
use super::element::{Element, convert_row, is_compute_float, with_float};
use super::error::KernelError;
use super::isa::{Body, Isa};
use super::kernel::{Check, Kernel, Split};
use super::math::{exp, tanh};
use super::pool::{Scratch, TaskResult};
use super::simd::Simd;
use super::view::View;

/// Each new token attends to its sequence's cached tokens up to itself.
///
/// | value         | shape             | dtype                                           |
/// |---------------|-------------------|-------------------------------------------------|
/// | `q`           | [T, N, D]         | f32, bf16, f16; D contiguous                    |
/// | `k_cache`     | [P, block, K, D]  | f32, bf16, f16; D contiguous                    |
/// | `v_cache`     | [P, block, K, Dv] | as `k_cache`; Dv contiguous                     |
/// | `block_table` | [B, M]            | i32; rows contiguous; only pages in sight are read |
/// | `query_start` | [B+1]             | i32; gapless                                    |
/// | `context_len` | `[B]`               | i32; gapless                                    |
/// | -> `y`        | [T, N, Dv]        | as `q`; Dv contiguous                           |
///
/// Query t of sequence b stands at `context_len[b] - query_start[b + 1] + t`; it sees keys up to there, at
/// most `window` of them. Query head h reads key head `h / (N / K)`. Scores are f32, times `scale`, then
/// `cap * tanh(score / cap)` with a `soft_cap`.
///
/// Softmax is taken online over tiles of 64 keys that begin at multiples of 64 of the absolute position,
/// whatever the block size: a row's bits do not depend on the chunking, on the pages or on other sequences.
///
/// Errors: [`KernelError::Index`] for a page beyond the cache, a context longer than its pages or shorter
/// than its new tokens, or query starts that do not rise from 0 to at most T.
/// Source: Milakov and Gimelshein, 2018 (arXiv:1805.02867) for the online softmax.
pub struct Attention<'a> {
    /// Queries.
    pub q: &'a View,
    /// Pages of keys.
    pub k_cache: &'a View,
    /// Pages of values.
    pub v_cache: &'a View,
    /// Pages of each sequence.
    pub block_table: &'a View,
    /// Where each sequence's new tokens start.
    pub query_start: &'a View,
    /// Tokens of each sequence, the new included.
    pub context_len: &'a View,
    /// Factor of the scores.
    pub scale: f32,
    /// How many keys a query sees at most, itself included.
    pub window: Option<usize>,
    /// Bound of the scores.
    pub soft_cap: Option<f32>,
    /// Result.
    pub y: &'a View,
}

/// Keys of a tile; a multiple of every vector length.
const TILE_KEYS: usize = 64;
/// Rows (queries times heads of a group) that share the keys of a task.
const TASK_ROWS: usize = 64;

impl Attention<'_> {
    fn group(&self) -> usize {
        self.q.dims()[1] / self.k_cache.dims()[2].max(1)
    }

    fn index_error(&self, value: &'static str, position: usize, got: i64, limit: usize) -> KernelError {
        KernelError::Index { kernel: "attention", value, position, got, limit }
    }

    /// The task's sequence and queries; `None` for a task that the lengths left without work.
    ///
    /// The number of tasks depends on sizes only: `rows` queries a task make at most `T / rows + B` pieces.
    unsafe fn piece(&self, split: Split, task: usize) -> Result<Option<Piece>, KernelError> {
        let starts = self.query_start.as_ptr::<i32>();
        let tokens = self.q.dims()[0];
        let start_at = |index: usize| {
            let got = *starts.add(index);
            let start = usize::try_from(got).ok().filter(|start| *start <= tokens);
            start.ok_or_else(|| self.index_error("query_start", index, i64::from(got), tokens + 1))
        };
        let mut left = task;
        let mut start = start_at(0)?;
        for sequence in 0..self.context_len.len() {
            let end = start_at(sequence + 1)?;
            let Some(new) = end.checked_sub(start) else {
                return Err(self.index_error("query_start", sequence + 1, end as i64, tokens + 1));
            };
            let pieces = new.div_ceil(split.rows);
            if left < pieces {
                let first = start + left * split.rows;
                let queries = split.rows.min(end - first);
                let got = *self.context_len.as_ptr::<i32>().add(sequence);
                let room = self.block_table.dims()[1] * self.k_cache.dims()[1];
                let context = usize::try_from(got).ok().filter(|context| (new..=room).contains(context));
                let context = context
                    .ok_or_else(|| self.index_error("context_len", sequence, i64::from(got), room + 1))?;
                let position = context - new + (first - start);
                return Ok(Some(Piece { sequence, first, queries, position }));
            }
            left -= pieces;
            start = end;
        }
        Ok(None)
    }
}

/// Neighbouring queries of one sequence.
struct Piece {
    sequence: usize,
    /// First query among the step's tokens.
    first: usize,
    queries: usize,
    /// Absolute position of the first query.
    position: usize,
}

impl Kernel for Attention<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("attention");
        let Attention { q, k_cache, v_cache, block_table, query_start, context_len, y, .. } = *self;
        let indices = [block_table, query_start, context_len].iter().all(|view| view.dtype() == DType::I32);
        let values = q.dtype() == y.dtype() && k_cache.dtype() == v_cache.dtype();
        let floats = is_compute_float(q.dtype()) && is_compute_float(k_cache.dtype());
        check.dtypes(
            indices && values && floats,
            &[q, k_cache, v_cache, block_table, query_start, context_len, y],
        )?;
        check.shape("q", q, q.rank() == 3, "[T, N, D]")?;
        let fits = k_cache.rank() == 4 && k_cache.dims()[3] == q.dims()[2] && k_cache.dims()[1] > 0;
        check.shape("k_cache", k_cache, fits, "[P, block, K, D]")?;
        let heads = k_cache.dims()[2];
        check.shape(
            "q",
            q,
            heads > 0 && q.dims()[1].is_multiple_of(heads),
            "[T, N, D] with N a multiple of K",
        )?;
        let fits = v_cache.rank() == 4 && v_cache.dims()[..3] == k_cache.dims()[..3];
        check.shape("v_cache", v_cache, fits, "[P, block, K, Dv]")?;
        check.dims("y", y, &[q.dims()[0], q.dims()[1], v_cache.dims()[3]], "[T, N, Dv]")?;
        let sequences = context_len.len();
        check.dims("context_len", context_len, &[sequences], "[B]")?;
        check.dims("query_start", query_start, &[sequences + 1], "[B+1]")?;
        let fits = block_table.rank() == 2 && block_table.dims()[0] == sequences;
        check.shape("block_table", block_table, fits, "[B, M]")?;
        check.gapless("query_start", query_start)?;
        check.gapless("context_len", context_len)?;
        [("q", q), ("k_cache", k_cache), ("v_cache", v_cache), ("block_table", block_table), ("y", y)]
            .iter()
            .try_for_each(|(name, view)| check.inner(name, view))
    }

    fn split(&self, threads: usize) -> Split {
        let (tokens, heads) = (self.q.dims()[0], self.k_cache.dims()[2]);
        let mut rows = (TASK_ROWS / self.group().max(1)).max(1);
        // One short sequence: smaller pieces rather than an idle thread.
        while rows > 4 && threads > 1 && heads * tokens.div_ceil(rows) < 2 * threads {
            rows /= 2;
        }
        let pieces = (tokens / rows + self.context_len.len()).min(tokens);
        Split { tasks: heads * pieces, rows, columns: pieces }
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        // Later pieces see more keys, so they are begun first.
        let piece = split.columns - 1 - task / self.k_cache.dims()[2];
        let head = task % self.k_cache.dims()[2];
        let Some(piece) = self.piece(split, piece)? else { return Ok(()) };
        isa.dispatch(Task { op: self, head, piece, scratch })
    }
}

struct Task<'a> {
    op: &'a Attention<'a>,
    head: usize,
    piece: Piece,
    scratch: &'a mut Scratch,
}

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

#[cfg(test)]
mod tests {
    use super::super::testing::{FLOATS, Random, Tensor, levels, run};
    use super::super::{Pool, launch};
    use super::*;

    /// Sequences with their whole contexts, from which steps of any cut are made.
    struct Scene {
        heads: usize,
        kv_heads: usize,
        width: usize,
        v_width: usize,
        window: Option<usize>,
        soft_cap: Option<f32>,
        /// Per sequence: queries, keys and values of all positions.
        sequences: Vec<[Vec<f64>; 3]>,
        lengths: Vec<usize>,
    }

    impl Scene {
        fn new(
            random: &mut Random,
            (heads, kv_heads): (usize, usize),
            width: usize,
            lengths: &[usize],
        ) -> Scene {
            let v_width = width;
            let mut values = |count: usize| (0..count).map(|_| random.float()).collect::<Vec<_>>();
            let sequences = lengths
                .iter()
                .map(|len| {
                    [
                        values(len * heads * width),
                        values(len * kv_heads * width),
                        values(len * kv_heads * v_width),
                    ]
                })
                .collect();
            let (window, soft_cap, lengths) = (None, None, lengths.to_vec());
            Scene { heads, kv_heads, width, v_width, window, soft_cap, sequences, lengths }
        }

        fn scale(&self) -> f64 {
            3.0 / (self.width as f64).sqrt()
        }

        /// The definition, in f64, of one sequence.
        fn reference(&self, sequence: usize, dtype: DType) -> Vec<f64> {
            let [q, k, v] = self.sequences[sequence]
                .each_ref()
                .map(|values| Tensor::zeros(dtype, &[values.len()]).of(values).get());
            let (d, dv) = (self.width, self.v_width);
            let mut y = Vec::new();
            for i in 0..self.lengths[sequence] {
                for head in 0..self.heads {
                    let kv_head = head / (self.heads / self.kv_heads);
                    let from = self.window.map_or(0, |w| (i + 1).saturating_sub(w));
                    let scores: Vec<f64> = (from..=i)
                        .map(|j| {
                            let dot: f64 = (0..d)
                                .map(|c| {
                                    q[(i * self.heads + head) * d + c]
                                        * k[(j * self.kv_heads + kv_head) * d + c]
                                })
                                .sum();
                            let score = dot * self.scale();
                            self.soft_cap
                                .map_or(score, |cap| f64::from(cap) * (score / f64::from(cap)).tanh())
                        })
                        .collect();
                    let max = scores.iter().copied().fold(f64::MIN, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
                    let sum: f64 = weights.iter().sum();
                    for c in 0..dv {
                        let value = |j: usize| v[((from + j) * self.kv_heads + kv_head) * dv + c];
                        y.push(weights.iter().enumerate().map(|(j, w)| w / sum * value(j)).sum());
                    }
                }
            }
            y
        }

        /// One step: of each sequence the queries `new`, after the keys before them. Pages are dealt out in
        /// a shuffled order, unused memory is NaN.
        fn step(
            &self,
            (isa, threads, block): (Isa, usize, usize),
            (dtype, cache_dtype): (DType, DType),
            parts: &[(usize, std::ops::Range<usize>)],
        ) -> Vec<Vec<f64>> {
            let pages_of = |len: usize| len.div_ceil(block);
            let most = parts.iter().map(|(_, new)| pages_of(new.end)).max().unwrap_or(0) + 1;
            let pages: usize = parts.iter().map(|(_, new)| pages_of(new.end)).sum::<usize>() + 3;
            let cell = |width: usize| pages * block * self.kv_heads * width;
            let (mut ks, mut vs) = (vec![f64::NAN; cell(self.width)], vec![f64::NAN; cell(self.v_width)]);
            let mut table = vec![-1.0; parts.len() * most];
            let (mut starts, mut contexts, mut qs) = (vec![0.0], Vec::new(), Vec::new());
            let mut next = pages;
            for (row, (sequence, new)) in parts.iter().enumerate() {
                let [q, k, v] = &self.sequences[*sequence];
                for entry in 0..pages_of(new.end) {
                    next -= 1;
                    table[row * most + entry] = next as f64;
                    for offset in 0..block {
                        let position = entry * block + offset;
                        // Keys out of every window are gone.
                        let gone = self.window.is_some_and(|w| position + w <= new.start);
                        if position >= new.end || gone {
                            continue;
                        }
                        for (cache, values, width) in [(&mut ks, k, self.width), (&mut vs, v, self.v_width)] {
                            let run = self.kv_heads * width;
                            cache[(next * block + offset) * run..][..run]
                                .copy_from_slice(&values[position * run..][..run]);
                        }
                    }
                }
                qs.extend_from_slice(
                    &q[new.start * self.heads * self.width..new.end * self.heads * self.width],
                );
                starts.push((qs.len() / self.heads / self.width) as f64);
                contexts.push(new.end as f64);
            }
            let tokens = qs.len() / self.heads / self.width;
            // Queries inside a merged q, k, v.
            let stride = (self.heads + 2 * self.kv_heads) * self.width;
            let dims = [tokens, self.heads, self.width];
            let q = Tensor::with_strides(dtype, &dims, &[stride, self.width, 1]).of(&qs);
            let k_cache = Tensor::zeros(cache_dtype, &[pages, block, self.kv_heads, self.width]).of(&ks);
            let v_cache = Tensor::zeros(cache_dtype, &[pages, block, self.kv_heads, self.v_width]).of(&vs);
            let block_table = Tensor::zeros(DType::I32, &[parts.len(), most]).of(&table);
            let query_start = Tensor::zeros(DType::I32, &[parts.len() + 1]).of(&starts);
            let context_len = Tensor::zeros(DType::I32, &[parts.len()]).of(&contexts);
            let y = Tensor::zeros(dtype, &[tokens, self.heads, self.v_width]);
            let kernel = Attention {
                q: &q.view(),
                k_cache: &k_cache.view(),
                v_cache: &v_cache.view(),
                block_table: &block_table.view(),
                query_start: &query_start.view(),
                context_len: &context_len.view(),
                scale: self.scale() as f32,
                window: self.window,
                soft_cap: self.soft_cap,
                y: &y.view(),
            };
            run(isa, threads, &kernel);
            let row = self.heads * self.v_width;
            let cut = |pair: &[f64]| y.get()[pair[0] as usize * row..pair[1] as usize * row].to_vec();
            starts.windows(2).map(cut).collect()
        }
    }

    #[test]
    fn matches_the_reference() {
        let mut random = Random::new(29);
        for (heads, width) in
            [((1, 1), 8), ((4, 2), 24), ((6, 1), 80), ((2, 2), 96), ((8, 2), 128), ((3, 3), 7)]
        {
            for (window, soft_cap) in [(None, None), (Some(17), None), (None, Some(2.0))] {
                let mut scene = Scene::new(&mut random, heads, width, &[70, 1, 133]);
                (scene.window, scene.soft_cap) = (window, soft_cap);
                for (dtype, cache) in
                    FLOATS.into_iter().flat_map(|d| [(d, d), (DType::F32, d), (d, DType::F32)])
                {
                    // Rounded alike where the types are equal; else the coarser type decides.
                    let coarser = if dtype == DType::F32 { cache } else { dtype };
                    let wants = [0, 1, 2].map(|sequence| scene.reference(sequence, coarser));
                    let slack = if dtype == cache { 3e-6 } else { 3e-2 };
                    for isa in levels() {
                        let parts = [(0, 0..70), (1, 0..1), (2, 0..133)];
                        let got = scene.step((isa, 2, 16), (dtype, cache), &parts);
                        for (got, want) in got.iter().flatten().zip(wants.iter().flatten()) {
                            let rounding = match dtype {
                                DType::F32 => 0.0,
                                DType::F16 => 1.0 / 2048.0,
                                _ => 1.0 / 256.0,
                            };
                            let limit = want.abs() * rounding + slack;
                            assert!((got - want).abs() <= limit, "{got} {want} {}", isa.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_chunks_company_pages_or_threads() {
        let mut random = Random::new(31);
        for (heads, width, window) in [((4, 2), 24, None), ((2, 1), 80, Some(70)), ((3, 1), 64, Some(5))] {
            let mut scene = Scene::new(&mut random, heads, width, &[150, 9, 67, 1]);
            scene.window = window;
            for dtype in [DType::F32, DType::BF16] {
                for isa in levels() {
                    let alone = scene.step((isa, 1, 16), (dtype, dtype), &[(0, 0..150)]).remove(0);
                    for block in [1, 3, 16, 128] {
                        for threads in 1..=3 {
                            let all = [(3, 0..1), (0, 0..150), (1, 3..9), (2, 0..67)];
                            let got = scene.step((isa, threads, block), (dtype, dtype), &all);
                            assert_eq!(got[1], alone, "{} block {block} threads {threads}", isa.name());
                        }
                        for chunk in [1, 7, 64, 100] {
                            let mut joined = Vec::new();
                            for start in (0..150).step_by(chunk) {
                                let part = [(1, 8..9), (0, start..(start + chunk).min(150))];
                                joined.extend(scene.step((isa, 2, block), (dtype, dtype), &part).remove(1));
                            }
                            assert_eq!(joined, alone, "{} block {block} chunk {chunk}", isa.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn hostile_indices_are_errors() {
        let q = Tensor::zeros(DType::F32, &[2, 1, 4]);
        let cache = Tensor::zeros(DType::F32, &[3, 2, 1, 4]);
        let (q, cache) = (q.view(), cache.view());
        let attend = |table: [f64; 2], starts: [f64; 2], context: f64| {
            let y = Tensor::zeros(DType::F32, &[2, 1, 4]);
            let table = Tensor::zeros(DType::I32, &[1, 2]).of(&table);
            let starts = Tensor::zeros(DType::I32, &[2]).of(&starts);
            let context = Tensor::zeros(DType::I32, &[1]).of(&[context]);
            let kernel = Attention {
                q: &q,
                k_cache: &cache,
                v_cache: &cache,
                block_table: &table.view(),
                query_start: &starts.view(),
                context_len: &context.view(),
                scale: 1.0,
                window: None,
                soft_cap: None,
                y: &y.view(),
            };
            launch(&mut Pool::new(1), Isa::detect(), &kernel)
        };
        let value = |result: Result<(), KernelError>| match result {
            Err(KernelError::Index { value, .. }) => Some(value),
            _ => None,
        };
        assert_eq!(attend([0.0, 2.0], [0.0, 2.0], 4.0), Ok(()));
        assert_eq!(value(attend([0.0, 3.0], [0.0, 2.0], 4.0)), Some("block_table"));
        assert_eq!(value(attend([-1.0, 0.0], [0.0, 2.0], 4.0)), Some("block_table"));
        assert_eq!(value(attend([0.0, 1.0], [0.0, 3.0], 4.0)), Some("query_start"));
        assert_eq!(value(attend([0.0, 1.0], [2.0, 0.0], 4.0)), Some("query_start"));
        assert_eq!(value(attend([0.0, 1.0], [0.0, 2.0], 5.0)), Some("context_len"));
        assert_eq!(value(attend([0.0, 1.0], [0.0, 2.0], 1.0)), Some("context_len"));
        assert_eq!(value(attend([0.0, 1.0], [0.0, 2.0], -7.0)), Some("context_len"));
    }
}
