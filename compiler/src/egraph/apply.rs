//! Putting a rule's right side into the e-graph: conditions and types first, then nodes, then equalities.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egg::Id;
use mscc_ir::TensorType;
use mscc_ir::attr::Attr;
use mscc_ir::ops::Op;
use mscc_patterns::given::{Bindings, check_given};
use mscc_patterns::guards::check_guard;
use mscc_patterns::instantiate::reciprocal;
use mscc_patterns::rule::{Arg, AttrTerm, Output, Rule, Term};

use super::analysis::Classes;
use super::language::{ENode, Head};
use super::matcher::{Match, View};
use super::provenance::{Provenance, join_names};
use super::report::Refusal;
use crate::cost::Target;
use crate::passes::normalise::without_dtype;

/// A rule's right side with all that is needed to build it, found fit.
pub(super) struct Plan {
    nodes: Vec<Planned>,
    /// Which value of the left side equals which of the right.
    equals: Vec<(Operand, Operand)>,
}

struct Planned {
    op: Arc<Op>,
    /// What the rule calls it, or its op.
    label: String,
    args: Vec<Operand>,
    types: Vec<TensorType>,
    weight_only: bool,
    /// Its class, if it is in the e-graph already.
    known: Option<Id>,
}

#[derive(Clone, Copy)]
enum Operand {
    /// The value of a class.
    Class(Id),
    /// One result of a class that is a tuple.
    Result(Id, u32),
    /// One result of a planned node.
    Made(usize, u32),
}

/// A value whose class got another form.
#[derive(Clone, Debug)]
pub(super) struct Rewritten {
    pub class: Id,
    /// The form that the rule matched.
    pub old: ENode,
    /// The form that it made; none if the value turned out to be another one.
    pub new: Option<ENode>,
}

/// Works out the right side for a match without touching the e-graph; the error says what stands against it.
pub(super) fn plan(
    rule: &Rule,
    found: &Match<'_>,
    classes: &Classes,
    target: &dyn Target,
) -> Result<Plan, Refusal> {
    let view = View { classes, found };
    let bindings = check_given(rule, &view)?;
    rule.guards.iter().try_for_each(|call| check_guard(call, &view))?;
    let mut planner =
        Planner { rule, found, bindings, classes, target, names: BTreeMap::new(), nodes: Vec::new() };
    for clause in &rule.makes {
        // What another made node gives need not be run.
        let given = rule.equals.iter().any(|(left, _)| left.name == clause.bind);
        let node = planner.term(&clause.term, given)?;
        planner.nodes[node].label.clone_from(&clause.bind);
        planner.names.insert(&clause.bind, node);
    }
    let equals = planner.equals()?;
    let plan = Plan { nodes: planner.nodes, equals };
    plan.refuse_cycles(classes)?;
    Ok(plan)
}

struct Planner<'a> {
    rule: &'a Rule,
    found: &'a Match<'a>,
    bindings: Bindings,
    classes: &'a Classes,
    target: &'a dyn Target,
    names: BTreeMap<&'a str, usize>,
    nodes: Vec<Planned>,
}

