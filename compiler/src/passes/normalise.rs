//! Normalisation: one spelling for what authors write in several, and no dead code.

use std::collections::HashMap;

use mscc_ir::graph::{Graph, NodeId, NodeKind, Value};
use mscc_ir::ops::{Add, Effect, Matmul, Op};

use super::rebuild::{Rebuild, live_nodes};

/// Turns `linear` into `matmul` and `add`, merges equal nodes, drops dead ones and puts leaves before ops.
pub fn normalise(graph: &Graph) -> Graph {
    let live = live_nodes(graph);
    let mut out = Graph::new(&graph.name);
    let mut rebuild = Rebuild::new(graph);
    let mut seen: HashMap<(NodeKind, Vec<Value>), NodeId> = HashMap::new();
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        let operands: Vec<Value> = node.operands.iter().map(|value| rebuild.mapped(*value)).collect();
        let pure = node.op().is_none_or(|op| op.kind().effect() == Effect::Pure);
        let key = (node.kind.clone(), operands);
        if let Some(earlier) = seen.get(&key).filter(|_| pure) {
            for index in 0..node.results.len() as u32 {
                rebuild.set(Value { node: id, index }, Value { node: *earlier, index });
            }
            continue;
        }
        match &node.kind {
            NodeKind::Op(Op::Linear(linear)) => {
                let value = expand_linear(graph, &mut out, id, linear.dtype, &key.1);
                rebuild.set(Value { node: id, index: 0 }, value);
            }
            NodeKind::Op(_) | NodeKind::Leaf(_) => rebuild.copy(&mut out, id),
        }
        seen.insert(key, rebuild.mapped(Value { node: id, index: 0 }).node);
    }
    for (sink, value) in graph.sinks() {
        out.sink(sink.clone(), rebuild.mapped(*value));
    }
    out.leaves_first()
}

/// `matmul`, and `add` if there is a bias; the last of them takes the layer's name.
fn expand_linear(
    source: &Graph,
    out: &mut Graph,
    id: NodeId,
    dtype: Option<mscc_ir::DType>,
    operands: &[Value],
) -> Value {
    let name = &source.node(id).results[0].name;
    let has_bias = operands.len() > 2;
    let product_name = if has_bias { format!("{name}.matmul") } else { name.clone() };
    let matmul = Matmul { trans_b: true, dtype };
    let checked = "the linear layer has been verified";
    let mut value = out.op1(matmul, &operands[..2], &product_name).expect(checked);
    out.set_origins(value.node, source.origins(id).to_vec());
    if has_bias {
        value = add_bias(out, value, operands[2], name).expect(checked);
        out.set_origins(value.node, source.origins(id).to_vec());
    }
    value
}

/// Adds a bias, cast to the product's element type if it is of another.
fn add_bias(
    out: &mut Graph,
    product: Value,
    bias: Value,
    name: &str,
) -> Result<Value, mscc_ir::ops::TypeError> {
    let dtype = out.ty(product).dtype;
    let bias = if out.ty(bias).dtype == dtype {
        bias
    } else {
        let cast_name = format!("{}.cast", out.value_name(bias));
        out.op1(mscc_ir::ops::Cast { dtype }, &[bias], &cast_name)?
    };
    out.op1(Add, &[product, bias], name)
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
  %z = matmul %x, %w {trans_b=true, dtype=f32} : f32[T, 3]
  %s = add %y, %z : f32[T, 3]
  %s2 = add %s, %z : f32[T, 3]
  state y = %s2
}
"#
        );
    }
}
