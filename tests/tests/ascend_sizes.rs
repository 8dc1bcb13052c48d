//! Models of sizes that no operator was made for: for every Ascend NPU they compile to legal calls, or are refused for a
//! documented rule. Nothing in between.
#![allow(clippy::unwrap_used)]

use std::fs;

use mscc_compiler::{Options, Target, compile};
use mscc_ir::plan::container;
use mscc_tests::data;
use serde_json::{Value, json};

/// A config of the repository with some keys replaced, compiled for a target; what refuses it otherwise.
fn compiled(base: &str, keys: &Value, target: &str) -> Result<Vec<u8>, String> {
    let text = fs::read_to_string(data().join("configs").join(format!("{base}.json"))).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    fs::write(&path, config.to_string()).unwrap();
    let options = Options { model: Some(path), target: Some(target.to_owned()), ..Options::default() };
    let compiled = compile(&options, true).map_err(|error| error.to_string())?;
    Ok(container::encode(&compiled.plan).unwrap())
}

/// Compiles for all devices; gives the first lines of refusals, one for each rule.
fn refusals(base: &str, keys: &Value) -> Vec<String> {
    let mut refusals = Vec::new();
    for target in Target::NAMES.into_iter().filter(|name| *name != "cpu") {
        match compiled(base, keys, target) {
            Ok(bytes) => drop(container::decode(&bytes).unwrap()),
            Err(error) => {
                assert!(error.contains("has no kernel for"), "{base} with {keys} for {target}: {error}");
                refusals.push(format!("{target}: {}", error.lines().nth(1).unwrap().trim()));
            }
        }
    }
    refusals
}

fn on_310p_alone(refusals: &[String]) -> bool {
    refusals.iter().all(|refusal| refusal.starts_with("ascend310p"))
}

#[test]
fn heads_of_any_width_and_number() {
    for keys in [
        json!({"num_attention_heads": 7, "num_key_value_heads": 7}),
        json!({"num_attention_heads": 28, "num_key_value_heads": 4}),
        json!({"num_attention_heads": 7, "num_key_value_heads": 1}),
        json!({"num_attention_heads": 128, "num_key_value_heads": 1, "head_dim": 64}),
        json!({"head_dim": 80}),
        json!({"head_dim": 96}),
        json!({"head_dim": 192}),
        json!({"vocab_size": 151_937, "hidden_size": 1023, "intermediate_size": 3071}),
        json!({"vocab_size": 1, "intermediate_size": 1}),
    ] {
        assert_eq!(refusals("qwen3-0.6b", &keys), Vec::<String>::new(), "{keys}");
    }
}

#[test]
fn latents_of_any_width() {
    for keys in [
        json!({"q_lora_rank": 100}),
        json!({"q_lora_rank": null}),
        json!({"kv_lora_rank": 500}),
        json!({"kv_lora_rank": 640}),
        json!({"kv_lora_rank": 500, "qk_rope_head_dim": 48}),
        json!({"qk_nope_head_dim": 80, "v_head_dim": 96}),
        json!({"qk_nope_head_dim": 192, "v_head_dim": 192}),
        json!({"num_attention_heads": 5, "num_key_value_heads": 5}),
        json!({"n_routed_experts": 9, "n_group": 3, "topk_group": 2, "num_experts_per_tok": 3}),
    ] {
        let refusals = refusals("deepseek-v3-tiny", &keys);
        assert!(on_310p_alone(&refusals), "{keys}: {refusals:?}");
    }
}

#[test]
fn experts_of_any_number() {
    for keys in [
        json!({"num_experts": 6, "num_experts_per_tok": 2}),
        json!({"num_experts": 1, "num_experts_per_tok": 1}),
        json!({"num_experts": 3000}),
        json!({"num_experts": 2000, "num_experts_per_tok": 1500}),
    ] {
        assert_eq!(refusals("qwen3-moe-tiny", &keys), Vec::<String>::new(), "{keys}");
    }
}

#[test]
fn what_no_operator_takes_is_refused_with_the_rule() {
    let rules = |base: &str, keys: Value| {
        let refusals = refusals(base, &keys);
        assert_eq!(refusals.len(), 6, "{keys}: {refusals:?}");
        refusals[1].clone()
    };
    insta::assert_snapshot!(
        "sizes_refused",
        [
            rules("qwen3-0.6b", json!({"head_dim": 576})),
            rules("qwen3-0.6b", json!({"num_attention_heads": 600, "num_key_value_heads": 600})),
            rules("deepseek-v3-tiny", json!({"qk_rope_head_dim": 80})),
            rules("qwen3-moe-tiny", json!({"hidden_size": 70_016})),
        ]
        .join("\n")
    );
}
