//! Runs weight recipes: from tensors of the checkpoint to one device tensor.
#![allow(unsafe_code, reason = "shares mapped memory between threads")]

use std::sync::Arc;

use mscc_ir::graph::{Node, NodeKind};
use mscc_ir::ops::Op;
use mscc_ir::plan::Recipe;
use mscc_ir::tensor_type::resolve_axis;
use mscc_ir::{Dim, Graph, Leaf, TensorType, Value};

use super::piece::{Piece, run_op, run_op_into};
use crate::device::cpu::KernelError;
use crate::device::{Host, Memory};

/// The tensor that a recipe made.
#[derive(Debug)]
pub enum Made {
    /// Bytes of the checkpoint, as they are.
    Mapped {
        /// Where the tensor starts.
        address: *mut u8,
        /// Its size.
        bytes: usize,
    },
    /// Memory of its own.
    Owned(Memory),
}

// SAFETY: the address is that of mapped memory which no one writes, whichever thread reads it.
unsafe impl Send for Made {}
// SAFETY: as above.
unsafe impl Sync for Made {}

impl Made {
    /// Where the tensor starts.
    pub fn address(&self) -> *mut u8 {
        match self {
            Made::Mapped { address, .. } => *address,
            Made::Owned(memory) => memory.address(),
        }
    }
}

/// Why a recipe could not be run.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Memory that is not to be had.
    #[error("cannot allocate {0} bytes")]
    Memory(usize),
    /// A kernel that refuses its operands.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A tensor without constant sizes, or smaller than what is read of it.
    #[error("`{0}` has no size that can be addressed, or is read beyond its end")]
    Unaddressable(String),
}

/// The stored tensors of a recipe, each named by the leaf that reads it and its number in the leaf's stack, 0 if it is
/// none.
pub trait Source {
    /// The bytes of a tensor.
    fn bytes(&self, leaf: Value, e: u32) -> &[u8];

    /// Says that they are not read again, because what was made of them is elsewhere.
    fn done(&self, leaf: Value, e: u32);
}

/// Runs a recipe.
///
/// Ops that are views move nothing; a result that lies densely in the checkpoint, aligned to its elements, is not
/// copied at all. Values are dropped after their last use. What is made of stacks alone is made slice by slice where
/// all ops allow it, each written where it belongs, so that no stack is ever in memory beside the result.
///
/// Errors: memory that is not to be had; a kernel that refuses its operands.
pub fn run_recipe(recipe: &Recipe, host: &mut Host, source: &impl Source) -> Result<Made, RecipeError> {
    let graph = &recipe.body;
    let sink = graph.sinks().first().map(|(_, value)| *value);
    let sink = sink.ok_or_else(|| unaddressable(&recipe.name))?;
    if let Some(slices) = Slices::of(recipe, sink) {
        return slices.run(host, graph.ty(sink), source);
    }
    let stacked: Vec<Value> =
        recipe.sources().filter(|(_, it)| it.is_stack()).map(|(leaf, _)| leaf).collect();
    let leaf = |leaf: Value| match stacked.contains(&leaf) {
        true => gather(recipe, leaf, source),
        false => Ok(Piece::of_file(source.bytes(leaf, 0), graph.ty(leaf))),
    };
    let made = finish(evaluate(graph, sink, host, leaf, None)?, host)?;
    if matches!(made, Made::Owned(_)) {
        let single = recipe.sources().map(|(leaf, _)| leaf).filter(|leaf| !stacked.contains(leaf));
        single.for_each(|leaf| source.done(leaf, 0));
    }
    Ok(made)
}

/// A recipe over stacks alone whose slice e depends on the stacks' slices e alone.
struct Slices {
    count: u32,
    /// The recipe for one slice, with the nodes of the recipe; axis 0 of all values is 1.
    graph: Graph,
    sink: Value,
}

