//! Cutting and joining: what undoes each other goes, and what is done to all parts is done to the whole.

use std::collections::HashMap;

use mscc_ir::Dim;
use mscc_ir::graph::{Graph, NodeId, Value};
use mscc_ir::ops::{Concat, Op, OpKind, Split};
use mscc_ir::tensor_type::resolve_axis;

use super::builder::{Builder, Values};

pub(super) fn spelling(builder: &mut Builder, op: &Op, operands: &[Value], name: &str) -> Option<Values> {
    match op {
        Op::Split(split) => split_of(builder, split, operands[0], name),
        Op::Concat(concat) => concat_of(builder, concat, operands, name),
        _ => None,
    }
}

/// An axis as rules write it: the innermost from the end, the others from the front.
fn axis_name(axis: i64, rank: usize) -> Option<i64> {
    let axis = resolve_axis(axis, rank)?;
    Some(if axis + 1 == rank { -1 } else { i64::try_from(axis).ok()? })
}

fn split_of(builder: &mut Builder, split: &Split, x: Value, name: &str) -> Option<Values> {
    let axis = axis_name(split.axis, builder.ty(x).rank())?;
    if split.sizes.len() == 1 {
        return Some(vec![x]);
    }
    if axis != split.axis {
        let named = Split { axis, sizes: split.sizes.clone() };
        let names: Vec<String> = (0..split.sizes.len()).map(|part| format!("{name}.{part}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        return builder.make(named, &[x], &names);
    }
    let (Op::Concat(concat), parts) = builder.maker(x)? else { return None };
    let parts = parts.to_vec();
    let at = resolve_axis(axis, builder.ty(x).rank())?;
    let same_axis = axis_name(concat.axis, builder.ty(x).rank()) == Some(axis);
    let sizes: Vec<Dim> = parts.iter().map(|part| builder.ty(*part).shape[at].clone()).collect();
    (same_axis && sizes == split.sizes).then_some(parts)
}

fn concat_of(builder: &mut Builder, concat: &Concat, parts: &[Value], name: &str) -> Option<Values> {
    let axis = axis_name(concat.axis, builder.ty(parts[0]).rank())?;
    if let [only] = parts {
        return Some(vec![*only]);
    }
    let joined = without_cuts(builder, axis, parts);
    // The one axis of a bias is the first, as that of the weights joined beside it.
    let is_renamed = axis != concat.axis && builder.ty(parts[0]).rank() > 1;
    if joined.len() < parts.len() || is_renamed {
        return builder.make(Concat { axis }, &joined, &[name]);
    }
    None
}

/// Parts with the whole in place of all parts of a split one after the other.
fn without_cuts(builder: &Builder, axis: i64, parts: &[Value]) -> Vec<Value> {
    let mut joined = Vec::new();
    let mut rest = parts;
    while let Some((first, others)) = rest.split_first() {
        let whole = whole_of(builder, axis, rest);
        joined.push(whole.map_or(*first, |(whole, _)| whole));
        rest = whole.map_or(others, |(_, count)| &rest[count..]);
    }
    joined
}

/// The value that the first of these are all parts of, in order, and how many those are.
fn whole_of(builder: &Builder, axis: i64, parts: &[Value]) -> Option<(Value, usize)> {
    let first = parts[0];
    let (Op::Split(split), x) = builder.maker(first)? else { return None };
    let count = split.sizes.len();
    let in_order =
        (0..).zip(parts.get(..count)?).all(|(index, part)| *part == Value { node: first.node, index });
    let same_axis = axis_name(split.axis, builder.ty(first).rank()) == Some(axis);
    (in_order && same_axis).then(|| (x[0], count))
}

/// What is done to all parts of a split, to be done before it.
pub(super) struct Common {
    pub op: Op,
    /// What does it to each part, in order.
    pub readers: Vec<NodeId>,
    /// What each part is added to or multiplied by, in order; none for ops of one operand.
    pub rows: Vec<Value>,
}

/// Splits along the innermost axis whose parts are each read by one op alone, all of them alike.
pub(super) fn common(graph: &Graph, live: &[bool]) -> HashMap<NodeId, Common> {
    let users = graph.users();
    let weight_only = graph.weight_only();
    let sunk = |value: Value| graph.sinks().iter().any(|(_, other)| *other == value);
    let mut all = HashMap::new();
    for (id, node) in graph.nodes().filter(|(id, _)| live[id.index()]) {
        let Some(Op::Split(split)) = node.op() else { continue };
        let rank = node.results[0].ty.rank();
        if resolve_axis(split.axis, rank) != rank.checked_sub(1) || weight_only[id.index()] {
            continue;
        }
        let reader = |part: Value| {
            let reads = |user: &&NodeId| live[user.index()] && graph.node(**user).operands.contains(&part);
            let mut readers = users[id.index()].iter().filter(reads);
            let only = (readers.next(), readers.next());
            let (Some(reader), None, false) = (only.0, only.1, sunk(part)) else { return None };
            let user = graph.node(*reader);
            let row = user.operands.iter().copied().find(|operand| *operand != part);
            let is_row = |row: Value| weight_only[row.node.index()] && graph.ty(row).rank() == 1;
            let fits = match (user.op()?.kind(), user.operands.len(), row) {
                (OpKind::Cast | OpKind::Scale, 1, None) => true,
                (OpKind::Add | OpKind::Mul, 2, Some(row)) => is_row(row),
                _ => false,
            };
            fits.then_some((*reader, row))
        };
        let parts = (0..node.results.len() as u32).map(|index| Value { node: id, index });
        let Some(read) = parts.map(reader).collect::<Option<Vec<_>>>() else { continue };
        let op = graph.node(read[0].0).op().cloned();
        let Some(op) = op.filter(|op| read.iter().all(|(reader, _)| graph.node(*reader).op() == Some(op)))
        else {
            continue;
        };
        let rows = read.iter().filter_map(|(_, row)| *row).collect();
        all.insert(id, Common { op, readers: read.into_iter().map(|(reader, _)| reader).collect(), rows });
    }
    all
}

impl Common {
    /// The parts of the whole, with what is done to all of them done; `None` if what that needs is not there yet.
    pub fn before(
        &self,
        builder: &mut Builder,
        split: &Op,
        whole: Value,
        mapped: &HashMap<Value, Value>,
        name: &str,
    ) -> Option<Values> {
        let rows = self.rows.iter().map(|row| mapped.get(row).copied()).collect::<Option<Vec<_>>>()?;
        let mut operands = vec![whole];
        if !rows.is_empty() {
            operands.push(builder.make1(Concat { axis: 0 }, &rows, &format!("{name}.joined"))?);
        }
        let whole = builder.make1(self.op.clone(), &operands, &format!("{name}.whole"))?;
        builder.make(split.clone(), &[whole], &[name])
    }
}
