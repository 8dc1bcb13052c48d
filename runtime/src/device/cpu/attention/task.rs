//! One task of attention: the rows of a key head, span by span and tile by tile of its keys.

use std::ops::Range;

use half::bf16;
use mscc_ir::DType;

use super::super::dot::{Widened, scattered};
use super::super::element::{Element, convert_row, with_float};
use super::super::isa::Body;
use super::super::pool::{Scratch, TaskResult};
use super::super::simd::Simd;
use super::super::view::View;
use super::attend::{Attend, Piece, SPAN_KEYS};
use super::keys::{Area, Context, TILE_KEYS, Tile};
use super::sums::{Shared, Sums, add_values, exp_one, stride, weigh_row};

/// The queries of a piece times query heads that read one key head.
pub(super) struct Task<'a> {
    pub(super) op: &'a Attend<'a>,
    /// Key head.
    pub(super) head: usize,
    /// Query heads.
    pub(super) heads: Range<usize>,
    pub(super) piece: Piece,
    pub(super) role: Role,
    pub(super) scratch: &'a mut Scratch,
}

/// What a task does of its rows' work.
#[derive(Clone, Copy)]
pub(super) enum Role {
    /// All.
    Whole,
    /// The sums of every `step`th span from `first` on.
    Spans { first: usize, step: usize, shared: Shared },
    /// The results, of the sums of all spans.
    Merge { shared: Shared },
}

/// Rows that are few enough for keys and values to be widened each time that they are used.
const DIRECT_ROWS: usize = 8;
/// Rows whose sums of values are kept in registers.
const VALUE_ROWS: usize = 4;

/// A task's scratch memory, all f32; rows are padded to whole cache lines.
struct Areas {
    /// [rows, D]
    q: Area,
    /// [TILE_KEYS, D]
    k: Area,
    /// [TILE_KEYS, Dv]
    v: Area,
    /// [rows, TILE_KEYS]
    scores: *mut f32,
    rows: usize,
    /// Of a span.
    span: Sums,
    /// Of all spans so far.
    total: Sums,
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
    unsafe fn attend<S: Simd>(mut self, s: S) -> TaskResult {
        let areas = self.areas();
        let v_width = self.op.keys.values().width();
        let spans = self.spans();
        if !matches!(self.role, Role::Merge { .. }) {
            self.load_queries(s, &areas);
        }
        areas.clear(areas.total);
        self.start_with_sinks(&areas);
        for span in spans {
            // One call of what is inlined here, whatever the role: it is long.
            let made = match self.role {
                Role::Whole => Some(areas.span),
                Role::Spans { first, step, shared } if span % step == first => {
                    Some(shared.sums(span, v_width))
                }
                Role::Spans { .. } | Role::Merge { .. } => None,
            };
            if let Some(sums) = made {
                self.attend_span(s, &areas, span, sums)?;
            }
            let merged = match self.role {
                Role::Whole => Some(areas.span),
                Role::Spans { .. } => None,
                Role::Merge { shared } => Some(shared.sums(span, v_width)),
            };
            if let Some(sums) = merged {
                areas.merge(s, sums);
            }
        }
        if !matches!(self.role, Role::Spans { .. }) {
            self.store(s, &areas);
        }
        Ok(())
    }

    /// The sinks' scores are there before those of keys, with no value.
    #[inline(always)]
    unsafe fn start_with_sinks(&self, areas: &Areas) {
        let Some(sinks) = self.op.sinks else { return };
        for row in 0..areas.rows {
            let head = self.heads.start + row % self.heads.len();
            let sink = with_float!(sinks.dtype(), E => E::get(sinks.as_ptr::<E>().wrapping_add(head)));
            if sink > f32::NEG_INFINITY {
                *areas.total.state.wrapping_add(row) = [sink, 1.0, 0.0];
            }
        }
    }

