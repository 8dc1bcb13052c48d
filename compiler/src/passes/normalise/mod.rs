//! Normalisation: one spelling for what authors write in several, and no dead code.
//!
//! Every op is made anew on operands that are in their one spelling already, so that each rule looks one op back. A rule
//! moves no more bytes than what it rewrites, rounds no more often, and asks nothing of a target: what a target may lack a
//! kernel for is a rewrite rule's matter.

mod builder;
mod casts;
mod products;
mod scalars;
mod splits;
mod sums;
mod views;

use std::collections::HashMap;

use mscc_ir::graph::{Graph, NodeKind, Value};

use self::builder::Builder;
pub(crate) use self::casts::without_dtype;
use super::rebuild::live_nodes;

/// Rounds after which a function stays as it is.
const MAX_ROUNDS: usize = 8;

/// What a round starts from has been verified, and no rule changes a type.
const SOUND: &str = "a sound function stays sound";

/// Turns `linear` into `matmul` and `add`, undoes views, casts, splits and factors that say nothing, merges equal nodes,
/// drops dead ones and puts leaves before ops.
pub fn normalise(graph: &Graph) -> Graph {
    // Equal nodes are merged first, so that it is known what is read once.
    let mut graph = round(graph, false);
    for _ in 0..MAX_ROUNDS {
        let next = round(&graph, true);
        if next == graph {
            break;
        }
        graph = next;
    }
    graph
}

fn round(graph: &Graph, spells: bool) -> Graph {
    let live = live_nodes(graph);
    let readers = readers(graph, &live);
    let common = if spells { splits::common(graph, &live) } else { HashMap::new() };
    let mut builder = Builder::new(&graph.name, spells);
    let mut mapped: HashMap<Value, Value> = HashMap::new();
    let mut leaves: HashMap<&NodeKind, Value> = HashMap::new();
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        if mapped.contains_key(&Value { node: id, index: 0 }) {
            continue;
        }
        let values = match &node.kind {
            NodeKind::Leaf(leaf) => {
                let result = &node.results[0];
                let value = leaves
                    .entry(&node.kind)
                    .or_insert_with(|| builder.leaf(leaf, &result.name, result.ty.clone()));
                vec![*value]
            }
            NodeKind::Op(op) => {
                let operands: Vec<Value> = node.operands.iter().map(|value| mapped[value]).collect();
                let names: Vec<&str> = node.results.iter().map(|result| result.name.as_str()).collect();
                builder.origins = graph.origins(id).to_vec();
                if let Some(common) = common.get(&id)
                    && let Some(parts) = common.before(&mut builder, op, operands[0], &mapped, names[0])
                {
                    for (reader, part) in common.readers.iter().zip(parts) {
                        mapped.insert(Value { node: *reader, index: 0 }, part);
                    }
                    continue;
                }
                builder.make(op.clone(), &operands, &names).expect(SOUND)
            }
        };
        for (index, value) in (0..).zip(values) {
            let old = Value { node: id, index };
            *builder.readers.entry(value).or_insert(0) += readers.get(&old).copied().unwrap_or(0);
            mapped.insert(old, value);
        }
    }
    for (sink, value) in graph.sinks() {
        builder.out.sink(sink.clone(), mapped[value]);
    }
    builder.out.leaves_first()
}

/// How often each value is read, by live nodes and sinks.
fn readers(graph: &Graph, live: &[bool]) -> HashMap<Value, usize> {
    let nodes = graph.nodes().filter(|(id, _)| live[id.index()]).map(|(_, node)| node);
    let operands = nodes.flat_map(|node| node.operands.iter().copied());
    let mut readers = HashMap::new();
    for value in operands.chain(graph.sinks().iter().map(|(_, value)| *value)) {
        *readers.entry(value).or_insert(0) += 1;
    }
    readers
}

#[cfg(test)]
mod tests {
    use super::*;
    use mscc_ir::text::{parse_function, print_function};

    #[test]
    fn linear_becomes_matmul_and_add() {
        let graph = parse_function(
            r#"func @f {
                %x = state x : f32[T, 4]
                %w = weight "w" : bf16[3, 4]
                %b = weight "b" : bf16[3]
                %unused = silu %x
                %y = linear %x, %w, %b
                %z = linear %x, %w {dtype=f32}
                %z2 = linear %x, %w {dtype=f32}
                %s = add %y, %z
                %s2 = add %s, %z2
                state y = %s2
            }"#,
        )
        .unwrap();
        let text = print_function(&normalise(&graph));
        assert_eq!(
            text,
            r#"func @f {
  state %x: f32[T, 4]
  weight %w: bf16[3, 4], %b: bf16[3]
  %y.matmul = matmul %x, %w {trans_b=true} : f32[T, 3]
  %b.cast = cast %b {dtype=f32} : f32[3]
  %y = add %y.matmul, %b.cast : f32[T, 3]
  %s = add %y, %y.matmul : f32[T, 3]
  %s2 = add %s, %y.matmul : f32[T, 3]
  state y = %s2
}
"#
        );
    }
}
