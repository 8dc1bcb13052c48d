//! Plans for Ascend NPUs: made, shown, and not run.

use crate::*;

fn config(name: &str) -> String {
    text(&data().join("configs").join(format!("{name}.json")))
}

/// With `plan.bin`, made of a config for a device.
fn plan_of(config: &str, target: &str) -> Bench {
    let bench = Bench::new();
    bench.ok(&["compile", "--config-only", config, "--target", target, "-o", "plan.bin"]);
    bench
}

/// What follows the line that begins so, to the next empty one.
fn part<'a>(text: &'a str, begins: &str) -> &'a str {
    let at = text.find(begins).unwrap_or_else(|| panic!("no `{begins}` in\n{text}"));
    text[at..].split("\n\n").next().unwrap()
}

#[test]
fn summary_of_a_model_with_weights() {
    let bench = Bench::new();
    bench.ok(&["compile", &text(&bard()), "--target", "ascend910b3", "-o", "plan.bin"]);
    let summary = bench.ok(&["inspect", "plan.bin"]);
    assert!(summary.starts_with("bard-qwen3 (qwen3), for ascend910b3, computes in bf16\n"), "{summary}");
    let parts = ["memory\n", "program main", "operators", "predicted", "rewrites", "weight recipes"];
    insta::assert_snapshot!(parts.map(|begins| part(&summary, begins).trim_end()).join("\n\n"));
}

#[test]
fn launches_are_calls_with_all_arguments() {
    let bench = plan_of(&config("qwen3-0.6b"), "ascend910b3");
    let text = bench.ok(&["inspect", "plan.bin", "--launches"]);
    insta::assert_snapshot!(part(&text, "func @layer\n"));
}

#[test]
fn weights_in_blocks_are_counted_as_they_are_stored() {
    let bench = plan_of(&text(&fixture_dir("qwen2_odd").join("config.json")), "ascend910b3");
    let plan = bench.json(&["inspect", "plan.bin", "--json"]);
    let mut blocks = 0;
    for recipe in plan["weights"]["recipes"].as_array().unwrap() {
        let ty = recipe["type"].as_str().unwrap();
        let (dtype, shape) = ty.trim_end_matches(']').split_once('[').unwrap();
        let sizes: Vec<u64> = shape.split(", ").map(|size| size.parse().unwrap()).collect();
        let element = if dtype == "u8" { 1 } else { 2 };
        let rounded = |size: &u64| size.div_ceil(16) * 16;
        let elements: u64 = match recipe["format"].as_str().unwrap() {
            "NZ" => {
                blocks += 1;
                sizes.iter().map(rounded).product()
            }
            _ => sizes.iter().product(),
        };
        assert_eq!(recipe["bytes"], element * elements, "{recipe}");
    }
    assert!(blocks > 3);
}

#[test]
fn predictions_for_scripts() {
    let bench = plan_of(&config("deepseek-v3-671b"), "ascend910b3");
    let plan = bench.json(&["inspect", "plan.bin", "--json"]);
    assert_eq!(plan["memory"]["device_bytes"], 64u64 << 30);
    let steps = plan["predicted"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| &step["step"]).collect::<Vec<_>>(), ["decode", "prefill"]);
    for step in steps {
        let functions = step["functions"].as_array().unwrap();
        let sum = |key: &str| {
            let of = |function: &Value| function["calls"].as_f64().unwrap() * function[key].as_f64().unwrap();
            functions.iter().map(of).sum::<f64>()
        };
        assert_eq!(step["launches"].as_f64().unwrap(), sum("launches"));
        let time = step["microseconds"].as_f64().unwrap();
        assert!((sum("microseconds") / time - 1.0).abs() < 1e-9, "{step}");
        let bounds = ["memory", "compute", "launch"].map(|by| sum(&format!("{by}_microseconds")));
        assert!((bounds.iter().sum::<f64>() / time - 1.0).abs() < 1e-9, "{step}");
    }
    let operators = plan["operators"].as_array().unwrap();
    let attention = operators.iter().find(|operator| operator["kernel"] == "latent_attention_rows").unwrap();
    assert_eq!(attention["entry"], "aclnnFusedInferAttentionScoreV4");
    assert_eq!(attention["fallback"], "latent_attention_rows_v3");
    assert!(attention["limits"].as_u64().unwrap() > 5);
    let summary = bench.ok(&["inspect", "plan.bin"]);
    assert!(summary.contains("warning: weights alone are more than one ascend910b3 has"), "{summary}");
}

#[test]
fn plans_for_the_host_are_not_predicted() {
    let plan = Bench::with_plan("qwen3").json(&["inspect", "plan.bin", "--json"]);
    assert_eq!(plan["predicted"], serde_json::json!([]));
    assert_eq!(plan["operators"], serde_json::json!([]));
    assert_eq!(plan["memory"]["device_bytes"], Value::Null);
}

#[test]
fn pictures() {
    for (config, target) in [("deepseek-v3-wide", "ascend910b3"), ("qwen3-0.6b", "ascend310p")] {
        let bench = plan_of(&self::config(config), target);
        bench.ok(&["inspect", "plan.bin", "--html", "page.html", "--dot", "all.dot", "--onnx", "plan.onnx"]);
        let page = String::from_utf8(bench.read("page.html")).unwrap();
        assert!(page.contains("<b>aclnnAddRmsNorm</b>"), "{config}");
        assert!(!page.contains("<b>add_rms_norm</b>"), "{config}");
    }
}

#[test]
fn what_cannot_be_run() {
    let bench = Bench::new();
    bench.ok(&["compile", &text(&bard()), "--target", "ascend910b3", "-o", "plan.bin"]);
    let run = bench.fails(2, &["run", "plan.bin", "--prompt", "ROMEO:"]);
    let eval = bench.fails(2, &["logits", "plan.bin", "--prompt-ids", "1", "-o", "out.safetensors"]);
    assert_eq!(run, eval);
    insta::assert_snapshot!(run);
}

#[test]
fn what_is_refused() {
    let bench = Bench::new();
    let qwen3 = config("qwen3-0.6b");
    let gemma2 = text(&fixture_dir("gemma2").join("config.json"));
    let llama = config("llama-3.1-70b");
    let refused: Vec<String> = [
        &["--config-only", &qwen3, "--target", "ascend910c"][..],
        &["--config-only", &qwen3, "--target", "ascend310p", "--dtype", "bfloat16"],
        &["--config-only", &qwen3, "--target", "ascend310p", "--compute-dtype", "bfloat16"],
        &["--config-only", &qwen3, "--target", "ascend910b3", "--block-size", "24"],
        &["--config-only", &gemma2, "--target", "ascend910b3"],
        &["--config-only", &llama, "--target", "ascend310p"],
    ]
    .iter()
    .map(|args| bench.fails(2, &[&["compile", "-o", "plan.bin"], *args].concat()))
    .collect();
    assert!(bench.files().is_empty());
    insta::assert_snapshot!(refused.join("\n\n"));
    // What the message says helps.
    let args = ["compile", "-o", "plan.bin", "--config-only", &llama, "--target", "ascend310p"];
    bench.ok(&[&args[..], &["--max-model-len", "65536"]].concat());
}
