//! What every layer would work out of the step's inputs alone is worked out once, and passed on to later calls.
//!
//! For NPUs these are the pages of each new token's sequence, and slots in the element type that an operator wants.

use mscc_ir::graph::{Graph, Leaf, NodeId, NodeKind, Sink, Value};
use mscc_ir::kernels::ascend::TensorOf;
use mscc_ir::ops::{Cast, Effect, Op};
use mscc_ir::{Module, TensorType, step};

use super::rebuild::Rebuild;
use crate::target::{Device, Kernel, Target};

/// Works out once what several calls make of inputs alone. `sources` are of each function's nodes what they stand for.
pub fn carry(module: &mut Module, target: &Target, sources: &mut [Vec<NodeId>]) {
    if target.device == Device::Cpu {
        return;
    }
    for (function, sources) in module.functions.iter_mut().zip(sources.iter_mut()) {
        replace(function, sources, cast_inputs(function, target));
    }
    let calls = |index: usize| -> usize {
        let of = module.program.iter().filter(|call| call.function == index);
        of.map(|call| call.layers.len()).sum()
    };
    // What it makes is there before all that reads it.
    let Some(first) = module.program.first().map(|call| call.function).filter(|first| calls(*first) == 1)
    else {
        return;
    };
    let mut carried: Vec<(Made, usize)> = Vec::new();
    for (index, function) in module.functions.iter().enumerate() {
        for made in function.nodes().filter_map(|(id, _)| made_of_inputs(function, id)) {
            match carried.iter_mut().find(|(other, _)| *other == made) {
                Some((_, count)) => *count += calls(index),
                None => carried.push((made, calls(index))),
            }
        }
    }
    let carried: Vec<Made> =
        carried.into_iter().filter(|(_, count)| *count > 1).map(|(made, _)| made).collect();
    for (index, (function, sources)) in module.functions.iter_mut().zip(sources).enumerate() {
        let rebuilt = if index == first { making(function, &carried) } else { reading(function, &carried) };
        replace(function, sources, rebuilt);
    }
}

/// A value that inputs alone decide.
#[derive(Clone, Debug, PartialEq)]
struct Made {
    op: Op,
    inputs: Vec<String>,
    ty: TensorType,
}

impl Made {
    /// As which it is passed on.
    fn state(&self) -> String {
        format!("{}.{}", self.inputs.join("."), self.op.kind().name())
    }
}

fn replace(function: &mut Graph, sources: &mut Vec<NodeId>, (rebuilt, of): (Graph, Vec<NodeId>)) {
    *sources = of.into_iter().map(|id| sources[id.index()]).collect();
    *function = rebuilt;
}

fn made_of_inputs(graph: &Graph, id: NodeId) -> Option<Made> {
    let node = graph.node(id);
    let op = node.op().filter(|op| !op.kind().is_view() && op.kind().effect() == Effect::Pure)?;
    let input = |value: &Value| match &graph.node(value.node).kind {
        NodeKind::Leaf(Leaf::Input(name)) => Some(name.clone()),
        NodeKind::Leaf(_) | NodeKind::Op(_) => None,
    };
    let inputs = node.operands.iter().map(input).collect::<Option<Vec<String>>>()?;
    let [result] = &node.results[..] else { return None };
    (!inputs.is_empty()).then(|| Made { op: op.clone(), inputs, ty: result.ty.clone() })
}

/// The function with a cast of each input that a call takes in another element type, and what each node stands for.
fn cast_inputs(graph: &Graph, target: &Target) -> (Graph, Vec<NodeId>) {
    let (mut out, mut rebuild) = (Graph::new(&graph.name), Rebuild::new(graph));
    let mut sources = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes() {
        match node.op().and_then(|op| Some((op, with_casts(graph, id, op, target)?))) {
            Some((op, casts)) => {
                let mut operands: Vec<Value> =
                    node.operands.iter().map(|value| rebuild.mapped(*value)).collect();
                for (at, ty) in casts {
                    let name = format!("{}.{}", node.results[0].name, graph.value_name(node.operands[at]));
                    let cast = out.op1(Cast { dtype: ty.dtype }, &[operands[at]], &name);
                    operands[at] = cast.expect("integers are cast to integers");
                    out.set_origins(operands[at].node, graph.origins(id).to_vec());
                }
                let names: Vec<&str> = node.results.iter().map(|result| result.name.as_str()).collect();
                let results = out.op(op.clone(), &operands, &names).expect("its types have been inferred");
                out.set_origins(results[0].node, graph.origins(id).to_vec());
                for (index, result) in results.into_iter().enumerate() {
                    rebuild.set(Value { node: id, index: index as u32 }, result);
                }
            }
            None => rebuild.copy(&mut out, id),
        }
        sources.resize(out.len(), id);
    }
    for (sink, value) in graph.sinks() {
        out.sink(sink.clone(), rebuild.mapped(*value));
    }
    (out, sources)
}

/// The operands that are inputs and that the call takes in another type, if the op takes them so too.
fn with_casts(graph: &Graph, id: NodeId, op: &Op, target: &Target) -> Option<Vec<(usize, TensorType)>> {
    let node = graph.node(id);
    let mut types: Vec<TensorType> = node.operands.iter().map(|value| graph.ty(*value).clone()).collect();
    let results: Vec<TensorType> = node.results.iter().map(|result| result.ty.clone()).collect();
    let is_input = |value: &Value| matches!(graph.node(value.node).kind, NodeKind::Leaf(Leaf::Input(_)));
    if op.kind().is_view() || !node.operands.iter().any(is_input) {
        return None;
    }
    let Ok(Kernel::Ascend(_, call)) = target.kernel(op, &types, &results) else { return None };
    let mut casts = Vec::new();
    for tensor in call.tensors() {
        let TensorOf::Operand(at) = tensor.of else { continue };
        if is_input(&node.operands[at]) && !tensor.takes(types[at].dtype) {
            types[at] = types[at].with_dtype(tensor.ty.dtype);
            casts.push((at, types[at].clone()));
        }
    }
    (!casts.is_empty() && op.infer(&types).is_ok_and(|inferred| inferred == results)).then_some(casts)
}

