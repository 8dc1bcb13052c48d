//! Both sides of a rule as graphs, for given types of its variables.

use std::collections::BTreeMap;

use mscc_ir::attr::{Attr, AttrError, Float};
use mscc_ir::graph::{Graph, Leaf, Value};
use mscc_ir::ops::{OpKind, TypeError};
use mscc_ir::reference::Sampler;
use mscc_ir::tensor_type::resolve_axis;
use mscc_ir::{Dim, Symbol, Template, TensorType};

use crate::draw;
use crate::given::check_given;
use crate::guards::{MatchView, Origin};
use crate::rule::{Arg, AttrTerm, Clause, GuardArg, Output, Rule, Shape, Term};

/// What a rule's variables stand for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// Type of each operand; one for each sibling where it has a star.
    pub types: BTreeMap<String, Vec<TensorType>>,
    /// Value of each attribute variable.
    pub attrs: BTreeMap<String, Attr>,
    /// Size of each axis that lists of sizes name.
    pub axes: BTreeMap<String, Dim>,
    /// Operands of the left side that come from elsewhere than the rule's guards ask.
    pub activations: Vec<String>,
}

impl Assignment {
    /// A list of sizes by the names of axes.
    fn list(&self, list: &[Dim]) -> Vec<Dim> {
        let size = |name: &Symbol| self.axes.get(name.name()).cloned();
        list.iter().map(|dim| dim.substitute(&size)).collect()
    }
}

/// One side of a rule as a graph.
#[derive(Clone, Debug)]
pub struct Side {
    /// The graph; its leaves are named after the variables, `w.1` for sibling 1's.
    pub graph: Graph,
    /// The values that the two sides must agree on, in order of the rule's equalities, then of siblings.
    pub results: Vec<Value>,
    /// Pairs of values that must agree within the right side.
    pub pairs: Vec<(Value, Value)>,
    /// Results of each clause by its name; of each sibling in turn.
    nodes: BTreeMap<String, Vec<Vec<Value>>>,
}

/// Why a side cannot be built for an assignment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// An op refuses its operands.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// An op refuses its attributes.
    #[error("`{op}`: {error}", op = op.name())]
    Attribute {
        /// The op.
        op: OpKind,
        /// Why.
        error: AttrError,
    },
    /// A name without a value.
    #[error("`?{0}` has no value")]
    Unbound(String),
    /// A result that the node does not have.
    #[error("there is no `?{0}.{1}`")]
    NoSuchResult(String, usize),
}

/// Builds the left side of `rule`.
pub fn left(rule: &Rule, assignment: &Assignment) -> Result<Side, BuildError> {
    build_left(rule, &mut assignment.clone(), None)
}

/// Builds the left side of `rule`, with random values for attribute variables that have none.
pub(crate) fn build_left(
    rule: &Rule,
    assignment: &mut Assignment,
    sampler: Option<&mut Sampler>,
) -> Result<Side, BuildError> {
    let mut builder = Builder::new(rule, assignment.clone(), sampler);
    for clause in rule.matches.iter().rev() {
        builder.clause(clause)?;
    }
    let results = builder.results(|(left, _)| left)?;
    *assignment = builder.assignment;
    Ok(Side { graph: builder.graph, results, pairs: Vec::new(), nodes: builder.nodes })
}

/// Builds the right side of `rule`.
pub fn right(rule: &Rule, assignment: &Assignment) -> Result<Side, BuildError> {
    let mut builder = Builder::new(rule, assignment.clone(), None);
    // As in a match, names of axes stand for what the left side says, and for nothing where it does not hold.
    let bindings = check_given(rule, &Instance { rule, assignment, left: None }).unwrap_or_default();
    let sizes = bindings.axes.into_iter().filter_map(|(name, sizes)| Some((name, sizes.into_iter().next()?)));
    builder.assignment.axes.extend(sizes);
    for clause in &rule.makes {
        builder.clause(clause)?;
    }
    let results = builder.results(|(_, right)| right)?;
    let pairs = rule.equals.iter().filter(|(left, _)| rule.is_made(&left.name));
    let value = |output: &Output| builder.value(&output.name, output.index.unwrap_or(0));
    let pairs = pairs.map(|(left, right)| Ok((value(left)?, value(right)?)));
    let pairs = pairs.collect::<Result<_, BuildError>>()?;
    Ok(Side { graph: builder.graph, results, pairs, nodes: builder.nodes })
}

struct Builder<'a> {
    rule: &'a Rule,
    assignment: Assignment,
    sampler: Option<&'a mut Sampler>,
    graph: Graph,
    operands: BTreeMap<String, Vec<Value>>,
    nodes: BTreeMap<String, Vec<Vec<Value>>>,
}

