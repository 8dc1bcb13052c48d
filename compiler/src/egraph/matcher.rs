//! Finding where a rule's left side stands in the e-graph.
//!
//! Top-down over classes, always in order of birth, so that the result depends on the function alone.

use std::collections::BTreeMap;

use egg::Id;
use mscc_ir::attr::{Attr, Float};
use mscc_ir::ops::Op;
use mscc_ir::{Dim, TensorType};
use mscc_patterns::guards::{Guard, MatchView, Origin, check_guard};
use mscc_patterns::rule::{Arg, AttrTerm, GuardArg, Rule, Shape, Term};
use smallvec::{SmallVec, smallvec};

use super::analysis::Classes;
use super::language::{Discriminant, ENode, Head};

/// One place where a rule matches, as values for its variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Match<'r> {
    /// Classes of operands and matched nodes, one for each sibling where the rule has a star.
    pub values: BTreeMap<&'r str, SmallVec<[Id; 1]>>,
    /// Attributes; `None` for one at its default.
    pub attrs: BTreeMap<&'r str, Option<Attr>>,
    /// Lists of sizes as the rule writes them, with what was found.
    pub lists: Vec<(&'r [Dim], Vec<Dim>)>,
    /// The nodes matched, with their classes.
    pub nodes: Vec<(Id, ENode)>,
}

/// A match and the others of the very same nodes, operands of commutative ops changed about. At most one is needed.
pub(super) type Site<'r> = Vec<Match<'r>>;

/// What siblings have in common: births of the classes and attributes that their variables without star stand for.
type Agreed = (Vec<u32>, Vec<Option<Attr>>);

/// A class whose op is that of a rule's first clause, but where the rule does not match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Miss {
    pub anchor: Id,
    /// How many nodes the attempt that came furthest had matched.
    depth: usize,
    /// The class that it met then.
    pub class: Id,
    /// What the pattern wants there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Looks for one rule's left side.
pub(super) struct Matcher<'a, 'r> {
    pub classes: &'a Classes,
    pub rule: &'r Rule,
    /// Classes born before this one were in the function as given.
    pub num_original: u32,
    /// How many more partial matches may be tried.
    pub budget: usize,
    /// Where the rule fails behind its first op, oldest first; siblings have none.
    pub misses: Vec<Miss>,
    deepest: Option<Miss>,
}

impl<'a, 'r> Matcher<'a, 'r> {
    pub fn new(classes: &'a Classes, rule: &'r Rule, num_original: u32, budget: usize) -> Self {
        Matcher { classes, rule, num_original, budget, misses: Vec::new(), deepest: None }
    }

