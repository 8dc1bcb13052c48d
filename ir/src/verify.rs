//! The verifier: what must hold for every module, whoever made it.

mod caches;

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use crate::graph::{Graph, Leaf, Node, NodeId, NodeKind, Sink, Value};
use crate::module::Module;
use crate::ops::{Effect, TypeError};
use crate::stored::{MAX_MEMBERS, Stored};
use crate::{Dim, Template, TensorType};

/// A broken rule, with its place.
///
/// What to do: mend the graph at that place; docs/ir.md has the rules. If `mscc` made it, report it as a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", place(.function, .value))]
pub struct VerifyError {
    /// The function, if it is about one.
    pub function: String,
    /// The value, if it is about one.
    pub value: String,
    /// What is wrong.
    pub problem: Problem,
}

fn place(function: &str, value: &str) -> String {
    match (function.is_empty(), value.is_empty()) {
        (true, _) => String::new(),
        (false, true) => format!("@{function}: "),
        (false, false) => format!("@{function}, %{value}: "),
    }
}

/// What can be wrong with a module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Operands do not fit their op.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// The stated type is not the inferred one.
    #[error("is stated as {stated}, but its op gives {inferred}")]
    Stated {
        /// What the node says.
        stated: String,
        /// What its op says.
        inferred: String,
    },
    /// An operand that is not defined by an earlier node.
    #[error("uses a value that no earlier node defines")]
    Order,
    /// A dim mentions a symbol that the module does not declare.
    #[error("symbol `{0}` is not declared")]
    Symbol(String),
    /// A size that may be negative, or one that cannot be bounded.
    #[error("dim `{0}` may be negative or is not bounded")]
    Negative(Dim),
    /// A cache group that cannot be.
    #[error("cache `{group}` {reason}")]
    Group {
        /// The group.
        group: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No such cache tensor.
    #[error("there is no cache tensor `{0}`")]
    Cache(String),
    /// Something that reads or writes a cache in a way that its group has no state for.
    #[error("cache `{group}` {reason}")]
    CacheUse {
        /// The group.
        group: String,
        /// What is wrong with the use.
        reason: String,
    },
    /// A weight whose name says that it is a stack, and whose type does not.
    #[error("`{0}` names a stack, whose axis 0 must be a constant count of tensors, 1 to {MAX_MEMBERS}")]
    Stack(Template),
    /// A leaf or sink whose type is not that of what it stands for.
    #[error("`{name}` is {expected}, not {found}")]
    Boundary {
        /// The input, state or cache tensor.
        name: String,
        /// Its type.
        expected: String,
        /// The type found.
        found: String,
    },
    /// A value that is overwritten in place, but read elsewhere under this or another name, or by the next step.
    #[error("is overwritten by `{0}` and read elsewhere too")]
    Overwritten(String),
    /// A name that two sinks of a function write.
    #[error("`{0}` is written twice")]
    TwoWriters(String),
    /// A call reads state that no earlier call left.
    #[error("reads state `{0}`, which no earlier call leaves")]
    NoState(String),
    /// The program calls what does not exist.
    #[error("the program calls function number {0}, which does not exist")]
    NoFunction(usize),
}

/// All broken rules of a module; empty if it is sound.
pub fn verify(module: &Module) -> Vec<VerifyError> {
    let mut checker = Checker { module, errors: Vec::new(), inputs: HashMap::new() };
    checker.caches();
    for function in &module.functions {
        checker.function(function);
    }
    checker.program();
    checker.errors
}

struct Checker<'a> {
    module: &'a Module,
    errors: Vec<VerifyError>,
    inputs: HashMap<&'a str, &'a TensorType>,
}

impl<'a> Checker<'a> {
    fn report(&mut self, function: &Graph, value: &str, problem: Problem) {
        self.errors.push(VerifyError { function: function.name.clone(), value: value.to_owned(), problem });
    }

    fn caches(&mut self) {
        let mut names = HashSet::new();
        for group in &self.module.caches {
            let fault = match names.insert(&group.name) {
                false => Some("is declared twice"),
                true => caches::group_fault(group),
            };
            if let Some(reason) = fault {
                let problem = Problem::Group { group: group.name.clone(), reason };
                self.errors.push(VerifyError { function: String::new(), value: String::new(), problem });
            }
        }
    }

