//! Tensors while a recipe runs: in the checkpoint or in memory, and the ops on them.
#![allow(unsafe_code, reason = "vouches for the memory behind launches")]

use std::sync::Arc;

use mscc_ir::kernels::{Layout, cpu as kernels};
use mscc_ir::ops::{Op, Reshape};
use mscc_ir::view::ViewLayout;
use mscc_ir::{DType, Dim, TensorType};

use super::recipe::RecipeError;
use crate::device::{Device, Host, Memory, Tensor};
use crate::step::resolve::extent;

/// A tensor while a recipe runs.
#[derive(Clone)]
pub(super) struct Piece {
    /// Owns the memory at `base`; the checkpoint does if there is none.
    pub(super) memory: Option<Arc<Memory>>,
    pub(super) base: *mut u8,
    pub(super) len: usize,
    pub(super) dtype: DType,
    pub(super) layout: ViewLayout,
}

/// The results of an op: views of its operand, or in new memory.
pub(super) fn run_op(
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
    let results = types.iter().map(Piece::new).collect::<Result<Vec<_>, _>>()?;
    compute(op, &fitting(op, operands, host)?, &results, host)?;
    Ok(results)
}

/// Computes the one result of an op that is no view where `into` lies, which is apart from the operands.
pub(super) fn run_op_into(
    op: &Op,
    operands: &[Piece],
    into: &Piece,
    host: &mut Host,
) -> Result<(), RecipeError> {
    compute(op, &fitting(op, operands, host)?, std::slice::from_ref(into), host)
}

/// The operands as the op's kernel wants them.
fn fitting(op: &Op, operands: &[Piece], host: &mut Host) -> Result<Vec<Piece>, RecipeError> {
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
    Ok(fitting)
}

/// Runs an op's kernel; the results are in memory that no operand shares.
fn compute(op: &Op, operands: &[Piece], results: &[Piece], host: &mut Host) -> Result<(), RecipeError> {
    let operands = operands.iter().map(Numbers::of).collect::<Result<Vec<_>, _>>()?;
    let numbers = results.iter().map(Numbers::of).collect::<Result<Vec<_>, _>>()?;
    if numbers.iter().all(|result| result.dims.contains(&0)) {
        return Ok(());
    }
    let from: Vec<Tensor<'_>> = operands.iter().map(Numbers::tensor).collect();
    let to: Vec<Tensor<'_>> = numbers.iter().map(Numbers::tensor).collect();
    // SAFETY: `Numbers::of` has checked that each tensor lies inside its memory, which the pieces keep alive or the
    // mapped checkpoint does; results are in memory apart from the operands and are packed. Recipes have no op that
    // writes in place.
    let launch = unsafe { host.prepare(op, &from, &to) }?;
    host.launch(op, &launch)?;
    Ok(())
}

impl Piece {
    /// Zeroed memory for a tensor of constant size.
    pub(super) fn new(ty: &TensorType) -> Result<Piece, RecipeError> {
        let bytes = constant(&ty.bytes()).ok_or_else(|| RecipeError::Unaddressable(ty.to_string()))?;
        let memory = Memory::zeroed_to_fill(bytes).ok_or(RecipeError::Memory(bytes))?;
        Ok(Piece::of_memory(memory, ty))
    }

    /// Slice `e` along axis 0 of a packed tensor, of this type.
    pub(super) fn slice(&self, e: u32, ty: &TensorType) -> Piece {
        let layout = ViewLayout { offset: Dim::from(e) * ty.numel(), ..ViewLayout::contiguous(&ty.shape) };
        Piece { layout, ..self.clone() }
    }

    /// Makes this packed tensor a copy of another of its type, apart from it, wherever that lies.
    pub(super) fn copy(&self, from: &Piece, host: &mut Host) -> Result<(), RecipeError> {
        if from.layout.is_contiguous() {
            return self.copy_bytes(from);
        }
        let copy = Reshape { shape: self.layout.shape.clone() }.into();
        run_op_into(&copy, std::slice::from_ref(from), self, host)
    }

    /// As [`Piece::copy`], of a packed tensor.
    pub(super) fn copy_bytes(&self, from: &Piece) -> Result<(), RecipeError> {
        let ((to, bytes), (from, available)) = (self.span()?, from.span()?);
        if bytes != available {
            return Err(self.unaddressable());
        }
        // SAFETY: both spans lie inside memory that the pieces or the mapped checkpoint keep alive, as `span` has
        // checked; this one lies in memory of its own, that of a result.
        unsafe { std::ptr::copy_nonoverlapping(from.cast_const(), to, bytes) };
        Ok(())
    }

    pub(super) fn of_file(bytes: &[u8], ty: &TensorType) -> Piece {
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
    pub(super) fn span(&self) -> Result<(*mut u8, usize), RecipeError> {
        let numbers = Numbers::locate(self)?;
        Ok((numbers.address, numbers.bytes))
    }

    /// A dense copy in aligned memory.
    pub(super) fn packed(self, host: &mut Host) -> Result<Piece, RecipeError> {
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
        let packed = Piece::new(&ty)?;
        compute(&copy, std::slice::from_ref(&source), std::slice::from_ref(&packed), host)?;
        Ok(packed)
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