/// The function that makes what is carried, as it was but for that.
fn making(graph: &Graph, carried: &[Made]) -> (Graph, Vec<NodeId>) {
    let mut sources: Vec<NodeId> = graph.nodes().map(|(id, _)| id).collect();
    let mut out = graph.clone();
    for made in carried {
        let known = graph.nodes().find(|(id, _)| made_of_inputs(graph, *id).as_ref() == Some(made));
        let value = match known {
            Some((node, _)) => Value { node, index: 0 },
            None => {
                let operands: Vec<Value> = made.inputs.iter().map(|name| input(&mut out, name)).collect();
                let value = out.op1(made.op.clone(), &operands, &made.state());
                value.expect("it is one in another function")
            }
        };
        out.sink(Sink::State(made.state()), value);
        let last = *sources.last().expect("a function that is called has nodes");
        sources.resize(out.len(), last);
    }
    (out, sources)
}

/// An input of the step, brought in once.
fn input(graph: &mut Graph, name: &str) -> Value {
    let known = graph.leaves().find(|(_, leaf)| matches!(leaf, Leaf::Input(other) if other == name));
    match known.map(|(value, _)| value) {
        Some(value) => value,
        None => {
            let ty = step::input_type(name).expect("the contract has it");
            graph.leaf(Leaf::Input(name.to_owned()), name, ty)
        }
    }
}

/// A function that is given what is carried.
fn reading(graph: &Graph, carried: &[Made]) -> (Graph, Vec<NodeId>) {
    let given = |id: NodeId| made_of_inputs(graph, id).filter(|made| carried.contains(made));
    let mut live = vec![false; graph.len()];
    graph.sinks().iter().for_each(|(_, value)| live[value.node.index()] = true);
    for (id, node) in graph.nodes().rev() {
        if live[id.index()] && given(id).is_none() {
            node.operands.iter().for_each(|operand| live[operand.node.index()] = true);
        }
    }
    let (mut out, mut rebuild) = (Graph::new(&graph.name), Rebuild::new(graph));
    let mut sources = Vec::with_capacity(graph.len());
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        match given(id) {
            Some(made) => {
                let known = out.leaves().find(|(_, leaf)| **leaf == Leaf::State(made.state()));
                let value = known.map(|(value, _)| value).unwrap_or_else(|| {
                    out.leaf(Leaf::State(made.state()), &node.results[0].name, made.ty.clone())
                });
                rebuild.set(Value { node: id, index: 0 }, value);
            }
            None => rebuild.copy(&mut out, id),
        }
        sources.resize(out.len(), id);
    }
    for (sink, value) in graph.sinks() {
        out.sink(sink.clone(), rebuild.mapped(*value));
    }
    (out, sources)
}

#[cfg(test)]
mod tests {
    use mscc_ir::text::parse_module;
    use mscc_ir::verify::verify;

    use super::*;

    const MODULE: &str = r#"module m
symbol B in 1..8 likely 8
symbol M in 1..64 likely 32
symbol P_full in 1..4096 likely 256
symbol T in 1..512 likely 64
func @first {
  %ids = input token_ids : i32[T]
  %table = weight "table" : f32[10, 4]
  %x = gather %table, %ids
  state hidden_states = %x
}
func @layer {
  %x = state hidden_states : f32[T, 4]
  %pages = input block_table.full : i32[B, M]
  %of = input token_sequence : i32[T]
  %rows = gather %pages, %of
  %bias = weight "layers.{i}.bias" : f32[4]
  %y = add %x, %bias
  state hidden_states = %y
  state rows = %rows
}
program {
  @first [0..1]
  @layer [1..3]
}
"#;

    #[test]
    fn what_inputs_decide_is_made_in_the_first_call() {
        let mut module = parse_module(MODULE).unwrap();
        let target = Target::by_name("ascend910b3").unwrap();
        let ids = |graph: &Graph| graph.nodes().map(|(id, _)| id).collect::<Vec<_>>();
        let mut sources: Vec<Vec<NodeId>> = module.functions.iter().map(ids).collect();
        carry(&mut module, &target, &mut sources);
        assert_eq!(verify(&module), Vec::new());
        let kinds = |graph: &Graph| -> Vec<&str> {
            graph.nodes().filter_map(|(_, node)| Some(node.op()?.kind().name())).collect()
        };
        assert_eq!(kinds(&module.functions[0]), ["gather", "gather"]);
        assert_eq!(kinds(&module.functions[1]), ["add"]);
        for (function, sources) in module.functions.iter().zip(&sources) {
            assert_eq!(function.len(), sources.len());
        }
        let state = "block_table.full.token_sequence.gather".to_owned();
        assert!(module.functions[1].leaves().any(|(_, leaf)| *leaf == Leaf::State(state.clone())));
        assert!(module.functions[0].sinks().iter().any(|(sink, _)| *sink == Sink::State(state.clone())));
    }

    #[test]
    fn the_host_computes_what_it_did() {
        let mut module = parse_module(MODULE).unwrap();
        let before = module.clone();
        carry(&mut module, &Target::cpu(), &mut [Vec::new(), Vec::new()]);
        assert_eq!(module, before);
    }
}
