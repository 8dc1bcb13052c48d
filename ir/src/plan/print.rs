//! Plans as text for people and snapshots. It is not read back.

use std::fmt::{self, Write};

use super::{Condition, Function, Launch, Operand, Place, Plan, Variant};
use crate::graph::NodeKind;
use crate::view::ViewLayout;

/// The launches, weights and memory of a plan.
pub fn print_plan(plan: &Plan) -> String {
    let mut out = String::new();
    write_plan(&mut out, plan).expect("writing to a string cannot fail");
    out
}

fn write_plan(out: &mut String, plan: &Plan) -> fmt::Result {
    let meta = &plan.meta;
    writeln!(out, "plan {} for {}, computes in {}", meta.model, meta.target, meta.compute_dtype)?;
    for (name, info) in &plan.symbols {
        writeln!(out, "symbol {name} in {}..{}", info.min, info.max)?;
    }
    for group in &plan.caches {
        let tensors: Vec<String> = group
            .tensors
            .iter()
            .map(|tensor| format!("{}: {}", tensor.name, group.tensor_type(tensor)))
            .collect();
        write!(out, "cache {}: {} layers of {}", group.name, group.num_layers(), tensors.join(", "))?;
        match group.window() {
            Some(window) => writeln!(out, ", the last {window} tokens")?,
            None => out.push('\n'),
        }
    }
    writeln!(out, "weights")?;
    for (index, recipe) in plan.weights.recipes.iter().enumerate() {
        let ty = recipe.ty().map_or(String::new(), |ty| ty.to_string());
        write!(out, "  w{index} {} : {ty}", recipe.name)?;
        if recipe.identity().is_none() {
            let stack = recipe.sources().any(|(_, stored)| stored.is_stack()).then_some("stack");
            let ops = recipe.body.nodes().filter_map(|(_, node)| match &node.kind {
                NodeKind::Op(op) => Some(op.kind().name()),
                NodeKind::Leaf(_) => None,
            });
            let ops: Vec<&str> = stack.into_iter().chain(ops).collect();
            let sources: Vec<&str> = recipe
                .body
                .leaves()
                .filter_map(|(_, leaf)| match leaf {
                    crate::Leaf::Weight(template) => Some(template.as_str()),
                    crate::Leaf::Input(_) | crate::Leaf::State(_) | crate::Leaf::Cache(_) => None,
                })
                .collect();
            write!(out, " = {}({})", ops.join(", "), sources.join(", "))?;
        }
        out.push('\n');
    }
    for program in &plan.programs {
        for variant in &program.variants {
            write_variant(out, plan, &program.name, variant)?;
        }
    }
    Ok(())
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Le(a, b) => write!(f, "{a} <= {b}"),
            Condition::Eq(a, b) => write!(f, "{a} == {b}"),
        }
    }
}

fn write_variant(out: &mut String, plan: &Plan, program: &str, variant: &Variant) -> fmt::Result {
    writeln!(out, "\nprogram {program}, variant {}", variant.name)?;
    for condition in &variant.guard {
        writeln!(out, "  if {condition}")?;
    }
    writeln!(out, "  arena {} bytes", variant.arena_bytes)?;
    for (function, layers) in &variant.calls {
        let name = variant.functions.get(*function as usize).map_or("?", |function| &function.name);
        writeln!(out, "  @{name} [{}..{}]", layers.start, layers.end)?;
    }
    let slots = Slots::of(variant);
    for (index, slot) in slots.0.iter().enumerate() {
        writeln!(out, "  a{index} at {slot}")?;
    }
    for function in &variant.functions {
        writeln!(out, "\nfunc @{}", function.name)?;
        let names = Names { plan, function, slots: &slots };
        for launch in &function.launches {
            write_launch(out, &names, launch)?;
        }
        for tap in &function.taps {
            let value = names.operand(&tap.value);
            writeln!(out, "  tap {:?} after {} = {value}", tap.name.as_str(), tap.after)?;
        }
    }
    Ok(())
}

fn write_launch(out: &mut String, names: &Names<'_>, launch: &Launch) -> fmt::Result {
    let list = |operands: &[Operand]| {
        operands.iter().map(|operand| names.operand(operand)).collect::<Vec<_>>().join(", ")
    };
    let attrs: Vec<String> = launch.op.attrs().iter().map(|(name, attr)| format!("{name}={attr}")).collect();
    let attrs = if attrs.is_empty() { String::new() } else { format!(" {{{}}}", attrs.join(", ")) };
    let (results, operands) = (list(&launch.results), list(&launch.operands));
    writeln!(out, "  {results} = {} {operands}{attrs}  # {}", launch.kernel, launch.name)
}

/// The places in the arena that a variant uses, in order of first use.
struct Slots<'a>(Vec<&'a crate::Dim>);

impl<'a> Slots<'a> {
    fn of(variant: &'a Variant) -> Self {
        let mut slots: Vec<&crate::Dim> = Vec::new();
        for launch in variant.functions.iter().flat_map(|function| &function.launches) {
            for operand in launch.operands.iter().chain(&launch.results) {
                if operand.place == Place::Arena && !slots.contains(&&operand.base_bytes) {
                    slots.push(&operand.base_bytes);
                }
            }
        }
        Slots(slots)
    }
}

/// What the operands of a function are called.
struct Names<'a> {
    plan: &'a Plan,
    function: &'a Function,
    slots: &'a Slots<'a>,
}

impl Names<'_> {
    /// `a3:bf16[T, 64]`, with what differs from a dense layout behind it.
    fn operand(&self, operand: &Operand) -> String {
        let unknown = || "?".to_owned();
        let place = match operand.place {
            Place::Arena => match self.slots.0.iter().position(|slot| **slot == operand.base_bytes) {
                Some(index) => format!("a{index}"),
                None => format!("arena[{}]", operand.base_bytes),
            },
            Place::Input(index) => {
                self.plan.inputs.get(index as usize).map_or_else(unknown, |input| input.name.clone())
            }
            Place::Output(index) => {
                self.plan.outputs.get(index as usize).map_or_else(unknown, |output| output.name.clone())
            }
            Place::Weight(index) => match self.function.weights.get(index as usize) {
                Some(param) if param.layer_offset != 0 => {
                    format!("w{}{:+}", param.recipe, param.layer_offset)
                }
                Some(param) => format!("w{}", param.recipe),
                None => unknown(),
            },
            Place::Cache(index) => match self.function.caches.get(index as usize) {
                Some(cache) => format!("{}.{}", cache.group, cache.tensor),
                None => unknown(),
            },
        };
        let ViewLayout { offset, strides, .. } = &operand.layout;
        let mut text = format!("{place}:{}", operand.ty());
        if *offset != crate::Dim::ZERO {
            text.push_str(&format!("+{offset}"));
        }
        if !operand.layout.is_contiguous() {
            let strides: Vec<String> = strides.iter().map(|stride| stride.to_string()).collect();
            text.push_str(&format!("/({})", strides.join(", ")));
        }
        text
    }
}
