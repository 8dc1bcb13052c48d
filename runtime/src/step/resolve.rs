//! Places every operand of a variant inside its buffer, at the sizes of a step.
//!
//! The plan's expressions are taken as they come: that views stay inside their buffers, that results are dense and
//! that they overlap nothing else in their launch is checked on the numbers, each time they change.

use mscc_ir::dim::DimError;
use mscc_ir::ops::Effect;
use mscc_ir::plan::{Function, Operand, Place, Plan, PlanError, Variant};
use mscc_ir::{DType, Dim, Symbol, SymbolInfo};
use smallvec::SmallVec;

use super::buffers::Needs;
use super::shape::{ShapeProgram, Slot, TapeBuilder};
use crate::device::cpu::Dims;
use crate::error::RuntimeError;

/// The operands of a variant as expressions, and the program that evaluates them.
pub struct VariantProgram {
    shape: ShapeProgram,
    arena_bytes: Slot,
    inputs: Vec<BufferProgram>,
    outputs: Vec<BufferProgram>,
    functions: Vec<FunctionProgram>,
}

struct BufferProgram {
    dtype: DType,
    shape: Vec<Slot>,
}

struct FunctionProgram {
    launches: Vec<LaunchProgram>,
    taps: Vec<OperandProgram>,
    /// Bytes of each weight parameter.
    weights: Vec<usize>,
    /// Group and tensor of each cache parameter.
    caches: Vec<(usize, usize)>,
}

struct LaunchProgram {
    name: String,
    writes_in_place: bool,
    operands: SmallVec<[OperandProgram; 4]>,
    results: SmallVec<[OperandProgram; 2]>,
}

struct OperandProgram {
    place: Place,
    dtype: DType,
    base: Slot,
    offset: Slot,
    shape: SmallVec<[Slot; 4]>,
    strides: SmallVec<[Slot; 4]>,
}

/// A function's launches and taps with numbers in place of expressions.
#[derive(Debug, Default)]
pub struct ResolvedFunction {
    /// Its launches.
    pub launches: Vec<ResolvedLaunch>,
    /// The values that can be read out.
    pub taps: Vec<Placed>,
}

/// A launch with numbers in place of expressions.
#[derive(Debug, Default)]
pub struct ResolvedLaunch {
    /// What it reads.
    pub operands: SmallVec<[Placed; 4]>,
    /// What it writes.
    pub results: SmallVec<[Placed; 2]>,
}

/// A tensor inside a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The buffer.
    pub place: Place,
    /// Element type.
    pub dtype: DType,
    /// Bytes from the buffer's start to the first element; 0 for a tensor without elements.
    pub start: usize,
    /// Bytes from the buffer's start to behind the last element.
    pub end: usize,
    /// Sizes.
    pub dims: Dims,
    /// Strides in elements; along an axis of one element as if densely packed.
    pub strides: Dims,
}

impl VariantProgram {
    /// The program of a variant of a checked plan, as native code where `native` and possible.
    ///
    /// Errors: a symbol that steps do not have; a cache written through something else than the step's slots.
    pub fn new(
        plan: &Plan,
        variant: &Variant,
        source: impl Fn(&Symbol) -> Option<(usize, SymbolInfo)>,
        native: bool,
    ) -> Result<VariantProgram, PlanError> {
        let mut builder = TapeBuilder::default();
        let in_variant = |problem: DimError| bad_plan(format!("programs.main.{}", variant.name), problem);
        let buffer = |builder: &mut TapeBuilder, dtype: DType, shape: &[Dim]| {
            let shape = shape.iter().map(|dim| builder.slot(dim)).collect::<Result<_, _>>()?;
            Ok(BufferProgram { dtype, shape })
        };
        let inputs = plan.inputs.iter().map(|input| buffer(&mut builder, input.dtype, &input.shape));
        let inputs = inputs.collect::<Result<_, _>>().map_err(in_variant)?;
        let outputs = plan.outputs.iter().map(|output| buffer(&mut builder, output.dtype, &output.shape));
        let outputs = outputs.collect::<Result<_, _>>().map_err(in_variant)?;
        let arena_bytes = builder.slot(&variant.arena_bytes).map_err(in_variant)?;
        let functions = variant.functions.iter().map(|function| {
            let field = || format!("programs.main.{}.{}", variant.name, function.name);
            function_program(&mut builder, plan, function, &field)
        });
        let functions = functions.collect::<Result<_, _>>()?;
        let shape = ShapeProgram::new(builder.finish(), source, native).map_err(in_variant)?;
        Ok(VariantProgram { shape, arena_bytes, inputs, outputs, functions })
    }

