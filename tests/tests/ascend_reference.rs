//! What is made of models for Ascend NPUs computes what the models' authors wrote.
//!
//! The graphs that are lowered to aclnn calls, with all that suits them to the operators (tables of all positions, heads
//! filled up, tokens as rows, fused forms), are run by the reference interpreter, without rounding, against the traces that
//! they are made of, which `models/tests/golden.rs` holds against `transformers`.
#![allow(clippy::unwrap_used)]

#[path = "../../models/tests/prefill/mod.rs"]
mod prefill;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use mscc_checkpoint::{Checkpoint, MappedCheckpoint};
use mscc_compiler::{Options, compile};
use mscc_ir::Module;
use mscc_ir::graph::Leaf;
use mscc_ir::ops::OpKind;
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

/// Weights of all sizes that a config asks for, small and of no pattern, as a checkpoint in `dir`.
fn write_weights(module: &Module, dir: &Path) {
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut state = 1u64;
    for call in &module.program {
        for (layer, (value, leaf)) in call
            .layers
            .clone()
            .flat_map(|layer| module.functions[call.function].leaves().map(move |leaf| (layer, leaf)))
        {
            let Leaf::Weight(name) = leaf else { continue };
            let ty = module.functions[call.function].ty(value);
            let mut shape: Vec<usize> =
                ty.shape.iter().map(|size| size.as_const().unwrap() as usize).collect();
            let members = if name.is_stacked() { shape.remove(0) } else { 1 };
            for member in 0..members as u32 {
                let data = (0..shape.iter().product()).flat_map(|_| {
                    state =
                        state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let unit = (state >> 40) as f32 / (1 << 23) as f32 - 1.0;
                    half::bf16::from_f32(unit * 0.05).to_le_bytes()
                });
                let data = data.collect();
                tensors.insert(name.member(member).render(i64::from(layer)), (shape.clone(), data));
            }
        }
    }
    let views = tensors.iter().map(|(name, (shape, data))| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, shape.clone(), data).unwrap())
    });
    safetensors::serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
}

/// Latent attention of the widths that operators take whole, and of those that caches are filled up for.
#[test]
fn latent_attention_of_real_widths_computes_what_the_authors_wrote() {
    for (rank, wanted) in [(512, OpKind::MlaProlog), (500, OpKind::InterleaveRope)] {
        let text = fs::read_to_string(data().join("configs/ascend-latent.json")).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        let small = serde_json::json!({
            "kv_lora_rank": rank, "vocab_size": 64,
            "intermediate_size": 64, "moe_intermediate_size": 64,
        });
        config.as_object_mut().unwrap().extend(small.as_object().unwrap().clone());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs::write(&path, config.to_string()).unwrap();
        let options =
            Options { model: Some(path), target: Some("ascend910b3".to_owned()), ..Options::default() };
        let compiled = compile(&options, true).unwrap();
        write_weights(&compiled.traced, dir.path());
        let weights = Checkpoint::open_files(dir.path(), &["model.safetensors"]).unwrap();
        let weights = MappedCheckpoint::new(weights).unwrap();
        let prompts =
            [vec![3, 60, 7, 7, 21], vec![9, 1, 33], vec![2, 50, 12, 40, 63, 5]].map(|ids: Vec<i64>| {
                let mut written = Prefill::new(&compiled.traced, &weights, ids.clone(), BLOCK_SIZE);
                written.run();
                (ids, written.outputs["logits"].clone())
            });
        let forms: Vec<&Module> =
            compiled.forms.iter().map(|form| &form.module).chain([&compiled.fused]).collect();
        let has = |module: &&Module| {
            let mut nodes = module.functions.iter().flat_map(|function| function.nodes());
            nodes.any(|(_, node)| node.op().is_some_and(|op| op.kind() == wanted))
        };
        assert_eq!(forms.len(), 2, "rank {rank}");
        assert!(forms.iter().any(has), "rank {rank}");
        for module in forms {
            let mut run = Prefill::of_at_most(module, &weights, BLOCK_SIZE as usize, BLOCK_SIZE);
            in_steps(&mut run, &prompts, &format!("latents of {rank}"));
        }
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