impl Planner<'_> {
    fn malformed(&self, reason: String) -> Refusal {
        Refusal::Rule(reason)
    }

    /// Plans a node and those below it; only one that is `given` otherwise, or already there, may lack a kernel.
    fn term(&mut self, term: &Term, given: bool) -> Result<usize, Refusal> {
        let mut args = Vec::new();
        for arg in &term.args {
            match arg {
                Arg::Var(name) => args.push(self.result(name, 0)?),
                Arg::Output(output) => args.push(self.result(&output.name, output.index.unwrap_or(0))?),
                Arg::Star(name) => args.extend(self.ids(name)?.iter().map(|id| Operand::Class(*id))),
                Arg::Term(term) => args.push(Operand::Made(self.term(term, given)?, 0)),
            }
        }
        let op = term.op.with_attrs(&self.attrs(term)?).map_err(Refusal::Attributes)?;
        let types = args.iter().map(|arg| self.ty(*arg).cloned()).collect::<Result<Vec<_>, _>>()?;
        let weight_only = args.iter().all(|arg| self.weight_only(*arg));
        let results = op.infer(&types).map_err(Refusal::Types)?;
        // As normalisation writes it: a result type only where it is another than the op gives by itself.
        let plain = without_dtype(&op);
        let says_nothing = plain != op && plain.infer(&types).is_ok_and(|types| types == results);
        let op = Arc::new(if says_nothing { plain } else { op });
        let known = self.known(&op, &args);
        let needs_kernel = !weight_only && !op.kind().is_view() && !given && known.is_none();
        if needs_kernel && !self.target.supports(&op, &types) {
            let operands = types.iter().map(TensorType::to_string).collect();
            return Err(Refusal::NoKernel { op: op.kind(), operands });
        }
        let label = op.kind().name().to_owned();
        self.nodes.push(Planned { op, label, args, types: results, weight_only, known });
        Ok(self.nodes.len() - 1)
    }

    /// The class of a node of these operands, if it is in the e-graph.
    fn known(&self, op: &Arc<Op>, args: &[Operand]) -> Option<Id> {
        let class = |arg: &Operand| match *arg {
            Operand::Class(id) => Some(id),
            Operand::Made(node, 0) if self.nodes[node].types.len() == 1 => self.nodes[node].known,
            Operand::Made(..) | Operand::Result(..) => None,
        };
        let args = args.iter().map(class).collect::<Option<Vec<Id>>>()?;
        self.classes.lookup(ENode::new(Head::Op(op.clone()), args))
    }

    fn attrs(&self, term: &Term) -> Result<Vec<(String, Attr)>, Refusal> {
        let mut attrs = Vec::new();
        for (name, value) in &term.attrs {
            let value = match value {
                AttrTerm::Value(value) => Some(value.clone()),
                AttrTerm::Var(var) => {
                    let bound = self.found.attrs.get(var.as_str());
                    bound.ok_or_else(|| self.malformed(format!("`?{var}` is not bound")))?.clone()
                }
                AttrTerm::Sizes(var, axis) => {
                    let size = |id: &Id| self.classes[*id].data.types.first()?.shape.get(*axis).cloned();
                    let sizes: Option<Vec<_>> = self.ids(var)?.iter().map(size).collect();
                    let sizes =
                        sizes.ok_or_else(|| self.malformed(format!("`?{var}*` has no axis {axis}")))?;
                    Some(Attr::Dims(sizes))
                }
                AttrTerm::Axes(list) => {
                    Some(Attr::Dims(list.iter().map(|size| self.bindings.size(size)).collect()))
                }
                AttrTerm::DType(var) => {
                    let ty = self.ty(self.result(var, 0)?)?;
                    Some(Attr::Name(ty.dtype.name().to_owned()))
                }
                AttrTerm::Reciprocal(var) => {
                    let bound = self.found.attrs.get(var.as_str()).and_then(Option::as_ref);
                    let value = bound.and_then(reciprocal);
                    Some(value.ok_or_else(|| self.malformed(format!("`?{var}` has no reciprocal")))?)
                }
            };
            attrs.extend(value.map(|value| (name.clone(), value)));
        }
        Ok(attrs)
    }

    fn ids(&self, name: &str) -> Result<&[Id], Refusal> {
        let ids = self.found.values.get(name).map(|ids| ids.as_slice());
        ids.ok_or_else(|| self.malformed(format!("`?{name}` is not bound")))
    }

    /// Result `index` of what is called `name`.
    fn result(&self, name: &str, index: u32) -> Result<Operand, Refusal> {
        if let Some(node) = self.names.get(name) {
            return Ok(Operand::Made(*node, index));
        }
        match self.ids(name)? {
            [id] if self.classes[*id].data.is_tuple() => Ok(Operand::Result(*id, index)),
            [id] if index == 0 => Ok(Operand::Class(*id)),
            _ => Err(self.malformed(format!("`?{name}` has no result {index}"))),
        }
    }

    fn ty(&self, operand: Operand) -> Result<&TensorType, Refusal> {
        let ty = match operand {
            Operand::Class(id) => self.classes[id].data.types.first(),
            Operand::Result(id, index) => self.classes[id].data.types.get(index as usize),
            Operand::Made(node, index) => self.nodes[node].types.get(index as usize),
        };
        ty.ok_or_else(|| self.malformed("uses a result that its node does not have".to_owned()))
    }

    fn weight_only(&self, operand: Operand) -> bool {
        match operand {
            Operand::Class(id) | Operand::Result(id, _) => self.classes[id].data.weight_only,
            Operand::Made(node, _) => self.nodes[node].weight_only,
        }
    }

    fn equals(&self) -> Result<Vec<(Operand, Operand)>, Refusal> {
        let mut pairs = Vec::new();
        for (left, right) in &self.rule.equals {
            match (left.index, self.rule.is_star(&left.name)) {
                (Some(index), false) => pairs.push((self.result(&left.name, index)?, self.right(right)?)),
                (None, _) | (Some(_), true) => {
                    let siblings = self.ids(&left.name)?;
                    for (nth, id) in (0..).zip(siblings) {
                        let right =
                            Output { name: right.name.clone(), index: Some(right.index.unwrap_or(nth)) };
                        pairs.push((Operand::Class(*id), self.right(&right)?));
                    }
                }
            }
        }
        for (left, right) in &pairs {
            let (left, right) = (self.ty(*left)?, self.ty(*right)?);
            if left != right {
                return Err(Refusal::ResultType { expected: left.clone(), made: right.clone() });
            }
        }
        Ok(pairs)
    }

    fn right(&self, output: &Output) -> Result<Operand, Refusal> {
        self.result(&output.name, output.index.unwrap_or(0))
    }
}