impl Slices {
    fn of(recipe: &Recipe, sink: Value) -> Option<Slices> {
        let count = recipe.sources().next()?.1.count();
        let alike = recipe.sources().all(|(_, stored)| stored.is_stack() && stored.count() == count);
        let body = &recipe.body;
        let rank = |node: &Node| node.operands.first().map_or(0, |operand| body.ty(*operand).rank());
        let by_slice = |node: &Node| node.op().is_none_or(|op| is_by_slice(op, rank(node)));
        if !alike || !body.nodes().all(|(_, node)| by_slice(node)) {
            return None;
        }
        let mut graph = Graph::new(&body.name);
        for (id, node) in body.nodes() {
            match &node.kind {
                NodeKind::Leaf(leaf) => {
                    graph.leaf(leaf.clone(), &node.results[0].name, slice_type(&node.results[0].ty)?);
                }
                NodeKind::Op(op) => {
                    // Nodes keep their numbers, and so do values.
                    let results = graph.op(op.clone(), &node.operands, &[]).ok()?;
                    debug_assert!(results.iter().all(|result| result.node == id));
                }
            }
        }
        (Some(graph.ty(sink)) == slice_type(body.ty(sink)).as_ref()).then_some(Slices { count, graph, sink })
    }

    fn run(&self, host: &mut Host, ty: &TensorType, source: &impl Source) -> Result<Made, RecipeError> {
        let whole = Piece::new(ty)?;
        for e in 0..self.count {
            let leaf = |leaf: Value| Ok(Piece::of_file(source.bytes(leaf, e), self.graph.ty(leaf)));
            let slice = whole.slice(e, self.graph.ty(self.sink));
            evaluate(&self.graph, self.sink, host, leaf, Some(slice))?;
            self.graph.leaves().for_each(|(leaf, _)| source.done(leaf, e));
        }
        finish(whole, host)
    }
}

/// Whether each slice of an op's results along axis 0 is what the op gives of the operands' slices.
fn is_by_slice(op: &Op, rank: usize) -> bool {
    match op {
        Op::Cast(_) => rank > 0,
        Op::Concat(concat) => resolve_axis(concat.axis, rank).is_some_and(|axis| axis > 0),
        Op::Split(split) => resolve_axis(split.axis, rank).is_some_and(|axis| axis > 0),
        Op::Transpose(transpose) => transpose.permutation.first() == Some(&0),
        _ => false, // not known of any other op
    }
}

/// The type of one slice along axis 0, which stays as 1.
fn slice_type(ty: &TensorType) -> Option<TensorType> {
    let mut slice = ty.clone();
    *slice.shape.first_mut()? = Dim::ONE;
    Some(slice)
}

/// All members of a stack in memory.
fn gather(recipe: &Recipe, leaf: Value, source: &impl Source) -> Result<Piece, RecipeError> {
    let stored = recipe.sources().find(|(value, _)| *value == leaf).map(|(_, stored)| stored);
    let stored = stored.ok_or_else(|| unaddressable(&recipe.name))?;
    let ty = recipe.body.ty(leaf);
    let member = slice_type(ty).ok_or_else(|| unaddressable(&recipe.name))?;
    let whole = Piece::new(ty)?;
    for e in 0..stored.count() {
        whole.slice(e, &member).copy_bytes(&Piece::of_file(source.bytes(leaf, e), &member))?;
        source.done(leaf, e);
    }
    Ok(whole)
}

/// Computes `sink`, into `into` if that is given.
fn evaluate(
    graph: &Graph,
    sink: Value,
    host: &mut Host,
    leaf: impl Fn(Value) -> Result<Piece, RecipeError>,
    into: Option<Piece>,
) -> Result<Piece, RecipeError> {
    let users = graph.users();
    let mut values: Vec<Vec<Piece>> = vec![Vec::new(); graph.len()];
    for (id, node) in graph.nodes() {
        let pieces = match &node.kind {
            NodeKind::Leaf(Leaf::Weight(_)) => vec![leaf(Value { node: id, index: 0 })?],
            NodeKind::Leaf(Leaf::Input(_) | Leaf::State(_) | Leaf::Cache(_)) => {
                return Err(unaddressable(&node.results[0].name));
            }
            NodeKind::Op(op) => {
                let types: Vec<TensorType> = node.results.iter().map(|result| result.ty.clone()).collect();
                let operands: Vec<Piece> = node
                    .operands
                    .iter()
                    .map(|operand| values[operand.node.index()][operand.index as usize].clone())
                    .collect();
                match &into {
                    Some(into) if id == sink.node && types.len() == 1 && !op.kind().is_view() => {
                        run_op_into(op, &operands, into, host)?;
                        return Ok(into.clone());
                    }
                    Some(_) | None => run_op(op, &operands, &types, host)?,
                }
            }
        };
        values[id.index()] = pieces;
        for operand in &node.operands {
            let is_last = users[operand.node.index()].last() == Some(&id);
            if is_last && operand.node != sink.node {
                values[operand.node.index()].clear();
            }
        }
    }
    let piece = values.swap_remove(sink.node.index()).swap_remove(sink.index as usize);
    match into {
        None => Ok(piece),
        Some(into) => {
            into.copy(&piece, host)?;
            Ok(into)
        }
    }
}

