//! Holding graphs against each other on the reference interpreter.

use std::collections::HashMap;

use mscc_ir::Graph;
use mscc_ir::reference::{Rounding, Sampler, Tensor, interpret};

use crate::edits::Edited;
use crate::form::Form;

/// Greatest difference without rounding, relative to the greatest value.
const TOLERANCE: f64 = 1e-9;
/// By how much errors through rounding may grow by chance, in so few values; the proofs of rules are stricter.
const SLACK: f64 = 1.5;

fn leaves(form: &Form, graph: &Graph, seed: u64) -> HashMap<String, Tensor> {
    Sampler::new(seed).leaves(graph, &|symbol| form.size(symbol)).unwrap()
}

/// What a graph sends out, by name.
fn outputs(
    form: &Form,
    graph: &Graph,
    leaves: &HashMap<String, Tensor>,
    rounding: Rounding,
    place: &str,
) -> Vec<(String, Vec<f64>)> {
    let values = interpret(graph, &|symbol| form.size(symbol), leaves, rounding)
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    graph.sinks().iter().map(|(sink, value)| (sink.to_string(), values[value].to_f64())).collect()
}

fn assert_close(expected: &[(String, Vec<f64>)], got: &[(String, Vec<f64>)], what: &str, place: &str) {
    assert_eq!(expected.len(), got.len(), "{place}");
    for ((name, expected), (other, got)) in expected.iter().zip(got) {
        assert_eq!((name, expected.len()), (other, got.len()), "{place}");
        let scale = expected.iter().map(|value| value.abs()).fold(1e-30, f64::max);
        let error = expected.iter().zip(got).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(
            error <= TOLERANCE * scale,
            "{place}: `{name}` of the {what} is off by {error:e} of {scale:e}"
        );
    }
}

/// Two forms of one function give the same without rounding.
pub fn assert_same(form: &Form, before: &Graph, after: &Graph, place: &str) {
    for seed in 0..3 {
        let leaves = leaves(form, before, seed);
        let expected = outputs(form, before, &leaves, Rounding::Exact, place);
        assert!(
            expected.iter().flat_map(|(_, values)| values).any(|value| *value != 0.0),
            "{place}: gives zeros"
        );
        assert_close(&expected, &outputs(form, after, &leaves, Rounding::Exact, place), "fused graph", place);
    }
}

/// The edited graph and what it fuses to give what the graph gave that was edited.
pub fn assert_same_as_base(form: &Form, base: &Graph, edited: &Edited, fused: &Graph, place: &str) {
    let mut leaves = leaves(form, base, 7);
    let expected = outputs(form, base, &leaves, Rounding::Exact, place);
    edited.derive(&mut leaves);
    assert_close(
        &expected,
        &outputs(form, &edited.graph, &leaves, Rounding::Exact, place),
        "edited graph",
        place,
    );
    assert_close(&expected, &outputs(form, fused, &leaves, Rounding::Exact, place), "fused graph", place);
}

/// With every result rounded to its type, the fused graph is as near to the exact values as the other one.
pub fn assert_rounds_no_more(form: &Form, before: &Graph, after: &Graph, place: &str) {
    let (mut error_before, mut error_after, mut square) = (0.0, 0.0, 0.0);
    for seed in 0..8 {
        let leaves = leaves(form, before, 100 + seed);
        let exact = outputs(form, before, &leaves, Rounding::Exact, place);
        let unfused = outputs(form, before, &leaves, Rounding::Stored, place);
        let fused = outputs(form, after, &leaves, Rounding::Stored, place);
        for ((exact, unfused), fused) in exact.iter().zip(&unfused).zip(&fused) {
            for ((exact, unfused), fused) in exact.1.iter().zip(&unfused.1).zip(&fused.1) {
                error_before += (exact - unfused).powi(2);
                error_after += (exact - fused).powi(2);
                square += exact.powi(2);
            }
        }
    }
    let (before, after) = ((error_before / square).sqrt(), (error_after / square).sqrt());
    assert!(
        after <= before * SLACK + 1e-12,
        "{place}: error through rounding grows from {before:e} to {after:e}"
    );
}
