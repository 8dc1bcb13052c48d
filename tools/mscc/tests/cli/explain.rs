//! `mscc explain`, and the options that leave rewrites out.

use std::collections::BTreeSet;

use crate::*;

fn bard() -> String {
    text(&data().join("models/bard-qwen3"))
}

#[test]
fn a_model_is_explained() {
    // Rules yet to come may come near anywhere.
    let rules = ["add_rms_norm", "matmul_bias", "merge_matmul", "reshape_of_reshape", "swiglu"];
    let model = bard();
    let mut args = vec!["explain", &model];
    args.extend(rules.iter().flat_map(|rule| ["--rule", rule]));
    let explained = Bench::new().ok(&args);
    insta::assert_snapshot!(explained);
}

#[test]
fn savings_are_added_up() {
    let bench = Bench::new();
    let models = [bard(), text(&data().join("models/bard-deepseek-v3"))];
    let summary = bench.ok(&["explain", &models[0], &models[1], "--summary", "--target", "cpu,ascend910b3"]);
    insta::assert_snapshot!(summary);
    let args = ["explain", &models[0], "--summary", "--json"];
    for step in bench.json(&args)["steps"].as_array().unwrap() {
        for key in ["microseconds", "launches", "bytes"] {
            let total = |side: &str| step[side][key].as_f64().unwrap();
            let functions = step["functions"].as_array().unwrap().iter();
            let sum: f64 =
                functions.map(|f| f["calls"].as_f64().unwrap() * f["before"][key].as_f64().unwrap()).sum();
            assert!((sum - total("before")).abs() <= 1e-6 * sum, "{step}");
            assert!(total("after") < total("before"), "{step}");
        }
    }
}

/// All places with what became of them, by rule.
fn sites(explained: &Value) -> Vec<(String, &Value)> {
    let variants = explained["variants"].as_array().unwrap().iter();
    let functions = variants.flat_map(|variant| variant["functions"].as_array().unwrap());
    let rules = functions.flat_map(|function| function["rules"].as_array().unwrap());
    let events = rules.flat_map(|rule| {
        let name = rule["rule"].as_str().unwrap().to_owned();
        rule["events"].as_array().unwrap().iter().map(move |event| (name.clone(), event))
    });
    events.collect()
}