impl<'a> Builder<'a> {
    fn new(rule: &'a Rule, assignment: Assignment, sampler: Option<&'a mut Sampler>) -> Self {
        let mut graph = Graph::new(&rule.name);
        let mut operands = BTreeMap::new();
        for (var, types) in &assignment.types {
            let star = rule.is_star(var);
            let mut leaf = |(nth, ty): (usize, &TensorType)| {
                let name = if star { format!("{var}.{nth}") } else { var.clone() };
                let leaf = match Template::new(&name) {
                    Ok(template) if required_origin(rule, var) != Origin::Activation => {
                        Leaf::Weight(template)
                    }
                    _ => Leaf::State(name.clone()),
                };
                graph.leaf(leaf, &name, ty.clone())
            };
            operands.insert(var.clone(), types.iter().enumerate().map(&mut leaf).collect());
        }
        Builder { rule, assignment, sampler, graph, operands, nodes: BTreeMap::new() }
    }

    fn clause(&mut self, clause: &Clause) -> Result<(), BuildError> {
        let siblings = match &self.rule.shape {
            Shape::Siblings { .. } if self.rule.is_star(&clause.bind) => {
                self.operands.iter().find(|(var, _)| self.rule.is_star(var)).map_or(1, |(_, all)| all.len())
            }
            Shape::Siblings { .. } | Shape::Tree => 1,
        };
        let mut all = Vec::with_capacity(siblings);
        for sibling in 0..siblings {
            all.push(self.term(&clause.term, sibling, &clause.bind)?);
        }
        self.nodes.insert(clause.bind.clone(), all);
        Ok(())
    }

    fn term(&mut self, term: &Term, sibling: usize, name: &str) -> Result<Vec<Value>, BuildError> {
        let mut operands = Vec::new();
        for arg in &term.args {
            match arg {
                Arg::Var(var) => operands.push(self.value(var, 0)?),
                Arg::Output(Output { name, index }) => operands.push(self.value(name, index.unwrap_or(0))?),
                Arg::Star(var) => {
                    let all = self.operands.get(var).ok_or_else(|| BuildError::Unbound(var.clone()))?;
                    let on_left = self.rule.matches.iter().any(|clause| clause.bind == name);
                    match all.get(sibling) {
                        Some(own) if on_left => operands.push(*own),
                        _ => operands.extend_from_slice(all),
                    }
                }
                Arg::Term(inner) => {
                    let results = self.term(inner, sibling, &format!("{name}.{}", inner.op.name()))?;
                    operands.extend_from_slice(&results[..1]);
                }
            }
        }
        let attrs = self.attrs(term, &operands)?;
        let op = term.op.with_attrs(&attrs).map_err(|error| BuildError::Attribute { op: term.op, error })?;
        Ok(self.graph.op(op, &operands, &[name])?.to_vec())
    }

    fn attrs(&mut self, term: &Term, operands: &[Value]) -> Result<Vec<(String, Attr)>, BuildError> {
        let is_free = |assignment: &Assignment, term: &AttrTerm| match term {
            AttrTerm::Var(var) => !assignment.attrs.contains_key(var),
            AttrTerm::Value(_)
            | AttrTerm::Sizes(..)
            | AttrTerm::Axes(_)
            | AttrTerm::DType(_)
            | AttrTerm::Reciprocal(_) => false,
        };
        if let Some(sampler) = &mut self.sampler
            && term.attrs.iter().any(|(_, attr)| is_free(&self.assignment, attr))
        {
            let types: Vec<TensorType> = operands.iter().map(|value| self.graph.ty(*value).clone()).collect();
            let chosen = draw::attrs(sampler, term.op, &term.attrs, &types, &self.assignment.attrs);
            self.assignment.attrs.extend(chosen.unwrap_or_default());
        }
        let mut attrs = Vec::with_capacity(term.attrs.len());
        for (name, attr) in &term.attrs {
            let value = match attr {
                AttrTerm::Value(value) => value.clone(),
                AttrTerm::Var(var) => {
                    let value = self.assignment.attrs.get(var);
                    value.cloned().ok_or_else(|| BuildError::Unbound(var.clone()))?
                }
                AttrTerm::Sizes(var, axis) => Attr::Dims(self.sizes(var, *axis)?),
                AttrTerm::Axes(list) => Attr::Dims(self.assignment.list(list)),
                AttrTerm::DType(var) => {
                    let ty = self.assignment.types.get(var).and_then(|types| types.first());
                    let ty = ty.ok_or_else(|| BuildError::Unbound(var.clone()))?;
                    Attr::Name(ty.dtype.name().to_owned())
                }
                AttrTerm::Reciprocal(var) => {
                    let value = self.assignment.attrs.get(var).and_then(reciprocal);
                    value.ok_or_else(|| BuildError::Unbound(var.clone()))?
                }
            };
            attrs.push((name.clone(), value));
        }
        Ok(attrs)
    }

