//! Plans as text for people and snapshots. It is not read back.

use std::fmt::{self, Write};

use super::{AclnnLaunch, Condition, Function, Launch, Operand, Place, Plan, Variant};
use crate::graph::NodeKind;
use crate::kernels::ascend::{Arg, Format, Soc, TensorArg};
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
        if recipe.format != Format::Nd {
            write!(out, " {}", recipe.format.name())?;
        }
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
    let soc = Soc::by_target(&plan.meta.target);
    let symbols = plan.symbol_table();
    for (index, slot) in slots.0.iter().enumerate() {
        writeln!(out, "  a{index} at {slot}")?;
    }
    for function in &variant.functions {
        writeln!(out, "\nfunc @{}", function.name)?;
        let names = Names { plan, function, slots: &slots };
        for launch in &function.launches {
            match soc.and_then(|soc| launch.aclnn(soc.family, &symbols).ok()) {
                Some(aclnn) => write_call(out, &names, launch, &aclnn)?,
                None => write_launch(out, &names, launch)?,
            }
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

/// `aclnnRmsNorm(x=a0:bf16[T, 64], gamma=w1:bf16[64], epsilon=1e-6, yOut=a1:bf16[T, 64])`: tensors as they lie, and in
/// brackets what the call sees of them where that is different.
fn write_call(out: &mut String, names: &Names<'_>, launch: &Launch, aclnn: &AclnnLaunch<'_>) -> fmt::Result {
    let mut tensors = aclnn.tensors().into_iter();
    let mut tensor = |arg: &TensorArg| {
        let Some((_, Some(operand))) = tensors.next() else { return "?".to_owned() };
        let seen = arg.layout(&operand.layout).filter(|seen| seen.shape != operand.layout.shape);
        let seen = seen.map(|seen| seen.shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
        let blocks = if arg.format == Format::Nz { " NZ" } else { "" };
        match seen {
            Some(seen) => format!("{}{blocks} as [{seen}]", names.operand(operand)),
            None => format!("{}{blocks}", names.operand(operand)),
        }
    };
    let (decl, call) = (aclnn.decl, &aclnn.call);
    let mut args = Vec::with_capacity(call.args.len());
    for (declared, arg) in decl.args.iter().zip(&call.args) {
        let host = |operand: usize| launch.operands.get(operand).map_or("?".into(), |of| names.operand(of));
        let text = match arg {
            Arg::Null => continue,
            Arg::Tensor(arg) => tensor(arg),
            Arg::Tensors(list) => {
                format!("[{}]", list.iter().map(&mut tensor).collect::<Vec<_>>().join(", "))
            }
            Arg::Bool(value) => value.to_string(),
            Arg::Int(value) => value.to_string(),
            Arg::Float(value) => format!("{value:?}"),
            Arg::Text(text) => format!("{text:?}"),
            Arg::Ints(values) => format!("{values:?}"),
            Arg::Host { operand, skip: 0 } => format!("host {}", host(*operand)),
            Arg::Host { operand, skip } => format!("host {}[{skip}..]", host(*operand)),
            Arg::HostSums { operand } => format!("sums of host {}", host(*operand)),
            Arg::Type(dtype) => dtype.to_string(),
        };
        args.push(format!("{}={text}", declared.name));
    }
    writeln!(out, "  {}({})  # {}", decl.entry, args.join(", "), launch.name)
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