#[test]
fn a_plan_says_the_same_as_its_model() {
    let bench = Bench::new();
    bench.ok(&["compile", &bard(), "-o", "plan.bin"]);
    let of_plan = bench.json(&["explain", "plan.bin", "--json"]);
    assert_eq!(of_plan, bench.json(&["explain", &bard(), "--json"]));
    assert_eq!(of_plan["schema"], "mscc.explain.v1");
    let outcomes: BTreeSet<&str> =
        sites(&of_plan).into_iter().map(|(_, event)| event["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, BTreeSet::from(["fired", "near_miss", "refused"]));
    for (rule, event) in sites(&of_plan) {
        match event["outcome"].as_str().unwrap() {
            "fired" => {
                assert!(event["saved"]["launches"].is_i64() && event["number"].is_u64(), "{rule}: {event}")
            }
            "refused" => assert!(event["refusal"]["condition"].is_string(), "{rule}: {event}"),
            _ => assert!(event["miss"]["expected"].is_string(), "{rule}: {event}"),
        }
    }
    let only = bench.json(&["explain", "plan.bin", "--json", "--rule", "swiglu", "--layer", "2"]);
    assert!(!sites(&only).is_empty());
    assert!(sites(&only).iter().all(|(rule, _)| rule == "swiglu"), "{only}");
}

#[test]
fn what_cannot_be_explained_is_named() {
    let bench = Bench::new();
    bench.ok(&["compile", &bard(), "-o", "plan.bin"]);
    let fails = |args: &[&str]| bench.fails(2, args);
    let message = fails(&["explain", "plan.bin", "--rule", "swigloo"]);
    assert!(message.contains("there is no rule `swigloo`, did you mean `swiglu`?"), "{message}");
    let message = fails(&["explain", "plan.bin", "--layer", "5"]);
    assert!(message.contains("there is no layer 5: the model has 5"), "{message}");
    let message = fails(&["explain", "plan.bin", "--target", "ascend910b3"]);
    assert!(message.contains("plan.bin is a plan"), "{message}");
    let message = fails(&["explain", &bard(), "--target", "cpu,npu"]);
    assert!(message.contains("`target`") && message.contains("`npu`"), "{message}");
    let message = fails(&["explain", "plan.bin", &bard(), "--record", "fusion.json"]);
    assert!(message.contains("--record is for one model and one target"), "{message}");
    fails(&["explain", "nowhere.bin"]);
    fails(&["explain"]);
    assert_eq!(bench.files(), ["plan.bin"]);
}

#[test]
fn fusions_are_pinned() {
    let bench = Bench::new();
    bench.ok(&["explain", &bard(), "--record", "fusion.json"]);
    let recorded = bench.read("fusion.json");
    bench.ok(&["explain", &bard(), "--expect", "fusion.json"]);
    bench.ok(&["compile", &bard(), "-o", "plan.bin"]);
    bench.ok(&["explain", "plan.bin", "--expect", "fusion.json"]);

    let lost = bench.fails(1, &["explain", &bard(), "--expect", "fusion.json", "--without-rule", "swiglu"]);
    assert!(lost.contains("are lost"), "{lost}");
    assert!(
        lost.contains("swiglu at mlp.product, in @layer of variant any: the rule was left out"),
        "{lost}"
    );
    assert!(!lost.contains("merge_matmul at"), "{lost}");

    let other = bench.fails(2, &["explain", &bard(), "--expect", "fusion.json", "--target", "ascend910b3"]);
    assert!(other.contains("it was recorded for target cpu, and this plan is for ascend910b3"), "{other}");
    // Written anew, it is the same; nothing that is read is written over.
    bench.ok(&["explain", "plan.bin", "--record", "again.json"]);
    assert_eq!(bench.read("again.json"), recorded);
    bench.fails(2, &["explain", "plan.bin", "--record", "plan.bin"]);
    // Nor are a model's files, however the model is named.
    std::fs::create_dir(bench.path("m")).unwrap();
    for entry in std::fs::read_dir(bard()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, bench.path("m").join(path.file_name().unwrap())).unwrap();
    }
    bench.ok(&["compile", "m", "-o", "of_m.bin"]);
    bench.write("model.yaml", "model: m\n");
    for source in ["m", "m/config.json", "model.yaml", "of_m.bin"] {
        for lost in ["m/model.safetensors", "m/config.json", "m/tokenizer.json"] {
            let message = bench.fails(2, &["explain", source, "--record", lost]);
            assert!(message.contains("would be lost"), "{source}, {lost}: {message}");
        }
    }
    bench.write("empty.json", r#"{"schema": "mscc.fusion.v1", "target": "cpu", "fused": {}}"#);
    assert!(bench.fails(2, &["explain", "m", "--expect", "empty.json"]).contains("no fusion is recorded"));
}

#[test]
fn damaged_records_are_refused() {
    let bench = Bench::new();
    bench.ok(&["compile", &bard(), "-o", "plan.bin"]);
    bench.ok(&["explain", "plan.bin", "--record", "fusion.json"]);
    let recorded = bench.read("fusion.json");
    let mut damaged: Vec<Vec<u8>> =
        (0..recorded.len() - 2).step_by(97).map(|end| recorded[..end].to_vec()).collect();
    damaged.extend([
        b"[]".to_vec(),
        b"\xff\xfe".to_vec(),
        b"[".repeat(100_000),
        br#"{"schema": "mscc.fusion.v2", "target": "cpu", "fused": {}}"#.to_vec(),
        br#"{"schema": "mscc.fusion.v1", "target": "cpu", "fused": {}, "more": 1}"#.to_vec(),
        br#"{"schema": "mscc.fusion.v1", "target": "cpu", "fused": {"any": {"layer": ["swiglu"]}}}"#.to_vec(),
    ]);
    for content in damaged {
        bench.write("damaged.json", &content);
        let message = bench.fails(2, &["explain", "plan.bin", "--expect", "damaged.json"]);
        assert!(message.contains("damaged.json"), "{message}");
        let has_place = message.contains("damaged.json:") || content.starts_with(b"\xff");
        assert!(has_place, "{message}");
    }
}

#[test]
fn a_rewrite_at_fault_is_found_by_halves() {
    let bench = Bench::new();
    let fired = |args: &[&str]| {
        let args: Vec<&str> = [&["explain", "--json"], args].concat();
        let explained = bench.json(&args);
        let numbers = sites(&explained).into_iter().filter_map(|(_, event)| event["number"].as_u64());
        numbers.collect::<BTreeSet<u64>>()
    };
    let model = bard();
    let all = fired(&[&model]);
    let count = all.len() as u64;
    assert_eq!(all, (1..=count).collect(), "rewrites are numbered without gaps");
    for last in [0, 1, count / 2, count - 1, count, count + 1] {
        let text = last.to_string();
        let first: BTreeSet<u64> = (1..=last.min(count)).collect();
        assert_eq!(fired(&[&model, "--stop-after-rewrite", &text]), first);
    }
    for (option, value, told) in [
        ("--stop-after-rewrite", "0", "compiled with 0 rewrites at most"),
        ("--without-rule", "swiglu", "compiled without rule swiglu"),
    ] {
        bench.ok(&["compile", &model, "-o", "plan.bin", option, value]);
        let inspected = bench.ok(&["inspect", "plan.bin"]);
        assert!(inspected.contains(told), "{inspected}");
    }
    let message = bench.fails(2, &["compile", &model, "-o", "x.bin", "--without-rule", "swiglu_paked"]);
    assert!(message.contains("there is no rule `swiglu_paked`, did you mean `swiglu_packed`?"), "{message}");
    bench.write(
        "model.yaml",
        format!("model: {model}\nwithout_rule: [merge_matmul]\nstop_after_rewrite: 3\n"),
    );
    assert!(fired(&["model.yaml"]).len() <= 3);
    bench.write("model.yaml", format!("model: {model}\nstop_after_rewrite: few\n"));
    let message = bench.fails(2, &["explain", "model.yaml"]);
    assert!(
        message.contains("model.yaml:2:") && message.contains("expected a whole number from 0"),
        "{message}"
    );
}
