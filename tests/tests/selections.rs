//! Whatever forms are chosen, a layer computes the same: chosen at random and as dear as can be, so that rewrites that
//! never pay are run, too.
//!
//! Layers of the fixtures, before and after fusion, run by the reference interpreter without rounding on random tensors.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use mscc_compiler::cost::Target as _;
use mscc_compiler::egraph::{Diagnostic, Extraction, extract_dearest, extract_random, saturate};
use mscc_ir::reference::{Rounding, Sampler, Tensor, interpret};
use mscc_ir::text::print_function;
use mscc_ir::{Graph, Symbol, step};
use mscc_patterns::builtin;
use mscc_tests::stages::before_fusion;
use mscc_tests::{FIXTURES, data};

const TARGETS: [&str; 2] = ["cpu", "ascend910b3"];
/// Largest difference, relative to the largest value of a result.
const TOLERANCE: f64 = 1e-9;

#[test]
fn random_and_dearest_selections() {
    let some: Vec<&str> = FIXTURES.into_iter().step_by(3).collect();
    let counts = check_all(&some, 1, 3);
    println!("{counts:?}");
    assert!(counts.runs >= 200, "{counts:?}");
}

#[test]
#[ignore = "long: runs more than 10,000 selections"]
fn long_random_and_dearest_selections() {
    let counts = check_all(&FIXTURES, 4, 16);
    println!("{counts:?}");
    assert!(counts.runs >= 10_000, "{counts:?}");
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    /// Functions, each in all forms that rules give it.
    functions: usize,
    /// Selections run, no two equal ones on the same tensors.
    runs: usize,
    /// Selections that make no graph, since a cache would be written twice.
    broken: usize,
}

/// Runs so many selections of every layer on each of several sets of tensors.
fn check_all(fixtures: &[&str], sets: u64, selections: u64) -> Counts {
    let mut counts = Counts::default();
    for fixture in fixtures {
        for target in TARGETS {
            check(fixture, target, sets, selections, &mut counts);
        }
    }
    counts
}

fn check(fixture: &str, target: &str, sets: u64, selections: u64, counts: &mut Counts) {
    // That models are refused for the right reasons is another test's matter.
    let Ok((module, device)) = before_fusion(&data().join("fixtures").join(fixture), target) else { return };
    let rules = builtin().unwrap();
    let cost = device.cost_model();
    for function in &module.functions {
        counts.functions += 1;
        let saturated = saturate(function, &module.symbols, &rules, &device);
        for set in 0..sets {
            let mut layer = Layer::new(function, set);
            let dearest = ("the dearest".to_owned(), extract_dearest(&saturated, cost, &sizes));
            let seeds = set * selections..(set + 1) * selections;
            let random = seeds
                .map(|seed| (format!("selection {seed}"), extract_random(&saturated, cost, &sizes, seed)));
            for (which, Extraction { graph, report }) in random.chain([dearest]) {
                let what = format!("{fixture} for {target}, @{}, {which}", function.name);
                let is_broken = |diagnostic: &Diagnostic| matches!(diagnostic, Diagnostic::Broken(_));
                match report.diagnostics.iter().any(is_broken) {
                    true => counts.broken += 1,
                    false => counts.runs += usize::from(layer.check(&graph, &what)),
                }
            }
        }
    }
}

/// A layer as its author wrote it, with tensors for its leaves and what it makes of them.
struct Layer<'a> {
    graph: &'a Graph,
    leaves: HashMap<String, Tensor>,
    expected: Vec<Vec<f64>>,
    seen: Vec<Graph>,
}

impl<'a> Layer<'a> {
    fn new(graph: &'a Graph, seed: u64) -> Self {
        let leaves = Sampler::new(seed).leaves(graph, &sizes).unwrap();
        let expected = results(graph, &leaves);
        Layer { graph, leaves, expected, seen: vec![graph.clone()] }
    }

    /// Holds another form against the layer, if it is a new one.
    fn check(&mut self, form: &Graph, what: &str) -> bool {
        if self.seen.contains(form) {
            return false;
        }
        let got = results(form, &self.leaves);
        assert_eq!(got.len(), self.expected.len(), "{what}");
        for ((got, expected), (sink, _)) in got.iter().zip(&self.expected).zip(self.graph.sinks()) {
            let greatest = expected.iter().fold(1.0, |greatest: f64, value| greatest.max(value.abs()));
            let is_same = |(a, b): (&f64, &f64)| (a - b).abs() <= TOLERANCE * greatest;
            assert!(
                got.len() == expected.len() && got.iter().zip(expected).all(is_same),
                "{what}: {sink:?} differs\n{}",
                print_function(form)
            );
        }
        self.seen.push(form.clone());
        true
    }
}

fn results(graph: &Graph, leaves: &HashMap<String, Tensor>) -> Vec<Vec<f64>> {
    let values = interpret(graph, &sizes, leaves, Rounding::Exact).unwrap();
    graph.sinks().iter().map(|(_, value)| values[value].to_f64()).collect()
}

fn sizes(symbol: &Symbol) -> Option<i64> {
    match symbol.name() {
        step::TOKENS => Some(5),
        step::SEQUENCES | step::LOGITS => Some(2),
        step::DECODE_TOKENS | step::DECODE_SEQUENCES => Some(0),
        step::TABLE_WIDTH => Some(3),
        step::CONTEXT => Some(40),
        step::MAX_CONTEXT => Some(40),
        step::MAX_NEW => Some(5),
        step::PAIRS => Some(100),
        name if name.starts_with("P_") => Some(7),
        _ => None,
    }
}
