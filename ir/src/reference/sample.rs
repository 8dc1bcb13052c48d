//! Random tensors that are meaningful for the ops that read them.

use std::collections::HashMap;

use super::tensor::round_to;
use super::{MAX_ELEMENTS, Tensor, check_size};
use crate::graph::{Graph, Node, NodeId, NodeKind, Value};
use crate::ops::{Domain, EvalError, Op};
use crate::{DType, Symbol};

/// A seeded source of random sizes and tensors; the same seed gives the same everywhere.
#[derive(Clone, Debug)]
pub struct Sampler {
    state: u64,
}

impl Sampler {
    /// A source for this seed.
    pub fn new(seed: u64) -> Self {
        Sampler { state: seed ^ 0x9e37_79b9_7f4a_7c15 }
    }

    /// The next 64 random bits (SplitMix64; Steele et al., 2014).
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.bits() % bound }
    }

    /// One of `items`.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// A standard normal number.
    pub fn normal(&mut self) -> f64 {
        let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let (u, v) = (uniform(self.bits()), uniform(self.bits()));
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }

    /// A float tensor: mostly normal numbers, some rows zero, large or small.
    pub fn floats(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let width = shape.last().copied().unwrap_or(1).max(1);
        let count: usize = shape.iter().product();
        let mut data = Vec::with_capacity(count);
        while data.len() < count {
            let scale = match self.below(16) {
                0 => 0.0,
                1 => 30.0,
                2 => 1e-3,
                _ => 1.0,
            };
            for _ in 0..width {
                data.push(round_to(self.normal() * scale, dtype));
            }
        }
        Tensor::float(dtype, shape, data)
    }

    /// A tensor for every leaf of `graph` at the given sizes, integers from the domains of the ops that read them.
    pub fn leaves(
        &mut self,
        graph: &Graph,
        sizes: &dyn Fn(&Symbol) -> Option<i64>,
    ) -> Result<HashMap<String, Tensor>, EvalError> {
        let mut leaves = HashMap::new();
        let mut contexts = Vec::new();
        for (id, node) in graph.nodes().filter(|(_, node)| matches!(node.kind, NodeKind::Leaf(_))) {
            let value = Value { node: id, index: 0 };
            let shape = shape_of(graph, value, sizes)?;
            let dtype = graph.ty(value).dtype;
            let name = node.results[0].name.clone();
            if dtype.is_float() {
                leaves.insert(name, self.floats(dtype, &shape));
                continue;
            }
            if is_context(graph, value) {
                contexts.push((name, value, shape));
                continue;
            }
            let data = self.ints(graph, reader(graph, value), dtype, &shape, sizes)?;
            leaves.insert(name, Tensor::int(dtype, &shape, data));
        }
        for (name, value, shape) in contexts {
            let data = self.context_len(graph, value, &leaves, shape[0], sizes)?;
            leaves.insert(name, Tensor::int(DType::I32, &shape, data));
        }
        Ok(leaves)
    }

    fn ints(
        &mut self,
        graph: &Graph,
        reader: Option<(NodeId, &Node, Domain)>,
        dtype: DType,
        shape: &[usize],
        sizes: &dyn Fn(&Symbol) -> Option<i64>,
    ) -> Result<Vec<i64>, EvalError> {
        let count: usize = shape.iter().product();
        let other = |node: &Node, operand: usize| shape_of(graph, node.operands[operand], sizes);
        Ok(match reader {
            None | Some((_, _, Domain::Values | Domain::Positions | Domain::ContextLen)) => {
                let bound = dtype_bound(dtype);
                (0..count).map(|_| self.below(bound) as i64).collect()
            }
            Some((_, node, Domain::RowsOf(operand) | Domain::PagesOf(operand))) => {
                let rows = other(node, operand)?[0] as u64;
                (0..count).map(|_| self.below(rows) as i64).collect()
            }
            Some((_, node, Domain::IndexOf { operand, axis_from_end })) => {
                let shape = other(node, operand)?;
                let bound = shape.len().checked_sub(axis_from_end).map_or(0, |axis| shape[axis] as u64);
                (0..count).map(|_| self.below(bound) as i64).collect()
            }
            Some((id, _, domain @ (Domain::ResultRows | Domain::RowsOfResult(_)))) => {
                let index = if let Domain::RowsOfResult(index) = domain { index as u32 } else { 0 };
                let rows = shape_of(graph, Value { node: id, index }, sizes)?[0] as u64;
                (0..count).map(|_| self.below(rows) as i64).collect()
            }
            Some((id, node, domain @ (Domain::SizesOf { .. } | Domain::SizesOfResult))) => {
                let rows = match domain {
                    Domain::SizesOf { operand } => other(node, operand)?[0],
                    _ => shape_of(graph, Value { node: id, index: 0 }, sizes)?[0],
                };
                let mut group_sizes = vec![0; count];
                for _ in 0..if count == 0 { 0 } else { rows } {
                    group_sizes[self.below(count as u64) as usize] += 1;
                }
                group_sizes
            }
            Some((_, node, Domain::SlotsOf(operand))) => {
                let cache = other(node, operand)?;
                let mut slots: Vec<i64> = (0..(cache[0] * cache[1]) as i64).collect();
                for at in 0..slots.len() {
                    let with = at + self.below((slots.len() - at) as u64) as usize;
                    slots.swap(at, with);
                }
                slots.resize(count, -1);
                slots
            }
            Some((_, node, Domain::QueryStart { tokens })) => {
                let tokens = other(node, tokens)?[0];
                let context = node.operands.iter().copied().find(|value| is_context(graph, *value));
                let room = context.map_or(Ok(Room::ENDLESS), |context| room(graph, context, sizes))?;
                self.query_start(tokens.min(room.rows), count.saturating_sub(1), room.of_sequence)
            }
        })
    }

    /// Divides `tokens` among sequences that hold at most `capacity` each; what they cannot hold is left over.
    fn query_start(&mut self, tokens: usize, sequences: usize, capacity: usize) -> Vec<i64> {
        let mut starts = vec![0];
        let tokens = tokens.min(sequences.saturating_mul(capacity));
        let mut rest = tokens;
        for later in (0..sequences).rev() {
            let least = rest.saturating_sub(capacity.saturating_mul(later));
            let most = rest.min(capacity).max(least);
            rest -= least + self.below((most - least + 1) as u64) as usize;
            starts.push((tokens - rest) as i64);
        }
        starts
    }

    /// Contexts that hold the new tokens and fit the tables and the rows that all who read them have.
    fn context_len(
        &mut self,
        graph: &Graph,
        value: Value,
        leaves: &HashMap<String, Tensor>,
        count: usize,
        sizes: &dyn Fn(&Symbol) -> Option<i64>,
    ) -> Result<Vec<i64>, EvalError> {
        let room = room(graph, value, sizes)?;
        let starts = readers(graph, value).find_map(|(_, user, _)| {
            let starts = operand_with(user, |domain| matches!(domain, Domain::QueryStart { .. }));
            leaves.get(graph.value_name(starts?))
        });
        let new = |sequence| starts.map_or(0, |starts| starts.ints()[sequence + 1] - starts.ints()[sequence]);
        let mut rest = room.rows as i64 - (0..count).map(new).sum::<i64>();
        Ok((0..count)
            .map(|sequence| {
                let spare = (room.of_sequence as i64 - new(sequence)).min(rest);
                let old = self.below((spare + 1).max(1) as u64) as i64;
                rest -= old;
                new(sequence) + old
            })
            .collect())
    }
}

