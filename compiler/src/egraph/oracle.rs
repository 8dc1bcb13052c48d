//! The cheapest selection there is, found by integer programming: what the search is held against in tests.
//!
//! A variable says of each form whether it is taken, another of each weight whether it is kept. Choices that nothing can
//! change are made first; what is left falls apart into components that share nothing. Cycles are cut off where a solution
//! has one. The limit is one of nodes, not of time.

use std::collections::{BTreeMap, BTreeSet};

use microlp::{ComparisonOp, OptimizationDirection, Problem, SolutionStatus, SolveOptions, Variable};

use super::price::{Price, Pricer, Selection};
use super::space::Space;

/// Nodes of the search tree of a component.
const NODE_LIMIT: u64 = 2000;
/// Ops dearer than this have no kernel.
const NO_KERNEL: u64 = 1 << 60;
/// Picoseconds in the unit of the program's objective, which should be neither great nor small.
const UNIT: f64 = 1e6;

/// What is known of the cheapest selection.
#[derive(Debug)]
pub(super) struct Optimum {
    /// Price of the cheapest selection found.
    pub price: Price,
    /// No selection takes less time.
    pub bound_ps: f64,
    /// Parts that share nothing.
    pub components: usize,
    /// Those of them for which no selection was proved to be the best.
    pub unsolved: usize,
}

/// The cheapest selection, which costs no more than `known`.
pub(super) fn optimum(space: &Space, pricer: &Pricer<'_>, known: &Selection) -> Optimum {
    let mut program = Program::new(space, pricer);
    program.simplify();
    let components = program.components();
    let mut selection = known.clone();
    settle_weights(space, &mut selection);
    let mut bound_ps = 0.0;
    let mut unsolved = 0;
    for class in program.settled() {
        let choice = &program.choices[class][0];
        selection[class] = choice.form;
        bound_ps += choice.ps as f64;
    }
    bound_ps += program.kept.iter().map(|weight| program.weight_ps(*weight)).sum::<f64>();
    for component in &components {
        let solved = program.solve(component, known);
        bound_ps += solved.bound_ps;
        unsolved += usize::from(!solved.is_optimal);
        solved.chosen.iter().for_each(|(class, form)| selection[*class] = *form);
    }
    let price = pricer.price(&selection).expect("cycles are cut off");
    Optimum { price, bound_ps, components: components.len(), unsolved }
}

/// A form of a class.
#[derive(Clone, Debug)]
struct Choice {
    form: u32,
    ps: u64,
    /// Classes that it reads.
    needs: BTreeSet<usize>,
    /// Weights that it reads.
    weights: BTreeSet<usize>,
}

struct Program<'a> {
    space: &'a Space,
    pricer: &'a Pricer<'a>,
    /// Of each class that does not depend on weights alone.
    choices: Vec<Vec<Choice>>,
    /// Classes that every selection needs.
    active: BTreeSet<usize>,
    /// Weights that every selection keeps.
    kept: BTreeSet<usize>,
}

struct Solved {
    chosen: Vec<(usize, u32)>,
    bound_ps: f64,
    is_optimal: bool,
}

impl<'a> Program<'a> {
    fn new(space: &'a Space, pricer: &'a Pricer<'a>) -> Self {
        let choices = space.classes.iter().enumerate().map(|(index, class)| {
            let forms = (0..).zip(&class.forms).filter(|_| !class.weight_only).map(|(form, node)| {
                let (weights, needs) = node.args.iter().partition(|arg| space.classes[**arg].weight_only);
                Choice { form, ps: pricer.own(index, form).ps, needs, weights }
            });
            forms.filter(|choice| choice.ps < NO_KERNEL && !choice.needs.contains(&index)).collect()
        });
        let choices = choices.collect();
        Program { space, pricer, choices, active: BTreeSet::from([space.root]), kept: BTreeSet::new() }
    }