    /// Evaluates all expressions if a size that counts has changed; whether one has.
    ///
    /// Errors: a value that does not fit.
    pub fn update(&mut self, sizes: &[i64]) -> Result<bool, RuntimeError> {
        self.shape.update(sizes).map_err(|error| RuntimeError::Batch(error.to_string()))
    }

    /// How often the expressions have been evaluated.
    pub fn evaluations(&self) -> u64 {
        self.shape.evaluations()
    }

    /// The memory that a step of these sizes needs.
    ///
    /// Errors: more than can be addressed.
    pub fn needs(&self) -> Result<Needs, RuntimeError> {
        let too_large = || RuntimeError::Memory { bytes: u64::MAX, what: "a step of this size".to_owned() };
        let bytes = |buffer: &BufferProgram| {
            let mut sizes = buffer.shape.iter().map(|slot| self.shape.size(*slot));
            sizes.try_fold(buffer.dtype.bytes()?, |bytes, size| bytes.checked_mul(size?))
        };
        let all = |buffers: &[BufferProgram]| buffers.iter().map(bytes).collect::<Option<Vec<usize>>>();
        Ok(Needs {
            arena: self.shape.size(self.arena_bytes).ok_or_else(too_large)?,
            inputs: all(&self.inputs).ok_or_else(too_large)?,
            outputs: all(&self.outputs).ok_or_else(too_large)?,
        })
    }

    /// Places all operands in buffers of the given sizes; `cache_bytes` tells those of one layer's part of a cache
    /// tensor, given its group and position.
    ///
    /// Errors: a launch whose views leave their buffers, or whose results are not dense or overlap.
    pub fn resolve(
        &self,
        needs: &Needs,
        cache_bytes: &dyn Fn(usize, usize) -> Option<usize>,
    ) -> Result<Vec<ResolvedFunction>, RuntimeError> {
        let resolve = |function: &FunctionProgram| self.resolve_function(function, needs, cache_bytes);
        self.functions.iter().map(resolve).collect()
    }

    fn resolve_function(
        &self,
        function: &FunctionProgram,
        needs: &Needs,
        cache_bytes: &dyn Fn(usize, usize) -> Option<usize>,
    ) -> Result<ResolvedFunction, RuntimeError> {
        let capacity = |place: Place| match place {
            Place::Arena => Some(needs.arena),
            Place::Input(index) => needs.inputs.get(index as usize).copied(),
            Place::Output(index) => needs.outputs.get(index as usize).copied(),
            Place::Weight(index) => function.weights.get(index as usize).copied(),
            Place::Cache(index) => {
                let (group, tensor) = *function.caches.get(index as usize)?;
                cache_bytes(group, tensor)
            }
        };
        let mut resolved = ResolvedFunction::default();
        for launch in &function.launches {
            let problem = |problem: String| RuntimeError::Launch { launch: launch.name.clone(), problem };
            let place = |list: &str, index: usize, operand: &OperandProgram| {
                let outside = || problem(format!("{list} {index} lies outside its buffer"));
                self.place(operand, capacity(operand.place)).ok_or_else(outside)
            };
            let operands = launch.operands.iter().enumerate().map(|(index, it)| place("operand", index, it));
            let operands: SmallVec<[Placed; 4]> = operands.collect::<Result<_, _>>()?;
            let results = launch.results.iter().enumerate().map(|(index, it)| place("result", index, it));
            let results: SmallVec<[Placed; 2]> = results.collect::<Result<_, _>>()?;
            let same = |a: Place, b: Place| match (a, b) {
                (Place::Cache(a), Place::Cache(b)) => {
                    function.caches[a as usize] == function.caches[b as usize]
                }
                (
                    Place::Arena | Place::Input(_) | Place::Output(_) | Place::Weight(_) | Place::Cache(_),
                    _,
                ) => a == b,
            };
            check_results(&operands, &results, launch.writes_in_place, same).map_err(problem)?;
            resolved.launches.push(ResolvedLaunch { operands, results });
        }
        for (index, tap) in function.taps.iter().enumerate() {
            let outside = || RuntimeError::Launch {
                launch: format!("tap {index}"),
                problem: "the value lies outside its buffer".to_owned(),
            };
            resolved.taps.push(self.place(tap, capacity(tap.place)).ok_or_else(outside)?);
        }
        Ok(resolved)
    }