    fn function(&mut self, graph: &'a Graph) {
        let defined = |value: &Value| graph.node(value.node).results.len() > value.index as usize;
        for (id, node) in graph.nodes() {
            if node.operands.iter().any(|operand| operand.node >= id || !defined(operand)) {
                return self.report(graph, &node.results[0].name, Problem::Order);
            }
        }
        let undefined = |value: &Value| value.node.index() >= graph.len() || !defined(value);
        if graph.sinks().iter().any(|(_, value)| undefined(value)) {
            return self.report(graph, "", Problem::Order);
        }
        self.overwrites(graph);
        for (id, node) in graph.nodes() {
            for result in &node.results {
                self.dims(graph, &result.name, &result.ty);
            }
            match &node.kind {
                NodeKind::Leaf(leaf) => self.leaf(graph, Value { node: id, index: 0 }, leaf),
                NodeKind::Op(_) => self.op(graph, id),
            }
        }
        self.sinks(graph);
        for (value, problem) in caches::bad_uses(self.module, graph) {
            self.report(graph, graph.value_name(value), problem);
        }
    }

    fn dims(&mut self, graph: &Graph, name: &str, ty: &TensorType) {
        for dim in &ty.shape {
            let mut unknown = None;
            dim.for_each_symbol(&mut |symbol| {
                if self.module.symbols.get(symbol).is_none() {
                    unknown = Some(symbol.name().to_owned());
                }
            });
            if let Some(symbol) = unknown {
                self.report(graph, name, Problem::Symbol(symbol));
            } else if self.module.symbols.range(dim).is_none_or(|range| range.min < 0) {
                self.report(graph, name, Problem::Negative(dim.clone()));
            }
        }
    }

    fn leaf(&mut self, graph: &'a Graph, value: Value, leaf: &'a Leaf) {
        let (found, name) = (graph.ty(value), graph.value_name(value));
        let (what, expected) = match leaf {
            Leaf::Input(input) => (input.clone(), Some((*self.inputs.entry(input).or_insert(found)).clone())),
            Leaf::Cache(cache) => {
                let what = cache.to_string();
                let expected = self.cache_type(&cache.group, &cache.tensor);
                if expected.is_none() {
                    self.report(graph, name, Problem::Cache(what.clone()));
                }
                (what, expected)
            }
            Leaf::Weight(template) => {
                if Stored::new(template, found).is_none() {
                    self.report(graph, name, Problem::Stack(template.clone()));
                }
                return;
            }
            Leaf::State(_) => return,
        };
        if let Some(expected) = expected.filter(|expected| expected != found) {
            let (expected, found) = (expected.to_string(), found.to_string());
            self.report(graph, name, Problem::Boundary { name: what, expected, found });
        }
    }

    fn cache_type(&self, group: &str, tensor: &str) -> Option<TensorType> {
        let group = self.module.cache(group)?;
        Some(group.tensor_type(group.tensor(tensor)?))
    }

    fn op(&mut self, graph: &Graph, id: NodeId) {
        let node = graph.node(id);
        let Some(op) = node.op() else { return };
        let name = node.results[0].name.as_str();
        let types: Vec<TensorType> = node.operands.iter().map(|value| graph.ty(*value).clone()).collect();
        match op.infer(&types) {
            Err(error) => self.report(graph, name, Problem::Type(error)),
            Ok(inferred) => {
                let stated: Vec<&TensorType> = node.results.iter().map(|result| &result.ty).collect();
                if !inferred.iter().eq(stated.iter().copied()) {
                    let list = |types: Vec<String>| types.join(", ");
                    let stated = list(stated.iter().map(|ty| ty.to_string()).collect());
                    let inferred = list(inferred.iter().map(|ty| ty.to_string()).collect());
                    self.report(graph, name, Problem::Stated { stated, inferred });
                }
            }
        }
    }

    /// What is overwritten in place must have no other reader, whatever the name under which it is read.
    fn overwrites(&mut self, graph: &Graph) {
        let writes = |node: &Node| node.op().is_some_and(|op| op.kind().effect() == Effect::Writes);
        if !graph.nodes().any(|(_, node)| writes(node)) {
            return;
        }
        let memory = memory(graph);
        let of = |value: &Value| memory[value];
        let mut readers: HashMap<Value, usize> = HashMap::new();
        for (_, node) in graph.nodes().filter(|(_, node)| !is_view(node)) {
            let places: Vec<Value> = node.operands.iter().map(of).collect();
            let written = node.op().map_or(0, |op| op.kind().num_written());
            let is_first = |(at, place): (usize, &Value)| (!places[..at].contains(place)).then_some(*place);
            for place in places.iter().enumerate().filter_map(is_first) {
                let reads = places.iter().filter(|other| **other == place).count();
                let twice = reads > 1 && places[..written].contains(&place);
                *readers.entry(place).or_default() += if twice { 2 } else { 1 };
            }
        }
        for (_, value) in graph.sinks() {
            *readers.entry(of(value)).or_default() += 1;
        }
        for (_, node) in graph.nodes().filter(|(_, node)| writes(node)) {
            let written = node.op().map_or(0, |op| op.kind().num_written());
            for (old, new) in node.operands.iter().zip(&node.results).take(written) {
                let is_weight = matches!(graph.node(of(old).node).kind, NodeKind::Leaf(Leaf::Weight(_)));
                if is_weight || readers.get(&of(old)).is_some_and(|count| *count > 1) {
                    self.report(graph, graph.value_name(*old), Problem::Overwritten(new.name.clone()));
                }
            }
        }
    }