    /// Drops choices that none of the best selections needs, and finds out which every selection has.
    fn simplify(&mut self) {
        self.drop_underivable();
        loop {
            let before = (self.active.len(), self.kept.len(), self.num_choices());
            self.drop_dominated();
            for class in self.active.clone() {
                let mut choices = self.choices[class].iter();
                let Some(first) = choices.next() else { continue };
                let (mut needs, mut weights) = (first.needs.clone(), first.weights.clone());
                for choice in choices {
                    needs.retain(|need| choice.needs.contains(need));
                    weights.retain(|weight| choice.weights.contains(weight));
                }
                self.active.extend(needs);
                self.kept.extend(weights);
            }
            if before == (self.active.len(), self.kept.len(), self.num_choices()) {
                break;
            }
        }
        let reachable = self.reachable();
        for (class, choices) in self.choices.iter_mut().enumerate() {
            if !reachable.contains(&class) {
                choices.clear();
            }
        }
    }

    fn num_choices(&self) -> usize {
        self.choices.iter().map(Vec::len).sum()
    }

    /// Choices whose operands only cycles would make.
    fn drop_underivable(&mut self) {
        let mut derivable: BTreeSet<usize> = BTreeSet::new();
        loop {
            let before = derivable.len();
            for (class, choices) in self.choices.iter().enumerate() {
                if choices.iter().any(|choice| choice.needs.is_subset(&derivable)) {
                    derivable.insert(class);
                }
            }
            if derivable.len() == before {
                break;
            }
        }
        self.choices.iter_mut().for_each(|choices| choices.retain(|c| c.needs.is_subset(&derivable)));
    }

    /// Choices beside which another one costs no more and needs nothing else.
    fn drop_dominated(&mut self) {
        let kept = &self.kept;
        for choices in &mut self.choices {
            let all = choices.clone();
            let is_no_dearer = |one: &Choice, other: &Choice| {
                one.ps <= other.ps
                    && one.needs.is_subset(&other.needs)
                    && one.weights.difference(&other.weights).all(|weight| kept.contains(weight))
            };
            choices.retain(|choice| {
                !all.iter().any(|other| {
                    let as_good = is_no_dearer(choice, other);
                    other.form != choice.form
                        && is_no_dearer(other, choice)
                        && (!as_good || other.form < choice.form)
                })
            });
        }
    }