/// Whether the value is the lengths of sequences: read as such, or as sizes beside a block table or starts of queries.
fn is_context(graph: &Graph, value: Value) -> bool {
    readers(graph, value).any(|(_, node, domain)| match domain {
        Domain::ContextLen => true,
        Domain::SizesOf { .. } | Domain::SizesOfResult => {
            operand_with(node, |of| matches!(of, Domain::PagesOf(_) | Domain::QueryStart { .. })).is_some()
        }
        Domain::Values
        | Domain::Positions
        | Domain::RowsOf(_)
        | Domain::PagesOf(_)
        | Domain::IndexOf { .. }
        | Domain::ResultRows
        | Domain::RowsOfResult(_)
        | Domain::SlotsOf(_)
        | Domain::QueryStart { .. } => false,
    })
}

/// What the contexts of a step may take.
struct Room {
    /// Tokens that a sequence's row of the block table holds.
    of_sequence: usize,
    /// Rows that all sequences have together.
    rows: usize,
}

impl Room {
    const ENDLESS: Room = Room { of_sequence: MAX_ELEMENTS as usize, rows: MAX_ELEMENTS as usize };
}

/// The room that all readers of the contexts `value` leave.
fn room(graph: &Graph, value: Value, sizes: &dyn Fn(&Symbol) -> Option<i64>) -> Result<Room, EvalError> {
    let mut room = Room::ENDLESS;
    for (id, node, domain) in readers(graph, value) {
        room.of_sequence = room.of_sequence.min(capacity(graph, node, sizes)?);
        let rows = match domain {
            Domain::SizesOf { operand } => node.operands[operand],
            Domain::SizesOfResult => Value { node: id, index: 0 },
            _ => continue,
        };
        room.rows = room.rows.min(shape_of(graph, rows, sizes)?[0]);
    }
    Ok(room)
}

