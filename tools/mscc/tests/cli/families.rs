//! Families: the built-in ones, and those that a user describes.

use crate::*;

/// The text of a built-in family.
fn builtin(name: &str) -> String {
    let families = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("models/families");
    std::fs::read_to_string(families.join(format!("{name}.yaml"))).unwrap()
}

#[test]
fn a_built_in_family_as_a_users_file_gives_the_same_plan() {
    for fixture in ["qwen3", "deepseek_v3", "gemma3_text", "gpt_oss"] {
        let bench = Bench::new();
        copy_model(&fixture_dir(fixture), &bench.path("model"));
        bench.ok(&["compile", "model", "-o", "builtin.bin"]);
        std::fs::create_dir(bench.path("conf")).unwrap();
        bench.write("conf/my_family.yaml", builtin(fixture));
        bench.write("conf/model.yaml", "model: ../model\nfamily: ./my_family.yaml\n");
        bench.ok(&["compile", "model", "--family", "conf/my_family.yaml", "-o", "flag.bin"]);
        assert!(bench.read("flag.bin") == bench.read("builtin.bin"), "{fixture}");
        bench.write("yaml.yaml", "model: model\nfamily: conf/my_family.yaml\n");
        bench.ok(&["compile", "yaml.yaml", "-o", "yaml.bin"]);
        assert!(bench.read("yaml.bin") == bench.read("builtin.bin"), "{fixture}");
        bench.ok(&["compile", "conf/model.yaml", "-o", "conf.bin"]);
    }
}

#[test]
fn a_model_of_an_unknown_type_runs_by_a_family_of_the_users() {
    let bench = Bench::new();
    copy_model(&fixture_dir("qwen3"), &bench.path("model"));
    let config = std::fs::read_to_string(bench.path("model/config.json")).unwrap();
    let renamed = config.replace("\"qwen3\"", "\"lark\"").replace("Qwen3ForCausalLM", "LarkForCausalLM");
    bench.write("model/config.json", renamed);
    bench.write(
        "lark.yaml",
        builtin("qwen3").replace("_type: qwen3", "_type: lark").replace("Qwen3For", "LarkFor"),
    );
    let run = |model: &str, more: &[&str]| {
        bench
            .ok(&[&["run", model, "--prompt-ids", "1,2,3", "--max-tokens", "8", "--ignore-eos"], more]
                .concat())
    };
    let unknown = bench.fails(2, &["run", "model", "--prompt-ids", "1"]);
    assert!(unknown.contains("there is no family for `model_type` = \"lark\""), "{unknown}");
    assert!(unknown.contains("--family"), "{unknown}");
    let expected = run(&text(&fixture_dir("qwen3")), &[]);
    assert_eq!(run("model", &["--family", "lark.yaml"]), expected);
    bench.write("model.yaml", "model: model\nfamily: lark.yaml\nstrict: true\n");
    assert_eq!(run("model.yaml", &[]), expected);
    bench.ok(&["compile", "model.yaml", "-o", "plan.bin"]);
    let printed = bench.ok(&["inspect", "plan.bin"]);
    assert!(printed.contains("lark, not built in"), "{printed}");
    assert_eq!(bench.json(&["inspect", "plan.bin", "--json"])["family"], "lark");

    insta::assert_snapshot!(
        bench.fails(2, &["run", "plan.bin", "--family", "lark.yaml", "--prompt-ids", "1"]),
        @"error: --family is for models that are compiled now, and plan.bin is a plan: `mscc compile MODEL --family FILE`"
    );
    let message = bench.fails(2, &["compile", "model.yaml", "-o", "lark.yaml"]);
    assert!(message.contains("the family's file lark.yaml would be lost"), "{message}");
}

#[test]
fn a_family_that_describes_another_model_than_the_one_of_its_name_is_told_of() {
    let bench = Bench::new();
    bench.write("mine.yaml", builtin("qwen3").replace("hidden_states + self_attn(input", "self_attn(input"));
    let model = text(&fixture_dir("qwen3"));
    bench.ok(&["compile", &model, "--family", "mine.yaml", "-o", "plan.bin"]);
    let plan = bench.json(&["inspect", "plan.bin", "--json"]);
    insta::assert_snapshot!(plan["warnings"][0].as_str().unwrap(), @"mine.yaml: it describes another model than the built-in family qwen3");
}

