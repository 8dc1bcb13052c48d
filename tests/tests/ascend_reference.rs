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
use mscc_ir::reference::Tensor;
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
    let mut prompts: Vec<(Vec<i64>, Tensor)> = Vec::new();
    for prompt in expected["prompts"].as_array().unwrap() {
        let name = prompt["logits"].as_str().unwrap();
        let ids: Vec<i64> =
            prompt["token_ids"].as_array().unwrap().iter().map(|id| id.as_i64().unwrap()).collect();
        let mut written = Prefill::new(&compiled.traced, &weights, ids.clone(), BLOCK_SIZE);
        written.run();
        let expected = written.outputs["logits"].clone();
        for module in &forms {
            let mut run = Prefill::new(module, &weights, ids.clone(), BLOCK_SIZE);
            run.run();
            let what = format!("{fixture} {name} for {target}");
            assert_close(&run.outputs["logits"], &expected, greatest(&expected), &what);
        }
        prompts.push((ids, expected));
    }
    for module in &forms {
        let what = format!("{fixture} in steps for {target}");
        in_steps(
            &mut Prefill::of_at_most(module, &weights, BLOCK_SIZE as usize, BLOCK_SIZE),
            &prompts,
            &what,
        );
    }
    Ok(forms.len())
}

/// All prompts as sequences of one batch: first in parts of different lengths, then all but the last decode their last
/// token while that one takes the rest of its prompt. Each new token's logits are those of its prompt run alone.
fn in_steps(run: &mut Prefill<'_>, prompts: &[(Vec<i64>, Tensor)], what: &str) {
    let last = prompts.len() - 1;
    assert!(last > 0, "{what}: one sequence is no batch");
    let first = |index: usize, ids: &[i64]| if index == last { ids.len() / 2 } else { ids.len() - 1 };
    let mut cached = vec![0; prompts.len()];
    for step in 0..2 {
        let upto = |index: usize, ids: &[i64]| if step == 0 { first(index, ids) } else { ids.len() };
        let sequences = prompts.iter().zip(&cached).enumerate();
        let sequences: Vec<(&[i64], usize)> =
            sequences.map(|(index, ((ids, _), cached))| (&ids[..upto(index, ids)], *cached)).collect();
        run.step(&sequences);
        let logits = &run.outputs["logits"];
        let width = logits.shape[1];
        let mut rows = logits.floats().chunks(width);
        for ((ids, cached), (_, expected)) in sequences.iter().zip(prompts) {
            let rows: Vec<f64> = rows.by_ref().take(ids.len() - cached).flatten().copied().collect();
            let alone = &expected.floats()[cached * width..ids.len() * width];
            let tensor = |rows: Vec<f64>| Tensor::float(expected.dtype, &[ids.len() - cached, width], rows);
            assert_close(&tensor(rows), &tensor(alone.to_vec()), greatest(expected), what);
        }
        assert!(rows.next().is_none(), "{what}: more logits than tokens");
        cached = sequences.iter().map(|(ids, _)| ids.len()).collect();
    }
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
