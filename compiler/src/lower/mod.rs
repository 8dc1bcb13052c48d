//! Lowering: functions of ops become lists of kernel launches over buffers.

mod ascend;
mod draft;
mod formats;
mod function;
mod recipes;

use std::collections::BTreeMap;

use mscc_ir::graph::{Leaf, Sink};
use mscc_ir::kernels::ascend::decls_for;
use mscc_ir::module::Module;
use mscc_ir::plan::{Condition, Function, InputDecl, OutputDecl, Recipe, Residence, Variant};
use mscc_ir::{Dim, Symbol, TensorType, step};

use crate::forms::Form;
use crate::memory::{Planner, Slot};
use crate::target::{Device, NoKernel, Target};
use function::Lowerer;
use recipes::Recipes;

/// Why a module cannot be lowered.
///
/// What to do: where a target lacks a kernel, set an option that a rule names, or compile for another target; anything else
/// report as a bug, with config.json and the options.
#[derive(Debug, thiserror::Error)]
pub enum LowerError {
    /// The target has no kernel for an op on these types; of the nearest, the documented rules that stand against them.
    #[error("@{function}, %{value}: {target} has no kernel for `{op}` on ({types}){reasons}")]
    NoKernel {
        /// The target.
        target: &'static str,
        /// The function.
        function: String,
        /// The value it should make.
        value: String,
        /// The op.
        op: &'static str,
        /// Types of its operands.
        types: String,
        /// What stands against each kernel that there is.
        reasons: Box<NoKernel>,
    },
    /// An input that the step contract does not have.
    #[error("@{function}: `{input}` is no input of the step contract")]
    UnknownInput {
        /// The function.
        function: String,
        /// The input.
        input: String,
    },
    /// A value whose place nothing can give.
    #[error("@{function}, %{value}: {problem}")]
    Unsupported {
        /// The function.
        function: String,
        /// The value.
        value: String,
        /// What is in the way.
        problem: String,
    },
}

/// A module as launches.
#[derive(Debug)]
pub struct Lowered {
    /// Inputs of a step, in the contract's order.
    pub inputs: Vec<InputDecl>,
    /// Outputs of a step.
    pub outputs: Vec<OutputDecl>,
    /// How its device tensors are made.
    pub recipes: Vec<Recipe>,
    /// The launches of each form, in order.
    pub variants: Vec<Variant>,
}

/// Names of the contract's inputs in the order in which plans list them; those of cache groups come last.
const INPUT_ORDER: [&str; 8] = [
    "token_ids",
    "positions",
    "query_start",
    "context_len",
    "logit_index",
    "token_sequence",
    "token_context",
    "token_start",
];

/// Lowers the forms of a model for a target; they share weights and caches.
///
/// Errors: an op without a kernel; an input that the step contract does not have.
pub fn lower(forms: &[Form], target: &Target) -> Result<Lowered, LowerError> {
    let modules = || forms.iter().map(|form| &form.module);
    let inputs = collect_inputs(modules())?;
    let outputs = collect_outputs(modules());
    let mut recipes = Recipes::default();
    modules().for_each(|module| turn(module, target, &mut recipes));
    let mut variants = Vec::with_capacity(forms.len());
    for form in forms {
        variants.push(lower_form(form, target, (&inputs, &outputs), &mut recipes)?);
    }
    let mut recipes = recipes.finish();
    if let (Device::Ascend(soc), Some(form)) = (target.device, forms.first()) {
        formats::choose(&mut variants, &mut recipes, &form.module.symbols, soc.family);
    }
    Ok(Lowered { inputs, outputs, recipes, variants })
}

/// Notes the weights that calls want turned about.
fn turn(module: &Module, target: &Target, recipes: &mut Recipes) {
    if target.device == Device::Cpu {
        return;
    }
    for graph in &module.functions {
        for (_, node) in graph.nodes() {
            let Some(op) = node.op() else { continue };
            let wanted = decls_for(op.kind()).next().map_or(Vec::new(), |decl| decl.turned());
            wanted.into_iter().for_each(|at| recipes.turn(graph, node.operands[at]));
        }
    }
}