/// The operand of a node that has such a domain.
fn operand_with(node: &Node, is: impl Fn(Domain) -> bool) -> Option<Value> {
    let operands = node.op()?.kind().operands().iter().zip(&node.operands);
    operands.into_iter().find(|(operand, _)| is(operand.domain)).map(|(_, value)| *value)
}

/// The first user of `value` that cares about its values, and how.
fn reader(graph: &Graph, value: Value) -> Option<(NodeId, &Node, Domain)> {
    readers(graph, value).next()
}

/// The users of `value`, in whatever order, shape and type, that care about its values, and how.
fn readers(graph: &Graph, value: Value) -> impl Iterator<Item = (NodeId, &Node, Domain)> {
    let mut same = vec![value];
    for (id, node) in graph.nodes() {
        if matches!(node.op(), Some(Op::Reshape(_) | Op::Cast(_) | Op::Transpose(_)))
            && same.contains(&node.operands[0])
        {
            same.push(Value { node: id, index: 0 });
        }
    }
    graph.nodes().filter_map(move |(id, node)| {
        let kind = node.op()?.kind();
        let uses = node.operands.iter().enumerate().filter(|(_, operand)| same.contains(operand));
        let mut domains = uses.filter_map(|(at, _)| Some(kind.operand(at)?.domain));
        domains.find(|domain| *domain != Domain::Values).map(|domain| (id, node, domain))
    })
}

/// Tokens that a row of the block table of the attention `user` holds.
fn capacity(graph: &Graph, user: &Node, sizes: &dyn Fn(&Symbol) -> Option<i64>) -> Result<usize, EvalError> {
    let operands = user.op().map_or(&[][..], |op| op.kind().operands());
    for (operand, value) in operands.iter().zip(&user.operands) {
        if let Domain::PagesOf(cache) = operand.domain {
            let (table, cache) =
                (shape_of(graph, *value, sizes)?, shape_of(graph, user.operands[cache], sizes)?);
            return Ok(table[1].saturating_mul(cache[1]));
        }
    }
    Ok(MAX_ELEMENTS as usize)
}

