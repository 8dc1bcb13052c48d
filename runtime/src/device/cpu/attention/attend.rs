//! What the attention kernels have in common.

use std::ops::Range;

use mscc_ir::DType;

use super::super::element::is_compute_float;
use super::super::error::KernelError;
use super::super::isa::Isa;
use super::super::kernel::{Check, Split};
use super::super::pool::{Scratch, TaskResult};
use super::super::view::View;
use super::keys::{Keys, Order};
use super::sums::Shared;
use super::task::{Role, Task};

/// Queries of sequences, their keys and values, and what becomes of scores.
pub(super) struct Attend<'a> {
    /// The kernel's name, for errors.
    pub(super) kernel: &'static str,
    /// [T, N, D]
    pub(super) q: &'a View,
    /// [T, N, Dr], the part of queries for the second part of keys.
    pub(super) q_rope: Option<&'a View>,
    pub(super) keys: Keys<'a>,
    pub(super) query_start: &'a View,
    pub(super) context_len: &'a View,
    pub(super) sinks: Option<&'a View>,
    pub(super) scale: f32,
    pub(super) window: Option<usize>,
    pub(super) soft_cap: Option<f32>,
    pub(super) y: &'a View,
}

/// Keys that are summed before they are merged with those before them; a multiple of a tile.
pub(super) const SPAN_KEYS: usize = 1024;
/// Most bytes of sums that tasks leave for each other.
const SHARED_BYTES: usize = 16 << 20;
/// Tasks for each thread that are enough not to share a context's spans.
const TASKS_PER_THREAD: usize = 4;
/// Rows (queries times heads of a group) that share the keys of a task.
const TASK_ROWS: usize = 64;
/// Heads that go on sharing their keys although a thread is idle.
const MIN_HEADS: usize = 8;

/// Neighbouring queries of one sequence.
pub(super) struct Piece {
    pub(super) sequence: usize,
    /// First query among the step's tokens.
    pub(super) first: usize,
    pub(super) queries: usize,
    /// Keys that the first query sees if there is no window, plus `hidden`.
    seen: usize,
    /// Tokens of the sequence whose place is before its context, and see nothing.
    hidden: usize,
    /// Row of the sequence's first key, where sequences are packed.
    pub(super) first_key: usize,
}

