//! What the target's kernels ask of graphs before anything is fused.
//!
//! aclnn operators take operands of one element type and give results of it, and rotate by tables that have a value for
//! every element of a head, in the type of the queries. So
//!
//! - a result of another type becomes a result of the operands' type and a cast,
//! - weights are cast to the type of what they meet, which a recipe does,
//! - the tables of all positions become weights, of which a step gathers its rows.

use std::collections::BTreeSet;

use mscc_ir::graph::{Graph, Leaf, NodeId, NodeKind, Sink, Value};
use mscc_ir::ops::{
    ApplyRotary, Cast, Concat, Gather, InterleaveRope, Iota, Op, OpKind, Reshape, Rope, RopeTable, Split,
};
use mscc_ir::{DType, Dim, Module, Symbol, TensorType, step};

use super::rebuild::Rebuild;
use super::score_rotary::ends_in_scores;
use crate::target::{Device, Target};

/// Suits the module to the target.
pub fn suit(module: &Module, target: &Target) -> Module {
    match target.device {
        Device::Cpu => module.clone(),
        Device::Ascend(_) => {
            let tables = Tables::of(module, &target.with_symbols(&module.symbols));
            let mut suited = module.clone();
            for function in &mut suited.functions {
                *function = Suit::new(function, tables.as_ref()).run();
            }
            suited
        }
    }
}

/// Rotary tables of a module that can be made once for all positions.
struct Tables {
    /// Positions that there are.
    positions: u32,
    /// Whether neighbours are paired, by all that rotate.
    interleaved: bool,
    /// Whether the first elements of all pairs are put before the second, which scores cannot tell.
    by_halves: bool,
    /// Element type of what is rotated.
    dtype: DType,
    /// States as which they pass from function to function.
    states: BTreeSet<String>,
}

impl Tables {
    /// `None` where what rotates differs in how, or a table serves something else too: then they stay as they are.
    fn of(module: &Module, target: &Target) -> Option<Tables> {
        let positions = module.symbols.get(&Symbol::new(step::MAX_CONTEXT))?.max;
        let mut states = BTreeSet::new();
        let mut uses: BTreeSet<(bool, DType)> = BTreeSet::new();
        for graph in &module.functions {
            let weight_only = graph.weight_only();
            for (_, node) in graph.nodes() {
                match node.op() {
                    Some(Op::RopeTable(_)) if !weight_only[node.operands[1].node.index()] => return None,
                    Some(Op::Rope(rope)) => {
                        uses.insert((rope.interleaved, graph.ty(node.operands[0]).dtype));
                    }
                    _ => {}
                }
            }
            for (sink, value) in graph.sinks() {
                if let (Sink::State(name), Some(Op::RopeTable(_))) = (sink, graph.node(value.node).op()) {
                    states.insert(name.clone());
                }
            }
        }
        let is_table = |graph: &Graph, value: Value| match &graph.node(value.node).kind {
            NodeKind::Op(op) => op.kind() == OpKind::RopeTable,
            NodeKind::Leaf(Leaf::State(name)) => states.contains(name),
            NodeKind::Leaf(_) => false,
        };
        for graph in &module.functions {
            for (_, node) in graph.nodes() {
                let rotates = node.op().is_some_and(|op| op.kind() == OpKind::Rope);
                let mut operands = node.operands.iter().enumerate();
                if operands.any(|(at, value)| is_table(graph, *value) && !(rotates && at > 0)) {
                    return None;
                }
            }
        }
        let mut uses = uses.into_iter();
        let (interleaved, dtype) = uses.next().filter(|_| uses.next().is_none())?;
        let by_halves = interleaved && ends_in_scores(module) && turns_by_halves(module, dtype, target);
        Some(Tables { positions: u32::try_from(positions).ok()?, interleaved, by_halves, dtype, states })
    }
}

/// Whether an operator turns neighbours and gives halves, for all that is rotated.
fn turns_by_halves(module: &Module, dtype: DType, target: &Target) -> bool {
    module.functions.iter().all(|graph| {
        graph.nodes().filter(|(_, node)| matches!(node.op(), Some(Op::Rope(_)))).all(|(_, node)| {
            let x = graph.ty(node.operands[0]).clone();
            let table = TensorType::new(dtype, [x.shape[0].clone(), x.last()]);
            let operands = [x.clone(), table.clone(), table];
            target.kernel(&InterleaveRope.into(), &operands, &[x]).is_ok()
        })
    })
}

