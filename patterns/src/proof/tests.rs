use super::*;
use crate::load::{builtin, load};
use crate::rule::Phase;

const ROUNDS: u32 = 60;

/// The built-in rule with one piece of its text replaced.
fn changed(name: &str, from: &str, to: &str) -> Rule {
    let rule = builtin().unwrap().into_iter().find(|rule| rule.name == name).unwrap();
    let text = rule.to_string();
    assert!(text.contains(from), "{text}");
    load(&text.replace(from, to), "changed").unwrap().remove(0)
}

#[test]
fn every_builtin_rule_is_proved() {
    let mut failures = Vec::new();
    for rule in builtin().unwrap() {
        let proof = match prove(&rule, 7, ROUNDS) {
            Ok(proof) => proof,
            Err(failure) => {
                failures.push(format!("{}: {failure}", rule.name));
                continue;
            }
        };
        assert!(proof.instances >= ROUNDS);
        if rule.numerics == Numerics::FewerRoundings {
            let (left, right) = proof.rounding.unwrap();
            assert!(right < left, "{} saves no rounding: {left} {right}", rule.name);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn other_values_are_found() {
    let wrong = [
        ("swiglu", "(swiglu ?gate ?up)", "(swiglu ?up ?gate)"),
        ("add_rms_norm", "{eps=?eps, dtype=?dtype})\nequal", "{eps=0.5, dtype=?dtype})\nequal"),
        ("absorb_latent", "{scale=?scale})\n      ?v", "{scale=0.5})\n      ?v"),
        ("add_rms_norm", "(add_rms_norm ?x ?r ?w", "(add_rms_norm ?x ?x ?w"),
        ("add_rms_norm", "?y = ?t.0  ?h = ?t.1", "?y = ?t.1  ?h = ?t.0"),
        ("transpose_of_inverse", "where inverse(?p, ?q)", "where same_type(?x, ?y)"),
        ("cast_of_cast", "(cast ?x {dtype=?last})\nequal", "(cast ?x {dtype=bf16})\nequal"),
    ];
    for (name, from, to) in wrong {
        let failure = prove(&changed(name, from, to), 7, ROUNDS).unwrap_err();
        let found = matches!(failure, ProofFailure::Values { .. } | ProofFailure::Types { .. });
        assert!(found, "{name}: {failure}");
    }
}

#[test]
fn wrong_split_sizes_are_found() {
    let rule = changed("merge_matmul", "sizes(?w*, 0)", "sizes(?w*, 1)");
    assert!(matches!(prove(&rule, 7, ROUNDS), Err(ProofFailure::RightSide { .. })));
    let rule =
        changed("merge_matmul", "(concat ?w* {axis=0}) {trans_b=true", "(concat ?w* {axis=1}) {trans_b=true");
    assert!(matches!(prove(&rule, 7, ROUNDS), Err(ProofFailure::RightSide { .. })));
}

#[test]
fn a_missing_result_is_found() {
    let rule = changed("add_rms_norm", "  ?h = ?t.1", "");
    let failure = prove(&rule, 7, ROUNDS).unwrap_err();
    assert!(matches!(failure, ProofFailure::Unused { .. }), "{failure}");
}

#[test]
fn a_wrong_claim_to_be_exact_is_found() {
    for name in ["swiglu", "add_rms_norm", "matmul_bias"] {
        let failure = prove(&changed(name, "fewer_roundings", "exact"), 7, ROUNDS).unwrap_err();
        assert!(
            matches!(failure, ProofFailure::Values { rounding: Rounded::Stored, .. }),
            "{name}: {failure}"
        );
    }
}

#[test]
fn a_rule_that_adds_roundings_is_found() {
    let text = "rule unfuse\ndoc no\nphase fuse\ngiven ?g: float[.., I] ?u: float[.., I]\n\
                match ?y = (swiglu ?g ?u)\nmake ?s = (silu ?g)\n ?m = (mul ?s ?u)\nequal ?y = ?m\n\
                numerics fewer_roundings\ngain none";
    let failure = prove(&load(text, "t").unwrap()[0], 7, ROUNDS).unwrap_err();
    assert!(matches!(failure, ProofFailure::MoreRoundings { .. }), "{failure}");
}

#[test]
fn missing_guards_are_found() {
    let missing = [
        ("merge_matmul", "  same_dtype(?w*)", ""),
        ("concat_of_split", "where same_type(?x, ?y)\n", ""),
        ("cast_to_itself", "where same_type(?x, ?y)\n", ""),
        ("cast_of_cast", "where lossless(?x, ?wide)\n", ""),
        ("reshape_to_itself", "where same_type(?x, ?y)\n", ""),
    ];
    for (name, from, to) in missing {
        assert!(prove(&changed(name, from, to), 7, ROUNDS).is_err(), "{name}");
    }
}

#[test]
fn a_condition_that_never_refuses_is_found() {
    let rule = changed("swiglu", "same_type(?gate, ?up)", "same_type(?gate, ?up) same_type(?up, ?up)");
    assert!(matches!(prove(&rule, 7, ROUNDS), Err(ProofFailure::NeverRefuses { .. })));
}

/// Bytes read and written by what runs at each step, at the instance's sizes.
fn bytes(side: &Side, sizes: &Sizes) -> i64 {
    let weight_only = side.graph.weight_only();
    // What is only named, as another node gives it, is not run.
    let mut needed: Vec<mscc_ir::NodeId> = side.results.iter().map(|value| value.node).collect();
    let mut at = 0;
    while let Some(id) = needed.get(at).copied() {
        at += 1;
        for operand in &side.graph.node(id).operands {
            if !needed.contains(&operand.node) {
                needed.push(operand.node);
            }
        }
    }
    let mut sum = 0;
    for (id, node) in side.graph.nodes().filter(|(id, _)| needed.contains(id)) {
        let Some(op) = node.op().filter(|op| !weight_only[id.index()] && !op.kind().is_view()) else {
            continue;
        };
        let operands: Vec<TensorType> =
            node.operands.iter().map(|value| side.graph.ty(*value).clone()).collect();
        let results: Vec<TensorType> = node.results.iter().map(|result| result.ty.clone()).collect();
        let work = op.work(&operands, &results);
        let moved = work.read_bytes + work.written_bytes;
        sum += moved.eval(&|symbol| sizes.get(symbol).copied()).unwrap();
    }
    sum
}

#[test]
fn no_builtin_rule_moves_more_bytes() {
    let one_way = |rule: &Rule| !matches!(rule.phase, Phase::Choose | Phase::Expand);
    for rule in builtin().unwrap().into_iter().filter(one_way) {
        let mut prover = Prover::new(&rule, 3);
        for round in 0..20 {
            let (assignment, sizes, left) = prover.instance(round).unwrap();
            let right = instantiate::right(&rule, &assignment).unwrap();
            assert!(
                bytes(&right, &sizes) <= bytes(&left, &sizes),
                "{}: {}",
                rule.name,
                describe(&assignment)
            );
        }
    }
}

#[test]
fn other_seeds_prove_the_same() {
    for rule in builtin().unwrap() {
        for seed in 100..105 {
            prove(&rule, seed, ROUNDS).unwrap_or_else(|failure| panic!("{} {seed}: {failure}", rule.name));
        }
        assert_eq!(prove(&rule, 100, 10).ok(), prove(&rule, 100, 10).ok());
    }
}