    /// All sites, oldest first. A `budget` of 0 afterwards says that there may be more.
    pub fn sites(&mut self) -> Vec<Site<'r>> {
        match &self.rule.shape {
            Shape::Tree => self.trees(),
            Shape::Siblings { shared } => self.siblings(shared).into_iter().map(|site| vec![site]).collect(),
        }
    }

    fn trees(&mut self) -> Vec<Site<'r>> {
        let mut sites = Vec::new();
        for anchor in self.anchors(0) {
            self.deepest = None;
            let mut matches = self.clause(0, anchor, Match::default());
            for (index, clause) in self.rule.matches.iter().enumerate().skip(1) {
                let mut longer = Vec::new();
                for partial in matches {
                    match partial.values.get(clause.bind.as_str()).map(|root| root[0]) {
                        Some(root) => longer.extend(self.clause(index, root, partial)),
                        None => {
                            for root in self.joined(index, &partial) {
                                longer.extend(self.clause(index, root, partial.clone()));
                            }
                        }
                    }
                }
                matches = longer;
            }
            if matches.is_empty() {
                self.misses.extend(self.deepest.take().map(|miss| Miss { anchor, ..miss }));
            }
            let first = sites.len();
            for found in matches {
                match sites[first..].iter_mut().find(|site: &&mut Site<'_>| site[0].nodes == found.nodes) {
                    Some(site) => site.push(found),
                    None => sites.push(vec![found]),
                }
            }
        }
        sites
    }

    /// Classes in which a clause may match that is bound to earlier ones by its operands alone. Of two nodes that look
    /// alike the first found is the older one, so that no pair is found twice.
    fn joined(&self, index: usize, partial: &Match<'r>) -> Vec<Id> {
        let term = &self.rule.matches[index].term;
        let earlier = self.rule.matches[..index].iter().filter(|clause| look_alike(&clause.term, term));
        let roots = earlier.filter_map(|clause| partial.values.get(clause.bind.as_str()));
        let youngest = roots.map(|root| self.classes[root[0]].data.born).max();
        let mut anchors = self.anchors(index);
        anchors.retain(|id| youngest.is_none_or(|youngest| self.classes[*id].data.born > youngest));
        anchors
    }

    /// One match for each group of siblings, with a value for each of them.
    fn siblings(&mut self, shared: &'r str) -> Vec<Match<'r>> {
        let mut groups: BTreeMap<Agreed, Vec<Match<'r>>> = BTreeMap::new();
        for anchor in self.anchors(0) {
            if self.classes[anchor].data.born >= self.num_original {
                continue; // made by a rule: merging what was merged would never end
            }
            for found in self.clause(0, anchor, Match::default()) {
                if !self.may_join(&found) {
                    continue;
                }
                let agreed =
                    found.values.iter().filter(|(name, _)| **name == shared || !self.rule.is_star(name));
                let key = agreed.map(|(_, value)| self.classes[value[0]].data.born).collect();
                let group = groups.entry((key, found.attrs.values().cloned().collect())).or_default();
                if group.iter().all(|other| other.nodes[0].0 != found.nodes[0].0) {
                    group.push(found);
                }
            }
        }
        groups.into_values().flat_map(|group| self.joined_siblings(group)).collect()
    }

    /// All siblings in one match; and where guards refuse that, those of them together that may be.
    fn joined_siblings(&self, group: Vec<Match<'r>>) -> Vec<Match<'r>> {
        let holds = |found: &Match<'r>| {
            let view = View { classes: self.classes, found };
            self.rule.guards.iter().all(|call| check_guard(call, &view).is_ok())
        };
        let all = self.join(group.clone());
        let mut parts: Vec<Vec<Match<'r>>> = Vec::new();
        if group.len() > 2 && !holds(&all) {
            for found in group.iter().cloned() {
                let fits = |part: &&mut Vec<Match<'r>>| {
                    holds(&self.join(part.iter().cloned().chain([found.clone()]).collect()))
                };
                match parts.iter_mut().find(fits) {
                    Some(part) => part.push(found),
                    None => parts.push(vec![found]),
                }
            }
        }
        // The refused whole goes first: the report says what stood against it.
        let parts = parts.into_iter().filter(|part| part.len() > 1).map(|part| self.join(part));
        let whole = (group.len() > 1).then_some(all);
        whole.into_iter().chain(parts).collect()
    }

    /// Whether the sibling passes the guards that judge each by itself.
    fn may_join(&self, found: &Match<'r>) -> bool {
        let view = View { classes: self.classes, found };
        let is_star = |arg: &GuardArg| matches!(arg, GuardArg::Star(_));
        self.rule.guards.iter().all(|call| {
            let judges_each = Guard::from_name(&call.name).is_some_and(|guard| guard.each);
            !judges_each || !call.args.iter().all(is_star) || check_guard(call, &view).is_ok()
        })
    }

    fn join(&self, group: Vec<Match<'r>>) -> Match<'r> {
        let mut group = group.into_iter();
        let mut joined = group.next().unwrap_or_default();
        for sibling in group {
            for (name, value) in sibling.values {
                if self.rule.is_star(name) {
                    joined.values.entry(name).or_default().extend(value);
                }
            }
            joined.lists.extend(sibling.lists);
            joined.nodes.extend(sibling.nodes);
        }
        joined
    }

    /// Classes in which a clause may match, oldest first.
    fn anchors(&self, index: usize) -> Vec<Id> {
        let Some(clause) = self.rule.matches.get(index) else { return Vec::new() };
        let mut anchors: Vec<Id> = match self.classes.classes_for_op(&Discriminant::Op(clause.term.op)) {
            Some(ids) => ids.collect(),
            None => Vec::new(),
        };
        anchors.sort_by_key(|id| self.classes[*id].data.born);
        anchors
    }

    fn clause(&mut self, index: usize, class: Id, partial: Match<'r>) -> Vec<Match<'r>> {
        let clause = &self.rule.matches[index];
        let Some(partial) = bind(partial, &clause.bind, class) else { return Vec::new() };
        self.term(&clause.term, class, &partial)
    }

    /// All ways in which `term` matches a member of `class`.
    fn term(&mut self, term: &'r Term, class: Id, partial: &Match<'r>) -> Vec<Match<'r>> {
        let mut found = Vec::new();
        let classes = self.classes;
        if !classes[class].nodes.iter().any(|node| node.op_of(term.op).is_some()) {
            self.miss(partial, class, term.op.name(), &|| heads(classes, class));
        }
        for node in &classes[class].nodes {
            let Some(op) = node.op_of(term.op) else { continue };
            if node.args.len() != term.args.len() {
                let expected = format!("{} of {} operands", term.op.name(), term.args.len());
                self.miss(partial, class, &expected, &|| format!("one of {}", node.args.len()));
                continue;
            }
            let mut partial = partial.clone();
            if let Err(attr) = bind_attrs(&mut partial, &term.attrs, op) {
                let expected = format!("{} with another `{attr}`", term.op.name());
                self.miss(&partial, class, &expected, &|| attr_text(op, attr));
                continue;
            }
            partial.nodes.push((class, node.clone()));
            found.extend(self.operands(&term.args, &node.args, partial.clone()));
            if term.op.is_commutative() && term.args.len() >= 2 && node.args[0] != node.args[1] {
                let mut args = node.args.clone();
                args.swap(0, 1);
                found.extend(self.operands(&term.args, &args, partial));
            }
        }
        found
    }

    /// Remembers where an attempt ended, if none came further.
    fn miss(&mut self, partial: &Match<'_>, class: Id, expected: &str, found: &dyn Fn() -> String) {
        let depth = partial.nodes.len();
        if self.deepest.as_ref().is_none_or(|deepest| deepest.depth < depth) {
            self.deepest =
                Some(Miss { anchor: class, depth, class, expected: expected.to_owned(), found: found() });
        }
    }

    fn operands(&mut self, args: &'r [Arg], classes: &[Id], partial: Match<'r>) -> Vec<Match<'r>> {
        let mut partials = vec![partial];
        for (arg, class) in args.iter().zip(classes) {
            let class = self.classes.find(*class);
            let mut longer = Vec::new();
            for partial in partials {
                if self.budget == 0 {
                    return Vec::new();
                }
                self.budget -= 1;
                longer.extend(self.operand(arg, class, partial));
            }
            partials = longer;
        }
        partials
    }

    fn operand(&mut self, arg: &'r Arg, class: Id, partial: Match<'r>) -> Vec<Match<'r>> {
        match arg {
            Arg::Var(name) | Arg::Star(name) => bind(partial, name, class).into_iter().collect(),
            Arg::Term(term) => self.term(term, class, &partial),
            Arg::Output(output) => {
                let index = output.index.unwrap_or(0);
                let members = self.classes[class].nodes.iter();
                let tuples = members.filter(|node| node.head == Head::Proj(index)).map(|node| node.args[0]);
                let only = (index == 0).then_some(class);
                let makers: Vec<Id> = tuples.chain(only).collect();
                makers.into_iter().filter_map(|maker| bind(partial.clone(), &output.name, maker)).collect()
            }
        }
    }
}

