//! The saturated e-graph in dense form: all that extraction needs, in an order that depends on the function alone.

use std::collections::BTreeMap;

use egg::Id;
use mscc_ir::{Graph, Leaf, TensorType, Value};
use smallvec::SmallVec;

use super::analysis::Classes;
use super::apply::Rewritten;
use super::language::{ENode, Head};
use super::provenance::{Form, Provenance, canonical};
use crate::cost::Target;

/// All forms of all values that the function's results may be computed with.
#[derive(Debug)]
pub(super) struct Space {
    /// Oldest first, so that each class has a form whose operands come before it.
    pub classes: Vec<Class>,
    /// The class of all that leaves the function.
    pub root: usize,
    /// Where rules made a new form, in order of application.
    pub applications: Vec<Applied>,
    /// What leaves stand for, with their names.
    pub leaves: Vec<(Leaf, TensorType, String)>,
}

/// A value, or a tuple of values, in all its forms.
#[derive(Debug)]
pub(super) struct Class {
    pub types: SmallVec<[TensorType; 1]>,
    pub weight_only: bool,
    /// Whether computing it writes memory that outlives the step.
    pub writes: bool,
    pub name: String,
    /// Whether it is a value of the function as given, so that its name is to be kept.
    pub is_given: bool,
    /// Never empty.
    pub forms: Vec<Node>,
    /// For a tuple: index of the result, class of that value, and which of its forms takes it from here.
    pub results: Vec<(u32, usize, u32)>,
}

/// A form of a value.
#[derive(Debug)]
pub(super) struct Node {
    pub head: Head,
    pub args: SmallVec<[usize; 4]>,
    pub from: Form,
    /// Whether the target can run it.
    pub runs: bool,
}

/// What a rule did at one site.
#[derive(Debug)]
pub(super) struct Applied {
    pub rule: String,
    pub at: Vec<String>,
    pub replaced: Vec<String>,
    /// Which of the model's rewrites it is.
    pub number: u32,
    /// Class, old form, new form; the new is none where the value turned out to be another one.
    pub roots: Vec<(usize, u32, Option<u32>)>,
    /// Class and form of each node made.
    pub made: Vec<(usize, u32)>,
}

/// As [`Applied`], while the e-graph changes.
#[derive(Debug)]
pub(super) struct Application {
    pub rule: String,
    pub at: Vec<String>,
    pub replaced: Vec<String>,
    /// Which of the model's rewrites it is.
    pub number: u32,
    pub rewritten: Vec<Rewritten>,
    /// Nodes made, with their classes.
    pub made: Vec<(Id, ENode)>,
}

impl Space {
    /// Of a rebuilt e-graph. `values` has the class of each value of `graph`, `root` that of all sinks.
    pub fn new(
        classes: &Classes,
        provenance: &Provenance,
        graph: &Graph,
        values: &BTreeMap<Value, Id>,
        root: Id,
        applications: &[Application],
        target: &dyn Target,
    ) -> Self {
        let num_given = values.values().chain([&root]).max().map_or(0, |id| usize::from(*id));
        let order = reachable(classes, classes.find(root));
        let dense: BTreeMap<Id, usize> = order.iter().enumerate().map(|(index, id)| (*id, index)).collect();
        let mut sink_names: BTreeMap<Id, &str> = BTreeMap::new();
        for (_, value) in graph.sinks() {
            sink_names.entry(classes.find(values[value])).or_insert(graph.value_name(*value));
        }
        let node = |node: &ENode| Node {
            head: node.head.clone(),
            args: node.args.iter().map(|id| dense[&classes.find(*id)]).collect(),
            from: provenance.form(node).cloned().unwrap_or_default(),
            runs: runs(classes, node, target),
        };
        let mut all: Vec<Class> = Vec::with_capacity(order.len());
        for id in &order {
            let data = &classes[*id].data;
            all.push(Class {
                types: data.types.clone(),
                weight_only: data.weight_only,
                writes: data.writes > 0 && !data.is_tuple(),
                name: sink_names.get(id).copied().unwrap_or(provenance.name(classes, *id)).to_owned(),
                is_given: (data.born as usize) < num_given,
                forms: classes[*id].nodes.iter().map(node).collect(),
                results: Vec::new(),
            });
        }
        for class in 0..all.len() {
            for form in 0..all[class].forms.len() {
                let node = &all[class].forms[form];
                if let (Head::Proj(index), [tuple]) = (&node.head, node.args.as_slice()) {
                    let (index, tuple) = (*index, *tuple);
                    all[tuple].results.push((index, class, form as u32));
                }
            }
        }
        let position = |id: Id, node: &ENode| {
            let node = canonical(classes, node);
            Some(classes[id].nodes.iter().position(|other| *other == node)? as u32)
        };
        let applied = |application: &Application| {
            let roots = application.rewritten.iter().filter_map(|rewritten| {
                let id = classes.find(rewritten.class);
                let new = rewritten.new.as_ref().and_then(|new| position(id, new));
                Some((*dense.get(&id)?, position(id, &rewritten.old)?, new))
            });
            let made = application.made.iter().filter_map(|(id, node)| {
                let id = classes.find(*id);
                Some((*dense.get(&id)?, position(id, node)?))
            });
            Applied {
                rule: application.rule.clone(),
                at: application.at.clone(),
                replaced: application.replaced.clone(),
                number: application.number,
                roots: roots.collect(),
                made: made.collect(),
            }
        };
        let leaves = classes.analysis.leaves.iter().map(|(leaf, ty)| (leaf.clone(), ty.clone()));
        let leaf_names = classes.analysis.leaf_names.iter().cloned();
        Space {
            classes: all,
            root: dense[&classes.find(root)],
            applications: applications.iter().map(applied).collect(),
            leaves: leaves.zip(leaf_names).map(|((leaf, ty), name)| (leaf, ty, name)).collect(),
        }
    }
}

/// Whether the target has a kernel for a node, if it needs one.
pub(super) fn runs(classes: &Classes, node: &ENode, target: &dyn Target) -> bool {
    let Head::Op(op) = &node.head else { return true };
    let types = node.args.iter().filter_map(|arg| classes[*arg].data.types.first().cloned());
    op.kind().is_view() || target.supports(op, &types.collect::<Vec<TensorType>>())
}

/// The classes that any form reachable from `root` needs, oldest first.
fn reachable(classes: &Classes, root: Id) -> Vec<Id> {
    let mut seen: BTreeMap<u32, Id> = BTreeMap::new();
    let mut todo = vec![root];
    while let Some(id) = todo.pop() {
        let id = classes.find(id);
        if seen.insert(classes[id].data.born, id).is_none() {
            todo.extend(classes[id].nodes.iter().flat_map(|node| node.args.iter().copied()));
        }
    }
    seen.into_values().collect()
}
