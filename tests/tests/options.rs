//! Options of a compilation show in what runs.
#![allow(clippy::unwrap_used)]

use mscc_compiler::{Options, compile};
use mscc_ir::DType;
use mscc_tests::{FIXTURES, Fixture, compile_model, load, logits, max_error};

#[test]
fn weights_take_the_dtype_asked_for() {
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let prompt = &fixture.expected.prompts[0];
        let compiled =
            compile_model(&fixture.dir, "float32", |options| options.dtype = Some("float32".into()));
        for recipe in &compiled.plan.weights.recipes {
            assert_eq!(recipe.ty().unwrap().dtype, DType::F32, "{name}: {}", recipe.name);
        }
        let got = &logits(&mut load(&compiled, 2), &[&prompt.token_ids], None)[0];
        let (error, tolerance) = (max_error(got, fixture.tensor(&prompt.logits)), 1e-4 * fixture.scale());
        assert!(error <= tolerance, "{name}: {error} > {tolerance}");
    }
}

#[test]
fn any_weight_dtype_goes_with_any_compute_dtype() {
    for name in FIXTURES {
        let fixture = Fixture::open(name);
        let prompt = &fixture.expected.prompts[0];
        for dtype in ["float32", "float16", "bfloat16"] {
            for compute in ["float32", "bfloat16"] {
                let compiled =
                    compile_model(&fixture.dir, compute, |options| options.dtype = Some(dtype.into()));
                let got = &logits(&mut load(&compiled, 2), &[&prompt.token_ids], None)[0];
                let error = max_error(got, fixture.tensor(&prompt.logits)) / fixture.scale();
                assert!(error < 0.05, "{name}, {dtype} weights, {compute}: {error}");
            }
        }
    }
}

#[test]
fn tied_weights_are_one_recipe() {
    let compiled = compile_model(&Fixture::open("qwen2_tied").dir, "bfloat16", |_| {});
    let names: Vec<&str> = compiled.plan.weights.recipes.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| name.contains("embed_tokens")).count(), 1, "{names:?}");
}

#[test]
fn f32_weights_may_be_rounded_to_bf16() {
    let fixture = Fixture::open("qwen3_f32");
    let compiled = compile_model(&fixture.dir, "bfloat16", |options| options.dtype = Some("bfloat16".into()));
    let prompt = &fixture.expected.prompts[0];
    let got = &logits(&mut load(&compiled, 1), &[&prompt.token_ids], None)[0];
    let error = max_error(got, fixture.tensor(&prompt.logits));
    assert!(error > 0.0 && error < 0.05 * fixture.scale(), "{error}");
}

#[test]
fn limits_bound_the_symbols() {
    let fixture = Fixture::open("llama");
    let compiled = compile_model(&fixture.dir, "float32", |options| {
        options.max_model_len = Some(100);
        options.max_num_seqs = Some(3);
        options.max_num_batched_tokens = Some(48);
        options.block_size = Some(7);
    });
    let max = |name: &str| compiled.plan.symbols.iter().find(|(symbol, _)| symbol == name).unwrap().1.max;
    assert_eq!((max("T"), max("B"), max("S"), max("C")), (48, 3, 100, 300));
    assert_eq!(compiled.plan.caches[0].block_size, 7);
    // 43 tokens in steps of at most 48, in pages of 7.
    let prompt = &fixture.expected.prompts[2];
    let got = &logits(&mut load(&compiled, 1), &[&prompt.token_ids], None)[0];
    assert!(max_error(got, fixture.tensor(&prompt.logits)) <= 1e-4 * fixture.scale());
}

#[test]
fn what_is_not_supported_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let fixture = Fixture::open("qwen3").dir;
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(fixture.join(file), dir.path().join(file)).unwrap();
    }
    let config = std::fs::read_to_string(fixture.join("config.json")).unwrap();
    let config = config.replace("Qwen3ForCausalLM", "Qwen9ForCausalLM");
    let error = |from: &str, to: &str| {
        let changed = config.replace(from, to);
        assert_ne!(changed, config, "`{from}` is not in the config");
        std::fs::write(dir.path().join("config.json"), changed).unwrap();
        let options = Options { model: Some(dir.path().to_owned()), ..Options::default() };
        match compile(&options, false) {
            Ok(_) => panic!("{to} is taken"),
            Err(error) => error.to_string(),
        }
    };
    let cases = [
        (r#""model_type": "qwen3""#, r#""model_type": "qwen9""#, "the nearest is"),
        (r#""hidden_act": "silu""#, r#""hidden_act": "mish""#, "hidden_act"),
        (
            r#""rope_scaling": null"#,
            r#""rope_scaling": {"rope_type": "longrope", "factor": 2.0}"#,
            "short_factor",
        ),
        (r#""head_dim": 24"#, r#""head_dim": 20"#, "q_proj"),
        (r#""num_key_value_heads": 2"#, r#""num_key_value_heads": 3"#, "num_"),
        (r#""vocab_size": 512"#, r#""vocab_size": -1"#, "vocab_size"),
    ];
    for (from, to, named) in cases {
        let text = error(from, to);
        assert!(text.contains(named), "{to}: {text}");
    }
}