#[test]
fn errors_point_into_the_file() {
    let bench = Bench::new();
    let family = builtin("qwen3");
    let model = text(&fixture_dir("qwen3"));
    let fails = |text: &str| {
        bench.write("mine.yaml", text);
        bench.fails(2, &["compile", &model, "--family", "mine.yaml", "-o", "plan.bin"])
    };
    let with = |from: &str, to: &str| {
        assert!(family.contains(from), "{from}");
        fails(&family.replacen(from, to, 1))
    };
    let messages = [
        fails("{"),
        fails("- a"),
        with("\nlayers:", "\n\tlayers:"),
        with("layers:", "layers"),
        with("lm_head:", "lm_haed:"),
        with("block: embedding", "block: embeding"),
        with("block: embedding", "block: rms_norm"),
        with("num_embeddings:", "num_embedings:"),
        with("  num_embeddings: vocab_size\n", ""),
        with("num_embeddings: vocab_size", "num_embeddings: vocab_sise"),
        with("num_embeddings: vocab_size", "num_embeddings: vocab_size +"),
        with("num_embeddings: vocab_size", "num_embeddings: squareroot(vocab_size)"),
        with("num_embeddings: vocab_size", "num_embeddings: vocab_size / 3"),
        with("num_embeddings: vocab_size", "num_embeddings: \"'many'\""),
        with("embedding_dim: hidden_size", "embedding_dim: hidden_size * 2"),
        with("mlp(post_attention_layernorm(residual))", "mpl(post_attention_layernorm(residual))"),
        with("mlp(post_attention_layernorm(residual))", "mlp(residual)"),
        with("mlp(post_attention_layernorm(residual))", "mlp(post_attention_layernorm(resid))"),
        with("model.layers.{i}", "model.layers.{j}"),
        with("model.layers.{i}", "model.layers"),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
    assert!(fails(&"#".repeat(1 << 17)).contains("mine.yaml:1:1: larger than 65536 bytes"));
    assert!(fails(&"#".repeat(1 << 21)).contains("larger than 1 MiB"));
    bench.write("model.yaml", format!("model: {model}\nfamily: none.yaml\n"));
    insta::assert_snapshot!(bench.fails(2, &["compile", "model.yaml", "-o", "plan.bin"]), @"error: model.yaml:2:9: `family`: cannot read none.yaml: No such file or directory (os error 2)");
    assert_eq!(bench.files(), ["mine.yaml", "model.yaml"]);
}

#[test]
fn a_family_in_place_of_a_built_in_one_is_told_of() {
    let bench = Bench::new();
    bench.write("lark.yaml", builtin("qwen3").replace("_type: qwen3", "_type: lark"));
    let model = text(&fixture_dir("gemma2"));
    insta::assert_snapshot!(bench.fails(2, &["compile", &model, "--family", "lark.yaml", "-o", "plan.bin"]), @r#"
error: DATA/fixtures/gemma2/config.json: the config asks for what family lark lacks:
  `query_pre_attn_scalar` = 20: a scale that the family does not have
  `hidden_activation` = "gelu_pytorch_tanh": another activation
  `final_logit_softcapping` = 12.0: a soft cap on scores or logits
  `attn_logit_softcapping` = 2.0: a soft cap on scores or logits
  its `model_type` is "gemma2", which is built in: leave --family out to compile it as that
"#);
    insta::assert_snapshot!(bench.fails(2, &["compile", &model, "--family", "gemma2", "-o", "plan.bin"]), @"error: option `family` (--family): expected a file (family gemma2 is built in and found by a config's `model_type`; `mscc models gemma2 > gemma2.yaml` makes a file of it), found `gemma2`");
}

#[test]
fn a_family_that_is_too_much_work_is_refused() {
    let bench = Bench::new();
    let family = builtin("llama");
    copy_model(&fixture_dir("llama"), &bench.path("model"));
    let config = std::fs::read_to_string(bench.path("model/config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["num_hidden_layers"] = 4096.into();
    bench.write("model/config.json", config.to_string());
    let fails = |text: &str| {
        bench.write("mine.yaml", text);
        bench.fails(2, &["compile", "model", "--config-only", "--family", "mine.yaml", "-o", "plan.bin"])
    };
    let long = (0..900).fold(String::new(), |steps, step| match step {
        0 => "    s0: mlp(hidden_states)\n".to_owned(),
        step => format!("{steps}    s{step}: mlp(s{})\n", step - 1),
    });
    let costly = format!("\"{}1.0e-6\"", "if i == 5000 then 1.0 else ".repeat(30));
    let costly = format!("{{ block: rms_norm, if: \"{} == 1\", eps: 1 }}, ", vec!["i"; 400].join("+"))
        .repeat(40)
        + &format!("{{ block: rms_norm, eps: {costly} }}");
    let messages = [
        fails(
            &family
                .replace("  steps:\n", &format!("  steps:\n{long}"))
                .replace("norm(hidden", "norm(s899 + hidden"),
        ),
        fails(&family.replace(
            "    input_layernorm: { block: rms_norm, eps: rms_norm_eps }",
            &format!("    input_layernorm: [{costly}]"),
        )),
        fails(&family.replace(
            "    input_layernorm: { block: rms_norm, eps: rms_norm_eps }",
            "    input_layernorm: { block: rms_norm, eps: i / 1.0e9 }",
        )),
    ];
    insta::assert_snapshot!(messages.join("\n\n"));
}

#[test]
fn the_example_of_the_documentation_compiles() {
    let bench = Bench::new();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("docs/families.md");
    let page = std::fs::read_to_string(page).unwrap();
    let part = |language: &str| {
        let (_, behind) = page.split_once(&format!("```{language}\n")).unwrap();
        behind.split_once("```").unwrap().0
    };
    bench.write("config.json", part("json"));
    bench.write("lark.yaml", part("yaml"));
    bench.write("model.yaml", "model: config.json\nfamily: lark.yaml\nstrict: true\n");
    bench.ok(&["compile", "model.yaml", "--config-only", "-o", "plan.bin"]);
    let plan = bench.json(&["inspect", "plan.bin", "--json"]);
    assert_eq!(plan["family"], "lark");
    let traced = bench.ok(&["compile", "model.yaml", "--config-only", "--emit", "traced"]);
    for part in [
        "cache window32 window 32 block 16 layers [0..2, 3..5] ",
        "cache full full block 16 layers [2..3, 5..6] ",
        "\"transformer.blocks.{i}.moe.experts.{e}.down_proj.weight\": f32[4, 96, 128]",
        "{by=0.4898979",
    ] {
        assert!(traced.contains(part), "{part} is missing:\n{traced}");
    }
}