    fn sinks(&mut self, graph: &Graph) {
        let mut written: HashSet<&Sink> = HashSet::new();
        for (sink, value) in graph.sinks() {
            let name = graph.value_name(*value);
            if !written.insert(sink) {
                self.report(graph, name, Problem::TwoWriters(sink.to_string()));
            }
            if let Sink::Cache(cache) = sink {
                let what = cache.to_string();
                match self.cache_type(&cache.group, &cache.tensor) {
                    None => self.report(graph, name, Problem::Cache(what)),
                    Some(expected) if expected != *graph.ty(*value) => {
                        let (expected, found) = (expected.to_string(), graph.ty(*value).to_string());
                        self.report(graph, name, Problem::Boundary { name: what, expected, found });
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Follows state through the program. Twice through a range shows all that more would.
    fn program(&mut self) {
        let mut state: HashMap<&str, &TensorType> = HashMap::new();
        for call in &self.module.program {
            let Some(function) = self.module.functions.get(call.function) else {
                self.errors.push(VerifyError {
                    function: String::new(),
                    value: String::new(),
                    problem: Problem::NoFunction(call.function),
                });
                continue;
            };
            self.layers(function, &call.layers);
            for _ in call.layers.clone().take(2) {
                self.call(function, &mut state);
            }
        }
        self.errors.dedup();
    }

    /// The caches of a function must exist in all layers for which it is called.
    fn layers(&mut self, function: &Graph, layers: &Range<u32>) {
        let leaves = function.leaves().filter_map(|(value, leaf)| match leaf {
            Leaf::Cache(cache) => Some((cache, value)),
            Leaf::Input(_) | Leaf::State(_) | Leaf::Weight(_) => None,
        });
        let sinks = function.sinks().iter().filter_map(|(sink, value)| match sink {
            Sink::Cache(cache) => Some((cache, *value)),
            Sink::State(_) | Sink::Output(_) | Sink::Tap(_) => None,
        });
        for (cache, value) in leaves.chain(sinks) {
            let group = self.module.cache(&cache.group);
            if let Some(layer) = group.and_then(|group| group.first_without(layers)) {
                let problem = Problem::Cache(format!("{cache} of layer {layer}"));
                self.report(function, function.value_name(value), problem);
            }
        }
    }

    fn call(&mut self, function: &'a Graph, state: &mut HashMap<&'a str, &'a TensorType>) {
        for (value, leaf) in function.leaves() {
            let Leaf::State(name) = leaf else { continue };
            let found = function.ty(value);
            match state.get(name.as_str()) {
                None => self.report(function, function.value_name(value), Problem::NoState(name.clone())),
                Some(left) if *left != found => {
                    let (expected, found) = (left.to_string(), found.to_string());
                    let problem = Problem::Boundary { name: name.clone(), expected, found };
                    self.report(function, function.value_name(value), problem);
                }
                Some(_) => {}
            }
        }
        for (sink, value) in function.sinks() {
            if let Sink::State(name) = sink {
                state.insert(name, function.ty(*value));
            }
        }
    }
}

/// For each value, the one whose memory it shares: views share that of operand 0, leaves that of the first
/// leaf for the same thing.
fn memory(graph: &Graph) -> HashMap<Value, Value> {
    let mut memory: HashMap<Value, Value> = HashMap::new();
    let mut leaves: HashMap<&Leaf, NodeId> = HashMap::new();
    for (id, node) in graph.nodes() {
        for index in 0..node.results.len() as u32 {
            let value = Value { node: id, index };
            let place = match &node.kind {
                NodeKind::Leaf(leaf) => Value { node: *leaves.entry(leaf).or_insert(id), index },
                NodeKind::Op(_) if is_view(node) => memory[&node.operands[0]],
                NodeKind::Op(_) => value,
            };
            memory.insert(value, place);
        }
    }
    memory
}

fn is_view(node: &Node) -> bool {
    node.op().is_some_and(|op| op.kind().is_view()) && !node.operands.is_empty()
}

#[cfg(test)]
mod tests;