/// The result as mapped bytes, or in memory of exactly its size.
fn finish(piece: Piece, host: &mut Host) -> Result<Made, RecipeError> {
    let (address, bytes) = piece.span()?;
    let aligned = piece.dtype.bytes().is_some_and(|bytes| address.addr().is_multiple_of(bytes));
    if piece.layout.is_contiguous() && aligned && piece.memory.is_none() {
        return Ok(Made::Mapped { address, bytes });
    }
    let whole = piece.layout.is_contiguous() && bytes == piece.len;
    match piece.memory {
        Some(memory) if whole => match Arc::try_unwrap(memory) {
            Ok(memory) => Ok(Made::Owned(memory)),
            Err(memory) => Memory::copy_of(memory.bytes()).map(Made::Owned).ok_or(RecipeError::Memory(bytes)),
        },
        memory => {
            let copy = Piece { memory, ..piece }.packed(host)?;
            let memory = copy.memory.and_then(Arc::into_inner);
            memory.map(Made::Owned).ok_or(RecipeError::Memory(bytes))
        }
    }
}

fn unaddressable(name: &impl ToString) -> RecipeError {
    RecipeError::Unaddressable(name.to_string())
}

#[cfg(test)]
mod tests {
    use mscc_ir::attr::Float;
    use mscc_ir::ops::{Cast, Concat, Reshape, RopeFreqs, RopeScaling, Split, Transpose};
    use mscc_ir::{DType, Sink, Template};

    use std::cell::RefCell;

    use super::*;
    use crate::device::cpu::Isa;

    /// f32 values 0, 1, 2, … in memory whose elements are aligned, or not.
    struct File {
        memory: Memory,
        skip: usize,
    }

    impl File {
        fn new(count: usize, skip: usize) -> File {
            let mut memory = Memory::zeroed(skip + 4 * count).unwrap();
            for (index, bytes) in memory.bytes_mut()[skip..].chunks_mut(4).enumerate() {
                bytes.copy_from_slice(&(index as f32).to_ne_bytes());
            }
            File { memory, skip }
        }

        fn bytes(&self) -> &[u8] {
            &self.memory.bytes()[self.skip..]
        }
    }

    impl Source for File {
        fn bytes(&self, _: Value, _: u32) -> &[u8] {
            self.bytes()
        }

        fn done(&self, _: Value, _: u32) {}
    }

    /// Runs a recipe over one f32[4, 6] tensor; the result's values, and where in the file it lies if it does.
    fn run(file: &File, build: impl FnOnce(&mut Graph, Value) -> Value) -> (Vec<f32>, Option<usize>) {
        let mut body = Graph::new("recipe");
        let ty = TensorType::new(DType::F32, [4u32, 6].map(Dim::from));
        let leaf = body.leaf(Leaf::Weight(Template::new("w").unwrap()), "w", ty);
        let value = build(&mut body, leaf);
        let count = body.ty(value).numel().as_const().unwrap() as usize;
        body.sink(Sink::Output("weight".into()), value);
        let recipe = Recipe { name: Template::new("w").unwrap(), body, format: Default::default() };
        let made = run_recipe(&recipe, &mut Host::new(1, Isa::detect()), file).unwrap();
        match made {
            Made::Mapped { address, bytes } => {
                let start = address.addr() - file.bytes().as_ptr().addr();
                let values = file.bytes()[start..start + bytes].chunks(4);
                (values.map(|it| f32::from_ne_bytes(it.try_into().unwrap())).collect(), Some(start))
            }
            Made::Owned(memory) => (memory.floats(count).to_vec(), None),
        }
    }