struct Suit<'a> {
    graph: &'a Graph,
    weight_only: Vec<bool>,
    tables: Option<&'a Tables>,
    out: Graph,
    rebuild: Rebuild<'a>,
}

/// Nodes are made of parts of a sound graph, by ops whose types were worked out with them.
const SOUND: &str = "the types fit by construction";

impl<'a> Suit<'a> {
    fn new(graph: &'a Graph, tables: Option<&'a Tables>) -> Self {
        let weight_only = graph.weight_only();
        Suit { graph, weight_only, tables, out: Graph::new(&graph.name), rebuild: Rebuild::new(graph) }
    }

    fn run(mut self) -> Graph {
        for (id, node) in self.graph.nodes() {
            match (&node.kind, self.tables) {
                (NodeKind::Leaf(Leaf::State(name)), Some(tables)) if tables.states.contains(name) => {
                    self.state(id, name, tables);
                }
                (NodeKind::Op(Op::RopeTable(table)), Some(tables)) => self.table(id, table, tables),
                (NodeKind::Op(Op::Rope(rope)), Some(_)) => self.rotate(id, rope),
                (NodeKind::Op(op), _) if !self.weight_only[id.index()] => self.op(id, op),
                (NodeKind::Op(_) | NodeKind::Leaf(_), _) => self.rebuild.copy(&mut self.out, id),
            }
        }
        for (sink, value) in self.graph.sinks() {
            self.out.sink(sink.clone(), self.rebuild.mapped(*value));
        }
        self.out
    }

    fn add(&mut self, op: impl Into<Op>, operands: &[Value], name: &str, id: NodeId) -> Value {
        let value = self.out.op1(op, operands, name).expect(SOUND);
        self.out.set_origins(value.node, self.graph.origins(id).to_vec());
        value
    }

    /// Tables that come from an earlier function have the type that they were given there.
    fn state(&mut self, id: NodeId, name: &str, tables: &Tables) {
        let result = &self.graph.node(id).results[0];
        let width = result.ty.shape[1].clone() * Dim::constant(2);
        let ty = TensorType::new(tables.dtype, [result.ty.shape[0].clone(), width]);
        let value = self.out.leaf(Leaf::State(name.to_owned()), &result.name, ty);
        self.rebuild.set(Value { node: id, index: 0 }, value);
    }

