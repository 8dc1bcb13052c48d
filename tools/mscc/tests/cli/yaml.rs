//! model.yaml.

use crate::*;

#[test]
fn every_key_counts_and_paths_are_relative_to_the_file() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("conf")).unwrap();
    std::fs::create_dir(bench.path("words")).unwrap();
    copy_model(&fixture_dir("llama"), &bench.path("weights"));
    std::fs::rename(bench.path("weights/tokenizer.json"), bench.path("words/tokenizer.json")).unwrap();
    bench.write("conf/chat.jinja", "{{ messages[0].content }}");
    let yaml = "pretrained_model_dir: ../weights
target: cpu
dtype: float32
compute_dtype: float32
max_model_len: 128
max_num_seqs: 4
max_num_batched_tokens: 64
block_size: 4
tokenizer: ../words
chat_template: chat.jinja
";
    bench.write("conf/model.yaml", yaml);
    bench.ok(&["compile", "conf/model.yaml", "-o", "plan.bin"]);
    let plan = bench.json(&["inspect", "plan.bin", "--json"]);
    assert_eq!(plan["target"], "cpu");
    assert_eq!(plan["compute_dtype"], "f32");
    assert_eq!(plan["limits"]["max_model_len"], 128);
    assert_eq!(plan["limits"]["max_num_seqs"], 4);
    assert_eq!(plan["limits"]["max_num_batched_tokens"], 64);
    assert_eq!(plan["caches"][0]["block_size"], 4);
    assert_eq!(plan["weights"]["dir"], "conf/../weights");
    assert_eq!(plan["text"]["tokenizer_dir"], "conf/../words");
    assert!(plan["weights"]["recipes"][0]["type"].as_str().unwrap().starts_with("f32["));
    bench.ok(&["run", "plan.bin", "--prompt", "def main", "--max-tokens", "2"]);

    bench.write("conf/same.yaml", yaml.replace("pretrained_model_dir", "model"));
    bench.ok(&["compile", "conf/same.yaml", "-o", "same.bin"]);
    assert!(bench.read("same.bin") == bench.read("plan.bin"), "the alias means the same");
}

#[test]
fn flags_win() {
    let bench = Bench::new();
    let model = text(&fixture_dir("llama"));
    bench.write("model.yaml", "model: nowhere\ncompute_dtype: float32\nblock_size: 4\nmax_num_seqs: 3\n");
    let flags = ["--model", &model, "--compute-dtype", "bfloat16", "--block-size", "8"];
    bench.ok(&[&["compile", "model.yaml", "-o", "plan.bin"], &flags[..]].concat());
    let plan = bench.json(&["inspect", "plan.bin", "--json"]);
    assert_eq!(plan["compute_dtype"], "bf16");
    assert_eq!(plan["caches"][0]["block_size"], 8);
    assert_eq!(plan["limits"]["max_num_seqs"], 3, "what no flag says is the file's");
    bench.ok(&["compile", "--pretrained-model-dir", &model, "-o", "alias.bin"]);
}

