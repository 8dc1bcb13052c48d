//! What of a graph is launched, whatever its values are called and however they are viewed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use mscc_ir::graph::{Graph, NodeKind, Value};
use mscc_ir::ops::Op;

/// Kinds of the ops that are launched, sorted: no views but transposes, nothing of weights alone.
pub fn kinds(graph: &Graph) -> String {
    let weight_only = graph.weight_only();
    let launched = graph.nodes().filter(|(id, _)| !weight_only[id.index()]);
    let mut kinds: Vec<&str> = launched
        .filter_map(|(_, node)| node.op())
        .filter(|op| !matches!(op, Op::Reshape(_) | Op::Split(_)))
        .map(|op| op.kind().name())
        .collect();
    kinds.sort_unstable();
    kinds.join(" ")
}

/// A number that two graphs share if they launch the same on the same.
///
/// Reshapes are looked through. What depends on weights alone is known by its type and size, so that packed weights are
/// as good as separate ones; of a product of weights that is cut, which part is meant is known by its size.
pub fn likeness(graph: &Graph) -> u64 {
    let weight_only = graph.weight_only();
    let mut values: HashMap<Value, u64> = HashMap::new();
    for (id, node) in graph.nodes() {
        for index in 0..node.results.len() as u32 {
            let value = Value { node: id, index };
            let ty = graph.ty(value);
            let of: Vec<u64> = node.operands.iter().map(|operand| values[operand]).collect();
            let like = match &node.kind {
                _ if weight_only[id.index()] => hash(&("weight", ty.dtype, ty.numel())),
                NodeKind::Leaf(leaf) => hash(&leaf.to_string()),
                NodeKind::Op(Op::Reshape(_)) => of[0],
                NodeKind::Op(Op::Split(split)) => {
                    let (whole, from) = source(graph, node.operands[0]);
                    let joined = matches!(from, Some(Op::Matmul(_) | Op::GroupedMatmul(_)));
                    let part = if joined { u32::MAX } else { index };
                    let of = if joined { values[&whole] } else { of[0] };
                    hash(&("part", part, &split.sizes[index as usize], of))
                }
                // Which of two is written first does not matter.
                NodeKind::Op(Op::CacheWritePair(_)) => {
                    hash(&("written", of[index as usize], of[2 + index as usize], of[4]))
                }
                NodeKind::Op(op) => {
                    let mut of = of;
                    // What adds, too, gives the same either way.
                    if op.kind().is_commutative() || matches!(op, Op::AddRmsNorm(_) | Op::AddLayerNorm(_)) {
                        of[..2].sort_unstable();
                    }
                    hash(&(op, index, of))
                }
            };
            values.insert(value, like);
        }
    }
    let mut sinks: Vec<(String, u64)> =
        graph.sinks().iter().map(|(sink, value)| (sink.to_string(), values[value])).collect();
    sinks.sort();
    hash(&(sinks, kinds(graph)))
}

/// What a value is a view of, through reshapes and splits, and what computes that.
fn source(graph: &Graph, value: Value) -> (Value, Option<&Op>) {
    let node = graph.node(value.node);
    match node.op() {
        Some(Op::Reshape(_) | Op::Split(_)) => source(graph, node.operands[0]),
        op => (value, op),
    }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}
