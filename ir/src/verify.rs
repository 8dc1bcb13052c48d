//! The verifier: what must hold for every module, whoever made it.

use std::collections::HashMap;

use crate::graph::{Graph, Leaf, NodeId, NodeKind, Sink, Value};
use crate::module::Module;
use crate::ops::{Effect, TypeError};
use crate::{Dim, TensorType};

/// A broken rule, with its place.
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
    /// No such cache tensor.
    #[error("there is no cache tensor `{0}`")]
    Cache(String),
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
    /// A value that is overwritten in place but read by another op.
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

    fn function(&mut self, graph: &'a Graph) {
        for (id, node) in graph.nodes() {
            if node.operands.iter().any(|operand| operand.node >= id) {
                return self.report(graph, &node.results[0].name, Problem::Order);
            }
        }
        let users = graph.users();
        for (id, node) in graph.nodes() {
            for result in &node.results {
                self.dims(graph, &result.name, &result.ty);
            }
            match &node.kind {
                NodeKind::Leaf(leaf) => self.leaf(graph, Value { node: id, index: 0 }, leaf),
                NodeKind::Op(_) => self.op(graph, id, &users),
            }
        }
        self.sinks(graph);
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
                let what = format!("{}.{}", cache.group, cache.tensor);
                let expected = self.cache_type(&cache.group, &cache.tensor);
                if expected.is_none() {
                    self.report(graph, name, Problem::Cache(what.clone()));
                }
                (what, expected)
            }
            Leaf::State(_) | Leaf::Weight(_) => return,
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

    fn op(&mut self, graph: &Graph, id: NodeId, users: &[Vec<NodeId>]) {
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
        if op.kind().effect() == Effect::Writes {
            let old = node.operands[0];
            let read_elsewhere = users[old.node.index()]
                .iter()
                .any(|user| *user != id && graph.node(*user).operands.contains(&old))
                || graph.sinks().iter().any(|(_, value)| *value == old)
                || node.operands[1..].contains(&old);
            if read_elsewhere {
                self.report(graph, graph.value_name(old), Problem::Overwritten(name.to_owned()));
            }
        }
    }

    fn sinks(&mut self, graph: &Graph) {
        let mut written: Vec<&Sink> = Vec::new();
        for (sink, value) in graph.sinks() {
            if value.node.index() >= graph.len() {
                self.report(graph, "", Problem::Order);
                continue;
            }
            let name = graph.value_name(*value);
            if written.contains(&sink) {
                self.report(graph, name, Problem::TwoWriters(format!("{sink:?}")));
            }
            written.push(sink);
            if let Sink::Cache(cache) = sink {
                let what = format!("{}.{}", cache.group, cache.tensor);
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
            for _ in call.layers.clone().take(2) {
                self.call(function, &mut state);
            }
        }
        self.errors.dedup();
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
