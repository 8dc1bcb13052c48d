//! What is made of models for Ascend NPUs computes what the models' authors wrote.
//!
//! The graphs that are lowered to aclnn calls, with all that suits them to the operators (tables of all positions, heads
//! filled up, tokens as rows, fused forms), are run by the reference interpreter, without rounding, against the traces that
//! they are made of, which `models/tests/golden.rs` holds against `transformers`.
#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/prefill/mod.rs"]
mod prefill;

use std::fs;

use mscc_checkpoint::MappedCheckpoint;
use mscc_compiler::{Options, compile};
use mscc_ir::Module;
use mscc_models::hf::ModelDir;
use mscc_tests::{FIXTURES, data};
use prefill::{Prefill, assert_close, greatest};
use serde_json::Value;

/// Pages as large as attention operators take them; the prompts fit in one or two.
const BLOCK_SIZE: u32 = 128;

fn check(fixture: &str, target: &str) -> Result<usize, String> {
    let dir = data().join("fixtures").join(fixture);
    let options = Options {
        model: Some(dir.clone()),
        target: Some(target.to_owned()),
        max_model_len: (fixture == "phi3_short").then_some(64),
        ..Options::default()
    };
    let compiled = compile(&options, false).map_err(|error| error.to_string())?;
    let forms: Vec<&Module> =
        compiled.forms.iter().map(|form| &form.module).chain([&compiled.fused]).collect();
    let weights = ModelDir::open(&dir).unwrap().checkpoint().unwrap().unwrap();
    let weights = MappedCheckpoint::new(weights).unwrap();
    let expected: Value = serde_json::from_slice(&fs::read(dir.join("expected.json")).unwrap()).unwrap();
    for prompt in expected["prompts"].as_array().unwrap() {
        let name = prompt["logits"].as_str().unwrap();
        let ids: Vec<i64> =
            prompt["token_ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        let mut written = Prefill::new(&compiled.traced, &weights, ids.clone(), BLOCK_SIZE);
        written.run();
        let expected = &written.outputs["logits"];
        for module in &forms {
            let mut run = Prefill::new(module, &weights, ids.clone(), BLOCK_SIZE);
            run.run();
            let what = format!("{fixture} {name} for {target}");
            assert_close(&run.outputs["logits"], expected, greatest(expected), &what);
        }
    }
    Ok(forms.len())
}

fn check_all(target: &str, least: usize) {
    let mut held = 0;
    for fixture in FIXTURES {
        match check(fixture, target) {
            Ok(forms) => held += forms,
            // That models are refused for the right reasons is another test's matter.
            Err(refused) => assert!(refused.contains("has no kernel for"), "{fixture}: {refused}"),
        }
    }
    assert!(held >= least, "{held} forms of {} fixtures", FIXTURES.len());
}

#[test]
fn forms_for_910b_compute_what_the_authors_wrote() {
    check_all("ascend910b3", 49);
}

#[test]
fn forms_for_310p_compute_what_the_authors_wrote() {
    check_all("ascend310p", 20);
}