    fn sizes(&self, var: &str, axis: usize) -> Result<Vec<Dim>, BuildError> {
        let types = self.assignment.types.get(var).ok_or_else(|| BuildError::Unbound(var.to_owned()))?;
        let axis = i64::try_from(axis).unwrap_or(i64::MAX);
        let size = |ty: &TensorType| resolve_axis(axis, ty.rank()).map(|axis| ty.shape[axis].clone());
        types.iter().map(size).collect::<Option<_>>().ok_or_else(|| BuildError::Unbound(var.to_owned()))
    }

    /// Result `index` of the node, or the operand, of this name.
    fn value(&self, name: &str, index: u32) -> Result<Value, BuildError> {
        let index = index as usize;
        let missing = || BuildError::NoSuchResult(name.to_owned(), index);
        if let Some(node) = self.nodes.get(name) {
            return node.first().and_then(|results| results.get(index)).copied().ok_or_else(missing);
        }
        let operand = self.operands.get(name).ok_or_else(|| BuildError::Unbound(name.to_owned()))?;
        operand.get(index).copied().ok_or_else(missing)
    }

    /// The values that one side of the equalities stands for.
    fn results(&self, side: impl Fn(&'a (Output, Output)) -> &'a Output) -> Result<Vec<Value>, BuildError> {
        let mut results = Vec::new();
        for equality in self.rule.equals.iter().filter(|(left, _)| !self.rule.is_made(&left.name)) {
            let output = side(equality);
            match output.index {
                Some(index) => results.push(self.value(&output.name, index)?),
                None => {
                    let node = self.nodes.get(&output.name);
                    let node = node.ok_or_else(|| BuildError::Unbound(output.name.clone()))?;
                    results.extend(node.iter().flatten().copied());
                }
            }
        }
        Ok(results)
    }
}

/// One divided by a number.
pub fn reciprocal(value: &Attr) -> Option<Attr> {
    let value = match value {
        Attr::Float(value) => value.0,
        Attr::Int(value) => *value as f64,
        Attr::Bool(_) | Attr::Name(_) | Attr::Dims(_) | Attr::Floats(_) => return None,
    };
    Some(Attr::Float(Float(1.0 / value))).filter(|_| value != 0.0)
}

/// Where the guards of `rule` ask `var` to come from.
fn required_origin(rule: &Rule, var: &str) -> Origin {
    let names = |arg: &GuardArg| matches!(arg, GuardArg::Var(name) | GuardArg::Star(name) if name == var);
    let asks = |guard: &str| rule.guards.iter().any(|call| call.name == guard && call.args.iter().any(names));
    match (asks("source_weight"), asks("weight")) {
        (true, _) => Origin::SourceWeight,
        (false, true) => Origin::Weight,
        (false, false) => Origin::Activation,
    }
}

/// An assignment with the left side built for it, as guards see it.
pub(crate) struct Instance<'a> {
    pub rule: &'a Rule,
    pub assignment: &'a Assignment,
    /// Without it, the types of matched nodes are unknown.
    pub left: Option<&'a Side>,
}

impl MatchView for Instance<'_> {
    fn types(&self, var: &str) -> Vec<&TensorType> {
        if let Some(types) = self.assignment.types.get(var) {
            return types.iter().collect();
        }
        let Some(left) = self.left else { return Vec::new() };
        let siblings = left.nodes.get(var).into_iter().flatten();
        siblings.filter_map(|results| results.first()).map(|value| left.graph.ty(*value)).collect()
    }

    fn origins(&self, var: &str) -> Vec<Origin> {
        let other = self.assignment.activations.iter().any(|activation| activation == var);
        let origin = if other { Origin::Activation } else { required_origin(self.rule, var) };
        self.types(var).iter().map(|_| origin).collect()
    }

    fn attr(&self, var: &str) -> Option<&Attr> {
        self.assignment.attrs.get(var)
    }

    fn lists(&self) -> Vec<(&[Dim], Vec<Dim>)> {
        self.rule.matched_lists().into_iter().map(|list| (list, self.assignment.list(list))).collect()
    }
}