    fn numbers(range: std::ops::Range<u32>) -> Vec<f32> {
        range.map(|value| value as f32).collect()
    }

    #[test]
    fn what_lies_densely_in_the_file_is_not_copied() {
        let file = File::new(24, 0);
        assert_eq!(run(&file, |_, w| w), (numbers(0..24), Some(0)));
        let rows = |graph: &mut Graph, w| {
            let sizes = vec![Dim::ONE, Dim::constant(3)];
            graph.op(Split { axis: 0, sizes }, &[w], &["part"]).unwrap()[1]
        };
        assert_eq!(run(&file, rows), (numbers(6..24), Some(24)));
        let flat = |graph: &mut Graph, w| {
            graph.op1(Reshape { shape: vec![Dim::constant(24)] }, &[w], "flat").unwrap()
        };
        assert_eq!(run(&file, flat), (numbers(0..24), Some(0)));
    }

    #[test]
    fn the_rest_is_made_in_memory() {
        let columns = |graph: &mut Graph, w| {
            let sizes = vec![Dim::constant(5), Dim::ONE];
            graph.op(Split { axis: 1, sizes }, &[w], &["part"]).unwrap()[1]
        };
        let turned =
            |graph: &mut Graph, w| graph.op1(Transpose { permutation: vec![1, 0] }, &[w], "t").unwrap();
        let twice = |graph: &mut Graph, w| graph.op1(Concat { axis: 0 }, &[w, w], "twice").unwrap();
        let cast = |graph: &mut Graph, w| {
            let narrow = graph.op1(Cast { dtype: DType::BF16 }, &[w], "narrow").unwrap();
            graph.op1(Cast { dtype: DType::F32 }, &[narrow], "wide").unwrap()
        };
        for skip in [0, 1, 2] {
            let file = File::new(24, skip);
            assert_eq!(run(&file, columns), (vec![5.0, 11.0, 17.0, 23.0], None));
            let (values, place) = run(&file, turned);
            assert_eq!((&values[..5], place), (&[0.0, 6.0, 12.0, 18.0, 1.0][..], None));
            assert_eq!(run(&file, twice), ([numbers(0..24), numbers(0..24)].concat(), None));
            assert_eq!(run(&file, cast), (numbers(0..24), None));
            let place = if skip == 0 { Some(0) } else { None };
            assert_eq!(run(&file, |_, w| w), (numbers(0..24), place), "alignment");
        }
    }

    #[test]
    fn frequencies_are_those_of_the_op() {
        let op = RopeFreqs { dim: 8, theta: Float(1e4), scaling: RopeScaling::None };
        let expected = op.frequencies();
        let file = File::new(24, 0);
        assert_eq!(run(&file, |graph, _| graph.op1(op, &[], "freqs").unwrap()), (expected, None));
    }

    /// Members of stacks, f32[2, 3] each, of values that tell leaf, member and place; none aligned.
    struct Members {
        files: Vec<Vec<File>>,
        done: RefCell<Vec<(u32, u32)>>,
    }

    impl Source for Members {
        fn bytes(&self, leaf: Value, e: u32) -> &[u8] {
            self.files[leaf.node.index()][e as usize].bytes()
        }

        fn done(&self, leaf: Value, e: u32) {
            self.done.borrow_mut().push((leaf.node.0, e));
        }
    }

    fn member(leaf: u32, e: u32) -> Vec<f32> {
        (0..6).map(|at| (100 * leaf + 10 * e + at) as f32).collect()
    }