fn lower_form(
    form: &Form,
    target: &Target,
    (inputs, outputs): (&[InputDecl], &[OutputDecl]),
    recipes: &mut Recipes,
) -> Result<Variant, LowerError> {
    let module = &form.module;
    let target = &target.with_symbols(&form.symbols());
    let mut planner = Planner::new(&module.symbols, target.spare_bytes());
    let mut states: BTreeMap<String, Slot> = BTreeMap::new();
    for (name, bytes) in state_sizes(module) {
        states.insert(name, planner.state_slot(bytes));
    }
    let mut drafts = Vec::with_capacity(module.functions.len());
    for (index, graph) in module.functions.iter().enumerate() {
        planner.start_function(index);
        let lowerer = Lowerer::new(graph, target, inputs, outputs, recipes);
        drafts.push(lowerer.lower()?.place(&states, &mut planner));
    }
    let (offsets, arena_bytes) = planner.finish();
    let functions: Vec<Function> = drafts.into_iter().map(|draft| draft.finish(&offsets)).collect();
    let calls = module.program.iter().map(|call| (call.function as u32, call.layers.clone())).collect();
    let arena_bytes = within(arena_bytes, &form.guard);
    Ok(Variant { name: form.name.to_owned(), guard: form.guard.clone(), functions, calls, arena_bytes })
}

/// A size as it is wherever a guard holds, in terms that say how large it can be there.
fn within(size: Dim, guard: &[Condition]) -> Dim {
    guard.iter().fold(size, |size, condition| {
        let (Condition::Le(lesser, bound) | Condition::Eq(lesser, bound)) = condition;
        let bounded = |symbol: &Symbol| {
            let dim = Dim::symbol(symbol.name());
            (dim == *lesser).then(|| Dim::min([dim, bound.clone()]))
        };
        size.substitute(&bounded)
    })
}

fn collect_inputs<'a>(modules: impl Iterator<Item = &'a Module>) -> Result<Vec<InputDecl>, LowerError> {
    let mut found: BTreeMap<(usize, &str), InputDecl> = BTreeMap::new();
    for function in modules.flat_map(|module| &module.functions) {
        for (value, leaf) in function.leaves() {
            let Leaf::Input(name) = leaf else { continue };
            let ty = function.ty(value);
            if step::input_type(name).as_ref() != Some(ty) {
                let (function, input) = (function.name.clone(), name.clone());
                return Err(LowerError::UnknownInput { function, input });
            }
            let rank = INPUT_ORDER.iter().position(|known| known == name).unwrap_or(INPUT_ORDER.len());
            let residence = match name.as_str() {
                "query_start" | "context_len" | "token_context" | "token_start" => Residence::HostAndDevice,
                _ => Residence::Device,
            };
            found.entry((rank, name)).or_insert_with(|| InputDecl {
                name: name.clone(),
                dtype: ty.dtype,
                shape: ty.shape.clone(),
                residence,
            });
        }
    }
    Ok(found.into_values().collect())
}

fn collect_outputs<'a>(modules: impl Iterator<Item = &'a Module>) -> Vec<OutputDecl> {
    let mut found: BTreeMap<&str, &TensorType> = BTreeMap::new();
    for function in modules.flat_map(|module| &module.functions) {
        for (sink, value) in function.sinks() {
            if let Sink::Output(name) = sink {
                found.insert(name, function.ty(*value));
            }
        }
    }
    let decl = |(name, ty): (&str, &TensorType)| OutputDecl {
        name: name.to_owned(),
        dtype: ty.dtype,
        shape: ty.shape.clone(),
    };
    found.into_iter().map(decl).collect()
}

/// Bytes of each state that passes between calls: the greatest of its types.
fn state_sizes(module: &Module) -> BTreeMap<String, Dim> {
    let mut sizes: BTreeMap<String, Dim> = BTreeMap::new();
    let mut add = |name: &str, ty: &TensorType| {
        let size = sizes.entry(name.to_owned()).or_insert_with(|| ty.bytes());
        *size = Dim::max([size.clone(), ty.bytes()]);
    };
    for function in &module.functions {
        for (value, leaf) in function.leaves() {
            if let Leaf::State(name) = leaf {
                add(name, function.ty(value));
            }
        }
        for (sink, value) in function.sinks() {
            if let Sink::State(name) = sink {
                add(name, function.ty(*value));
            }
        }
    }
    sizes
}

#[cfg(test)]
mod tests;
