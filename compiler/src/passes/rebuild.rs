//! Making a new function out of parts of others.

use std::collections::HashMap;

use mscc_ir::graph::{Graph, NodeId, NodeKind, Value};

/// Copies nodes of one graph into another, keeping names and provenance.
pub struct Rebuild<'a> {
    source: &'a Graph,
    mapped: HashMap<Value, Value>,
}

impl<'a> Rebuild<'a> {
    /// Copies from `source`.
    pub fn new(source: &'a Graph) -> Self {
        Rebuild { source, mapped: HashMap::new() }
    }

    /// What stands for `value` of the source.
    pub fn get(&self, value: Value) -> Option<Value> {
        self.mapped.get(&value).copied()
    }

    /// What stands for `value`, which has been copied or set.
    pub fn mapped(&self, value: Value) -> Value {
        self.get(value).expect("operands come before users, so they have been copied")
    }

    /// Lets `value` stand for `old` of the source.
    pub fn set(&mut self, old: Value, value: Value) {
        self.mapped.insert(old, value);
    }

    /// Copies a node whose operands have been copied or set.
    pub fn copy(&mut self, into: &mut Graph, id: NodeId) {
        let node = self.source.node(id);
        let names: Vec<&str> = node.results.iter().map(|result| result.name.as_str()).collect();
        match &node.kind {
            NodeKind::Leaf(leaf) => {
                let value = into.leaf(leaf.clone(), names[0], node.results[0].ty.clone());
                self.set(Value { node: id, index: 0 }, value);
            }
            NodeKind::Op(op) => {
                let operands: Vec<Value> = node.operands.iter().map(|value| self.mapped(*value)).collect();
                let results = into.op(op.clone(), &operands, &names).expect("the source has been verified");
                into.set_origins(results[0].node, self.source.origins(id).to_vec());
                for (index, result) in results.iter().enumerate() {
                    self.set(Value { node: id, index: index as u32 }, *result);
                }
            }
        }
    }
}

/// For each node, whether a sink depends on it.
pub fn live_nodes(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.len()];
    for (_, value) in graph.sinks() {
        live[value.node.index()] = true;
    }
    for (id, node) in graph.nodes().rev() {
        if live[id.index()] {
            node.operands.iter().for_each(|operand| live[operand.node.index()] = true);
        }
    }
    live
}
