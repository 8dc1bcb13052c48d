//! Edits that change how a function is written, not what it computes.

use std::collections::HashMap;

use mscc_compiler::passes::rebuild::Rebuild;
use mscc_ir::graph::{Graph, Leaf, NodeId, NodeKind, Value};
use mscc_ir::ops::{
    Add, Cast, Concat, Effect, Linear, Matmul, Mul, Op, OpKind, Reshape, Scale, Shift, Sigmoid, Split,
    Transpose,
};
use mscc_ir::reference::{Sampler, Tensor};
use mscc_ir::tensor_type::resolve_axis;
use mscc_ir::{DType, Dim, Template, TensorType};

/// A graph that was edited.
pub struct Edited {
    pub graph: Graph,
    /// What was done, in order.
    pub done: Vec<&'static str>,
    /// Leaves that the graph did not have, in order.
    derived: Vec<Derived>,
}

/// A leaf made of leaves of the graph before.
struct Derived {
    name: String,
    from: Vec<String>,
    op: Op,
}

type Edit = fn(&mut Edited, &mut Sampler) -> Option<()>;

/// All edits, by name.
const EDITS: &[(&str, Edit)] = &[
    ("swap operands", swap_operands),
    ("renumber", renumber),
    ("reshape and back", reshape_and_back),
    ("cast and back", cast_and_back),
    ("compute under another shape", compute_under_another_shape),
    ("compute in f32", compute_in_f32),
    ("transpose and back", transpose_and_back),
    ("split and join", split_and_join),
    ("multiply by one", multiply_by_one),
    ("add zero", add_zero),
    ("compute twice", compute_twice),
    ("compute for nothing", compute_for_nothing),
    ("spell silu out", spell_silu_out),
    ("call it linear", call_it_linear),
    ("turn a weight", turn_a_weight),
    ("turn a weight in the graph", turn_a_weight_in_the_graph),
    ("multiply from the left", multiply_from_the_left),
    ("pack weights", pack_weights),
    ("pack weights in the graph", pack_weights_in_the_graph),
    ("take the bias out", take_the_bias_out),
    ("count axes from the front", count_axes_from_the_front),
    ("split in two steps", split_in_two_steps),
];

/// What is edited is sound, and so is what comes of it.
const SOUND: &str = "an edit keeps types";

impl Edited {
    pub fn new(graph: &Graph) -> Self {
        Edited { graph: graph.clone(), done: Vec::new(), derived: Vec::new() }
    }

    /// Does one edit, drawn among those that the graph has a place for.
    pub fn edit(&mut self, sampler: &mut Sampler) {
        loop {
            let (name, edit) = sampler.pick(EDITS).unwrap();
            if edit(self, sampler).is_some() {
                self.done.push(name);
                return;
            }
        }
    }

    /// Adds the leaves that the graph did not have.
    pub fn derive(&self, leaves: &mut HashMap<String, Tensor>) {
        for derived in &self.derived {
            let from: Vec<Tensor> = derived.from.iter().map(|name| leaves[name].clone()).collect();
            let shape = match &derived.op {
                Op::Transpose(_) => from[0].shape.iter().rev().copied().collect(),
                _ => [&[from.iter().map(|part| part.shape[0]).sum()], &from[0].shape[1..]].concat(),
            };
            let made = derived.op.eval(&from, &[shape]).unwrap().remove(0);
            leaves.insert(derived.name.clone(), made);
        }
    }

    /// Nodes of ops for which `fits` holds, none of them of weights alone.
    fn ops(&self, fits: impl Fn(&Op, &[Value]) -> bool) -> Vec<NodeId> {
        let weight_only = self.graph.weight_only();
        let nodes = self.graph.nodes().filter(|(id, _)| !weight_only[id.index()]);
        nodes
            .filter(|(_, node)| node.op().is_some_and(|op| fits(op, &node.operands)))
            .map(|(id, _)| id)
            .collect()
    }