impl Attend<'_> {
    /// Query heads that read one key head.
    fn group(&self) -> usize {
        self.q.dims()[1] / self.keys.heads.max(1)
    }

    /// Most spans that a context has.
    fn max_spans(&self) -> usize {
        self.keys.room().div_ceil(SPAN_KEYS)
    }

    /// Positions of the keys that a query of a piece sees.
    pub(super) fn sight(&self, piece: &Piece, query: usize) -> Range<usize> {
        let end = (piece.seen + query).saturating_sub(piece.hidden);
        self.window.map_or(0, |window| end.saturating_sub(window))..end
    }

    fn index_error(&self, value: &'static str, position: usize, got: i64, limit: usize) -> KernelError {
        KernelError::Index { kernel: self.kernel, value, position, got, limit }
    }

    /// What is common to `check`: types, and sizes but those of keys and values. Rows of the views that are `named` have
    /// no gaps.
    pub(super) fn check(&self, named: &[(&'static str, &View)]) -> Result<(), KernelError> {
        let check = Check(self.kernel);
        let Attend { q, q_rope, query_start, context_len, sinks, y, .. } = *self;
        let Keys { heads, k, k_rope, v, order } = self.keys;
        let table = match order {
            Order::Paged(block_table) => Some(block_table),
            Order::Packed => None,
        };
        let indices = [Some(query_start), Some(context_len), table].into_iter().flatten();
        let queries = [Some(q), q_rope, Some(y)].into_iter().flatten();
        let cached = [Some(k), k_rope, v].into_iter().flatten().map(|rows| rows.view);
        let fits = indices.clone().all(|view| view.dtype() == DType::I32)
            && queries.clone().all(|view| view.dtype() == q.dtype() && is_compute_float(view.dtype()))
            && cached.clone().all(|view| view.dtype() == k.view.dtype() && is_compute_float(view.dtype()));
        check.dtypes(fits, &queries.chain(cached).chain(indices).collect::<Vec<_>>())?;
        check.shape("q", q, q.rank() == 3, "[T, N, D]")?;
        let fits = heads > 0 && q.dims()[1].is_multiple_of(heads);
        check.shape("q", q, fits, "[T, N, D] with N a multiple of the heads of keys")?;
        check.dims("y", y, &[q.dims()[0], q.dims()[1], self.keys.values().width()], "[T, N, Dv]")?;
        let sequences = context_len.len();
        check.dims("context_len", context_len, &[sequences], "[B]")?;
        check.dims("query_start", query_start, &[sequences + 1], "[B+1]")?;
        check.gapless("query_start", query_start)?;
        check.gapless("context_len", context_len)?;
        if let Some(table) = table {
            let fits = table.rank() == 2 && table.dims()[0] == sequences;
            check.shape("block_table", table, fits, "[B, M]")?;
            check.inner("block_table", table)?;
        }
        if let Some(sinks) = sinks {
            check.dtypes(is_compute_float(sinks.dtype()), &[q, sinks, y])?;
            check.dims("sinks", sinks, &q.dims()[1..2], "[N]")?;
            check.inner("sinks", sinks)?;
        }
        check.inner("y", y)?;
        named.iter().try_for_each(|(name, view)| check.inner(name, view))
    }

    pub(super) fn split(&self, threads: usize) -> Split {
        let mut cut = Cut::new(self);
        // One short sequence: smaller pieces rather than an idle thread.
        while cut.queries > 4 && threads > 1 && cut.whole() < 2 * threads {
            cut.queries /= 2;
        }
        loop {
            let split = cut.split(threads);
            if threads == 1 || split.tasks >= 2 * threads || cut.heads() <= MIN_HEADS {
                return split;
            }
            cut.parts *= 2;
        }
    }

    /// Does one task of a split.
    ///
    /// # Safety
    /// As [`Kernel::run`](super::super::kernel::Kernel::run).
    pub(super) unsafe fn run(
        &self,
        isa: Isa,
        split: Split,
        task: usize,
        scratch: &mut Scratch,
    ) -> TaskResult {
        let cut = Cut::of(self, split);
        let whole = cut.whole();
        let index = task % whole;
        // Later pieces see more keys, so they are begun first.
        let lanes = whole / cut.pieces();
        let Some(piece) = self.piece(cut.queries, cut.pieces() - 1 - index / lanes)? else { return Ok(()) };
        let (head, part) = (index % lanes / cut.parts, index % lanes % cut.parts);
        let group = self.group();
        let first = head * group;
        let heads = first + group * part / cut.parts..first + group * (part + 1) / cut.parts;
        let shared = || {
            let sums = scratch.shared().cast::<f32>().wrapping_add(index * cut.shared_floats());
            Shared { sums, rows: cut.max_rows() }
        };
        let role = if split.second_tasks == 0 {
            Role::Whole
        } else if task < split.tasks {
            Role::Spans { first: task / whole, step: split.tasks / whole, shared: shared() }
        } else {
            Role::Merge { shared: shared() }
        };
        isa.dispatch(Task { op: self, head, heads, piece, role, scratch })
    }

    /// A sequence's queries; `None` for a piece that the lengths left without any.
    ///
    /// The number of pieces depends on sizes only: of so many `queries` there are at most `T / queries + B`.
    unsafe fn piece(&self, queries: usize, index: usize) -> Result<Option<Piece>, KernelError> {
        let starts = self.query_start.as_ptr::<i32>();
        let (tokens, sequences) = (self.q.dims()[0], self.context_len.len());
        let start_at = |index: usize| {
            let got = *starts.add(index);
            let start = usize::try_from(got).ok().filter(|start| *start <= tokens);
            start.ok_or_else(|| self.index_error("query_start", index, i64::from(got), tokens + 1))
        };
        let context_of = |sequence: usize, within: Range<usize>| {
            let got = *self.context_len.as_ptr::<i32>().add(sequence);
            let context = usize::try_from(got).ok().filter(|context| within.contains(context));
            context.ok_or_else(|| self.index_error("context_len", sequence, i64::from(got), within.end))
        };
        let is_packed = matches!(self.keys.order, Order::Packed);
        // Sequences before one whose token is the one of its number have one token each, as this one has.
        let decodes =
            !is_packed && index < sequences && start_at(index)? == index && start_at(index + 1)? == index + 1;
        let first = if decodes { index } else { 0 };
        let mut left = index - first;
        let mut start = start_at(first)?;
        let (mut first_key, room) = (0, self.keys.room());
        for sequence in first..sequences {
            let end = start_at(sequence + 1)?;
            let Some(new) = end.checked_sub(start) else {
                return Err(self.index_error("query_start", sequence + 1, end as i64, tokens + 1));
            };
            let pieces = new.div_ceil(queries);
            if left < pieces || is_packed {
                let least = if is_packed { 0 } else { new };
                let context = context_of(sequence, least..room - first_key + 1)?;
                if left < pieces {
                    let before = left * queries;
                    return Ok(Some(Piece {
                        sequence,
                        first: start + before,
                        queries: queries.min(new - before),
                        seen: context + before + 1,
                        hidden: new,
                        first_key,
                    }));
                }
                first_key += if is_packed { context } else { 0 };
            }
            left -= pieces;
            start = end;
        }
        Ok(None)
    }
}

/// How rows are dealt out: so many queries of a sequence times a part of the heads of a group.
struct Cut<'a> {
    op: &'a Attend<'a>,
    queries: usize,
    /// Parts of a group of heads.
    parts: usize,
}

