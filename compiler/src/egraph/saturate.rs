//! Running rules until they have nothing to add.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egg::Id;
use mscc_ir::plan::fusion::{Event, Outcome, RuleReport};
use mscc_ir::{Graph, NodeKind, SymbolTable, Value};
use mscc_patterns::rule::{Phase, Rule};

use super::analysis::{Classes, Types};
use super::apply::plan;
use super::language::{ENode, Head};
use super::matcher::{Match, Matcher, Site};
use super::provenance::Provenance;
use super::report::{Diagnostic, Growth, Refusal};
use super::space::{Application, Space, runs};
use crate::cost::Target;

/// Rounds of matching and applying in a phase.
const MAX_ITERATIONS: usize = 8;
/// Nodes may grow to so many times those of the function.
const MAX_GROWTH: usize = 50;
/// Partial matches of a rule in a round, for each node.
const MATCHES_PER_NODE: usize = 1000;

/// A function with all forms that the rules give it, to be extracted once per variant.
#[derive(Debug)]
pub struct Saturated {
    pub(super) graph: Graph,
    pub(super) symbols: SymbolTable,
    /// None if a rule proved unsound.
    pub(super) space: Option<Space>,
    /// Of all rules, in the order in which they run.
    pub(super) refusals: Vec<RuleReport>,
    pub(super) diagnostics: Vec<Diagnostic>,
    pub(super) growth: Vec<Growth>,
}

/// How many rewrites a model has had, and after how many no more are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrites {
    /// How many there were.
    pub made: u32,
    /// After so many, no more; none for no end.
    pub stop_after: Option<u32>,
}

impl Rewrites {
    /// Whether there may be another.
    fn may_go_on(&self) -> bool {
        self.stop_after.is_none_or(|last| self.made < last)
    }

    /// The number of the next one.
    fn take(&mut self) -> u32 {
        self.made += 1;
        self.made
    }
}

/// Applies `rules` to a function wherever they hold and `target` can run what they make.
///
/// The order of `rules` does not matter; names must be unique.
pub fn saturate(graph: &Graph, symbols: &SymbolTable, rules: &[Rule], target: &dyn Target) -> Saturated {
    saturate_within(graph, symbols, rules, target, &mut Rewrites::default())
}

/// As [`saturate`], with the rewrites counted, and none made beyond the last that is wanted.
pub fn saturate_within(
    graph: &Graph,
    symbols: &SymbolTable,
    rules: &[Rule],
    target: &dyn Target,
    rewrites: &mut Rewrites,
) -> Saturated {
    let mut rules: Vec<&Rule> = rules.iter().collect();
    rules.sort_by(|a, b| (a.phase, &a.name).cmp(&(b.phase, &b.name)));
    let mut stage = Stage::new(graph, target, *rewrites);
    let mut growth = Vec::new();
    for phase in Phase::ALL {
        let rules: Vec<&Rule> = rules.iter().copied().filter(|rule| rule.phase == phase).collect();
        let iterations = stage.phase(phase, &rules);
        let (nodes, classes) = (stage.classes.total_size(), stage.classes.number_of_classes());
        growth.push(Growth { phase, iterations, nodes, classes });
    }
    *rewrites = stage.rewrites;
    let mut diagnostics = stage.diagnostics;
    let space = match stage.classes.analysis.unsound.take() {
        None => Some(Space::new(
            &stage.classes,
            &stage.provenance,
            graph,
            &stage.values,
            stage.root,
            &stage.applications,
            target,
        )),
        Some(unsound) => {
            diagnostics.push(Diagnostic::Unsound { rule: unsound.rule, reason: unsound.reason });
            None
        }
    };
    let report = |rule: &&Rule| {
        let refused = stage.refused.remove(&rule.name).into_iter();
        let missed = stage.missed.remove(&rule.name).into_iter();
        RuleReport { rule: rule.name.clone(), events: refused.chain(missed).flatten().collect() }
    };
    let refusals = rules.iter().map(report).collect();
    Saturated { graph: graph.clone(), symbols: symbols.clone(), space, refusals, diagnostics, growth }
}

/// A site with the nodes of the function that it stands for.
type Found<'r> = (Site<'r>, BTreeSet<u32>);

