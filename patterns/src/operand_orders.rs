//! Operands of commutative ops in every order, so that no rule need swap operands in the graph.

use std::collections::{BTreeMap, BTreeSet};

use crate::guards::Guard;
use crate::rule::{Arg, AttrTerm, GuardArg, Rule, Term};

/// Most commutative nodes on a rule's left side; each doubles its forms.
pub(crate) const MAX_COMMUTATIVE: u32 = 4;

impl Rule {
    /// This rule with the operands of commutative ops on its left side in every order, itself first.
    ///
    /// Orders that match the same by another naming of the variables are left out: of `(add ?x ?r)` both are
    /// there only if something else tells `?x` from `?r`. A loaded rule has at most 16.
    pub fn operand_orders(&self) -> Vec<Rule> {
        let count = self.commutative_nodes().min(MAX_COMMUTATIVE);
        let mut seen = BTreeSet::new();
        let swapped = |mask: u32| {
            let mut rule = self.clone();
            let mut nth = 0;
            for clause in &mut rule.matches {
                swap(&mut clause.term, mask, &mut nth);
            }
            rule
        };
        (0..1 << count).map(swapped).filter(|rule| seen.insert(rule.left_side())).collect()
    }

    /// How many nodes of the left side have operands that may change places.
    pub(crate) fn commutative_nodes(&self) -> u32 {
        fn count(term: &Term) -> u32 {
            let inner = term.args.iter().map(|arg| match arg {
                Arg::Term(term) => count(term),
                Arg::Var(_) | Arg::Output(_) | Arg::Star(_) => 0,
            });
            inner.sum::<u32>() + u32::from(term.op.is_commutative())
        }
        self.matches.iter().map(|clause| count(&clause.term)).sum()
    }

    /// The left side with variables named by where they first stand: equal for rules that match the same.
    fn left_side(&self) -> String {
        let mut names = Names::default();
        let clauses: Vec<String> = self
            .matches
            .iter()
            .map(|clause| format!("{} = {}", names.of(&clause.bind), names.term(&clause.term)))
            .collect();
        let mut given: Vec<String> =
            self.given.iter().map(|given| format!("{}: {given}", names.of(&given.var))).collect();
        given.sort();
        let mut guards: Vec<String> = Vec::new();
        for call in &self.guards {
            let mut args: Vec<String> = call.args.iter().map(|arg| names.guard_arg(arg)).collect();
            if Guard::from_name(&call.name).is_some_and(|guard| guard.symmetric) {
                args.sort();
            }
            guards.push(format!("{}{args:?}", call.name));
        }
        guards.sort();
        let equals: Vec<String> = self
            .equals
            .iter()
            .map(|(left, _)| format!("{}.{:?}", names.of(&left.name), left.index))
            .collect();
        format!("{clauses:?} {given:?} {guards:?} {equals:?}")
    }
}

fn swap(term: &mut Term, mask: u32, nth: &mut u32) {
    if term.op.is_commutative() {
        if *nth < MAX_COMMUTATIVE && mask >> *nth & 1 == 1 {
            term.args.swap(0, 1);
        }
        *nth += 1;
    }
    for arg in &mut term.args {
        if let Arg::Term(term) = arg {
            swap(term, mask, nth);
        }
    }
}

/// Variables numbered in order of their first use.
#[derive(Default)]
struct Names(BTreeMap<String, usize>);

impl Names {
    fn of(&mut self, name: &str) -> String {
        let next = self.0.len();
        format!("?v{}", self.0.entry(name.to_owned()).or_insert(next))
    }

    fn term(&mut self, term: &Term) -> String {
        let args: Vec<String> = term
            .args
            .iter()
            .map(|arg| match arg {
                Arg::Var(name) | Arg::Star(name) => self.of(name),
                Arg::Output(output) => format!("{}.{:?}", self.of(&output.name), output.index),
                Arg::Term(term) => self.term(term),
            })
            .collect();
        let attrs: Vec<String> = term
            .attrs
            .iter()
            .map(|(name, term)| match term {
                AttrTerm::Value(value) => format!("{name}={value}"),
                AttrTerm::Var(var) => format!("{name}={}", self.of(var)),
                AttrTerm::Sizes(var, axis) => format!("{name}=sizes({}, {axis})", self.of(var)),
                AttrTerm::DType(var) => format!("{name}=dtype({})", self.of(var)),
                AttrTerm::Reciprocal(var) => format!("{name}=reciprocal({})", self.of(var)),
                AttrTerm::Axes(list) => format!("{name}={list:?}"),
            })
            .collect();
        format!("({} {args:?} {attrs:?})", term.op.name())
    }

    fn guard_arg(&mut self, arg: &GuardArg) -> String {
        match arg {
            GuardArg::Var(name) | GuardArg::Star(name) => self.of(name),
            GuardArg::Int(value) => value.to_string(),
            GuardArg::Name(name) => name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::load::builtin;

    fn orders(name: &str) -> Vec<String> {
        let rules = builtin().unwrap();
        let rule = rules.iter().find(|rule| rule.name == name).unwrap();
        rule.operand_orders().iter().map(|rule| rule.matches.last().unwrap().term.to_string()).collect()
    }

    #[test]
    fn orders_that_tell_something_are_kept() {
        assert_eq!(orders("swiglu"), ["(mul (silu ?gate) ?up)", "(mul ?up (silu ?gate))"]);
        assert_eq!(orders("add_rms_norm"), ["(add ?x ?r)"]);
        assert_eq!(orders("matmul_bias").len(), 2);
        assert_eq!(orders("merge_matmul").len(), 1);
    }
}
