//! The traces of all fixtures, run by the reference interpreter, against the outputs of `transformers`.
#![allow(clippy::unwrap_used)]

mod common;
mod prefill;

use std::fs;

use mscc_checkpoint::{Checkpoint, MappedCheckpoint};
use mscc_ir::DType;
use mscc_ir::reference::Tensor;
use mscc_models::hf::ModelDir;
use mscc_models::{TraceOptions, Warning, trace};
use prefill::{Prefill, assert_close, greatest, load};
use serde_json::Value;

const BLOCK_SIZE: u32 = 3;

/// Compares logits of all prompts, and each layer's output where the fixture has it.
fn check(fixture: &str) {
    let dir = common::data("fixtures").join(fixture);
    let model = ModelDir::open(&dir).unwrap();
    let checkpoint = model.checkpoint().unwrap().unwrap();
    // Longer sequences would be rotated by other factors than those of the fixture.
    let max_model_len = (fixture == "phi3_short").then_some(64);
    let options = TraceOptions { block_size: BLOCK_SIZE, max_model_len, ..common::options(DType::F32) };
    let traced = trace(&model.config().unwrap(), Some(&checkpoint), &options).unwrap();
    let stored_though_tied = Warning::StoredThoughTied {
        tensor: "lm_head.weight".to_owned(),
        shared: "model.embed_tokens.weight".to_owned(),
    };
    let warnings = match fixture {
        "llama_biased" => vec![stored_though_tied],
        "phi3" | "minicpm3" => vec![Warning::LongFactor { max_model_len: 256, original: 4 }],
        _ => Vec::new(),
    };
    assert_eq!(traced.warnings, warnings, "{fixture}");

    let weights = MappedCheckpoint::new(checkpoint).unwrap();
    let golden = Checkpoint::open_files(&dir, &["expected.safetensors"]).unwrap();
    let golden = MappedCheckpoint::new(golden).unwrap();
    let expected: Value = serde_json::from_slice(&fs::read(dir.join("expected.json")).unwrap()).unwrap();
    for prompt in expected["prompts"].as_array().unwrap() {
        let ids = prompt["token_ids"].as_array().unwrap();
        let ids = ids.iter().map(|id| id.as_i64().unwrap()).collect();
        let mut prefill = Prefill::new(&traced.module, &weights, ids, BLOCK_SIZE);
        prefill.run();
        let compare = |key: &str, found: &Tensor| {
            if let Some(name) = prompt[key].as_str() {
                let expected = load(&golden, name);
                assert_close(found, &expected, greatest(&expected), &format!("{fixture} {name}"));
            }
        };
        compare("logits", &prefill.outputs["logits"]);
        let last = ["model.norm", "model.final_layernorm"].iter().find_map(|norm| prefill.taps.get(*norm));
        compare("last_hidden", last.unwrap());
        compare("embed", &prefill.taps["model.embed_tokens"]);
        for (layer, name) in prompt["layers"].as_array().into_iter().flatten().enumerate() {
            let (found, expected) =
                (&prefill.taps[&format!("model.layers.{layer}")], load(&golden, name.as_str().unwrap()));
            assert_close(found, &expected, greatest(&expected), &format!("{fixture} layer {layer}"));
        }
    }
}

macro_rules! fixtures {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*
    };
}

fixtures!(
    cohere2,
    deepseek_v2,
    deepseek_v2_greedy,
    deepseek_v2_groups,
    deepseek_v3,
    deepseek_v3_groups,
    deepseek_v3_half,
    ernie4_5,
    ernie4_5_moe,
    exaone4,
    gemma2,
    gemma3_text,
    glm4,
    glm4_moe,
    gpt_oss,
    granite,
    internlm3,
    llama,
    llama_biased,
    llama_f16,
    llama_linear,
    llama_mixed,
    minicpm,
    minicpm3,
    ministral,
    mistral,
    mixtral,
    mixtral_top1,
    mixtral_window,
    olmo2,
    olmo3,
    pangu_embedded,
    pangu_ultra_moe,
    phi,
    phi3,
    phi3_short,
    qwen2_moe,
    qwen2_moe_top1,
    qwen2_odd,
    qwen2_sharded,
    qwen2_tied,
    qwen3,
    qwen3_f32,
    qwen3_moe,
    qwen3_moe_mixed,
    qwen3_moe_top1,
    qwen3_odd,
    seed_oss,
    smollm3,
    starcoder2,
);
