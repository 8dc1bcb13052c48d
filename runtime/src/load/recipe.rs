//! Runs weight recipes: from tensors of the checkpoint to one device tensor.
#![allow(unsafe_code, reason = "vouches for the memory behind launches")]

use std::sync::Arc;

use mscc_ir::graph::NodeKind;
use mscc_ir::kernels::{Layout, cpu as kernels};
use mscc_ir::ops::{Op, Reshape};
use mscc_ir::plan::Recipe;
use mscc_ir::view::ViewLayout;
use mscc_ir::{DType, Dim, Leaf, TensorType, Value};

use crate::device::cpu::KernelError;
use crate::device::{Device, Host, Memory, Tensor};
use crate::step::resolve::extent;

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

/// A tensor while a recipe runs.
#[derive(Clone)]
struct Piece {
    /// Owns the memory at `base`; the checkpoint does if there is none.
    memory: Option<Arc<Memory>>,
    base: *mut u8,
    len: usize,
    dtype: DType,
    layout: ViewLayout,
}

/// Runs a recipe; `leaf` gives the bytes of each of its tensors by the leaf's position in the graph.
///
/// Ops that are views move nothing; a result that lies densely in the checkpoint, aligned to its elements, is not
/// copied at all. Values are dropped after their last use.
///
/// Errors: memory that is not to be had; a kernel that refuses its operands.
pub fn run_recipe<'a>(
    recipe: &Recipe,
    host: &mut Host,
    leaf: impl Fn(Value) -> &'a [u8],
) -> Result<Made, RecipeError> {
    let graph = &recipe.body;
    let sink = graph.sinks().first().map(|(_, value)| *value);
    let sink = sink.ok_or_else(|| RecipeError::Unaddressable(recipe.name.to_string()))?;
    let users = graph.users();
    let mut values: Vec<Vec<Piece>> = vec![Vec::new(); graph.len()];
    for (id, node) in graph.nodes() {
        let types: Vec<TensorType> = node.results.iter().map(|result| result.ty.clone()).collect();
        let pieces = match &node.kind {
            NodeKind::Leaf(Leaf::Weight(_)) => {
                vec![Piece::of_file(leaf(Value { node: id, index: 0 }), &types[0])]
            }
            NodeKind::Leaf(Leaf::Input(_) | Leaf::State(_) | Leaf::Cache(_)) => {
                return Err(RecipeError::Unaddressable(node.results[0].name.clone()));
            }
            NodeKind::Op(op) => {
                let operands: Vec<Piece> = node
                    .operands
                    .iter()
                    .map(|operand| values[operand.node.index()][operand.index as usize].clone())
                    .collect();
                run_op(op, &operands, &types, host)?
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
    drop(values);
    finish(piece, host)
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

fn run_op(
    op: &Op,
    operands: &[Piece],
    types: &[TensorType],
    host: &mut Host,
) -> Result<Vec<Piece>, RecipeError> {
    if let Op::RopeFreqs(op) = op {
        let bytes: Vec<u8> = op.frequencies().iter().flat_map(|value| value.to_ne_bytes()).collect();
        let memory = Memory::copy_of(&bytes).ok_or(RecipeError::Memory(bytes.len()))?;
        return Ok(vec![Piece::of_memory(memory, &types[0])]);
    }
    if let Some(first) = operands.first()
        && let Some(layouts) = op.views(&first.layout, types)
    {
        return Ok(layouts.into_iter().map(|layout| Piece { layout, ..first.clone() }).collect());
    }
    let declared = kernels::kernel_for(op.kind());
    let mut fitting = Vec::with_capacity(operands.len());
    for (index, piece) in operands.iter().enumerate() {
        let layout =
            declared.and_then(|kernel| kernel.operand(index)).map_or(Layout::Strided, |it| it.layout);
        let fits = piece.is_aligned()
            && match layout {
                Layout::Strided => true,
                Layout::DenseRows => piece.layout.has_dense_rows(),
                Layout::Contiguous => piece.layout.is_contiguous(),
            };
        fitting.push(if fits { piece.clone() } else { piece.clone().packed(host)? });
    }
    compute(op, &fitting, types, host)
}

/// Runs an op's kernel into new memory.
fn compute(
    op: &Op,
    operands: &[Piece],
    types: &[TensorType],
    host: &mut Host,
) -> Result<Vec<Piece>, RecipeError> {
    let mut results = Vec::with_capacity(types.len());
    for ty in types {
        let bytes = constant(&ty.bytes()).ok_or_else(|| RecipeError::Unaddressable(ty.to_string()))?;
        let memory = Memory::zeroed_to_fill(bytes).ok_or(RecipeError::Memory(bytes))?;
        results.push(Piece::of_memory(memory, ty));
    }
    let operands = operands.iter().map(Numbers::of).collect::<Result<Vec<_>, _>>()?;
    let numbers = results.iter().map(Numbers::of).collect::<Result<Vec<_>, _>>()?;
    if numbers.iter().all(|result| result.dims.contains(&0)) {
        return Ok(results);
    }
    let from: Vec<Tensor<'_>> = operands.iter().map(Numbers::tensor).collect();
    let to: Vec<Tensor<'_>> = numbers.iter().map(Numbers::tensor).collect();
    // SAFETY: `Numbers::of` has checked that each tensor lies inside its memory, which `operands` and `results` keep
    // alive or the mapped checkpoint does; results are new memory each. Recipes have no op that writes in place.
    let launch = unsafe { host.prepare(op, &from, &to) }?;
    host.launch(op, &launch)?;
    Ok(results)
}

impl Piece {
    fn of_file(bytes: &[u8], ty: &TensorType) -> Piece {
        Piece {
            memory: None,
            base: bytes.as_ptr().cast_mut(),
            len: bytes.len(),
            dtype: ty.dtype,
            layout: ViewLayout::contiguous(&ty.shape),
        }
    }

    fn of_memory(memory: Memory, ty: &TensorType) -> Piece {
        let (base, len) = (memory.address(), memory.len());
        let layout = ViewLayout::contiguous(&ty.shape);
        Piece { memory: Some(Arc::new(memory)), base, len, dtype: ty.dtype, layout }
    }

    fn is_aligned(&self) -> bool {
        self.dtype.bytes().is_some_and(|bytes| self.base.addr().is_multiple_of(bytes))
    }

    /// Where it starts, and the bytes from there to behind its last element.
    fn span(&self) -> Result<(*mut u8, usize), RecipeError> {
        let numbers = Numbers::locate(self)?;
        Ok((numbers.address, numbers.bytes))
    }

    /// A dense copy in aligned memory.
    fn packed(self, host: &mut Host) -> Result<Piece, RecipeError> {
        let mut source = self;
        if !source.is_aligned() {
            // SAFETY: `len` bytes from `base` on are live, in the checkpoint or in `memory`.
            let bytes = unsafe { std::slice::from_raw_parts(source.base, source.len) };
            let memory = Memory::copy_of(bytes).ok_or(RecipeError::Memory(bytes.len()))?;
            (source.base, source.memory) = (memory.address(), Some(Arc::new(memory)));
            if source.layout == ViewLayout::contiguous(&source.layout.shape) && source.span()?.1 == source.len
            {
                return Ok(source);
            }
        }
        // A reshape to the same shape is the copy kernel.
        let ty = TensorType::new(source.dtype, source.layout.shape.clone());
        let copy = Reshape { shape: ty.shape.clone() }.into();
        let copied = compute(&copy, std::slice::from_ref(&source), std::slice::from_ref(&ty), host)?;
        copied.into_iter().next().ok_or_else(|| RecipeError::Unaddressable(ty.to_string()))
    }
}

/// A piece's sizes as numbers.
struct Numbers {
    address: *mut u8,
    bytes: usize,
    dtype: DType,
    dims: Vec<usize>,
    strides: Vec<usize>,
}

impl Numbers {
    /// The numbers of a piece that kernels can work on.
    fn of(piece: &Piece) -> Result<Numbers, RecipeError> {
        let numbers = Numbers::locate(piece)?;
        let aligned = piece.dtype.bytes().is_some_and(|bytes| numbers.address.addr().is_multiple_of(bytes));
        if aligned { Ok(numbers) } else { Err(piece.unaddressable()) }
    }

    /// The numbers of a piece, which lies inside its memory.
    fn locate(piece: &Piece) -> Result<Numbers, RecipeError> {
        Numbers::checked(piece).ok_or_else(|| piece.unaddressable())
    }

    fn checked(piece: &Piece) -> Option<Numbers> {
        let sizes = |dims: &[Dim]| dims.iter().map(constant).collect::<Option<Vec<usize>>>();
        let (dims, strides) = (sizes(&piece.layout.shape)?, sizes(&piece.layout.strides)?);
        let element = piece.dtype.bytes()?;
        let (mut start, mut bytes) = (0, 0);
        if !dims.contains(&0) {
            start = constant(&piece.layout.offset)?.checked_mul(element)?;
            bytes = extent(&dims, &strides)?.checked_mul(element)?;
        }
        let inside = start.checked_add(bytes)? <= piece.len;
        let numbers =
            Numbers { address: piece.base.wrapping_add(start), bytes, dtype: piece.dtype, dims, strides };
        inside.then_some(numbers)
    }

    fn tensor(&self) -> Tensor<'_> {
        Tensor { address: self.address, dtype: self.dtype, dims: &self.dims, strides: &self.strides }
    }
}

impl Piece {
    fn unaddressable(&self) -> RecipeError {
        RecipeError::Unaddressable(TensorType::new(self.dtype, self.layout.shape.clone()).to_string())
    }
}

fn constant(dim: &Dim) -> Option<usize> {
    dim.as_const().and_then(|value| usize::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use mscc_ir::attr::Float;
    use mscc_ir::ops::{Cast, Concat, RopeFreqs, RopeScaling, Split, Transpose};
    use mscc_ir::{Graph, Sink, Template};

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

    /// Runs a recipe over one f32[4, 6] tensor; the result's values, and where in the file it lies if it does.
    fn run(file: &File, build: impl FnOnce(&mut Graph, Value) -> Value) -> (Vec<f32>, Option<usize>) {
        let mut body = Graph::new("recipe");
        let ty = TensorType::new(DType::F32, [4u32, 6].map(Dim::from));
        let leaf = body.leaf(Leaf::Weight(Template::new("w").unwrap()), "w", ty);
        let value = build(&mut body, leaf);
        let count = constant(&body.ty(value).numel()).unwrap();
        body.sink(Sink::Output("weight".into()), value);
        let recipe = Recipe { name: Template::new("w").unwrap(), body };
        let made = run_recipe(&recipe, &mut Host::new(1, Isa::detect()), |_| file.bytes()).unwrap();
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
}
