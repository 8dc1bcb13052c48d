//! `mscc compile`: plans, stages as text, configs alone.

use crate::*;
use mscc_compiler::Options;
use mscc_ir::plan::print_plan;
use mscc_ir::text::print_module;

#[test]
fn stages_are_the_librarys_text() {
    let bench = Bench::new();
    for fixture in &fixtures() {
        let dir = fixture_dir(fixture);
        let options = Options { model: Some(dir.clone()), ..Options::default() };
        let compiled = mscc_compiler::compile(&options, false).unwrap();
        let emit = |stage: &str| bench.ok(&["compile", &text(&dir), "--emit", stage]);
        assert_eq!(emit("traced"), print_module(&compiled.traced), "{fixture}");
        assert_eq!(emit("fused"), print_module(&compiled.fused), "{fixture}");
        assert_eq!(emit("lowered"), print_plan(&compiled.plan), "{fixture}");
    }
    let model = text(&fixture_dir("qwen3"));
    assert_eq!(bench.ok(&["compile", &model, "--emit", "fused", "-o", "fused.mir"]), "");
    assert_eq!(bench.read("fused.mir"), bench.ok(&["compile", &model, "--emit", "fused"]).as_bytes());
}

/// Parameters, and bytes of one token in the caches in bf16, by hand from configs.
const SIZES: [(&str, u64, u64); 8] = [
    ("deepseek-v3-671b.json", 671_026_419_200, 61 * (512 + 64) * 2),
    ("llama-3.1-70b.json", 70_553_706_496, 80 * 2 * 8 * 128 * 2),
    ("llama-3.2-1b.json", 1_235_814_400, 16 * 2 * 8 * 64 * 2),
    ("mixtral-8x7b.json", 46_702_792_704, 32 * 2 * 8 * 128 * 2),
    ("qwen2.5-0.5b.json", 494_032_768, 24 * 2 * 2 * 64 * 2),
    ("qwen3-0.6b.json", 596_049_920, 28 * 2 * 8 * 128 * 2),
    ("qwen3-235b-a22b.json", 235_093_634_560, 94 * 2 * 4 * 128 * 2),
    ("qwen3-32b.json", 32_762_123_264, 64 * 2 * 8 * 128 * 2),
];

#[test]
fn configs_alone_compile_but_do_not_run() {
    let bench = Bench::new();
    let configs = std::fs::read_dir(data().join("configs")).unwrap();
    let configs: Vec<String> = configs.map(|entry| text(&entry.unwrap().path())).collect();
    assert!(configs.len() >= 11);
    for config in &configs {
        bench.ok(&["compile", "--config-only", config, "-o", "plan.bin"]);
        bench.ok(&["inspect", "plan.bin"]);
        let (_, name) = config.rsplit_once('/').unwrap();
        if let Some((_, parameters, cached)) = SIZES.iter().find(|(known, ..)| name == *known) {
            let memory = &bench.json(&["inspect", "plan.bin", "--json"])["memory"];
            assert_eq!(memory["cache_bytes_per_token"], *cached, "{name}");
            // Frequencies of rotary tables come on top, and what is widened to f32.
            let made = memory["weight_bytes"].as_u64().unwrap() - 2 * parameters;
            assert!(made < 1 << 16, "{name}: {made}");
        }
        let first = bench.read("plan.bin");
        bench.ok(&["compile", config, "--config-only", "-o", "plan.bin"]);
        assert!(bench.read("plan.bin") == first, "{config}: the same before and behind the flag");
        for stage in ["traced", "fused", "lowered"] {
            let text = bench.ok(&["compile", "--config-only", config, "--emit", stage]);
            assert!(text.lines().count() > 10, "{config}, {stage}");
        }
        for command in [
            &["run", "plan.bin", "--prompt-ids", "1"][..],
            &["logits", "plan.bin", "--prompt-ids", "1", "-o", "x"],
        ] {
            let message = bench.fails(2, command);
            assert!(
                message.starts_with("error: plan.bin: the plan was compiled from a config alone"),
                "{message}"
            );
        }
    }
    let config = text(&data().join("configs/qwen3-0.6b.json"));
    insta::assert_snapshot!(
        bench.fails(2, &["compile", &config, "-o", "other.bin"]),
        @"error: DATA/configs/qwen3-0.6b.json: there are no weights (*.safetensors); `--config-only` compiles without"
    );
    assert_eq!(bench.files(), ["plan.bin"]);
}

