//! Attention over the paged cache.

mod keys;
mod sums;
mod task;

use mscc_ir::DType;

use self::sums::Shared;
use self::task::{Role, Task};
use super::element::is_compute_float;
use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
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
/// | `sinks`       | `[N]`, optional     | f32, bf16, f16; contiguous                      |
/// | -> `y`        | [T, N, Dv]        | as `q`; Dv contiguous                           |
///
/// Query t of sequence b stands at `context_len[b] - query_start[b + 1] + t`; it sees keys up to there, at
/// most `window` of them. Query head h reads key head `h / (N / K)`. Scores are f32, times `scale`, then
/// `cap * tanh(score / cap)` with a `soft_cap`.
///
/// Softmax is taken online over tiles of 64 keys that begin at multiples of 64 of the absolute position,
/// whatever the block size. Spans of 1024 keys, at multiples of 1024, are summed each on its own and then merged in
/// order, so that threads can share a long context: a row's bits depend on its own position only, not on the
/// chunking, on the pages, on other sequences or on threads.
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
    /// A score of each head that takes part in the softmax and has no value.
    pub sinks: Option<&'a View>,
    /// Factor of the scores.
    pub scale: f32,
    /// How many keys a query sees at most, itself included.
    pub window: Option<usize>,
    /// Bound of the scores.
    pub soft_cap: Option<f32>,
    /// Result.
    pub y: &'a View,
}

/// Keys that are summed before they are merged with those before them; a multiple of a tile.
const SPAN_KEYS: usize = 1024;
/// Most bytes of sums that tasks leave for each other.
const SHARED_BYTES: usize = 16 << 20;
/// Tasks for each thread that are enough not to share a context's spans.
const TASKS_PER_THREAD: usize = 4;
/// Rows (queries times heads of a group) that share the keys of a task.
const TASK_ROWS: usize = 64;

impl Attention<'_> {
    fn group(&self) -> usize {
        self.q.dims()[1] / self.k_cache.dims()[2].max(1)
    }

    /// Most keys that a context has.
    fn room(&self) -> usize {
        self.block_table.dims()[1].saturating_mul(self.k_cache.dims()[1])
    }

    /// Most spans that a context has.
    fn max_spans(&self) -> usize {
        self.room().div_ceil(SPAN_KEYS)
    }

    /// Rows of a task, of so many queries at most.
    fn max_rows(&self, queries: usize) -> usize {
        queries.min(self.q.dims()[0]) * self.group()
    }

    /// f32 values of all spans' sums of a task.
    fn shared_floats(&self, queries: usize) -> usize {
        Shared::stride(self.max_rows(queries), self.v_cache.dims()[3]).saturating_mul(self.max_spans())
    }

    fn index_error(&self, value: &'static str, position: usize, got: i64, limit: usize) -> KernelError {
        KernelError::Index { kernel: "attention", value, position, got, limit }
    }

    /// The task's sequence and queries; `None` for a task that the lengths left without work.
    ///
    /// The number of tasks depends on sizes only: `rows` queries a task make at most `T / rows + B` pieces.
    unsafe fn piece(&self, split: Split, task: usize) -> Result<Option<Piece>, KernelError> {
        let starts = self.query_start.as_ptr::<i32>();
        let (tokens, sequences) = (self.q.dims()[0], self.context_len.len());
        let start_at = |index: usize| {
            let got = *starts.add(index);
            let start = usize::try_from(got).ok().filter(|start| *start <= tokens);
            start.ok_or_else(|| self.index_error("query_start", index, i64::from(got), tokens + 1))
        };
        // Sequences before one whose token is the one of its number have one token each, as this one has.
        let decodes = task < sequences && start_at(task)? == task && start_at(task + 1)? == task + 1;
        let first = if decodes { task } else { 0 };
        let mut left = task - first;
        let mut start = start_at(first)?;
        for sequence in first..sequences {
            let end = start_at(sequence + 1)?;
            let Some(new) = end.checked_sub(start) else {
                return Err(self.index_error("query_start", sequence + 1, end as i64, tokens + 1));
            };
            let pieces = new.div_ceil(split.rows);
            if left < pieces {
                let first = start + left * split.rows;
                let queries = split.rows.min(end - first);
                let got = *self.context_len.as_ptr::<i32>().add(sequence);
                let room = self.room();
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
        let Attention { q, k_cache, v_cache, block_table, query_start, context_len, sinks, y, .. } = *self;
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
        if let Some(sinks) = sinks {
            check.dtypes(is_compute_float(sinks.dtype()), &[q, sinks, y])?;
            check.dims("sinks", sinks, &q.dims()[1..2], "[N]")?;
            check.inner("sinks", sinks)?;
        }
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
        let whole = heads * pieces;
        // How long contexts are is not known here, only how long they may be with tables of this width.
        let shared_bytes = whole.saturating_mul(self.shared_floats(rows)).saturating_mul(size_of::<f32>());
        let parts = match (TASKS_PER_THREAD * threads).div_ceil(whole.max(1)).min(self.max_spans()) {
            parts if parts > 1 && threads > 1 && shared_bytes <= SHARED_BYTES => parts,
            _ => return Split { tasks: whole, rows, columns: pieces, ..Split::default() },
        };
        Split { tasks: whole * parts, rows, columns: pieces, second_tasks: whole, shared_bytes }
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        let heads = self.k_cache.dims()[2];
        let whole = heads * split.columns;
        let index = task % whole;
        // Later pieces see more keys, so they are begun first.
        let Some(piece) = self.piece(split, split.columns - 1 - index / heads)? else { return Ok(()) };
        let shared = || {
            let sums = scratch.shared().cast::<f32>().wrapping_add(index * self.shared_floats(split.rows));
            Shared { sums, rows: self.max_rows(split.rows) }
        };
        let role = if split.second_tasks == 0 {
            Role::Whole
        } else if task < split.tasks {
            Role::Spans { first: task / whole, step: split.tasks / whole, shared: shared() }
        } else {
            Role::Merge { shared: shared() }
        };
        isa.dispatch(Task { op: self, head: index % heads, piece, role, scratch })
    }
}

#[cfg(test)]
mod tests;