impl<'a> Cut<'a> {
    fn new(op: &'a Attend<'a>) -> Cut<'a> {
        let parts = op.group().div_ceil(TASK_ROWS).max(1);
        let cut = Cut { op, queries: 1, parts };
        Cut { queries: (TASK_ROWS / cut.heads().max(1)).max(1), ..cut }
    }

    /// The cut of which a split was made.
    fn of(op: &'a Attend<'a>, split: Split) -> Cut<'a> {
        Cut { op, queries: split.rows, parts: split.columns }
    }

    /// Most heads of a part.
    fn heads(&self) -> usize {
        self.op.group().div_ceil(self.parts)
    }

    fn pieces(&self) -> usize {
        let tokens = self.op.q.dims()[0];
        (tokens / self.queries + self.op.context_len.len()).min(tokens)
    }

    /// Tasks, if each does all of its rows' work; none where there is no head.
    fn whole(&self) -> usize {
        self.op.keys.heads * self.parts.min(self.op.group()) * self.pieces()
    }

    fn max_rows(&self) -> usize {
        self.queries.min(self.op.q.dims()[0]) * self.heads()
    }

    /// f32 values of all spans' sums of a task's rows.
    fn shared_floats(&self) -> usize {
        Shared::stride(self.max_rows(), self.op.keys.values().width()).saturating_mul(self.op.max_spans())
    }

    fn split(&self, threads: usize) -> Split {
        let whole = self.whole();
        let (rows, columns) = (self.queries, self.parts);
        // How long contexts are is not known here, only how long they may be with tables of this width.
        let shared_bytes = whole.saturating_mul(self.shared_floats()).saturating_mul(size_of::<f32>());
        let shares = (TASKS_PER_THREAD * threads).div_ceil(whole.max(1)).min(self.op.max_spans());
        if shares <= 1 || threads == 1 || shared_bytes > SHARED_BYTES {
            return Split { tasks: whole, rows, columns, ..Split::default() };
        }
        Split { tasks: whole * shares, rows, columns, second_tasks: whole, shared_bytes }
    }
}