    /// The operand's numbers; `None` if an element lies behind `capacity` or a number does not fit.
    fn place(&self, operand: &OperandProgram, capacity: Option<usize>) -> Option<Placed> {
        let sizes =
            |slots: &[Slot]| slots.iter().map(|slot| self.shape.size(*slot)).collect::<Option<Dims>>();
        let (dims, mut strides) = (sizes(&operand.shape)?, sizes(&operand.strides)?);
        let element = operand.dtype.bytes()?;
        pack_single_axes(&dims, &mut strides, element)?;
        let (mut start, mut end) = (0, 0);
        if !dims.contains(&0) {
            let offset = self.shape.size(operand.offset)?.checked_mul(element)?;
            start = self.shape.size(operand.base)?.checked_add(offset)?;
            end = start.checked_add(extent(&dims, &strides)?.checked_mul(element)?)?;
        }
        let placed = Placed { place: operand.place, dtype: operand.dtype, start, end, dims, strides };
        (end <= capacity?).then_some(placed)
    }
}

impl Placed {
    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn is_dense(&self) -> bool {
        let mut expected = 1;
        self.dims.iter().zip(&self.strides).rev().all(|(dim, stride)| {
            let fits = *dim <= 1 || *stride == expected;
            expected *= (*dim).max(1);
            fits
        })
    }

    fn overlaps(&self, other: &Placed) -> bool {
        !self.is_empty() && !other.is_empty() && self.start < other.end && other.start < self.end
    }
}

/// Elements from the first to behind the last; `None` if they do not fit. There must be one.
pub fn extent(dims: &[usize], strides: &[usize]) -> Option<usize> {
    dims.iter()
        .zip(strides)
        .try_fold(1usize, |sum, (dim, stride)| sum.checked_add((dim - 1).checked_mul(*stride)?))
}

/// Gives axes of at most one element, whose strides mean nothing, those of a dense tensor, so that no kernel
/// computes with what a plan put there; `None` if the dense tensor would not fit the address space.
fn pack_single_axes(dims: &[usize], strides: &mut [usize], element: usize) -> Option<()> {
    let is_empty = dims.contains(&0);
    let mut dense = 1usize;
    for (dim, stride) in dims.iter().zip(strides).rev() {
        if *dim <= 1 || is_empty {
            *stride = dense;
        }
        dense = dense.checked_mul((*dim).max(1))?;
    }
    isize::try_from(dense.checked_mul(element)?).ok().map(|_| ())
}