#[test]
fn a_directory_and_a_yaml_with_equal_settings_give_equal_plans() {
    for fixture in DENSE {
        let bench = Bench::new();
        copy_model(&fixture_dir(fixture), &bench.path("model"));
        bench.write("model.yaml", "model: model\ncompute_dtype: float32\nblock_size: 8\n");
        bench.ok(&["compile", "model.yaml", "-o", "yaml.bin"]);
        bench.ok(&["compile", "model.yaml", "-o", "again.bin"]);
        let flags = ["--compute-dtype", "float32", "--block-size", "8", "-o", "dir.bin"];
        bench.ok(&[&["compile", "model"], &flags[..]].concat());
        let plan = bench.read("yaml.bin");
        assert!(bench.read("again.bin") == plan, "{fixture}: compiled again");
        assert!(bench.read("dir.bin") == plan, "{fixture}: compiled with flags");
        // Weights by relative paths are found from elsewhere, beside the plan.
        let elsewhere = Bench::new();
        let plan = text(&bench.path("yaml.bin"));
        elsewhere.ok(&["run", &plan, "--prompt-ids", "1,2", "--max-tokens", "2"]);
    }
}

#[test]
fn what_was_compiled_as_json() {
    let bench = Bench::new();
    let done = bench.json(&["compile", &text(&fixture_dir("qwen3")), "-o", "plan.bin", "--json"]);
    assert_eq!(done["schema"], "mscc.compile.v1");
    assert_eq!(done["bytes"], bench.read("plan.bin").len());
    assert_eq!(done["rewrites"]["swiglu"], 2);
}

#[test]
fn models_that_are_none() {
    let bench = Bench::new();
    bench.write("file", "");
    std::fs::create_dir(bench.path("empty")).unwrap();
    let fails = |args: &[&str]| bench.fails(2, &[&["compile", "-o", "plan.bin"], args].concat());
    insta::assert_snapshot!(
        fails(&["Qwen/Qwen3-0.6B"]),
        @"error: Qwen/Qwen3-0.6B: there is no such model directory; mscc takes models that are on this machine: `hf download Qwen/Qwen3-0.6B --local-dir Qwen3-0.6B` brings one from the hub"
    );
    insta::assert_snapshot!(fails(&["empty"]), @"error: empty has no config.json: name the directory with the model's config.json and *.safetensors");
    insta::assert_snapshot!(fails(&["empty", "--model", "empty"]), @"error: two models are named: empty and --model empty; leave one out");
    assert!(fails(&["file"]).starts_with("error: file"));
    assert!(fails(&[]).contains("<MODEL>"));
    assert!(bench.fails(2, &["compile", "empty"]).contains("--output"));
    assert_eq!(bench.files(), ["empty", "file"]);
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let bench = Bench::new();
    let model = text(&fixture_dir("llama"));
    let fails =
        |option: &str, value: &str| bench.fails(2, &["compile", &model, "-o", "plan.bin", option, value]);
    insta::assert_snapshot!(fails("--target", "tpu"), @"error: option `target` (--target): expected cpu, ascend910b1 to ascend910b4, ascend910_93 or ascend310p, found `tpu`");
    insta::assert_snapshot!(
        fails("--dtype", "int4"),
        @"error: option `dtype` (--dtype): expected auto, float32, float16 or bfloat16, found `int4`"
    );
    assert!(fails("--compute-dtype", "float16").ends_with("expected float32 or bfloat16, found `float16`"));
    for (option, largest) in [
        ("--block-size", 65536),
        ("--max-num-seqs", 4_194_304),
        ("--max-num-batched-tokens", 4_194_304),
        ("--max-model-len", 67_108_864),
    ] {
        for value in ["0", "many", "-1", "1.5", "99999999999"] {
            let message =
                bench.fails(2, &["compile", &model, "-o", "plan.bin", &format!("{option}={value}")]);
            let expected = format!(
                "error: invalid value '{value}' for '{option} <N>': expected a whole number from 1 to {largest}"
            );
            assert!(message.starts_with(&expected), "{message}");
        }
    }
    insta::assert_snapshot!(fails("--tokenizer", "none"), @"error: option `tokenizer` (--tokenizer): there is no tokenizer.json in none: name the directory that has it");
    insta::assert_snapshot!(
        fails("--chat-template", "none"),
        @"error: option `chat_template` (--chat-template): cannot read none: No such file or directory (os error 2)"
    );
    assert!(fails("--emit", "all").contains("[possible values: traced, fused, lowered]"));
    assert!(bench.files().is_empty());
}

#[test]
fn options_reach_the_plan() {
    let bench = Bench::new();
    let model = text(&fixture_dir("llama"));
    let options = [
        "--max-model-len",
        "64",
        "--max-num-seqs",
        "4",
        "--max-num-batched-tokens",
        "32",
        "--block-size",
        "8",
    ];
    bench.ok(&[
        &["compile", &model, "-o", "plan.bin", "--dtype", "float32", "--compute-dtype", "float32"],
        &options[..],
    ]
    .concat());
    let plan = bench.json(&["inspect", "plan.bin", "--json"]);
    assert_eq!(plan["limits"]["max_model_len"], 64);
    assert_eq!(plan["limits"]["max_num_seqs"], 4);
    assert_eq!(plan["limits"]["max_num_batched_tokens"], 32);
    assert_eq!(plan["symbols"]["S"]["max"], 64);
    assert_eq!(plan["symbols"]["B"]["max"], 4);
    assert_eq!(plan["symbols"]["T"]["max"], 32);
    assert_eq!(plan["symbols"]["M"]["max"], 8);
    let embedding = &plan["weights"]["recipes"][0];
    assert!(embedding["type"].as_str().unwrap().starts_with("f32["), "{embedding}");
    // A prompt longer than a step is computed in chunks.
    let prompt = ids(&(0..50).collect::<Vec<u32>>());
    bench.ok(&["run", "plan.bin", "--prompt-ids", &prompt, "--max-tokens", "3", "--ignore-eos"]);
    let output = bench.call(&["compile", &model, "-o", "plan.bin", "--max-model-len", "4096"]);
    let warning = "warning: max_model_len is 4096, but the model was trained for 256 tokens\n";
    assert!(String::from_utf8(output.stderr).unwrap().starts_with(warning));
}