/// Whether two patterns differ in the names of their variables alone.
fn look_alike(a: &Term, b: &Term) -> bool {
    let attrs_alike = |((name, a), (other, b)): (&(String, AttrTerm), &(String, AttrTerm))| {
        name == other && (a == b || matches!((a, b), (AttrTerm::Var(_), AttrTerm::Var(_))))
    };
    let args_alike = |(a, b): (&Arg, &Arg)| match (a, b) {
        (Arg::Term(a), Arg::Term(b)) => look_alike(a, b),
        (Arg::Output(a), Arg::Output(b)) => a.index == b.index,
        (Arg::Var(_), Arg::Var(_)) | (Arg::Star(_), Arg::Star(_)) => true,
        (Arg::Term(_) | Arg::Output(_) | Arg::Var(_) | Arg::Star(_), _) => false,
    };
    a.op == b.op
        && (a.args.len(), a.attrs.len()) == (b.args.len(), b.attrs.len())
        && a.args.iter().zip(&b.args).all(args_alike)
        && a.attrs.iter().zip(&b.attrs).all(attrs_alike)
}

/// `name` stands for `class`, unless it stands for another already.
fn bind<'r>(mut partial: Match<'r>, name: &'r str, class: Id) -> Option<Match<'r>> {
    let bound = partial.values.entry(name).or_insert_with(|| smallvec![class]);
    (bound[0] == class).then_some(partial)
}