#[test]
fn what_does_not_fit_is_told_with_its_line() {
    let bench = Bench::new();
    let fails = |yaml: &str| {
        bench.write("model.yaml", yaml);
        let message = bench.fails(2, &["compile", "model.yaml", "-o", "plan.bin"]);
        assert_eq!(bench.files(), ["model.yaml"]);
        message
    };
    let message = fails("model: here\nblok_size: 3\n");
    let place =
        "error: model.yaml:2:1: unknown key `blok_size`, did you mean `block_size`?: expected one of model, ";
    assert!(message.starts_with(place) && message.ends_with("\n  blok_size: 3"), "{message}");
    insta::assert_snapshot!(fails("model: here\n\nblock_size: three\n"), @r#"
error: model.yaml:3:13: `block_size`: expected a whole number from 1 to 65536, found "three"
  block_size: three
"#);
    insta::assert_snapshot!(fails("model: here\nblock_size: [1]\n"), @r"
error: model.yaml:2:13: `block_size`: expected a whole number from 1 to 65536, found a list
  block_size: [1]
");
    insta::assert_snapshot!(fails("model: here\nblock_size: 0\n"), @"error: model.yaml:2:13: `block_size`: expected 1 to 65536, found `0`");
    insta::assert_snapshot!(fails("model: here\ncompute_dtype: float16\n"), @"error: model.yaml:2:16: `compute_dtype`: expected float32 or bfloat16, found `float16`");
    insta::assert_snapshot!(fails("model: ''\n"), @r#"
    error: model.yaml:1:8: `model`: expected a path, or nothing behind the colon, found ""
      model: ''
    "#);
    insta::assert_snapshot!(fails("model: here\ndtype: f32\nmodel: there\n"), @r"
    error: model.yaml:3:1: key `model` is there twice
      model: there
    ");
    insta::assert_snapshot!(fails("model: here\n---\nmodel: there\n"), @r"
    error: model.yaml:3:1: expected one document, and here the second begins
      model: there
    ");
    insta::assert_snapshot!(fails("model: here\npretrained_model_dir: there\n"), @r"
    error: model.yaml:2:1: `pretrained_model_dir` and `model` in line 1 say different things of one option: remove one
      pretrained_model_dir: there
    ");
    insta::assert_snapshot!(fails("model: here\ntensor_parallel_size: 8\n"), @r"
    error: model.yaml:2:23: `tensor_parallel_size` (vLLM) = 8 is not supported; supported: 1, since a plan is for one device
      tensor_parallel_size: 8
    ");
    insta::assert_snapshot!(fails("- model\n"), @r"
    error: model.yaml:1:1: expected keys with values, `key: value`, a blank behind the colon
      - model
    ");
    insta::assert_snapshot!(fails("model: here\n  block_size: 3\n"), @r"
    error: model.yaml:2:13: a colon where none can be: begin all keys at the same column, and put a value with `: ` in quotes
      block_size: 3
    ");
    insta::assert_snapshot!(fails("model: here\n\tblock_size: 3\n"), @r"
error: model.yaml:2:1: a tab: indent with blanks
  block_size: 3
");
    insta::assert_snapshot!(fails("model: here\nblock_size 3\n"), @r"
    error: model.yaml:2:1: a line without `: `: expected `key: value`, a blank behind the colon
      block_size 3
    ");
    insta::assert_snapshot!(fails("model: 'here\n"), @r"
    error: model.yaml:1:8: unclosed quote
      model: 'here
    ");
    insta::assert_snapshot!(fails("block_size: 16\n"), @"error: no model is named: set `model` in model.yaml, or pass --model DIR");
    insta::assert_snapshot!(fails("model: here\n"), @"error: here: there is no such model directory; mscc takes models that are on this machine");
    for number in ["-3", "3.5", "99999999999", "1e3"] {
        let message = fails(&format!("model: here\nblock_size: {number}\n"));
        assert!(message.contains("model.yaml:2:13: `block_size`: expected a whole number"), "{message}");
    }
    assert!(fails(&"#".repeat(2 << 20)).contains("larger than 1 MiB"));
    assert!(bench.fails(2, &["compile", "none.yaml", "-o", "x"]).contains("cannot read none.yaml"));
}

#[test]
fn keys_of_other_tools_are_told_of() {
    let bench = Bench::new();
    copy_model(&fixture_dir("llama"), &bench.path("model"));
    bench.write(
        "predict.yaml",
        "run_mode: predict\npretrained_model_dir: model\nparallel_config:\n  model_parallel: 1\nseed: 0\n\
         model:\n  model_config:\n    compute_dtype: float32\n",
    );
    let notes = |args: &[&str]| {
        let output = bench.call(&[&["compile", "predict.yaml", "-o", "plan.bin"], args].concat());
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let few = notes(&[]);
    assert!(
        few.starts_with("predict.yaml: keys of other tools that mean nothing here: 3; -v lists them\n"),
        "{few}"
    );
    let all = notes(&["-v"]);
    for line in [
        "predict.yaml:2: `pretrained_model_dir` (mindformers) is read as `model`\n",
        "predict.yaml:5: `seed` (vLLM) is ignored: sampling takes its seed when it runs\n",
        "predict.yaml:8: `model.model_config.compute_dtype` (mindformers) is read as `compute_dtype`\n",
        "left aside `attention_dropout`: used in training only\n",
    ] {
        assert!(all.contains(line), "{line}{all}");
    }
    assert_eq!(notes(&["--quiet"]), "");
}

#[test]
fn strict_takes_warnings_as_errors() {
    let bench = Bench::new();
    copy_model(&fixture_dir("llama"), &bench.path("model"));
    let config = String::from_utf8(bench.read("model/config.json")).unwrap();
    bench.write("model/config.json", config.replacen('{', "{\"shine\": 1,", 1));
    bench.write("model.yaml", "model: model\nstrict: true\n");
    bench.ok(&["compile", "model", "-o", "plan.bin"]);
    let warnings = bench.json(&["inspect", "plan.bin", "--json"])["warnings"].clone();
    assert_eq!(warnings, serde_json::json!(["model/config.json: `shine` is not known and not read"]));
    let message = bench.fails(2, &["compile", "model.yaml", "-o", "strict.bin"]);
    insta::assert_snapshot!(message, @r"
    error: warnings are errors here:
      model/config.json: `shine` is not known and not read
    ");
    assert_eq!(bench.fails(2, &["compile", "model", "--strict", "-o", "strict.bin"]), message);
}