    /// What `build` makes of stacks of three, and whether the stacks were never whole.
    fn run_stacks(count: u32, build: impl FnOnce(&mut Graph, &[Value]) -> Value) -> (Vec<f32>, bool) {
        let mut body = Graph::new("recipe");
        let ty = TensorType::new(DType::F32, [3u32, 2, 3].map(Dim::from));
        let leaves: Vec<Value> = (0..count)
            .map(|leaf| {
                let name = format!("l.{{e}}.{leaf}");
                body.leaf(Leaf::Weight(Template::new(&name).unwrap()), &name, ty.clone())
            })
            .collect();
        let value = build(&mut body, &leaves);
        body.sink(Sink::Output("weight".into()), value);
        let elements = body.ty(value).numel().as_const().unwrap() as usize;
        let file = |leaf: u32, e: u32| {
            let mut file = File::new(6, 1 + leaf as usize);
            let skip = file.skip;
            for (bytes, value) in file.memory.bytes_mut()[skip..].chunks_mut(4).zip(member(leaf, e)) {
                bytes.copy_from_slice(&value.to_ne_bytes());
            }
            file
        };
        let files = (0..count).map(|leaf| (0..3).map(|e| file(leaf, e)).collect()).collect();
        let members = Members { files, done: RefCell::default() };
        let recipe = Recipe { name: Template::new("w").unwrap(), body, format: Default::default() };
        let by_slice = Slices::of(&recipe, value).is_some();
        let made = run_recipe(&recipe, &mut Host::new(1, Isa::detect()), &members).unwrap();
        let Made::Owned(memory) = made else { panic!("a stack is not in the files") };
        let mut done = members.done.into_inner();
        done.sort_unstable();
        let all: Vec<(u32, u32)> = (0..count).flat_map(|leaf| (0..3).map(move |e| (leaf, e))).collect();
        assert_eq!(done, all, "each member is let go once");
        assert_eq!(memory.len(), 4 * elements);
        (memory.floats(elements).to_vec(), by_slice)
    }

    #[test]
    fn members_are_gathered_where_they_belong() {
        let stack = |leaf| (0..3).flat_map(|e| member(leaf, e)).collect::<Vec<f32>>();
        assert_eq!(run_stacks(1, |_, w| w[0]), (stack(0), true));
        let rows = |graph: &mut Graph, w: &[Value]| graph.op1(Concat { axis: 1 }, w, "rows").unwrap();
        let expected: Vec<f32> = (0..3).flat_map(|e| [member(0, e), member(1, e)].concat()).collect();
        assert_eq!(run_stacks(2, rows), (expected.clone(), true));
        let narrow = |graph: &mut Graph, w: &[Value]| {
            let w: Vec<Value> =
                w.iter().map(|w| graph.op1(Cast { dtype: DType::BF16 }, &[*w], "b").unwrap()).collect();
            let joined = graph.op1(Concat { axis: -2 }, &w, "rows").unwrap();
            graph.op1(Cast { dtype: DType::F32 }, &[joined], "wide").unwrap()
        };
        let halves = expected.iter().map(|value| half::bf16::from_f32(*value).to_f32()).collect();
        assert_eq!(run_stacks(2, narrow), (halves, true));
        let turned = |graph: &mut Graph, w: &[Value]| {
            graph.op1(Transpose { permutation: vec![0, 2, 1] }, w, "turned").unwrap()
        };
        let order = [0, 3, 1, 4, 2, 5];
        let expected: Vec<f32> = (0..3).flat_map(|e| order.map(|at| member(0, e)[at])).collect();
        assert_eq!(run_stacks(1, turned), (expected, true));
    }

    #[test]
    fn stacks_that_are_needed_whole_are_made_whole() {
        let stack = |leaf| (0..3).flat_map(|e| member(leaf, e)).collect::<Vec<f32>>();
        let below = |graph: &mut Graph, w: &[Value]| graph.op1(Concat { axis: 0 }, w, "below").unwrap();
        assert_eq!(run_stacks(2, below), ([stack(0), stack(1)].concat(), false));
        let flat = |graph: &mut Graph, w: &[Value]| {
            graph.op1(Reshape { shape: vec![Dim::constant(18)] }, w, "flat").unwrap()
        };
        assert_eq!(run_stacks(1, flat), (stack(0), false));
        let last = |graph: &mut Graph, w: &[Value]| {
            let sizes = vec![Dim::constant(2), Dim::ONE];
            graph.op(Split { axis: 0, sizes }, w, &["part"]).unwrap()[1]
        };
        assert_eq!(run_stacks(1, last), (member(0, 2), false));
    }
}