    fn areas(&mut self) -> Areas {
        let (rows, keys) = (self.rows(), &self.op.keys);
        let (stride, v_stride) = (stride(keys.width()), stride(keys.values().width()));
        let gathered = if self.is_direct() { 0 } else { TILE_KEYS };
        let gathered_values = if keys.v.is_some() { gathered } else { 0 };
        let floats =
            [rows * stride, gathered * stride, gathered_values * v_stride, rows * TILE_KEYS, rows * v_stride];
        let [q, k, v, scores, values] = floats.map(|floats| floats * size_of::<f32>());
        let state = rows * size_of::<[f32; 3]>();
        let [q, k, v, scores, values, state, all_values, all_state] =
            self.scratch.areas([q, k, v, scores, values, state, values, state]);
        Areas {
            q: Area { rows: q.cast(), stride },
            k: Area { rows: k.cast(), stride },
            v: Area { rows: v.cast(), stride: v_stride },
            scores: scores.cast(),
            rows,
            span: Sums { values: values.cast(), state: state.cast() },
            total: Sums { values: all_values.cast(), state: all_state.cast() },
        }
    }

    fn rows(&self) -> usize {
        self.heads.len() * self.piece.queries
    }

    /// Whether keys and values are used where they lie: rows are few, keys are of one part, and there is code for the
    /// type. For many rows they are collected and widened once.
    fn is_direct(&self) -> bool {
        let keys = &self.op.keys;
        let is_read = matches!(keys.k.view.dtype(), DType::F32 | DType::BF16);
        is_read && keys.k_rope.is_none() && self.rows() <= DIRECT_ROWS
    }

    /// Keys that any of the rows sees.
    fn sight(&self) -> Range<usize> {
        let (first, last) = (self.sight_of(0), self.sight_of(self.rows() - 1));
        first.start..last.end
    }

    /// Keys that a row sees.
    fn sight_of(&self, row: usize) -> Range<usize> {
        self.op.sight(&self.piece, row / self.heads.len())
    }

    /// Spans with keys that any of the rows sees.
    fn spans(&self) -> Range<usize> {
        let sight = self.sight();
        sight.start / SPAN_KEYS..sight.end.div_ceil(SPAN_KEYS)
    }

    /// A row's offset in a view of queries or results.
    fn place(&self, view: &View, row: usize) -> usize {
        let token = self.piece.first + row / self.heads.len();
        let head = self.heads.start + row % self.heads.len();
        token * view.strides()[0] + head * view.strides()[1]
    }

    #[inline(always)]
    unsafe fn load_queries<S: Simd>(&self, s: S, areas: &Areas) {
        let parts = [(Some(self.op.q), 0), (self.op.q_rope, stride(self.op.q.dims()[2]))];
        for row in 0..areas.rows {
            let to = areas.q.row(row);
            std::ptr::write_bytes(to, 0, areas.q.stride);
            for (part, at) in parts {
                let Some(q) = part else { continue };
                with_float!(q.dtype(), E => {
                    let from = q.as_ptr::<E>().wrapping_add(self.place(q, row)).cast_const();
                    convert_row(s, from, to.wrapping_add(at), q.dims()[2]);
                });
            }
        }
    }

    /// Takes all rows through the keys of a span.
    #[inline(always)]
    unsafe fn attend_span<S: Simd>(&self, s: S, areas: &Areas, span: usize, sums: Sums) -> TaskResult {
        areas.clear(sums);
        let Range { start: first_key, end } = self.sight();
        let context = Context {
            kernel: self.op.kernel,
            keys: &self.op.keys,
            head: self.head,
            sequence: self.piece.sequence,
            first: self.piece.first_key,
        };
        let span = span * SPAN_KEYS..(span + 1) * SPAN_KEYS;
        let mut tile = span.start.max(first_key / TILE_KEYS * TILE_KEYS);
        while tile < span.end.min(end) {
            let keys = tile.max(first_key)..(tile + TILE_KEYS).min(end);
            if self.is_direct() && self.op.keys.k.view.dtype() == DType::BF16 {
                let tile: Tile<bf16> = context.locate(tile, keys, end)?;
                self.attend_tile(s, areas, &tile, sums);
            } else {
                let tile: Tile<f32> = if self.is_direct() {
                    context.locate(tile, keys, end)?
                } else {
                    context.gather(s, tile, keys, end, (areas.k, areas.v))?
                };
                self.attend_tile(s, areas, &tile, sums);
            }
            tile += TILE_KEYS;
        }
        Ok(())
    }