/// Results are dense and apart from each other and from all operands; only the cache that is written in place is
/// operand 0.
fn check_results(
    operands: &[Placed],
    results: &[Placed],
    writes_in_place: bool,
    same_buffer: impl Fn(Place, Place) -> bool,
) -> Result<(), String> {
    for (index, result) in results.iter().enumerate() {
        if !result.is_dense() {
            return Err(format!("result {index} is not densely packed"));
        }
        let in_place = usize::from(writes_in_place && index == 0);
        if in_place == 1 && operands.first() != Some(result) {
            return Err("the result is not the memory that is written in place".to_owned());
        }
        let meets = |other: &Placed| same_buffer(result.place, other.place) && result.overlaps(other);
        if let Some(operand) = operands.iter().skip(in_place).position(meets) {
            return Err(format!("result {index} overlaps operand {}", operand + in_place));
        }
        if results[..index].iter().any(meets) {
            return Err(format!("result {index} overlaps another"));
        }
    }
    Ok(())
}

fn bad_plan(field: String, problem: impl ToString) -> PlanError {
    PlanError { field, problem: problem.to_string() }
}

fn function_program(
    builder: &mut TapeBuilder,
    plan: &Plan,
    function: &Function,
    field: &dyn Fn() -> String,
) -> Result<FunctionProgram, PlanError> {
    let bad = |problem: &str| bad_plan(field(), problem);
    let mut weights = Vec::with_capacity(function.weights.len());
    for param in &function.weights {
        let ty = plan.weights.recipes.get(param.recipe as usize).and_then(|recipe| recipe.ty());
        let bytes = ty.and_then(|ty| ty.bytes().as_const()).and_then(|bytes| usize::try_from(bytes).ok());
        weights.push(bytes.ok_or_else(|| bad("a weight has no constant size"))?);
    }
    let mut caches = Vec::with_capacity(function.caches.len());
    for cache in &function.caches {
        let group = plan.caches.iter().position(|group| group.name == cache.group);
        let tensor = group.and_then(|group| {
            plan.caches[group].tensors.iter().position(|tensor| tensor.name == cache.tensor)
        });
        caches.push(group.zip(tensor).ok_or_else(|| bad("a cache does not exist"))?);
    }
    let mut launches = Vec::with_capacity(function.launches.len());
    for launch in &function.launches {
        let writes_in_place = launch.op.kind().effect() == Effect::Writes;
        if writes_in_place && !launch.operands.get(2).is_some_and(|slots| is_slot_mapping(plan, slots)) {
            // Only the step's own slots are known to be different.
            return Err(bad(&format!("`{}` does not write through a `slot_mapping` input", launch.name)));
        }
        let mut program =
            |operand| operand_program(builder, operand).map_err(|error| bad_plan(field(), error));
        launches.push(LaunchProgram {
            name: launch.name.clone(),
            writes_in_place,
            operands: launch.operands.iter().map(&mut program).collect::<Result<_, _>>()?,
            results: launch.results.iter().map(&mut program).collect::<Result<_, _>>()?,
        });
    }
    let tap = |tap: &mscc_ir::plan::Tap| operand_program(builder, &tap.value);
    let taps =
        function.taps.iter().map(tap).collect::<Result<_, _>>().map_err(|error| bad_plan(field(), error))?;
    Ok(FunctionProgram { launches, taps, weights, caches })
}

/// Whether the operand reads different entries of a `slot_mapping`, each at most once.
fn is_slot_mapping(plan: &Plan, operand: &Operand) -> bool {
    let Place::Input(index) = operand.place else { return false };
    let input = plan.inputs.get(index as usize);
    input.is_some_and(|input| input.name.starts_with("slot_mapping.")) && operand.layout.is_contiguous()
}

fn operand_program(builder: &mut TapeBuilder, operand: &Operand) -> Result<OperandProgram, DimError> {
    let layout = &operand.layout;
    Ok(OperandProgram {
        place: operand.place,
        dtype: operand.dtype,
        base: builder.slot(&operand.base_bytes)?,
        offset: builder.slot(&layout.offset)?,
        shape: layout.shape.iter().map(|dim| builder.slot(dim)).collect::<Result<_, _>>()?,
        strides: layout.strides.iter().map(|dim| builder.slot(dim)).collect::<Result<_, _>>()?,
    })
}