    fn reachable(&self) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut todo = vec![self.space.root];
        while let Some(class) = todo.pop() {
            if seen.insert(class) {
                todo.extend(self.choices[class].iter().flat_map(|choice| &choice.needs));
            }
        }
        seen
    }

    /// Classes with one choice that every selection has.
    fn settled(&self) -> Vec<usize> {
        self.active.iter().copied().filter(|class| self.choices[*class].len() == 1).collect()
    }

    fn weight_ps(&self, weight: usize) -> f64 {
        let (ps, per) = self.pricer.resident_ps_per_byte;
        (u128::from(self.pricer.resident_bytes[weight]) * ps) as f64 / per as f64
    }

    /// Classes with something to choose, in groups of which none changes what another one costs.
    fn components(&self) -> Vec<Vec<usize>> {
        let mut groups = Groups::new(2 * self.choices.len());
        let settled: BTreeSet<usize> = self.settled().into_iter().collect();
        for (class, choices) in self.choices.iter().enumerate().filter(|(class, _)| !settled.contains(class))
        {
            for choice in choices {
                let free = choice.needs.iter().filter(|need| !self.active.contains(need));
                free.for_each(|need| groups.join(class, *need));
                let weights = choice.weights.iter().filter(|weight| !self.kept.contains(weight));
                weights.for_each(|weight| groups.join(class, self.choices.len() + weight));
            }
        }
        // Only together can those on a cycle be kept from closing it.
        for cycle in self.knots() {
            cycle.iter().for_each(|class| groups.join(cycle[0], *class));
        }
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for class in 0..self.choices.len() {
            if !self.choices[class].is_empty() && !settled.contains(&class) {
                members.entry(groups.find(class)).or_default().push(class);
            }
        }
        members.into_values().collect()
    }

    /// Classes that may need each other.
    fn knots(&self) -> Vec<Vec<usize>> {
        let needs = |class: usize| self.choices[class].iter().flat_map(|choice| choice.needs.iter().copied());
        let reached = |from: usize| {
            let mut seen = BTreeSet::new();
            let mut todo: Vec<usize> = needs(from).collect();
            while let Some(class) = todo.pop() {
                if seen.insert(class) {
                    todo.extend(needs(class));
                }
            }
            seen
        };
        let from: Vec<BTreeSet<usize>> = (0..self.choices.len()).map(reached).collect();
        let mut knots: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for class in (0..from.len()).filter(|class| from[*class].contains(class)) {
            let first = from[class].iter().find(|other| from[**other].contains(&class));
            knots.entry(*first.expect("it reaches itself")).or_default().push(class);
        }
        knots.into_values().collect()
    }

    fn solve(&self, component: &[usize], known: &Selection) -> Solved {
        let mut cuts: Vec<Vec<(usize, usize)>> = Vec::new();
        let settled = self.settled();
        loop {
            let solved = self.solve_with(component, known, &cuts);
            let rest = settled.iter().map(|class| (*class, self.choices[*class][0].form));
            match self.cycle(solved.chosen.iter().copied().chain(rest)) {
                Some(mut cycle) => {
                    cycle.retain(|(from, _)| component.contains(from));
                    cuts.push(cycle);
                }
                None => return solved,
            }
        }
    }

    /// Solves without the cycles that `cuts` names by their edges.
    fn solve_with(&self, component: &[usize], known: &Selection, cuts: &[Vec<(usize, usize)>]) -> Solved {
        let mut problem = Problem::new(OptimizationDirection::Minimize);
        let mut taken: BTreeMap<(usize, u32), Variable> = BTreeMap::new();
        let mut kept: BTreeMap<usize, Variable> = BTreeMap::new();
        let needed = self.needed(known);
        let mut hint: Vec<(Variable, f64)> = Vec::new();
        for class in component {
            for choice in &self.choices[*class] {
                let variable = problem.add_binary_var(choice.ps as f64 / UNIT);
                taken.insert((*class, choice.form), variable);
                let is_known = needed.contains(class) && known[*class] == choice.form;
                hint.push((variable, f64::from(u8::from(is_known))));
                for weight in choice.weights.iter().filter(|weight| !self.kept.contains(weight)) {
                    kept.entry(*weight)
                        .or_insert_with(|| problem.add_var(self.weight_ps(*weight) / UNIT, (0.0, 1.0)));
                }
            }
        }
        let all = |class: usize| self.choices[class].iter().map(move |choice| (class, choice.form));
        for class in component {
            let forms: Vec<(Variable, f64)> = all(*class).map(|form| (taken[&form], 1.0)).collect();
            let is_active = self.active.contains(class);
            let op = if is_active { ComparisonOp::Eq } else { ComparisonOp::Le };
            problem.add_constraint(forms, op, 1.0);
            // Of all forms that read an operand one at most is taken, and then the operand is made.
            let mut readers: BTreeMap<(bool, usize), Vec<(Variable, f64)>> = BTreeMap::new();
            for choice in &self.choices[*class] {
                let needs = choice.needs.iter().filter(|need| !self.active.contains(need));
                let weights = choice.weights.iter().filter(|weight| !self.kept.contains(weight));
                let operands = needs.map(|need| (false, *need)).chain(weights.map(|weight| (true, *weight)));
                for operand in operands {
                    readers.entry(operand).or_default().push((taken[&(*class, choice.form)], 1.0));
                }
            }
            for ((is_weight, operand), mut row) in readers {
                match is_weight {
                    true => row.push((kept[&operand], -1.0)),
                    false => row.extend(all(operand).map(|form| (taken[&form], -1.0))),
                }
                problem.add_constraint(row, ComparisonOp::Le, 0.0);
            }
        }
        for cut in cuts {
            let closing = cut.iter().flat_map(|(from, to)| {
                let readers = self.choices[*from].iter().filter(|choice| choice.needs.contains(to));
                readers.map(|choice| (taken[&(*from, choice.form)], 1.0))
            });
            problem.add_constraint(closing.collect::<Vec<_>>(), ComparisonOp::Le, cut.len() as f64 - 1.0);
        }
        let mut options = SolveOptions::default();
        options.node_limit = Some(NODE_LIMIT);
        options.warm_start = Some(hint);
        let outcome = problem.solve_with(options).expect("there is a selection");
        let bound = outcome.stats().best_bound.unwrap_or(0.0) * UNIT;
        let Some(solution) = outcome.solution() else {
            let chosen = component.iter().map(|class| (*class, known[*class])).collect();
            return Solved { chosen, bound_ps: bound, is_optimal: false };
        };
        let is_taken = |variable: &Variable| solution.var_value(*variable) > 0.5;
        let chosen = taken.iter().filter(|(_, variable)| is_taken(variable)).map(|(form, _)| *form).collect();
        match solution.status() {
            SolutionStatus::Optimal => {
                Solved { chosen, bound_ps: solution.objective() * UNIT, is_optimal: true }
            }
            SolutionStatus::Feasible => Solved { chosen, bound_ps: bound, is_optimal: false },
        }
    }

    /// The classes that a selection needs.
    fn needed(&self, selection: &Selection) -> BTreeSet<usize> {
        super::price::order(self.space, selection).into_iter().flatten().collect()
    }

    /// Edges of a cycle of chosen forms.
    fn cycle(&self, chosen: impl Iterator<Item = (usize, u32)>) -> Option<Vec<(usize, usize)>> {
        let mut left: BTreeMap<usize, &Choice> = BTreeMap::new();
        for (class, form) in chosen {
            left.extend(self.choices[class].iter().find(|choice| choice.form == form).map(|c| (class, c)));
        }
        loop {
            let is_done = |choice: &&Choice| !choice.needs.iter().any(|need| left.contains_key(need));
            let done: Vec<usize> =
                left.iter().filter(|(_, choice)| is_done(choice)).map(|(class, _)| *class).collect();
            if done.is_empty() {
                break;
            }
            left.retain(|class, _| !done.contains(class));
        }
        let mut path: Vec<usize> = vec![*left.keys().next()?];
        loop {
            let last = path[path.len() - 1];
            let next = *left[&last].needs.iter().find(|need| left.contains_key(need))?;
            if let Some(start) = path.iter().position(|class| *class == next) {
                path.push(next);
                return Some(path[start..].windows(2).map(|edge| (edge[0], edge[1])).collect());
            }
            path.push(next);
        }
    }
}

/// Gives what depends on weights alone forms that read nothing else and no cycle.
fn settle_weights(space: &Space, selection: &mut Selection) {
    let mut made: BTreeSet<usize> = BTreeSet::new();
    loop {
        let before = made.len();
        for (index, class) in space.classes.iter().enumerate().filter(|(_, class)| class.weight_only) {
            let form = class.forms.iter().position(|node| node.args.iter().all(|arg| made.contains(arg)));
            if let Some(form) = form.filter(|_| made.insert(index)) {
                selection[index] = form as u32;
            }
        }
        if made.len() == before {
            break;
        }
    }
}

/// Disjoint sets.
struct Groups(Vec<usize>);

impl Groups {
    fn new(count: usize) -> Self {
        Groups((0..count).collect())
    }

    fn find(&mut self, mut of: usize) -> usize {
        while self.0[of] != of {
            self.0[of] = self.0[self.0[of]];
            of = self.0[of];
        }
        of
    }

    fn join(&mut self, one: usize, other: usize) {
        let (one, other) = (self.find(one), self.find(other));
        self.0[one.max(other)] = one.min(other);
    }
}