    #[inline(always)]
    unsafe fn attend_tile<S: Simd, E: Element>(&self, s: S, areas: &Areas, tile: &Tile<E>, sums: Sums) {
        let op = self.op;
        let (start, width, v_width) = (tile.start, op.keys.width(), op.keys.values().width());
        let keys = tile.from..tile.to;
        let mut row = 0;
        while row < areas.rows {
            let count = S::TILE_ROWS.min(areas.rows - row);
            let x = areas.q.row(row).cast_const();
            let out = areas.scores.wrapping_add(row * TILE_KEYS);
            let mut key = keys.start;
            while key < keys.end {
                let count_keys = 4.min(keys.end - key);
                if row == 0 {
                    tile.prefetch(key, width, v_width);
                }
                scattered(
                    Widened::<S, E>::new(s),
                    (x, areas.q.stride, count),
                    &tile.k[key..key + count_keys],
                    width,
                    (out.wrapping_add(key), TILE_KEYS),
                );
                key += count_keys;
            }
            row += count;
        }
        for row in 0..areas.rows {
            let sight = self.sight_of(row);
            let [from, to] = [sight.start, sight.end].map(|key| key.clamp(start, start + TILE_KEYS) - start);
            let scores = areas.scores.wrapping_add(row * TILE_KEYS);
            weigh_row(s, op, scores, sums.state.wrapping_add(row), from, to);
        }
        let mut row = 0;
        while row < areas.rows {
            let count = (areas.rows - row).min(VALUE_ROWS);
            match count {
                4 => add_values::<S, E, 4>(s, areas.scores, tile, sums, row, v_width),
                3 => add_values::<S, E, 3>(s, areas.scores, tile, sums, row, v_width),
                2 => add_values::<S, E, 2>(s, areas.scores, tile, sums, row, v_width),
                _ => add_values::<S, E, 1>(s, areas.scores, tile, sums, row, v_width),
            }
            row += count;
        }
    }

    /// Writes the rows' results.
    #[inline(always)]
    unsafe fn store<S: Simd>(&self, s: S, areas: &Areas) {
        let y = self.op.y;
        for row in 0..areas.rows {
            // A row that sees no key has a sum of zero, and zeros.
            let sum = (*areas.total.state.wrapping_add(row))[1];
            let sum = s.splat(if sum == 0.0 { 1.0 } else { sum });
            let values = areas.total.values.wrapping_add(row * areas.v.stride);
            let at = self.place(y, row);
            with_float!(y.dtype(), Y => divide(s, values, sum, y.as_ptr::<Y>().wrapping_add(at), y.dims()[2]));
        }
    }
}

impl Areas {
    unsafe fn clear(&self, sums: Sums) {
        std::ptr::write_bytes(sums.values, 0, self.rows * self.v.stride);
        for row in 0..self.rows {
            *sums.state.wrapping_add(row) = [f32::NEG_INFINITY, 0.0, 0.0];
        }
    }

    /// Adds a span to the spans before it. Rows that saw none of its keys stay as they are, to the bit.
    #[inline(always)]
    unsafe fn merge<S: Simd>(&self, s: S, span: Sums) {
        for row in 0..self.rows {
            let total_state = self.total.state.wrapping_add(row);
            let ([max, sum, _], [span_max, span_sum, _]) = (*total_state, *span.state.wrapping_add(row));
            let total = self.total.values.wrapping_add(row * self.v.stride);
            let values = span.values.wrapping_add(row * self.v.stride);
            if span_sum == 0.0 {
                continue;
            }
            if sum == 0.0 {
                *total_state = [span_max, span_sum, 0.0];
                std::ptr::copy_nonoverlapping(values, total, self.v.stride);
                continue;
            }
            let greatest = max.max(span_max);
            let (old, new) = (exp_one(s, max - greatest), exp_one(s, span_max - greatest));
            *total_state = [greatest, sum * old + span_sum * new, 0.0];
            let (old, new) = (s.splat(old), s.splat(new));
            let mut i = 0;
            while i < self.v.stride {
                let scaled = s.mul(s.load_f32(total.wrapping_add(i)), old);
                let value = s.fma(s.load_f32(values.wrapping_add(i)), new, scaled);
                s.store_f32(total.wrapping_add(i), value);
                i += S::LANES;
            }
        }
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