/// Random integers of a type lie below this.
fn dtype_bound(dtype: DType) -> u64 {
    match dtype {
        DType::Bool => 2,
        DType::I4 => 8,
        DType::I8 => 128,
        DType::U8 => 256,
        DType::I32 | DType::I64 => 1000,
        DType::F64 | DType::F32 | DType::F16 | DType::BF16 | DType::F8E4M3 => 1,
    }
}

fn shape_of(
    graph: &Graph,
    value: Value,
    sizes: &dyn Fn(&Symbol) -> Option<i64>,
) -> Result<Vec<usize>, EvalError> {
    let mut shape = Vec::new();
    for dim in &graph.ty(value).shape {
        shape.push(usize::try_from(dim.eval(sizes)?).map_err(|_| crate::dim::DimError::Overflow)?);
    }
    check_size(&shape)?;
    Ok(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse_function;

    const ATTENTION: &str = "func @f {
        %q = input q : f32[T, 2, 8]
        %k = input k : f32[P, 4, 1, 8]
        %slots = input slots : i32[T]
        %written = cache_write %k, %q0, %slots
        %table = input table : i32[B, M]
        %start = input start : i32[B + 1]
        %context = input context : i32[B]
        %y = attention %q, %written, %written, %table, %start, %context {scale=1.0}
    }";

    #[test]
    fn integers_are_of_their_domains() {
        let text = ATTENTION.replace("%slots = ", "%q0 = input q0 : f32[T, 1, 8]\n%slots = ");
        let graph = parse_function(&text).unwrap();
        for seed in 0..500 {
            let mut sampler = Sampler::new(seed);
            let [b, m, p] =
                [sampler.below(4), sampler.below(4), 1 + sampler.below(4)].map(|size| size as i64);
            let t = sampler.below((b * m * 4) as u64 + 1) as i64;
            let sizes = |symbol: &Symbol| {
                [("T", t), ("B", b), ("M", m), ("P", p)]
                    .into_iter()
                    .find(|(name, _)| *name == symbol.name())
                    .map(|(_, size)| size)
            };
            let leaves = sampler.leaves(&graph, &sizes).unwrap();
            crate::reference::interpret(&graph, &sizes, &leaves, crate::reference::Rounding::Exact)
                .unwrap_or_else(|error| panic!("T={t} B={b} M={m} P={p}: {error}"));
            let mut slots: Vec<i64> =
                leaves["slots"].ints().iter().copied().filter(|slot| *slot >= 0).collect();
            slots.sort_unstable();
            assert!(slots.windows(2).all(|pair| pair[0] < pair[1]), "slots are distinct");
        }
    }

    #[test]
    fn a_value_read_as_rows_is_of_rows_wherever_it_stands() {
        let graph = parse_function("func @f { %x = input x : i32[3]\n%y = gather %x, %x }").unwrap();
        for seed in 0..50 {
            let leaves = Sampler::new(seed).leaves(&graph, &|_| None).unwrap();
            assert!(leaves["x"].ints().iter().all(|row| (0..3).contains(row)));
        }
    }

    #[test]
    fn integers_fit_their_type() {
        let text = "func @f { %a = input a : bool[99]\n%b = input b : i4[99]\n%c = input c : i8[99]\n%d = input d : u8[99] }";
        let leaves = Sampler::new(1).leaves(&parse_function(text).unwrap(), &|_| None).unwrap();
        for (name, most) in [("a", 1), ("b", 7), ("c", 127), ("d", 255)] {
            assert!(leaves[name].ints().iter().all(|value| (0..=most).contains(value)), "{name}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same() {
        let mut sampler = Sampler::new(7);
        assert_eq!(
            [sampler.bits(), sampler.bits()],
            [Sampler::new(7).bits(), {
                let mut again = Sampler::new(7);
                again.bits();
                again.bits()
            }]
        );
        assert_eq!(sampler.floats(DType::BF16, &[0, 3]).numel(), 0);
        assert_eq!(sampler.floats(DType::BF16, &[]).numel(), 1);
        assert_eq!(sampler.pick::<u8>(&[]), None);
    }
}
