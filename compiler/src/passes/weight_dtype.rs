//! Weights of another element type on the device than in the checkpoint.

use mscc_ir::graph::{Graph, Leaf, NodeKind, Value};
use mscc_ir::ops::Cast;
use mscc_ir::{DType, Module};

use super::rebuild::Rebuild;

/// Casts every float weight to `dtype`; the casts depend on weights alone, so they become part of the recipes.
pub fn cast_weights(module: &Module, dtype: DType) -> Module {
    let mut cast = module.clone();
    for function in &mut cast.functions {
        *function = cast_function(function, dtype);
    }
    cast
}

fn cast_function(graph: &Graph, dtype: DType) -> Graph {
    let mut out = Graph::new(&graph.name);
    let mut rebuild = Rebuild::new(graph);
    for (id, node) in graph.nodes() {
        rebuild.copy(&mut out, id);
        let value = Value { node: id, index: 0 };
        let stored = graph.ty(value).dtype;
        let is_weight = matches!(node.kind, NodeKind::Leaf(Leaf::Weight(_)));
        if is_weight && stored.is_float() && stored != dtype {
            let name = format!("{}.{dtype}", graph.value_name(value));
            let leaf = rebuild.mapped(value);
            let result = out.op1(Cast { dtype }, &[leaf], &name).expect("any float type casts to any other");
            rebuild.set(value, result);
        }
    }
    for (sink, value) in graph.sinks() {
        out.sink(sink.clone(), rebuild.mapped(*value));
    }
    out
}
