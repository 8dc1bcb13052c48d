//! The fixtures give what the reference gives.
#![allow(clippy::unwrap_used)]

use mscc_tests::parity::{
    check_f32_greedy_tokens, check_f32_hidden_states, check_f32_logits, is_bf16_as_good,
};
use mscc_tests::{FIXTURES, Fixture, compile_model};

#[test]
fn f32_logits_of_all_prompts_and_cached_steps() {
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        check_f32_logits(&fixture, &compile_model(&fixture.dir, "float32", |_| {}), name);
    }
}

#[test]
fn f32_hidden_states_by_source_name() {
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        check_f32_hidden_states(&fixture, &compile_model(&fixture.dir, "float32", |_| {}), name);
    }
}

#[test]
fn f32_greedy_tokens_alone_together_and_until_stop() {
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        check_f32_greedy_tokens(&fixture, &compile_model(&fixture.dir, "float32", |_| {}), name);
    }
}

#[test]
fn bf16_logits_are_as_good_as_the_references_own() {
    let is_worse = |name: &&str| {
        let fixture = Fixture::open(name);
        !is_bf16_as_good(&fixture, &compile_model(&fixture.dir, "bfloat16", |_| {}), name)
    };
    let worse: Vec<&str> = FIXTURES.into_iter().filter(is_worse).collect();
    assert!(worse.is_empty(), "worse than the reference: {worse:?}");
}