/// Holds the op's attributes against the pattern; those not written must be at their default, which the op leaves
/// out. The error is the first that differs.
fn bind_attrs<'r>(partial: &mut Match<'r>, terms: &'r [(String, AttrTerm)], op: &Op) -> Result<(), &'r str> {
    let attrs = op.attrs();
    for (name, term) in terms {
        let found = attrs.iter().find(|(other, _)| other == name).map(|(_, attr)| attr);
        let fits = match term {
            AttrTerm::Value(value) => same_attr(value, found),
            AttrTerm::Var(var) => {
                let bound = partial.attrs.entry(var).or_insert_with(|| found.cloned());
                bound.as_ref() == found
            }
            AttrTerm::Axes(list) => match found {
                Some(Attr::Dims(found)) => {
                    partial.lists.push((list, found.clone()));
                    found.len() == list.len()
                }
                Some(_) | None => false,
            },
            AttrTerm::Sizes(..) | AttrTerm::DType(_) | AttrTerm::Reciprocal(_) => false,
        };
        if !fits {
            return Err(name);
        }
    }
    match attrs.iter().find(|(name, _)| !terms.iter().any(|(written, _)| written == name)) {
        Some((name, _)) => Err(name),
        None => Ok(()),
    }
}

/// How a class is computed, for people.
fn heads(classes: &Classes, class: Id) -> String {
    let mut all: Vec<String> = Vec::new();
    for node in &classes[class].nodes {
        let head = match &node.head {
            Head::Leaf(_) => "a leaf".to_owned(),
            Head::Op(op) => op.kind().name().to_owned(),
            Head::Proj(index) => format!("result {index} of {}", heads(classes, node.args[0])),
            Head::Root => continue,
        };
        if !all.contains(&head) {
            all.push(head);
        }
    }
    all.join(" or ")
}

fn attr_text(op: &Op, name: &str) -> String {
    let attrs = op.attrs();
    let attr = attrs.iter().find(|(other, _)| *other == name);
    attr.map_or(format!("{name} at its default"), |(name, attr)| format!("{name}={attr}"))
}

/// Whether the value written in a rule is that of an op, which leaves out what is at its default.
fn same_attr(written: &Attr, found: Option<&Attr>) -> bool {
    match (written, found) {
        (Attr::Bool(false), None) => true,
        (Attr::Int(written), Some(Attr::Float(found))) => Float(*written as f64) == *found,
        (written, Some(found)) => written == found,
        (_, None) => false,
    }
}

/// A match as guards see it.
pub(super) struct View<'a, 'r> {
    pub classes: &'a Classes,
    pub found: &'a Match<'r>,
}

impl View<'_, '_> {
    fn ids(&self, var: &str) -> &[Id] {
        self.found.values.get(var).map_or(&[], |ids| ids.as_slice())
    }
}

impl MatchView for View<'_, '_> {
    fn types(&self, var: &str) -> Vec<&TensorType> {
        self.ids(var).iter().filter_map(|id| self.classes[*id].data.types.first()).collect()
    }

    fn origins(&self, var: &str) -> Vec<Origin> {
        let origin = |id: &Id| {
            let data = &self.classes[*id].data;
            match (data.source_weight, data.weight_only) {
                (true, _) => Origin::SourceWeight,
                (false, true) => Origin::Weight,
                (false, false) => Origin::Activation,
            }
        };
        self.ids(var).iter().map(origin).collect()
    }

    fn attr(&self, var: &str) -> Option<&Attr> {
        self.found.attrs.get(var)?.as_ref()
    }

    fn lists(&self) -> Vec<(&[Dim], Vec<Dim>)> {
        self.found.lists.clone()
    }
}