    fn table(&mut self, id: NodeId, table: &RopeTable, tables: &Tables) {
        let node = self.graph.node(id);
        let (positions, frequencies) =
            (self.rebuild.mapped(node.operands[0]), self.rebuild.mapped(node.operands[1]));
        let stem = &node.results[0].name;
        let all = self.add(Iota { size: tables.positions }, &[], &format!("{stem}.positions"), id);
        let names: Vec<String> = node.results.iter().map(|result| format!("{}.half", result.name)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let halves = self.out.op(Op::from(table.clone()), &[all, frequencies], &names).expect(SOUND);
        for (index, (half, result)) in halves.into_iter().zip(&node.results).enumerate() {
            let whole = self.spelled_out(half, tables, &result.name, id);
            let whole = self.add(Cast { dtype: tables.dtype }, &[whole], &format!("{}.all", result.name), id);
            let rows = self.add(Gather, &[whole, positions], &result.name, id);
            self.rebuild.set(Value { node: id, index: index as u32 }, rows);
        }
    }

    /// A value for every element of a head, from one for every pair.
    fn spelled_out(&mut self, half: Value, tables: &Tables, name: &str, id: NodeId) -> Value {
        let shape = self.out.ty(half).shape.clone();
        let both = |axis| Concat { axis };
        if !tables.interleaved || tables.by_halves {
            return self.add(both(-1), &[half, half], &format!("{name}.spelled_out"), id);
        }
        let single = [shape[0].clone(), shape[1].clone(), Dim::ONE].to_vec();
        let single = self.add(Reshape { shape: single }, &[half], &format!("{name}.single"), id);
        let double = self.add(both(-1), &[single, single], &format!("{name}.double"), id);
        let whole = [shape[0].clone(), shape[1].clone() * Dim::constant(2)].to_vec();
        self.add(Reshape { shape: whole }, &[double], &format!("{name}.spelled_out"), id)
    }

    /// Rotates the first elements of each head and leaves the rest.
    fn rotate(&mut self, id: NodeId, rope: &Rope) {
        let node = self.graph.node(id);
        let [x, cos, sin] = [0, 1, 2].map(|index| self.rebuild.mapped(node.operands[index]));
        let name = node.results[0].name.as_str();
        let (width, rotary) = (self.out.ty(x).shape[2].clone(), self.out.ty(cos).shape[1].clone());
        let op: Op = match self.tables {
            Some(tables) if tables.by_halves => InterleaveRope.into(),
            Some(_) | None => ApplyRotary { interleaved: rope.interleaved }.into(),
        };
        let y = if width == rotary {
            self.add(op, &[x, cos, sin], name, id)
        } else {
            let names = [format!("{name}.turning"), format!("{name}.still")];
            let sizes = vec![rotary.clone(), width - rotary];
            let parts = self.out.op(Op::from(Split { axis: -1, sizes }), &[x], &[&names[0], &names[1]]);
            let parts = parts.expect(SOUND);
            let turned = self.add(op, &[parts[0], cos, sin], &format!("{name}.turned"), id);
            self.add(Concat { axis: -1 }, &[turned, parts[1]], name, id)
        };
        self.rebuild.set(Value { node: id, index: 0 }, y);
    }

    fn op(&mut self, id: NodeId, op: &Op) {
        let node = self.graph.node(id);
        let first = node.operands.first().map(|value| self.graph.ty(*value).dtype);
        let Some(dtype) = first.filter(|dtype| dtype.is_float()) else {
            return self.rebuild.copy(&mut self.out, id);
        };
        let mut operands = Vec::with_capacity(node.operands.len());
        for (index, value) in node.operands.iter().enumerate() {
            let mapped = self.rebuild.mapped(*value);
            let own = self.out.ty(mapped).dtype;
            let is_weight = index > 0 && self.weight_only[value.node.index()] && own.is_float();
            operands.push(if is_weight && own != dtype {
                self.add(Cast { dtype }, &[mapped], &format!("{}.{dtype}", self.graph.value_name(*value)), id)
            } else {
                mapped
            });
        }
        let plain = without_result_type(op);
        let names: Vec<&str> = node.results.iter().map(|result| result.name.as_str()).collect();
        let made = match &plain {
            Some(plain) => {
                let names: Vec<String> = names.iter().map(|name| format!("{name}.{dtype}")).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                self.out.op(plain.clone(), &operands, &names).ok()
            }
            None => self.out.op(op.clone(), &operands, &names).ok(),
        };
        // Where other types do not fit the op, it stays as it was.
        let Some(made) = made else { return self.rebuild.copy(&mut self.out, id) };
        self.out.set_origins(made[0].node, self.graph.origins(id).to_vec());
        for (index, (value, result)) in made.into_iter().zip(&node.results).enumerate() {
            let value = if self.out.ty(value).dtype == result.ty.dtype {
                value
            } else {
                self.add(Cast { dtype: result.ty.dtype }, &[value], &result.name, id)
            };
            self.rebuild.set(Value { node: id, index: index as u32 }, value);
        }
    }
}

/// The op with a result of its operands' type, if it states another.
fn without_result_type(op: &Op) -> Option<Op> {
    let states_type = matches!(
        op.kind(),
        OpKind::Matmul | OpKind::GroupedMatmul | OpKind::RmsNorm | OpKind::AddRmsNorm | OpKind::LayerNorm
    );
    let attrs = op.attrs();
    if !states_type || !attrs.iter().any(|(name, _)| *name == "dtype") {
        return None;
    }
    let rest: Vec<_> = attrs
        .into_iter()
        .filter(|(name, _)| *name != "dtype")
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    op.kind().with_attrs(&rest).ok()
}