#[test]
fn a_broken_tokenizer_or_template_is_told_and_strictly_refused() {
    let bench = Bench::new();
    let model = bench.path("m");
    copy_model(&fixture_dir("qwen3"), &model);
    let args = ["compile", "m", "-o", "plan.bin"];
    let strict = [&args[..], &["--strict"]].concat();
    let warning = |args: &[&str]| {
        let output = bench.call(args);
        assert!(output.status.success());
        let stderr = String::from_utf8(output.stderr).unwrap();
        stderr.lines().filter(|line| line.starts_with("warning: ")).collect::<Vec<_>>().join("\n")
    };
    bench.ok(&strict);
    std::fs::remove_file(bench.path("plan.bin")).unwrap();
    bench.write("m/chat_template.jinja", "{% for message in messages %}{{ message.content }}");
    insta::assert_snapshot!(bench.fails(2, &strict), @"error: chat template, line 1: syntax error: unexpected end of input, expected end of block");
    assert_eq!(bench.files(), ["m"], "no plan");
    insta::assert_snapshot!(warning(&args), @"warning: chat template, line 1: syntax error: unexpected end of input, expected end of block; without it there is no chat");
    std::fs::remove_file(model.join("chat_template.jinja")).unwrap();
    bench.write("mine.jinja", "{{ messages[0] ");
    insta::assert_snapshot!(bench.fails(2, &[&strict[..], &["--chat-template", "mine.jinja"]].concat()), @"error: chat template, line 1: syntax error: unexpected end of input, expected end of variable block");
    bench.write("m/tokenizer.json", "{\"version\": \"1.0\"");
    insta::assert_snapshot!(bench.fails(2, &strict), @"error: m/tokenizer.json: EOF while parsing an object at line 1 column 17: download the file again");
    insta::assert_snapshot!(warning(&args), @"warning: m/tokenizer.json: EOF while parsing an object at line 1 column 17: download the file again; without it there is no text, only token ids");
    bench.write("m/tokenizer_config.json", "[]");
    insta::assert_snapshot!(warning(&args), @"warning: m/tokenizer_config.json: expected a JSON object, `{...}`; without it there is no text, only token ids");
}

#[test]
fn what_is_probably_not_meant_is_told() {
    let bench = Bench::new();
    let said = |change: &dyn Fn(&Path)| {
        let model = bench.path("m");
        copy_model(&fixture_dir("qwen3"), &model);
        change(&model);
        let output = bench.call(&["compile", "m", "-o", "plan.bin"]);
        assert!(output.status.success());
        std::fs::remove_dir_all(&model).unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let lines = stderr.lines().filter(|line| line.starts_with("warning: "));
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let write = |dir: &Path, name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    let remove = |dir: &Path, name: &str| std::fs::remove_file(dir.join(name)).unwrap();
    assert_eq!(said(&|_| ()), "");
    insta::assert_snapshot!(said(&|dir| remove(dir, "tokenizer.json")), @"warning: there is no tokenizer.json in m: only token ids can be run; --tokenizer DIR names a directory that has one");
    insta::assert_snapshot!(said(&|dir| {
        remove(dir, "tokenizer.json");
        write(dir, "tokenizer.model", "x");
    }), @"warning: there is no tokenizer.json in m: only tokenizer.model, of which transformers makes one: AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)");
    insta::assert_snapshot!(said(&|dir| write(dir, "tokenizer.json", "version https://git-lfs.github.com/spec/v1\n")), @"warning: m/tokenizer.json: a Git LFS pointer, not the file: run `git lfs pull`; without it there is no text, only token ids");
    insta::assert_snapshot!(said(&|dir| write(dir, "generation_config.json", r#"{"eos_token_id": [5, 99999]}"#)), @"warning: eos_token_id 99999 is not in the model's vocabulary of 512, so that it never ends a text: look into generation_config.json and config.json in m");
    insta::assert_snapshot!(said(&|dir| write(dir, "model.safetensors.index.json", "{}")), @"warning: m/model.safetensors is read and m/model.safetensors.index.json is not: remove the one that is not meant");
}
