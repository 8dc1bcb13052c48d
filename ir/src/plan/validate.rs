//! What must hold for every plan before it runs, whoever wrote it.

use std::collections::HashSet;

use super::bounds::check_bounds;
use super::{Condition, Function, Launch, Listing, Operand, Place, Plan, Recipe, Variant, WeightParam};
use crate::graph::{CacheRef, Leaf, Sink};
use crate::kernels;
use crate::kernels::ascend::{Family, Format, Soc, TensorOf};
use crate::module::CacheKind;
use crate::ops::{Effect, TypeError};
use crate::view::ViewLayout;
use crate::{DType, Dim, Stored, SymbolTable, TensorType, step};

/// Most axes of a view; far above any real plan.
const MAX_AXES: usize = 8;

/// What is wrong with a plan.
///
/// What to do: compile the model again; if that does not help, report it as a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad plan: {field}: {problem}")]
pub struct PlanError {
    /// Where.
    pub field: String,
    /// What.
    pub problem: String,
}

/// Checks every index, type, size and expression of a plan.
///
/// After this, evaluating any size within the symbols' bounds gives numbers that fit 64 bits or an error, each
/// launch's types are those its op gives, and each operand names an existing buffer; that the view lies inside the
/// buffer is checked when sizes are known.
///
/// Errors: the first thing that is wrong, with its place.
pub fn validate(plan: &Plan) -> Result<(), PlanError> {
    check_bounds(plan)?;
    let mut symbols = SymbolTable::default();
    let mut names = HashSet::new();
    for (name, info) in &plan.symbols {
        let field = || format!("symbols.{name}");
        check(names.insert(name), field, || "is declared twice".into())?;
        check(0 <= info.min && info.min <= info.max, field, || "bounds are not 0 <= min <= max".into())?;
        check((info.min..=info.max).contains(&info.likely), field, || {
            "the likely value is out of bounds".into()
        })?;
        symbols.declare(name, *info);
    }
    let validator = Validator { plan, symbols };
    validator.declarations()?;
    for (index, recipe) in plan.weights.recipes.iter().enumerate() {
        validator.recipe(&format!("weights.recipes[{index}]"), recipe)?;
    }
    check(plan.program("main").is_some(), || "programs".into(), || "there is no program `main`".into())?;
    for program in &plan.programs {
        let field = format!("programs.{}", program.name);
        check(!program.variants.is_empty(), || field.clone(), || "has no variant".into())?;
        for variant in &program.variants {
            validator.variant(&format!("{field}.{}", variant.name), variant)?;
        }
        let last = program.variants.last().is_some_and(|variant| variant.guard.is_empty());
        check(last, || field.clone(), || "the last variant has a guard, so a step may find none".into())?;
    }
    Ok(())
}

pub(super) fn check(
    holds: bool,
    field: impl FnOnce() -> String,
    problem: impl FnOnce() -> String,
) -> Result<(), PlanError> {
    if holds { Ok(()) } else { Err(PlanError { field: field(), problem: problem() }) }
}

struct Validator<'a> {
    plan: &'a Plan,
    symbols: SymbolTable,
}