    /// Values that may be computed otherwise: not what is written in place.
    fn values(&self, fits: impl Fn(&TensorType) -> bool) -> Vec<Value> {
        let pure = |node: &mscc_ir::graph::Node| match &node.kind {
            NodeKind::Leaf(leaf) => !matches!(leaf, Leaf::Cache(_)),
            NodeKind::Op(op) => op.kind().effect() == Effect::Pure,
        };
        let nodes = self.graph.nodes().filter(|(_, node)| pure(node));
        let values = nodes.flat_map(|(id, node)| {
            (0..node.results.len() as u32).map(move |index| Value { node: id, index })
        });
        values.filter(|value| fits(self.graph.ty(*value))).collect()
    }

    /// Makes the graph anew; where `each` gives results, they stand for those of the node.
    fn rebuild(&mut self, mut each: impl FnMut(&mut Graph, &Rebuild<'_>, NodeId) -> Option<Vec<Value>>) {
        let source = self.graph.clone();
        let mut out = Graph::new(&source.name);
        let mut rebuild = Rebuild::new(&source);
        for (id, _) in source.nodes() {
            match each(&mut out, &rebuild, id) {
                None => rebuild.copy(&mut out, id),
                Some(values) => {
                    (0..).zip(values).for_each(|(index, value)| rebuild.set(Value { node: id, index }, value))
                }
            }
        }
        for (sink, value) in source.sinks() {
            out.sink(sink.clone(), rebuild.mapped(*value));
        }
        self.graph = out;
    }

    /// Puts `wrap` of a value in its place.
    fn wrap(&mut self, value: Value, wrap: impl Fn(&mut Graph, Value) -> Value) {
        let source = self.graph.clone();
        self.rebuild(|out, rebuild, id| {
            (id == value.node).then(|| {
                let mut values = copied(&source, out, rebuild, id);
                let wrapped = &mut values[value.index as usize];
                *wrapped = wrap(out, *wrapped);
                values
            })
        });
    }

    /// Computes a node otherwise; `make` has its operands.
    fn replace(&mut self, id: NodeId, make: impl Fn(&mut Graph, &Op, &[Value]) -> Vec<Value>) {
        let source = self.graph.clone();
        self.rebuild(|out, rebuild, at| {
            let op = source.node(at).op().filter(|_| at == id)?;
            Some(make(out, op, &mapped(&source, rebuild, id)))
        });
    }

    fn op(&self, id: NodeId) -> &Op {
        self.graph.node(id).op().expect("ops are asked for")
    }

    fn operand_type(&self, id: NodeId, operand: usize) -> &TensorType {
        self.graph.ty(self.graph.node(id).operands[operand])
    }

    /// The weight of the checkpoint that an operand is.
    fn weight(&self, id: NodeId, operand: usize) -> Option<String> {
        let value = self.graph.node(id).operands[operand];
        let is_weight = matches!(self.graph.node(value.node).kind, NodeKind::Leaf(Leaf::Weight(_)));
        is_weight.then(|| self.graph.value_name(value).to_owned())
    }

    fn derived_leaf(&mut self, name: String, from: Vec<String>, op: impl Into<Op>) -> Leaf {
        let template = Template::new(&name).expect("it is a name");
        self.derived.push(Derived { name, from, op: op.into() });
        Leaf::Weight(template)
    }
}

fn mapped(source: &Graph, rebuild: &Rebuild<'_>, id: NodeId) -> Vec<Value> {
    source.node(id).operands.iter().map(|value| rebuild.mapped(*value)).collect()
}

fn copied(source: &Graph, out: &mut Graph, rebuild: &Rebuild<'_>, id: NodeId) -> Vec<Value> {
    let node = source.node(id);
    let names: Vec<&str> = node.results.iter().map(|result| result.name.as_str()).collect();
    match &node.kind {
        NodeKind::Leaf(leaf) => vec![out.leaf(leaf.clone(), names[0], node.results[0].ty.clone())],
        NodeKind::Op(op) => out.op(op.clone(), &mapped(source, rebuild, id), &names).expect(SOUND).to_vec(),
    }
}

fn make(out: &mut Graph, op: impl Into<Op>, operands: &[Value]) -> Value {
    out.op1(op, operands, "edit").expect(SOUND)
}

fn reshape(out: &mut Graph, value: Value, shape: &[Dim]) -> Value {
    make(out, Reshape { shape: shape.to_vec() }, &[value])
}

fn swap_operands(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let ops = edited.ops(|op, _| op.kind().is_commutative());
    edited.replace(*sampler.pick(&ops)?, |out, op, operands| {
        vec![make(out, op.clone(), &[operands[1], operands[0]])]
    });
    Some(())
}

/// Other names, and another order among those in which operands come first.
fn renumber(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let source = edited.graph.clone();
    let mut out = Graph::new(&source.name);
    let mut rebuild = Rebuild::new(&source);
    let mut left: Vec<NodeId> = source.nodes().map(|(id, _)| id).collect();
    while !left.is_empty() {
        let is_ready =
            |id: &NodeId| source.node(*id).operands.iter().all(|value| rebuild.get(*value).is_some());
        let ready: Vec<usize> = (0..left.len()).filter(|at| is_ready(&left[*at])).collect();
        let id = left.remove(*sampler.pick(&ready).expect("there is no cycle"));
        match &source.node(id).kind {
            NodeKind::Leaf(_) => rebuild.copy(&mut out, id),
            NodeKind::Op(op) => {
                let names: Vec<String> =
                    source.node(id).results.iter().map(|_| format!("n{}", sampler.below(1000))).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let values = out.op(op.clone(), &mapped(&source, &rebuild, id), &names).expect(SOUND);
                (0..).zip(values).for_each(|(index, value)| rebuild.set(Value { node: id, index }, value));
            }
        }
    }
    for (sink, value) in source.sinks() {
        out.sink(sink.clone(), rebuild.mapped(*value));
    }
    edited.graph = out;
    Some(())
}

/// Another shape of the same elements, the innermost axis kept.
fn other_leading(shape: &[Dim], sampler: &mut Sampler) -> Option<Vec<Dim>> {
    let (last, leading) = shape.split_last()?;
    let row = std::slice::from_ref(last);
    let shapes = [
        [&[Dim::ONE], leading, row].concat(),
        [leading, &[Dim::ONE], row].concat(),
        [&[Dim::product(leading)], row].concat(),
        [&[Dim::ONE, Dim::product(leading)], row].concat(),
    ];
    sampler.pick(&shapes).cloned()
}

fn reshape_and_back(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let value = *sampler.pick(&edited.values(|ty| ty.rank() > 0))?;
    let before = edited.graph.ty(value).shape.clone();
    let between = match sampler.below(3) {
        0 => vec![Dim::product(&before)],
        _ => other_leading(&before, sampler)?,
    };
    edited.wrap(value, |out, value| {
        let between = reshape(out, value, &between);
        reshape(out, between, &before)
    });
    Some(())
}

fn cast_and_back(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let value =
        *sampler.pick(&edited.values(|ty| matches!(ty.dtype, DType::BF16 | DType::F16 | DType::I32)))?;
    let narrow = edited.graph.ty(value).dtype;
    let wide = if narrow.is_float() { DType::F32 } else { DType::I64 };
    edited.wrap(value, |out, value| {
        let wide = make(out, Cast { dtype: wide }, &[value]);
        make(out, Cast { dtype: narrow }, &[wide])
    });
    Some(())
}

/// Which operands are rows like those of the result, for ops that take any leading axes.
fn row_operands(op: &Op, operands: &[TensorType]) -> Option<Vec<usize>> {
    match op.kind() {
        OpKind::Add | OpKind::Mul => match operands[0].rank().cmp(&operands[1].rank()) {
            std::cmp::Ordering::Equal => Some(vec![0, 1]),
            std::cmp::Ordering::Greater => Some(vec![0]),
            std::cmp::Ordering::Less => Some(vec![1]),
        },
        OpKind::Gelu
        | OpKind::LayerNorm
        | OpKind::Linear
        | OpKind::Relu
        | OpKind::Renormalize
        | OpKind::RmsNorm
        | OpKind::Scale
        | OpKind::Sigmoid
        | OpKind::Silu
        | OpKind::Softmax
        | OpKind::Topk => Some(vec![0]),
        OpKind::Matmul if operands[1].rank() == 2 => Some(vec![0]),
        OpKind::TakeAlong => Some(vec![0, 1]),
        _ => None,
    }
}

/// `[T, H]` as `[1, T, H]` and the like, for one op.
fn compute_under_another_shape(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let graph = &edited.graph;
    let types = |operands: &[Value]| -> Vec<TensorType> {
        operands.iter().map(|value| graph.ty(*value).clone()).collect()
    };
    let ops = edited.ops(|op, operands| row_operands(op, &types(operands)).is_some());
    let id = *sampler.pick(&ops)?;
    let operands = types(&graph.node(id).operands);
    let rows = row_operands(edited.op(id), &operands)?;
    let leading = operands[rows[0]].leading().to_vec();
    if edited.op(id).kind() == OpKind::Topk && leading.len() > 1 {
        return None; // of groups, which are no rows any more if they are flattened
    }
    let broadcasts = matches!(edited.op(id).kind(), OpKind::Add | OpKind::Mul) && rows.len() == 1;
    if broadcasts && operands[1 - rows[0]].rank() > 1 {
        return None;
    }
    let mut shape = other_leading(&operands[rows[0]].shape, sampler)?;
    shape.pop();
    let wanted: Vec<Vec<Dim>> = graph.node(id).results.iter().map(|result| result.ty.shape.clone()).collect();
    if rows.iter().any(|row| operands[*row].leading() != leading) {
        return None;
    }
    edited.replace(id, |out, op, operands| {
        let mut moved = operands.to_vec();
        for row in &rows {
            let own = [shape.as_slice(), &[out.ty(operands[*row]).last()]].concat();
            moved[*row] = reshape(out, operands[*row], &own);
        }
        let values = out.op(op.clone(), &moved, &["edit"]).expect(SOUND);
        values.iter().zip(&wanted).map(|(value, shape)| reshape(out, *value, shape)).collect()
    });
    Some(())
}

/// Casts to f32 before an op and back behind it.
fn compute_in_f32(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let graph = &edited.graph;
    let ops = edited.ops(|op, operands| {
        let first = graph.ty(operands[0]).dtype;
        let fits = matches!(
            op.kind(),
            OpKind::Add
                | OpKind::Mul
                | OpKind::RmsNorm
                | OpKind::Silu
                | OpKind::Sigmoid
                | OpKind::Softmax
                | OpKind::Scale
        );
        fits && matches!(first, DType::BF16 | DType::F16)
            && op.attrs().iter().all(|(name, _)| *name != "dtype")
    });
    let id = *sampler.pick(&ops)?;
    let dtype = edited.operand_type(id, 0).dtype;
    edited.replace(id, |out, op, operands| {
        let wide: Vec<Value> =
            operands.iter().map(|value| make(out, Cast { dtype: DType::F32 }, &[*value])).collect();
        let value = make(out, op.clone(), &wide);
        vec![make(out, Cast { dtype }, &[value])]
    });
    Some(())
}

fn transpose_and_back(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let value = *sampler.pick(&edited.values(|ty| ty.rank() > 1))?;
    let rank = edited.graph.ty(value).rank() as u32;
    let turn = 1 + sampler.below(u64::from(rank) - 1) as u32;
    let rotated = |by: u32| Transpose { permutation: (0..rank).map(|axis| (axis + by) % rank).collect() };
    edited.wrap(value, |out, value| {
        let turned = make(out, rotated(turn), &[value]);
        make(out, rotated(rank - turn), &[turned])
    });
    Some(())
}

fn split_and_join(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let fits = |ty: &TensorType| ty.rank() > 0 && ty.last().as_const().is_some_and(|width| width > 2);
    let value = *sampler.pick(&edited.values(fits))?;
    let ty = edited.graph.ty(value);
    let (width, front) = (ty.last().as_const()?, sampler.below(2) as i64);
    let cut = 1 + sampler.below(width as u64 - 2) as i64;
    let mut sizes = vec![Dim::constant(cut), Dim::constant(width - cut)];
    if width - cut > 1 && sampler.below(2) == 0 {
        sizes = vec![Dim::constant(cut), Dim::ONE, Dim::constant(width - cut - 1)];
    }
    let rank = ty.rank() as i64;
    edited.wrap(value, |out, value| {
        let parts = out.op(Split { axis: -1, sizes: sizes.clone() }, &[value], &["edit"]).expect(SOUND);
        make(out, Concat { axis: if front == 1 { rank - 1 } else { -1 } }, &parts)
    });
    Some(())
}

fn multiply_by_one(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let value = *sampler.pick(&edited.values(|ty| ty.dtype.is_float()))?;
    edited.wrap(value, |out, value| make(out, Scale { by: mscc_ir::attr::Float(1.0) }, &[value]));
    Some(())
}

fn add_zero(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let value = *sampler.pick(&edited.values(|ty| ty.dtype.is_float()))?;
    edited.wrap(value, |out, value| make(out, Shift { by: mscc_ir::attr::Float(0.0) }, &[value]));
    Some(())
}

/// Some readers of a value read another one that is computed alike.
fn compute_twice(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let ops = edited.ops(|op, _| op.kind().effect() == Effect::Pure);
    let twice = *sampler.pick(&ops)?;
    let source = edited.graph.clone();
    let mut others: Option<Vec<Value>> = None;
    let mut flips = sampler.clone();
    edited.rebuild(|out, rebuild, id| {
        if id == twice {
            others = Some(copied(&source, out, rebuild, id));
            return None;
        }
        let op = source.node(id).op()?;
        let mut operands = mapped(&source, rebuild, id);
        for (operand, value) in operands.iter_mut().zip(&source.node(id).operands) {
            if value.node == twice && flips.below(2) == 0 {
                *operand = others.as_ref().expect("operands come first")[value.index as usize];
            }
        }
        let names: Vec<&str> = source.node(id).results.iter().map(|result| result.name.as_str()).collect();
        Some(out.op(op.clone(), &operands, &names).expect(SOUND).to_vec())
    });
    Some(())
}

fn compute_for_nothing(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let value = *sampler.pick(&edited.values(|ty| ty.dtype.is_float()))?;
    edited.wrap(value, |out, value| {
        make(out, Sigmoid, &[value]);
        value
    });
    Some(())
}

fn spell_silu_out(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let ops = edited.ops(|op, _| op.kind() == OpKind::Silu);
    edited.replace(*sampler.pick(&ops)?, |out, _, operands| {
        let sigmoid = make(out, Sigmoid, operands);
        vec![make(out, Mul, &[operands[0], sigmoid])]
    });
    Some(())
}

fn products(edited: &Edited) -> Vec<NodeId> {
    let graph = &edited.graph;
    edited.ops(|op, operands| match op {
        Op::Linear(_) => true,
        Op::Matmul(matmul) => matmul.trans_b && graph.ty(operands[1]).rank() == 2,
        _ => false,
    })
}

fn result_dtype(op: &Op) -> Option<DType> {
    match op {
        Op::Linear(linear) => linear.dtype,
        Op::Matmul(matmul) => matmul.dtype,
        _ => None,
    }
}

/// `linear` for `matmul`, or the other way round.
fn call_it_linear(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    edited.replace(*sampler.pick(&products(edited))?, |out, op, operands| {
        let dtype = result_dtype(op);
        let other: Op = match op.kind() {
            OpKind::Linear => Matmul { trans_b: true, dtype }.into(),
            _ => Linear { dtype }.into(),
        };
        vec![make(out, other, operands)]
    });
    Some(())
}

/// The checkpoint has the weight as `[K, N]`, for its only reader.
fn turn_a_weight(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let users = edited.graph.users();
    let is_only_reader = |id: &NodeId| users[edited.graph.node(*id).operands[1].node.index()].len() == 1;
    let ids: Vec<NodeId> = products(edited).into_iter().filter(is_only_reader).collect();
    let id = *sampler.pick(&ids)?;
    let name = edited.weight(id, 1)?;
    let ty = edited.operand_type(id, 1).clone();
    let turned = format!("{name}.t{}", edited.derived.len());
    let leaf = edited.derived_leaf(turned.clone(), vec![name], Transpose { permutation: vec![1, 0] });
    let in_graph = sampler.below(2) == 0;
    edited.replace(id, |out, op, operands| {
        let shape = [ty.shape[1].clone(), ty.shape[0].clone()];
        let mut operands = operands.to_vec();
        operands[1] = out.leaf(leaf.clone(), &turned, TensorType::new(ty.dtype, shape));
        if in_graph {
            operands[1] = make(out, Transpose { permutation: vec![1, 0] }, &operands[1..2]);
        }
        vec![make(out, Matmul { trans_b: in_graph, dtype: result_dtype(op) }, &operands)]
    });
    Some(())
}

fn turn_a_weight_in_the_graph(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    edited.replace(*sampler.pick(&products(edited))?, |out, op, operands| {
        let mut operands = operands.to_vec();
        operands[1] = make(out, Transpose { permutation: vec![1, 0] }, &operands[1..2]);
        vec![make(out, Matmul { trans_b: false, dtype: result_dtype(op) }, &operands)]
    });
    Some(())
}

/// `(w · xᵀ)ᵀ`
fn multiply_from_the_left(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let graph = &edited.graph;
    let fits = |id: &NodeId| {
        let node = graph.node(*id);
        let same_type = graph.ty(node.operands[0]).dtype == graph.ty(node.operands[1]).dtype;
        let is_weight = graph.weight_only()[node.operands[1].node.index()];
        graph.ty(node.operands[0]).rank() == 2 && node.operands.len() == 2 && same_type && is_weight
    };
    let ids: Vec<NodeId> = products(edited).into_iter().filter(fits).collect();
    let turned = sampler.below(2) == 0;
    edited.replace(*sampler.pick(&ids)?, |out, op, operands| {
        let turn = || Transpose { permutation: vec![1, 0] };
        let x = if turned { make(out, turn(), &operands[..1]) } else { operands[0] };
        let product = Matmul { trans_b: !turned, dtype: result_dtype(op) };
        let product = make(out, product, &[operands[1], x]);
        vec![make(out, turn(), &[product])]
    });
    Some(())
}

/// Two products without bias that read the same.
fn siblings(edited: &Edited, sampler: &mut Sampler) -> Option<(NodeId, NodeId)> {
    let graph = &edited.graph;
    let users = graph.users();
    // A weight with another reader would be there twice.
    let fits = |id: &NodeId| {
        let operands = &graph.node(*id).operands;
        edited.weight(*id, 1).is_some() && operands.len() == 2 && users[operands[1].node.index()].len() == 1
    };
    let ids: Vec<NodeId> = products(edited).into_iter().filter(fits).collect();
    let alike = |a: &NodeId, b: &NodeId| {
        let same_type = edited.operand_type(*a, 1).dtype == edited.operand_type(*b, 1).dtype;
        a < b
            && graph.node(*a).operands[0] == graph.node(*b).operands[0]
            && same_type
            && edited.weight(*a, 1) != edited.weight(*b, 1)
            && result_dtype(edited.op(*a)) == result_dtype(edited.op(*b))
    };
    let pairs = ids.iter().flat_map(|a| ids.iter().map(move |b| (*a, *b))).filter(|(a, b)| alike(a, b));
    let pairs: Vec<(NodeId, NodeId)> = pairs.collect();
    sampler.pick(&pairs).copied()
}

fn pack_weights(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    pack(edited, sampler, true)
}

fn pack_weights_in_the_graph(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    pack(edited, sampler, false)
}

/// One product of two weights below each other, and a split.
fn pack(edited: &mut Edited, sampler: &mut Sampler, in_checkpoint: bool) -> Option<()> {
    // Both weights are there when the first of the products is.
    edited.graph = edited.graph.leaves_first();
    let (a, b) = siblings(edited, sampler)?;
    let ids = if sampler.below(2) == 0 { [a, b] } else { [b, a] };
    let names: Vec<String> = ids.iter().filter_map(|id| edited.weight(*id, 1)).collect();
    let widths = ids.map(|id| edited.operand_type(id, 1).shape[0].clone());
    let (k, dtype) = (edited.operand_type(a, 1).last(), edited.operand_type(a, 1).dtype);
    let packed = format!("packed.{}", edited.derived.len());
    let leaf = in_checkpoint.then(|| edited.derived_leaf(packed.clone(), names.clone(), Concat { axis: 0 }));
    let ty = TensorType::new(dtype, [widths[0].clone() + widths[1].clone(), k]);
    let source = edited.graph.clone();
    let mut parts: Vec<Value> = Vec::new();
    edited.rebuild(|out, rebuild, id| {
        if !ids.contains(&id) {
            return None;
        }
        if parts.is_empty() {
            let x = rebuild.mapped(source.node(id).operands[0]);
            let weights = ids.map(|id| rebuild.mapped(source.node(id).operands[1]));
            let weight = match &leaf {
                Some(leaf) => out.leaf(leaf.clone(), &packed, ty.clone()),
                None => make(out, Concat { axis: 0 }, &weights),
            };
            let dtype = result_dtype(source.node(id).op().expect("it is a product"));
            let product = make(out, Matmul { trans_b: true, dtype }, &[x, weight]);
            parts = out
                .op(Split { axis: -1, sizes: widths.to_vec() }, &[product], &["edit"])
                .expect(SOUND)
                .to_vec();
        }
        let part = ids.iter().position(|other| *other == id)?;
        Some(vec![parts[part]])
    });
    Some(())
}

/// The bias of a layer as a sum behind its product.
fn take_the_bias_out(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let graph = &edited.graph;
    let same_type = |operands: &[Value]| {
        operands.len() == 3 && graph.ty(operands[0]).dtype == graph.ty(operands[2]).dtype
    };
    let fits = |id: &NodeId| same_type(&graph.node(*id).operands) && result_dtype(edited.op(*id)).is_none();
    let ids: Vec<NodeId> = products(edited).into_iter().filter(fits).collect();
    edited.replace(*sampler.pick(&ids)?, |out, op, operands| {
        let product = make(out, op.clone(), &operands[..2]);
        vec![make(out, Add, &[operands[2], product])]
    });
    Some(())
}

fn count_axes_from_the_front(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let graph = &edited.graph;
    let ops = edited.ops(|op, _| matches!(op, Op::Split(_) | Op::Concat(_)));
    let id = *sampler.pick(&ops)?;
    let rank = graph.ty(graph.node(id).operands[0]).rank();
    edited.replace(id, |out, op, operands| {
        let front = |axis: i64| resolve_axis(axis, rank).expect("the axis is there") as i64;
        let op: Op = match op {
            Op::Split(split) => Split { axis: front(split.axis), sizes: split.sizes.clone() }.into(),
            Op::Concat(concat) => Concat { axis: front(concat.axis) }.into(),
            other => other.clone(),
        };
        out.op(op, operands, &["edit"]).expect(SOUND).to_vec()
    });
    Some(())
}

/// Three parts cut as one and two.
fn split_in_two_steps(edited: &mut Edited, sampler: &mut Sampler) -> Option<()> {
    let ops = edited.ops(|op, _| matches!(op, Op::Split(split) if split.sizes.len() > 2));
    let id = *sampler.pick(&ops)?;
    edited.replace(id, |out, op, operands| {
        let Op::Split(Split { axis, sizes }) = op else { unreachable!("it is a split") };
        let (last, others) = sizes.split_last().expect("there are three");
        let rest = others.iter().fold(Dim::ZERO, |sum, size| sum + size.clone());
        let outer = Split { axis: *axis, sizes: vec![rest, last.clone()] };
        let outer = out.op(outer, operands, &["edit"]).expect(SOUND);
        let inner = Split { axis: *axis, sizes: others.to_vec() };
        let mut parts = out.op(inner, &outer[..1], &["edit"]).expect(SOUND).to_vec();
        parts.push(outer[1]);
        parts
    });
    Some(())
}