struct Stage<'a> {
    classes: Classes,
    target: &'a dyn Target,
    provenance: Provenance,
    /// The class of each value of the function.
    values: BTreeMap<Value, Id>,
    root: Id,
    num_original: u32,
    max_nodes: usize,
    rewrites: Rewrites,
    applications: Vec<Application>,
    /// By rule.
    refused: BTreeMap<String, Vec<Event>>,
    /// By rule, of its last round.
    missed: BTreeMap<String, Vec<Event>>,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Stage<'a> {
    fn new(graph: &Graph, target: &'a dyn Target, rewrites: Rewrites) -> Self {
        let mut stage = Stage {
            classes: Classes::new(Types::default()),
            target,
            provenance: Provenance::default(),
            values: BTreeMap::new(),
            root: Id::from(0),
            num_original: 0,
            max_nodes: 0,
            rewrites,
            applications: Vec::new(),
            refused: BTreeMap::new(),
            missed: BTreeMap::new(),
            diagnostics: Vec::new(),
        };
        for (id, node) in graph.nodes() {
            let name = node.results[0].name.as_str();
            let term = match &node.kind {
                NodeKind::Leaf(leaf) => stage.leaf(leaf, &node.results[0]),
                NodeKind::Op(op) => {
                    let args = node.operands.iter().map(|operand| stage.classes.find(stage.values[operand]));
                    ENode::new(Head::Op(Arc::new(op.clone())), args)
                }
            };
            let class = stage.classes.add(term.clone());
            stage.provenance.record_original(&stage.classes, &term, name, id.0);
            for (index, result) in (0..).zip(&node.results) {
                let value = match node.results.len() {
                    1 => class,
                    _ => stage.classes.add(ENode::new(Head::Proj(index), [class])),
                };
                stage.provenance.name_new(&stage.classes, &result.name);
                stage.values.insert(Value { node: id, index }, value);
            }
        }
        let sinks = graph.sinks().iter().map(|(_, value)| stage.values[value]);
        stage.root = stage.classes.add(ENode::new(Head::Root, sinks.collect::<Vec<_>>()));
        stage.provenance.name_new(&stage.classes, "");
        stage.num_original = stage.classes.nodes().len() as u32;
        stage.max_nodes = MAX_GROWTH * stage.classes.total_size();
        stage.rebuild();
        stage
    }

    fn leaf(&mut self, leaf: &mscc_ir::Leaf, result: &mscc_ir::graph::ResultInfo) -> ENode {
        let types = &mut self.classes.analysis;
        let known = types.leaves.iter().position(|(other, ty)| other == leaf && *ty == result.ty);
        let index = known.unwrap_or_else(|| {
            types.leaves.push((leaf.clone(), result.ty.clone()));
            types.leaf_names.push(result.name.clone());
            types.leaves.len() - 1
        });
        ENode::new(Head::Leaf(index as u32), [])
    }

    fn rebuild(&mut self) {
        self.classes.rebuild();
        self.provenance.rebuild(&self.classes);
    }

    /// Runs the rules of a phase to saturation; gives the number of rounds.
    fn phase(&mut self, phase: Phase, rules: &[&Rule]) -> usize {
        if rules.is_empty() {
            return 0;
        }
        let mut growth: BTreeMap<&str, usize> = BTreeMap::new();
        let mut capped = None;
        let mut rounds = 0;
        while capped.is_none() && self.classes.analysis.unsound.is_none() {
            if rounds == MAX_ITERATIONS {
                capped = Some(format!("{MAX_ITERATIONS} rounds"));
                break;
            }
            rounds += 1;
            // All rules see the same e-graph, so that their order does not matter for what they find.
            let found: Vec<(&Rule, Vec<Found<'_>>)> =
                rules.iter().map(|rule| (*rule, self.find(rule))).collect();
            let mut changed = false;
            for (rule, sites) in found {
                for (site, origins) in sites {
                    let before = self.classes.total_size();
                    if before >= self.max_nodes {
                        capped = Some(format!("{} nodes", self.max_nodes));
                        break;
                    }
                    changed |= self.apply(rule, &site, &origins);
                    *growth.entry(&rule.name).or_default() += self.classes.total_size() - before;
                }
            }
            self.rebuild();
            if !changed {
                break;
            }
        }
        if let Some(cap) = capped {
            let mut growth: Vec<(String, usize)> =
                growth.into_iter().map(|(rule, nodes)| (rule.to_owned(), nodes)).collect();
            growth.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
            growth.truncate(3);
            self.diagnostics.push(Diagnostic::Cap { phase, cap, growth });
        }
        rounds
    }

    /// A rule's sites.
    fn find<'r>(&mut self, rule: &'r Rule) -> Vec<Found<'r>> {
        let budget = MATCHES_PER_NODE * self.classes.total_size();
        let mut matcher = Matcher::new(&self.classes, rule, self.num_original, budget);
        let sites = matcher.sites();
        let name = |id: Id| self.provenance.name(&self.classes, id).to_owned();
        let missed = std::mem::take(&mut matcher.misses).into_iter().map(|miss| Event {
            at: vec![name(miss.anchor)],
            replaced: Vec::new(),
            number: None,
            outcome: Outcome::NearMiss {
                value: name(miss.class),
                expected: miss.expected,
                found: miss.found,
            },
        });
        // An expansion is for one spelling of an op, another one for the next.
        if rule.phase != Phase::Expand {
            self.missed.insert(rule.name.clone(), missed.collect());
        }
        if matcher.budget == 0 {
            let diagnostic = Diagnostic::Matches(rule.name.clone());
            if !self.diagnostics.contains(&diagnostic) {
                self.diagnostics.push(diagnostic);
            }
        }
        let with_origins = |site: Site<'r>| {
            let forms = site[0].nodes.iter().filter_map(|(_, node)| self.provenance.form(node));
            let origins = forms.flat_map(|form| form.origins.iter().copied()).collect();
            (site, origins)
        };
        sites.into_iter().map(with_origins).collect()
    }

    /// Applies a rule at a site by the first operand order for which it holds; gives whether anything is new.
    fn apply(&mut self, rule: &Rule, site: &Site<'_>, origins: &BTreeSet<u32>) -> bool {
        if !self.rewrites.may_go_on() {
            return false;
        }
        if rule.phase == Phase::Expand && site.iter().any(|found| self.runs(found)) {
            return false;
        }
        let mut refusal = None;
        for found in site {
            let found = self.current(found);
            match plan(rule, &found, &self.classes, self.target) {
                Ok(plan) => {
                    let (at, replaced) = self.names(rule, &found);
                    self.classes.analysis.rule.clone_from(&rule.name);
                    let (rewritten, made) =
                        plan.commit(rule, &found, origins, &mut self.classes, &mut self.provenance);
                    let changed = !rewritten.is_empty();
                    if changed {
                        let rule = rule.name.clone();
                        // What stood against it in an earlier round no longer does.
                        if let Some(events) = self.refused.get_mut(&rule) {
                            events.retain(|event| (&event.at, &event.replaced) != (&at, &replaced));
                        }
                        self.applications.push(Application {
                            rule,
                            at,
                            replaced,
                            number: self.rewrites.take(),
                            rewritten,
                            made,
                        });
                    }
                    return changed;
                }
                Err(error) => {
                    refusal.get_or_insert((error, found));
                }
            }
        }
        if let Some((refusal, found)) = refusal {
            self.refuse(rule, &found, refusal);
        }
        false
    }

    /// Whether what the first clause matched needs no other form to run.
    fn runs(&self, found: &Match<'_>) -> bool {
        found.nodes.first().is_none_or(|(class, node)| {
            self.classes[*class].data.weight_only || runs(&self.classes, node, self.target)
        })
    }

    /// The match with the names that its classes have by now.
    fn current<'r>(&self, found: &Match<'r>) -> Match<'r> {
        let mut found = found.clone();
        for ids in found.values.values_mut() {
            ids.iter_mut().for_each(|id| *id = self.classes.find(*id));
        }
        found.nodes.iter_mut().for_each(|(id, _)| *id = self.classes.find(*id));
        found
    }

    fn refuse(&mut self, rule: &Rule, found: &Match<'_>, refusal: Refusal) {
        let (at, replaced) = self.names(rule, found);
        let event = Event { at, replaced, number: None, outcome: Outcome::Refused(refusal.told()) };
        let events = self.refused.entry(rule.name.clone()).or_default();
        if !events.contains(&event) {
            events.push(event);
        }
    }

    /// Names of the values that a rule computes otherwise, and of all whose nodes it matched.
    fn names(&self, rule: &Rule, found: &Match<'_>) -> (Vec<String>, Vec<String>) {
        let name = |id: &Id| self.provenance.name(&self.classes, *id).to_owned();
        let roots = rule.equals.iter().filter_map(|(left, _)| found.values.get(left.name.as_str()));
        let mut at: Vec<String> = roots.flatten().map(name).collect();
        at.dedup();
        (at, found.nodes.iter().map(|(id, _)| name(id)).collect())
    }
}