impl Validator<'_> {
    fn declarations(&self) -> Result<(), PlanError> {
        let meta = &self.plan.meta;
        let known = meta.target == "cpu" || Soc::by_target(&meta.target).is_some();
        check(known, || "meta.target".into(), || format!("unknown target `{}`", meta.target))?;
        check(
            meta.mesh.size == 1 && meta.mesh.rank == 0,
            || "meta.mesh".into(),
            || format!("rank {} of {} devices; one device is supported", meta.mesh.rank, meta.mesh.size),
        )?;
        for (index, input) in self.plan.inputs.iter().enumerate() {
            let field = || format!("inputs[{index}]");
            let expected = step::input_type(&input.name);
            let known = expected.is_some_and(|ty| ty == TensorType::new(input.dtype, input.shape.clone()));
            check(known, field, || format!("`{}` is not an input of the step contract", input.name))?;
            let group = input.name.split_once('.').map(|(_, group)| group);
            let has_group = group.is_none_or(|name| self.plan.caches.iter().any(|cache| cache.name == name));
            check(has_group, field, || format!("`{}` names a cache group that does not exist", input.name))?;
        }
        for (index, output) in self.plan.outputs.iter().enumerate() {
            self.shape(&format!("outputs[{index}]"), &output.shape)?;
        }
        let mut names = HashSet::new();
        for cache in &self.plan.caches {
            let field = || format!("caches.{}", cache.name);
            check(names.insert(&cache.name), field, || "is declared twice".into())?;
            check(cache.block_size > 0, field, || "block_size is 0".into())?;
            check(cache.kind != CacheKind::Window(0), field, || "keeps a window of no token".into())?;
            let ascending = cache.layers.windows(2).all(|pair| pair[0].end <= pair[1].start);
            let forward = cache.layers.iter().all(|range| range.start <= range.end);
            check(ascending && forward, field, || "layers are not ascending".into())?;
            check(cache.bytes_per_token().is_some(), field, || "bytes per token overflow".into())?;
            for tensor in &cache.tensors {
                let sized = tensor.dtype.bytes().is_some() && tensor.row.len() + 2 <= MAX_AXES;
                check(sized, field, || format!("tensor `{}` cannot be addressed", tensor.name))?;
                self.shape(&field(), &cache.tensor_type(tensor).shape)?;
            }
        }
        Ok(())
    }

    /// All sizes are bounded, not negative and together countable.
    fn shape(&self, field: &str, shape: &[Dim]) -> Result<(), PlanError> {
        check(shape.len() <= MAX_AXES, || field.into(), || format!("{} axes are too many", shape.len()))?;
        shape.iter().try_for_each(|dim| self.not_negative(field, dim))?;
        self.not_negative(field, &Dim::product(shape))
    }

    fn not_negative(&self, field: &str, dim: &Dim) -> Result<(), PlanError> {
        let bounded = self.symbols.range(dim).is_some_and(|range| range.min >= 0);
        check(
            bounded,
            || field.into(),
            || format!("`{dim}` may be negative, overflow or use an unknown symbol"),
        )
    }

    fn recipe(&self, field: &str, recipe: &Recipe) -> Result<(), PlanError> {
        let body = &recipe.body;
        let [(Sink::Output(_), _)] = body.sinks() else {
            return check(false, || field.into(), || "must have one output".into());
        };
        check(!body.is_empty(), || field.into(), || "is empty".into())?;
        let blocks = recipe.format == Format::Nz;
        check(
            !blocks || self.plan.meta.target != "cpu" && recipe.stored_bytes().is_some(),
            || field.into(),
            || "cannot be stored in blocks".into(),
        )?;
        let layered = |layered: bool| !layered || recipe.name.is_layered();
        for (value, leaf) in body.leaves() {
            let Leaf::Weight(template) = leaf else {
                return check(false, || field.into(), || "reads something that is no weight".into());
            };
            check(
                layered(template.is_layered()),
                || field.into(),
                || format!("reads the layered `{template}` but makes one tensor for all layers"),
            )?;
            let constant =
                body.ty(value).shape.iter().all(|dim| dim.as_const().is_some_and(|size| size >= 0));
            check(constant, || field.into(), || format!("`{template}` has no constant shape"))?;
            check(
                Stored::new(template, body.ty(value)).is_some(),
                || field.into(),
                || format!("`{template}` is a stack of no or too many tensors"),
            )?;
        }
        for (_, node) in body.nodes() {
            let pure = node.op().is_none_or(|op| op.kind().effect() == Effect::Pure);
            check(pure, || field.into(), || "has an op with effects".into())?;
            for result in &node.results {
                self.shape(field, &result.ty.shape)?;
                let constant = result.ty.shape.iter().all(|dim| dim.as_const().is_some());
                check(constant, || field.into(), || "a value has no constant shape".into())?;
            }
        }
        Ok(())
    }

    fn variant(&self, field: &str, variant: &Variant) -> Result<(), PlanError> {
        for condition in &variant.guard {
            let (Condition::Le(a, b) | Condition::Eq(a, b)) = condition;
            for dim in [a, b] {
                let bounded = self.symbols.range(dim).is_some();
                check(bounded, || format!("{field}.guard"), || format!("`{dim}` is not bounded"))?;
            }
        }
        self.not_negative(&format!("{field}.arena_bytes"), &variant.arena_bytes)?;
        let mut within = Validator { plan: self.plan, symbols: self.symbols.clone() };
        variant.guard.iter().for_each(|condition| condition.assume_in(&mut within.symbols));
        for function in &variant.functions {
            within.function(&format!("{field}.{}", function.name), function)?;
        }
        for (index, (function, layers)) in variant.calls.iter().enumerate() {
            let field = || format!("{field}.calls[{index}]");
            let called = variant.functions.get(*function as usize);
            let Some(called) = called else {
                return check(false, field, || format!("function {function} does not exist"));
            };
            check(layers.start <= layers.end, field, || "layers run backwards".into())?;
            for cache in &called.caches {
                let group = self.plan.caches.iter().find(|group| group.name == cache.group);
                let held = group.is_some_and(|group| group.first_without(layers).is_none());
                check(held, field, || format!("a layer has no cache `{}`", cache.group))?;
            }
        }
        Ok(())
    }

    fn function(&self, field: &str, function: &Function) -> Result<(), PlanError> {
        for (index, param) in function.weights.iter().enumerate() {
            let exists = (param.recipe as usize) < self.plan.weights.recipes.len();
            check(exists, || format!("{field}.weights[{index}]"), || "its recipe does not exist".into())?;
        }
        for (index, cache) in function.caches.iter().enumerate() {
            let exists = self.cache_dtype(cache).is_some();
            check(exists, || format!("{field}.caches[{index}]"), || "does not exist".into())?;
        }
        for (index, launch) in function.launches.iter().enumerate() {
            self.launch(&format!("{field}.launches[{index}]"), function, launch)?;
        }
        for (index, tap) in function.taps.iter().enumerate() {
            let field = format!("{field}.taps[{index}]");
            let exists = (tap.after as usize) < function.launches.len();
            check(exists, || field.clone(), || format!("launch {} does not exist", tap.after))?;
            check(tap.value.layout.has_dense_rows(), || field.clone(), || "rows are not dense".into())?;
            self.operand(&field, function, &tap.value)?;
        }
        match &function.listing {
            Some(listing) => self.listing(&format!("{field}.listing"), &function.name, listing),
            None => Ok(()),
        }
    }

    /// The graphs themselves were checked when they were read; here, what ties them to the plan and to each other.
    fn listing(&self, field: &str, function: &str, listing: &Listing) -> Result<(), PlanError> {
        for (part, graph) in [("source", &listing.source), ("fused", &listing.fused)] {
            let field = format!("{field}.{part}");
            check(graph.name == function, || field.clone(), || format!("is of `{}`", graph.name))?;
            for result in graph.nodes().flat_map(|(_, node)| &node.results) {
                self.shape(&field, &result.ty.shape)?;
            }
        }
        let field = || format!("{field}.origins");
        let nodes = listing.fused.len();
        check(listing.origins.len() == nodes, field, || format!("are not of {nodes} nodes"))?;
        let sources = listing.source.len();
        for origins in &listing.origins {
            let ascending = origins.windows(2).all(|pair| pair[0] < pair[1]);
            check(ascending, field, || "are not ascending".into())?;
            let exist = origins.last().is_none_or(|last| (*last as usize) < sources);
            check(exist, field, || format!("the source has {sources} nodes only"))?;
        }
        Ok(())
    }

    fn cache_dtype(&self, cache: &CacheRef) -> Option<DType> {
        let group = self.plan.caches.iter().find(|group| group.name == cache.group)?;
        Some(group.tensor(&cache.tensor)?.dtype)
    }

    fn launch(&self, field: &str, function: &Function, launch: &Launch) -> Result<(), PlanError> {
        for (list, operands) in [("operands", &launch.operands), ("results", &launch.results)] {
            for (index, operand) in operands.iter().enumerate() {
                self.operand(&format!("{field}.{list}[{index}]"), function, operand)?;
            }
        }
        match Soc::by_target(&self.plan.meta.target) {
            Some(soc) => self.call(field, function, launch, soc.family),
            None => self.cpu_launch(field, launch),
        }
    }

    /// An aclnn call breaks none of its operator's rules, and its tensors are those that the call takes.
    fn call(
        &self,
        field: &str,
        function: &Function,
        launch: &Launch,
        family: Family,
    ) -> Result<(), PlanError> {
        let fail = |problem: String| PlanError { field: field.to_owned(), problem };
        let aclnn = launch.aclnn(family, &self.symbols).map_err(fail)?;
        let (decl, call) = (aclnn.decl, &aclnn.call);
        for (arg, operand) in aclnn.tensors() {
            let operand = operand.ok_or_else(|| fail("lacks tensors".into()))?;
            let fits = arg.takes(operand.dtype) && arg.layout(&operand.layout).is_some();
            check(
                fits,
                || field.into(),
                || format!("`{}` does not take {} as it lies", decl.entry, operand.ty()),
            )?;
            let stored = self.format(function, operand);
            check(
                stored == arg.format,
                || field.into(),
                || {
                    format!(
                        "`{}` takes {} where it is given {}",
                        decl.entry,
                        arg.format.name(),
                        stored.name()
                    )
                },
            )?;
            if let TensorOf::InOut(index) = arg.of {
                let same = launch.results.get(index) == Some(operand);
                check(same, || format!("{field}.results[{index}]"), || "is not what is written".into())?;
            }
        }
        let results = launch.results.len() == aclnn.num_results();
        check(results, || field.into(), || format!("has {} results", launch.results.len()))?;
        let stated = launch.results.iter().map(Operand::ty);
        let shapes = stated.zip(&aclnn.results).all(|(stated, inferred)| stated.shape == inferred.shape);
        check(shapes, || field.into(), || "the results are not of the op's shapes".into())?;
        let in_place = |index: usize| call.tensors().any(|tensor| tensor.of == TensorOf::InOut(index));
        for (index, result) in launch.results.iter().enumerate() {
            let field = || format!("{field}.results[{index}]");
            let writable = match result.place {
                Place::Arena | Place::Output(_) => in_place(index) || result.layout.is_contiguous(),
                Place::Cache(_) => in_place(index),
                Place::Input(_) | Place::Weight(_) => false,
            };
            check(writable, field, || "may not be written".into())?;
        }
        Ok(())
    }

    /// How the elements of an operand are stored.
    fn format(&self, function: &Function, operand: &Operand) -> Format {
        let Place::Weight(index) = operand.place else { return Format::Nd };
        let param = function.weights.get(index as usize);
        let recipe = param.and_then(|param| self.plan.weights.recipes.get(param.recipe as usize));
        recipe.map_or(Format::Nd, |recipe| recipe.format)
    }

    fn cpu_launch(&self, field: &str, launch: &Launch) -> Result<(), PlanError> {
        let kernel = kernels::cpu::kernel(&launch.kernel);
        let Some(kernel) = kernel else {
            return check(false, || field.into(), || format!("unknown kernel `{}`", launch.kernel));
        };
        let fits = kernel.op == launch.op.kind();
        check(
            fits,
            || field.into(),
            || format!("kernel `{}` does not compute `{}`", kernel.name, launch.op.kind().name()),
        )?;
        let types: Vec<TensorType> = launch.operands.iter().map(Operand::ty).collect();
        check(
            kernel.takes(&types),
            || field.into(),
            || format!("kernel `{}` does not take these element types", kernel.name),
        )?;
        let inferred = launch
            .op
            .infer(&types)
            .map_err(|error: TypeError| PlanError { field: field.to_owned(), problem: error.to_string() })?;
        let stated: Vec<TensorType> = launch.results.iter().map(Operand::ty).collect();
        check(inferred == stated, || field.into(), || "the results are not of the op's types".into())?;
        self.writes(field, launch)
    }

    /// Results are dense, in the arena, an output or (for writes in place) the cache that is the operand of its number.
    fn writes(&self, field: &str, launch: &Launch) -> Result<(), PlanError> {
        let written = launch.op.kind().num_written();
        for (index, result) in launch.results.iter().enumerate() {
            let writes_in_place = index < written;
            let field = || format!("{field}.results[{index}]");
            match result.place {
                Place::Arena | Place::Output(_) if !writes_in_place => {
                    check(result.layout.is_contiguous(), field, || "is not contiguous".into())?;
                }
                Place::Cache(_) if writes_in_place => {
                    let same = launch.operands.get(index) == Some(result);
                    check(same, field, || "is not the cache that is written".into())?;
                }
                Place::Arena | Place::Output(_) | Place::Cache(_) | Place::Input(_) | Place::Weight(_) => {
                    return check(false, field, || "may not be written".into());
                }
            }
        }
        Ok(())
    }

    fn operand(&self, field: &str, function: &Function, operand: &Operand) -> Result<(), PlanError> {
        let Plan { inputs, outputs, weights, .. } = self.plan;
        let weight =
            |param: &WeightParam| weights.recipes.get(param.recipe as usize)?.ty().map(|ty| ty.dtype);
        let declared = match operand.place {
            Place::Arena => Some(operand.dtype),
            Place::Input(index) => inputs.get(index as usize).map(|input| input.dtype),
            Place::Output(index) => outputs.get(index as usize).map(|output| output.dtype),
            Place::Weight(index) => function.weights.get(index as usize).and_then(weight),
            Place::Cache(index) => function.caches.get(index as usize).and_then(|it| self.cache_dtype(it)),
        };
        let Some(declared) = declared else {
            return check(false, || field.into(), || "its buffer does not exist".into());
        };
        // Weights in files and layers of caches are aligned to their own elements only.
        let same = declared == operand.dtype;
        check(
            same,
            || field.into(),
            || format!("takes a buffer of {declared} for one of {}", operand.dtype),
        )?;
        check(operand.dtype.bytes().is_some(), || field.into(), || "elements smaller than a byte".into())?;
        let ViewLayout { offset, shape, strides } = &operand.layout;
        check(shape.len() == strides.len(), || field.into(), || "sizes and strides differ in number".into())?;
        self.shape(field, shape)?;
        self.not_negative(field, offset)?;
        self.not_negative(field, &operand.base_bytes)?;
        let aligned = operand.base_bytes.exact_div(&Dim::constant(super::ALIGNMENT)).is_some();
        check(aligned, || field.into(), || format!("base `{}` is not aligned", operand.base_bytes))?;
        strides.iter().try_for_each(|stride| self.not_negative(field, stride))?;
        let last = offset.clone() + operand.layout.extent_bound();
        let end = operand.base_bytes.clone() + last * Dim::from(operand.dtype.bits() / 8);
        self.not_negative(field, &end)
    }
}
