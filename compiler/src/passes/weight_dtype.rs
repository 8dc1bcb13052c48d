//! Weights of another element type on the device than in the checkpoint.

use mscc_ir::graph::{Graph, Leaf, NodeKind, Value};
use mscc_ir::ops::{Cast, Op};
use mscc_ir::{DType, Module, TensorType};

use super::rebuild::Rebuild;

/// Casts every float weight to `dtype`, or those of f64 to f32 if it is `None`, since nothing computes in f64. The casts
/// depend on weights alone, so they become part of the recipes. For a device that knows no bf16, rows of weights are f16
/// in its place.
pub fn cast_weights(module: &Module, dtype: Option<DType>, knows_bf16: bool) -> Module {
    let mut cast = module.clone();
    for function in &mut cast.functions {
        *function = cast_function(function, dtype, knows_bf16);
    }
    cast
}

fn cast_function(graph: &Graph, dtype: Option<DType>, knows_bf16: bool) -> Graph {
    let weight_only = graph.weight_only();
    let mut out = Graph::new(&graph.name);
    let mut rebuild = Rebuild::new(graph);
    for (id, node) in graph.nodes() {
        if let NodeKind::Op(op) = &node.kind {
            restore_types(graph, op, &node.operands, &mut out, &mut rebuild);
        }
        rebuild.copy(&mut out, id);
        let is_weight = matches!(node.kind, NodeKind::Leaf(Leaf::Weight(_)));
        for index in 0..node.results.len() as u32 {
            let value = Value { node: id, index };
            let (original, copied) = (graph.ty(value).dtype, rebuild.mapped(value));
            let kept = match original {
                DType::F64 => DType::F32,
                DType::BF16 if !knows_bf16 => DType::F16,
                other => other,
            };
            // What is computed from a weight of another type keeps its own: rows of an embedding, for one.
            let wanted = match (is_weight, weight_only[id.index()]) {
                (true, _) if original.is_float() => dtype.unwrap_or(kept),
                (false, false) => kept,
                (true, _) | (false, true) => continue,
            };
            if out.ty(copied).dtype != wanted {
                let name = format!("{}.{wanted}", graph.value_name(value));
                let cast = out.op1(Cast { dtype: wanted }, &[copied], &name);
                rebuild.set(value, cast.expect("any float type casts to any other"));
            }
        }
    }
    for (sink, value) in graph.sinks() {
        out.sink(sink.clone(), rebuild.mapped(*value));
    }
    out
}

/// Casts operands back to the types that they had, where an op takes no others: a bias that is added to what stays f32.
fn restore_types(graph: &Graph, op: &Op, operands: &[Value], out: &mut Graph, rebuild: &mut Rebuild<'_>) {
    let types: Vec<TensorType> =
        operands.iter().map(|value| out.ty(rebuild.mapped(*value)).clone()).collect();
    if op.infer(&types).is_ok() {
        return;
    }
    for value in operands {
        let (mapped, dtype) = (rebuild.mapped(*value), graph.ty(*value).dtype);
        if out.ty(mapped).dtype != dtype {
            let name = format!("{}.as_{dtype}", graph.value_name(*value));
            let cast = out.op1(Cast { dtype }, &[mapped], &name);
            rebuild.set(*value, cast.expect("any float type casts to any other"));
        }
    }
}