impl Plan {
    /// Refuses a node whose operand is computed from what the node replaces, where several values are replaced.
    ///
    /// Each class has a form whose operands are older, so only such forms are followed, and not beyond the oldest
    /// of the values replaced. Extraction rejects what cycles remain.
    fn refuse_cycles(&self, classes: &Classes) -> Result<(), Refusal> {
        let roots: BTreeSet<Id> = self.equals.iter().filter_map(|(left, _)| left.class()).collect();
        let Some(oldest) = roots.iter().map(|id| classes[*id].data.born).min().filter(|_| roots.len() > 1)
        else {
            return Ok(());
        };
        let mut seen = BTreeSet::new();
        let mut todo: Vec<Id> = Vec::new();
        todo.extend(self.nodes.iter().flat_map(|node| &node.args).filter_map(|arg| arg.class()));
        while let Some(id) = todo.pop() {
            let class = &classes[id];
            if class.data.weight_only || class.data.born < oldest || !seen.insert(class.id) {
                continue;
            }
            if roots.contains(&class.id) {
                return Err(Refusal::Cycle);
            }
            let older = class
                .nodes
                .iter()
                .filter(|node| node.args.iter().all(|arg| classes[*arg].data.born < class.data.born));
            todo.extend(older.flat_map(|node| node.args.iter().copied()));
        }
        Ok(())
    }

    /// Adds the nodes and equalities; gives the values that got a new form, and the nodes with their classes.
    pub fn commit(
        self,
        rule: &Rule,
        found: &Match<'_>,
        origins: &BTreeSet<u32>,
        classes: &mut Classes,
        provenance: &mut Provenance,
    ) -> (Vec<Rewritten>, Vec<(Id, ENode)>) {
        let roots: Vec<String> = self
            .equals
            .iter()
            .filter_map(|(left, _)| Some(provenance.name(classes, left.class()?).to_owned()))
            .collect();
        let mut made: Vec<(Id, ENode)> = Vec::with_capacity(self.nodes.len());
        for planned in &self.nodes {
            let args: Vec<Id> = planned
                .args
                .iter()
                .map(|arg| materialise(*arg, &made, &self.nodes, classes, provenance))
                .collect();
            let name = if planned.weight_only && !args.is_empty() {
                join_names(&args.iter().map(|id| provenance.name(classes, *id)).collect::<Vec<_>>())
            } else {
                match roots.as_slice() {
                    [only] => format!("{only}.{}", planned.label),
                    several => join_names(&several.iter().map(String::as_str).collect::<Vec<_>>()),
                }
            };
            let node = ENode::new(Head::Op(planned.op.clone()), args);
            let id = classes.add(node.clone());
            provenance.record(classes, &node, name, origins);
            made.push((id, node));
        }
        let mut rewritten = Vec::new();
        for (left, right) in &self.equals {
            let old_class = materialise(*left, &made, &self.nodes, classes, provenance);
            let new_class = materialise(*right, &made, &self.nodes, classes, provenance);
            if !classes.union_trusted(old_class, new_class, rule.name.as_str()) {
                continue;
            }
            let new = match *right {
                Operand::Made(node, 0) if self.nodes[node].types.len() == 1 => Some(made[node].1.clone()),
                Operand::Made(node, index) => Some(ENode::new(Head::Proj(index), [made[node].0])),
                Operand::Class(_) | Operand::Result(..) => None,
            };
            let old = match *left {
                Operand::Result(tuple, index) => Some(ENode::new(Head::Proj(index), [tuple])),
                Operand::Class(id) => {
                    found.nodes.iter().find(|(class, _)| *class == id).map(|(_, node)| node.clone())
                }
                Operand::Made(..) => None,
            };
            rewritten.extend(old.map(|old| Rewritten { class: old_class, old, new }));
        }
        (rewritten, made)
    }
}

impl Operand {
    fn class(self) -> Option<Id> {
        match self {
            Operand::Class(id) | Operand::Result(id, _) => Some(id),
            Operand::Made(..) => None,
        }
    }
}

/// The class of an operand's value.
fn materialise(
    operand: Operand,
    made: &[(Id, ENode)],
    planned: &[Planned],
    classes: &mut Classes,
    provenance: &mut Provenance,
) -> Id {
    let (tuple, index) = match operand {
        Operand::Class(id) => return classes.find(id),
        Operand::Made(node, _) if planned[node].types.len() == 1 => return classes.find(made[node].0),
        Operand::Made(node, index) => (made[node].0, index),
        Operand::Result(tuple, index) => (tuple, index),
    };
    let name = format!("{}.{index}", provenance.name(classes, tuple));
    let id = classes.add(ENode::new(Head::Proj(index), [tuple]));
    provenance.name_new(classes, &name);
    id
}
