//! Forms of traces, and what is said of configs and checkpoints that do not fit.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use common::{data, options};
use mscc_checkpoint::{Checkpoint, DType as Stored, HeaderBuilder};
use mscc_ir::graph::{Leaf, NodeKind, Sink};
use mscc_ir::module::Call;
use mscc_ir::ops::{Op, OpKind};
use mscc_ir::{DType, Graph, text, verify};
use mscc_models::hf::{HfConfig, ModelDir};
use mscc_models::{
    Family, SourceWeight, TraceError, TraceOptions, Traced, families, source_weights, trace, trace_family,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn config(value: &Value) -> HfConfig {
    HfConfig::parse(Path::new("config.json"), value.to_string().as_bytes()).unwrap()
}

/// The config of a fixture with some keys set; `undefined` as a text takes the key out.
fn changed(fixture: &str, keys: &[(&str, Value)]) -> Value {
    let path = data("fixtures").join(fixture).join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (key, value) in keys {
        if *value == json!("undefined") {
            config.as_object_mut().unwrap().shift_remove(*key);
        } else {
            config[*key] = value.clone();
        }
    }
    config
}

fn traced(value: &Value) -> Traced {
    trace(&config(value), None, &options(DType::BF16)).unwrap()
}

fn refusal(fixture: &str, keys: &[(&str, Value)]) -> String {
    trace(&config(&changed(fixture, keys)), None, &options(DType::F32)).unwrap_err().to_string()
}

fn warnings(fixture: &str, keys: &[(&str, Value)]) -> Vec<String> {
    let traced = traced(&changed(fixture, keys));
    traced.warnings.iter().map(ToString::to_string).collect()
}

fn op(function: &Graph, name: &str) -> Op {
    let value = function.by_name(name).unwrap_or_else(|| panic!("no `{name}` in {}", function.name));
    function.node(value.node).op().unwrap().clone()
}

/// A checkpoint of these tensors, its data a hole, in a directory of its own.
fn checkpoint(tensors: &[SourceWeight]) -> (tempfile::TempDir, Checkpoint) {
    let mut header = HeaderBuilder::new();
    for tensor in tensors {
        let dtype = match tensor.dtype {
            DType::F32 => Stored::F32,
            DType::F16 => Stored::F16,
            DType::BF16 => Stored::BF16,
            DType::I8 => Stored::I8,
            other => panic!("{other}"),
        };
        header.tensor(&tensor.name, dtype, &tensor.shape).unwrap();
    }
    let header = header.finish().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    fs::write(&path, &header.bytes).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(header.file_len).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    (dir, checkpoint)
}

#[test]
fn layers_of_one_kind_are_one_function() {
    let traced = traced(&changed("qwen3", &[]));
    let module = &traced.module;
    let names: Vec<&str> = module.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["embed", "layer", "head"]);
    let calls = [(0, 0..1), (1, 0..3), (2, 3..4)];
    assert!(module.program.iter().cloned().eq(calls.map(|(function, layers)| Call { function, layers })));
    assert_eq!(module.caches.len(), 1);
    assert_eq!(module.caches[0].name, "full");
    assert!(module.caches[0].layers.iter().cloned().eq(std::iter::once(0..3)));
    assert_eq!(module.caches[0].bytes_per_token(), Some(2 * 2 * 24 * 2 * 3));
    assert_eq!(traced.limits.max_model_len, 256);

    let layer = module.function("layer").unwrap();
    let weights: Vec<String> = layer
        .leaves()
        .filter(|(_, leaf)| matches!(leaf, Leaf::Weight(_)))
        .map(|(value, leaf)| {
            let Leaf::Weight(template) = leaf else { unreachable!() };
            assert_eq!(template.as_str(), format!("model.layers.{{i}}.{}", layer.value_name(value)));
            format!("{} {}", layer.value_name(value), layer.ty(value))
        })
        .collect();
    assert_eq!(
        weights,
        [
            "input_layernorm.weight bf16[64]",
            "self_attn.q_proj.weight bf16[96, 64]",
            "self_attn.k_proj.weight bf16[48, 64]",
            "self_attn.v_proj.weight bf16[48, 64]",
            "self_attn.q_norm.weight bf16[24]",
            "self_attn.k_norm.weight bf16[24]",
            "self_attn.o_proj.weight bf16[64, 96]",
            "post_attention_layernorm.weight bf16[64]",
            "mlp.gate_proj.weight bf16[136, 64]",
            "mlp.up_proj.weight bf16[136, 64]",
            "mlp.down_proj.weight bf16[64, 136]",
        ]
    );
    for name in ["self_attn.q_proj", "self_attn.o_proj", "mlp.act", "mlp.down_proj", "residual", "output"] {
        assert!(layer.by_name(name).is_some(), "{name}");
    }
    let taps: Vec<String> = module
        .functions
        .iter()
        .flat_map(Graph::sinks)
        .filter_map(|(sink, _)| match sink {
            Sink::Tap(name) => Some(name.to_string()),
            Sink::State(_) | Sink::Cache(_) | Sink::Output(_) => None,
        })
        .collect();
    assert_eq!(taps, ["model.embed_tokens", "model.layers.{i}", "model.norm"]);
    let head = module.function("head").unwrap();
    assert_eq!(head.ty(head.by_name("lm_head").unwrap()).to_string(), "f32[L, 512]");
}

#[test]
fn every_config_traces_unfused_without_warnings() {
    let fused = [OpKind::AddRmsNorm, OpKind::Swiglu, OpKind::Matmul, OpKind::Concat];
    for entry in fs::read_dir(data("configs")).unwrap() {
        let path = entry.unwrap().path();
        let config = HfConfig::read(&path).unwrap();
        let strict = TraceOptions { strict: true, ..options(DType::BF16) };
        let module = trace(&config, None, &strict).unwrap().module;
        assert_eq!(verify::verify(&module), []);
        assert!((3..=4).contains(&module.functions.len()), "{}", path.display());
        for (_, node) in module.functions.iter().flat_map(Graph::nodes) {
            match &node.kind {
                NodeKind::Op(op) => assert!(!fused.contains(&op.kind()), "{}", op.kind().name()),
                NodeKind::Leaf(_) => {}
            }
        }
        let printed = text::print_module(&module);
        assert_eq!(text::parse_module(&printed).unwrap(), module);
    }
}

#[test]
fn source_weights_are_the_tensors_of_the_checkpoint() {
    for entry in fs::read_dir(data("fixtures")).unwrap() {
        let model = ModelDir::open(&entry.unwrap().path()).unwrap();
        let checkpoint = model.checkpoint().unwrap().unwrap();
        let stored: BTreeSet<String> =
            checkpoint.tensors().iter().map(|(name, info)| format!("{name} {:?}", info.shape)).collect();
        let traced = trace(&model.config().unwrap(), Some(&checkpoint), &options(DType::F32)).unwrap();
        let weights: Vec<SourceWeight> = traced.source_weights().collect();
        let read: BTreeSet<String> =
            weights.iter().map(|weight| format!("{} {:?}", weight.name, weight.shape)).collect();
        assert_eq!(read.len(), weights.len());
        assert_eq!(Vec::from_iter(read.difference(&stored)), Vec::<&String>::new());
        assert!(stored.is_subset(&read) || !traced.ignored.is_empty(), "what is not read is told of");
        assert!(!traced.warnings.iter().any(|warning| warning.to_string().contains("not read")));
    }
}

#[test]
fn thousands_of_layers_cost_little() {
    let config = config(&changed("llama", &[("num_hidden_layers", json!(4096))]));
    assert_eq!(source_weights(&config).unwrap().count(), 9 * 4096 + 3);
    assert_eq!(source_weights(&config).unwrap().last().unwrap().name, "lm_head.weight");
}

#[test]
fn biases_are_where_each_family_has_them() {
    let biases = |config: &Value| -> Vec<String> {
        let names = source_weights(&self::config(config)).unwrap().map(|weight| weight.name);
        let names = names.filter_map(|name| Some(name.strip_prefix("model.layers.0.")?.to_owned()));
        names.filter_map(|name| Some(name.strip_suffix(".bias")?.to_owned())).collect()
    };
    let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
    let qkvo = [qkv[0], qkv[1], qkv[2], "self_attn.o_proj"];
    let mlp = ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"];
    assert_eq!(biases(&changed("llama", &[("attention_bias", json!(true))])), qkvo);
    assert_eq!(biases(&changed("llama", &[("mlp_bias", json!(true))])), mlp);
    assert_eq!(biases(&changed("qwen2_tied", &[])), qkv);
    assert_eq!(biases(&changed("qwen3", &[("attention_bias", json!(true))])), qkvo);
}

#[test]
fn head_dim_is_the_key_the_default_or_the_quotient() {
    let width = |fixture: &str, head_dim: Value| {
        let config = config(&changed(fixture, &[("head_dim", head_dim)]));
        source_weights(&config).unwrap().find(|weight| weight.name.ends_with("0.self_attn.q_proj.weight"))
    };
    let rows = |weight: Option<SourceWeight>| weight.unwrap().shape[0];
    assert_eq!(rows(width("qwen3", json!(8))), 4 * 8);
    assert_eq!(rows(width("qwen3", json!("undefined"))), 4 * 128);
    assert_eq!(rows(width("qwen3", json!(null))), 64);
    assert_eq!(rows(width("llama", json!("undefined"))), 64);
    assert_eq!(rows(width("llama", json!(30))), 4 * 30);
}

#[test]
fn rope_scaling_is_read_in_all_its_forms() {
    let rope = |scaling: Value| {
        let traced = traced(&changed("llama", &[("rope_scaling", scaling)]));
        assert_eq!(traced.warnings, []);
        let embed = traced.module.function("embed").unwrap().clone();
        let (freqs, table) = (op(&embed, "model.rotary_emb.inv_freq"), op(&embed, "model.rotary_emb.cos"));
        let show = |op: &Op| {
            op.attrs().iter().map(|(name, attr)| format!("{name}={attr}")).collect::<Vec<_>>().join(" ")
        };
        format!("{} | {}", show(&freqs), show(&table))
    };
    let base = "dim=16 theta=10000.0";
    assert_eq!(rope(json!(null)), format!("{base} | "));
    assert_eq!(rope(json!({"type": "default"})), format!("{base} | "));
    assert_eq!(rope(json!({"type": "linear", "factor": 4})), format!("{base} scaling=linear factor=4.0 | "));
    let yarn = "scaling=yarn factor=8.0 beta_fast=32.0 beta_slow=1.0 original_max_position_embeddings";
    assert_eq!(
        rope(json!({"rope_type": "yarn", "factor": 8.0})),
        format!("{base} {yarn}=256 truncate=true | scale={:?}", 0.1 * 8f64.ln() + 1.0)
    );
    assert_eq!(
        rope(json!({
            "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "truncate": false,
            "mscale": 0.7, "mscale_all_dim": 0.7,
        })),
        format!("{base} {yarn}=64 truncate=false | ")
    );
    assert_eq!(
        rope(json!({"rope_type": "yarn", "factor": 8.0, "attention_factor": 1.5})),
        format!("{base} {yarn}=256 truncate=true | scale=1.5")
    );
}

/// Logits of both fixtures with these settings were held against those of transformers 5.23.
#[test]
fn tables_of_several_types_of_layers_are_read_in_all_forms() {
    let freqs = |fixture: &str, parameters: Value| {
        let traced =
            traced(&changed(fixture, &[("rope_scaling", json!(null)), ("rope_parameters", parameters)]));
        let embed = traced.module.function("embed").unwrap().clone();
        ["full", "sliding"].map(|name| {
            let freqs = op(&embed, &format!("model.rotary_emb.{name}_attention.inv_freq"));
            let attrs = freqs.attrs();
            attrs.iter().skip(1).map(|(name, attr)| format!("{name}={attr}")).collect::<Vec<_>>().join(" ")
        })
    };
    let [full, sliding] = freqs(
        "gemma3_text",
        json!({
            "full_attention": {
                "rope_type": "llama3", "rope_theta": 1e6, "factor": 8.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64
            },
            "sliding_attention": {
                "rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0, "original_max_position_embeddings": 32
            },
        }),
    );
    assert_eq!(
        full,
        "theta=1000000.0 scaling=llama3 factor=8.0 low_freq_factor=1.0 high_freq_factor=4.0 \
         original_max_position_embeddings=64"
    );
    assert_eq!(
        sliding,
        "theta=10000.0 scaling=yarn factor=2.0 beta_fast=32.0 beta_slow=1.0 original_max_position_embeddings=32 \
         truncate=true"
    );
    let [full, sliding] = freqs(
        "olmo3",
        json!({
            "full_attention": { "rope_type": "linear", "rope_theta": 5e5, "factor": 4.0 },
            "sliding_attention": { "rope_type": "default", "rope_theta": 1e4 },
        }),
    );
    assert_eq!(
        [full.as_str(), sliding.as_str()],
        ["theta=500000.0 scaling=linear factor=4.0", "theta=10000.0"]
    );
}

/// Key, value and message; the message names the file, the key and the value, never the family's file.
#[test]
fn says_which_setting_does_not_fit() {
    let size = "expected an integer from 1 to 2147483648, found ";
    let cases: Vec<(&str, Value, String)> = [
        ("hidden_act", json!("mish"), "`hidden_act` = \"mish\" is not supported in family llama; supported: silu, gelu,"),
        ("hidden_act", json!(null), "`hidden_act`: expected a text, found nothing"),
        ("hidden_act", json!(7), "`hidden_act`: expected a text, found 7"),
        ("hidden_size", json!("64"), "`hidden_size`: {size}\"64\""),
        ("hidden_size", json!(0), "`hidden_size`: {size}0"),
        ("hidden_size", json!(-64), "`hidden_size`: {size}-64"),
        ("hidden_size", json!(64.5), "`hidden_size`: {size}64.5"),
        ("hidden_size", json!(1u64 << 40), "`hidden_size`: {size}1099511627776"),
        ("hidden_size", json!(u64::MAX), "`hidden_size`: {size}1.84467440737095"),
        ("hidden_size", json!(1e300), "`hidden_size`: {size}1e300"),
        ("hidden_size", json!([64]), "`hidden_size`: {size}[64]"),
        ("hidden_size", json!({"a": 1}), "`hidden_size`: {size}an object"),
        ("hidden_size", json!(true), "`hidden_size`: {size}true"),
        ("hidden_size", json!(null), "`hidden_size`: {size}nothing"),
        ("hidden_size", json!(60), "`hidden_size` = 60, `num_attention_heads` = 4: expected an even size of a head, up to 65536, found 15"),
        ("hidden_size", json!(62), "`hidden_size` = 62, `num_attention_heads` = 4: 62 is no multiple of 4"),
        ("vocab_size", json!(0), "`vocab_size`: {size}0"),
        ("vocab_size", json!(-1), "`vocab_size`: {size}-1"),
        ("intermediate_size", json!("many"), "`intermediate_size`: {size}\"many\""),
        ("num_attention_heads", json!(3), "`hidden_size` = 64, `num_attention_heads` = 3: 64 is no multiple of 3"),
        ("num_attention_heads", json!(0), "`num_attention_heads`: {size}0"),
        ("num_attention_heads", json!("4"), "`num_attention_heads`: {size}\"4\""),
        ("num_key_value_heads", json!(3), "`num_key_value_heads`: expected a divisor of the number of query heads, 4, found 3"),
        ("num_key_value_heads", json!(8), "`num_key_value_heads`: expected a divisor of the number of query heads, 4, found 8"),
        ("num_key_value_heads", json!(0), "`num_key_value_heads`: {size}0"),
        ("head_dim", json!(15), "`head_dim`: expected an even size of a head, up to 65536, found 15"),
        ("head_dim", json!(1 << 17), "`head_dim`: expected an even size of a head, up to 65536, found 131072"),
        ("head_dim", json!(0), "`head_dim`: {size}0"),
        ("head_dim", json!("x"), "`head_dim`: {size}\"x\""),
        ("num_hidden_layers", json!(200_000), "`num_hidden_layers`: expected an integer from 1 to 4096, found 200000"),
        ("num_hidden_layers", json!(0), "`num_hidden_layers`: {size}0"),
        ("num_hidden_layers", json!(-3), "`num_hidden_layers`: {size}-3"),
        ("max_position_embeddings", json!(0), "`max_position_embeddings`: {size}0"),
        ("max_position_embeddings", json!(1u64 << 31), "`max_position_embeddings`: expected a size up to 67108864, found 2147483648"),
        ("rms_norm_eps", json!(-1), "`rms_norm_eps`: expected a number from 0 to 1, found -1"),
        ("rms_norm_eps", json!(2.5), "`rms_norm_eps`: expected a number from 0 to 1, found 2.5"),
        ("rms_norm_eps", json!("1e-6"), "`rms_norm_eps`: expected a number, found \"1e-6\""),
        ("rope_theta", json!(0), "`rope_theta`: expected a number above 1, found 0"),
        ("rope_theta", json!(1), "`rope_theta`: expected a number above 1, found 1"),
        ("rope_theta", json!(-1e4), "`rope_theta`: expected a number above 1, found -10000.0"),
        ("rope_theta", json!("x"), "`rope_theta`: expected a number, found \"x\""),
        ("attention_bias", json!(1), "`attention_bias`: expected true or false, found 1"),
        ("tie_word_embeddings", json!("no"), "`tie_word_embeddings` = \"no\": `if` takes true, false or null, found \"no\""),
        ("torch_dtype", json!("int8"), "`torch_dtype`: expected bfloat16, float16 or float32, found \"int8\""),
        ("torch_dtype", json!("float12"), "`torch_dtype`: expected bfloat16, float16, float32 or auto, found \"float12\""),
        ("torch_dtype", json!(16), "`torch_dtype`: expected a string, found 16"),
        ("architectures", json!("LlamaForCausalLM"), "`architectures`: expected a list, found \"LlamaForCausalLM\""),
        ("architectures", json!([1]), "`architectures[0]`: expected a string, found 1"),
        ("model_type", json!(["llama"]), "`model_type`: expected a string, found a list of 1"),
        ("rope_scaling", json!({"type": "linear"}), "`rope_scaling.factor`: expected a number above 0, found nothing"),
        ("rope_scaling", json!({"type": "linear", "factor": 0}), "`rope_scaling.factor`: expected a number above 0, found 0"),
        ("rope_scaling", json!({"type": "linear", "factor": "4"}), "`rope_scaling.factor`: expected a number, found \"4\""),
        ("rope_scaling", json!({"type": 7}), "`rope_scaling.type`: expected a text, found 7"),
        ("rope_scaling", json!({"type": "wavy", "factor": 2}), "`rope_scaling.type` = \"wavy\" is not supported in family llama; supported: default, linear"),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8, "low_freq_factor": 4, "high_freq_factor": 1}), "`rope_scaling.high_freq_factor`: expected a number above low_freq_factor, 4, found 1"),
        ("rope_scaling", json!({"rope_type": "llama3", "factor": 8, "high_freq_factor": 1}), "`rope_scaling.low_freq_factor`: expected a number above 0, found nothing"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 8, "beta_fast": -1}), "`rope_scaling.beta_fast`: expected a number above 0, found -1"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 8, "original_max_position_embeddings": 0}), "`rope_scaling.original_max_position_embeddings`: {size}0"),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 8, "truncate": "no"}), "`rope_scaling.truncate`: expected true or false, found \"no\""),
        ("rope_scaling", json!({"full_attention": {"rope_theta": 1e4}}), "`rope_scaling.full_attention` = an object is not supported in family llama; supported: one set"),
        ("sliding_window", json!(128), "`sliding_window` = 128: attention to a window of the last tokens"),
        ("quantization_config", json!({"quant_method": "fp8"}), "`quantization_config` = {\"quant_method\":\"fp8\"}: weights that are quantised"),
    ]
    .map(|(key, value, message)| (key, value, message.replace("{size}", size)))
    .into();
    for (key, value, expected) in cases {
        let message = refusal("llama", &[(key, value.clone())]);
        assert!(
            message.starts_with("config.json: ") && message.contains(&expected),
            "{key} = {value}: {message}"
        );
        assert!(!message.contains(".yaml"), "{message}");
    }
}

#[test]
fn says_what_a_family_does_not_support() {
    for (fixture, keys, expected) in [
        (
            "qwen2_tied",
            vec![("layer_types", json!(["full_attention"]))],
            "`layer_types` = [\"full_attention\"], `num_hidden_layers` = 3 is not supported in family qwen2; supported: \
             full_attention or sliding_attention, one for each layer",
        ),
        (
            "qwen3_f32",
            vec![("layer_types", json!(["full_attention", "linear_attention"]))],
            "`layer_types` = [\"full_attention\", \"linear_attention\"], `num_hidden_layers` = 2 is not supported",
        ),
        (
            "qwen3",
            vec![("num_key_value_heads", json!("undefined"))],
            "`num_key_value_heads`: expected a divisor of the number of query heads, 4, found 32, the default",
        ),
        (
            "llama",
            vec![
                ("rope_scaling", json!(null)),
                ("rope_theta", json!("undefined")),
                ("rope_parameters", json!({"full_attention": {"rope_theta": 1e4, "rope_type": "default"}})),
            ],
            "`rope_parameters.full_attention` = an object is not supported in family llama; supported: one set",
        ),
        (
            "qwen3",
            vec![
                ("num_experts", json!(8)),
                ("norm_topk_prob", json!(true)),
                ("attn_logit_softcapping", json!(50.0)),
            ],
            "config.json: the config asks for what family qwen3 of mscc lacks:
  `num_experts` = 8: a mixture of experts
  `norm_topk_prob` = true: a mixture of experts
  `attn_logit_softcapping` = 50.0: a soft cap on scores or logits",
        ),
    ] {
        let message = refusal(fixture, &keys);
        assert!(message.contains(expected), "{message}");
    }
    let harmless = [("use_sliding_window", json!(true)), ("max_window_layers", json!(3))];
    assert_eq!(warnings("qwen2_tied", &harmless), [""; 0]);
    let other_name = [("model_type", json!("my_llama"))];
    let told = warnings("llama", &other_name);
    assert!(
        told.len() == 1 && told[0].contains("`model_type` = \"my_llama\" is read as \"llama\""),
        "{told:?}"
    );
}

#[test]
fn an_unknown_architecture_is_held_against_the_nearest() {
    let families: Vec<&str> = families::builtin().iter().map(|family| family.model_type.as_str()).collect();
    let families = families.join(", ");
    for (fixture, model_type, keys, expected) in [
        (
            "llama",
            json!("lama"),
            vec![],
            "config.json: there is no family for `model_type` = \"lama\"; known are {families}
  the nearest is llama, which knows all keys of this config; if it is one, set `model_type` to \"llama\"",
        ),
        (
            "llama",
            json!("lama_moe"),
            vec![("num_local_experts", json!(8)), ("sliding_window", json!(null))],
            "the nearest is mixtral, which knows all keys of this config; if it is one, set `model_type` to \"mixtral\"",
        ),
        (
            "qwen3",
            json!("qwen3s"),
            vec![("num_experts", json!(8)), ("moe_of_mine", json!(1))],
            "the nearest is qwen3_moe, which does not know `moe_of_mine`\n",
        ),
        (
            "qwen3",
            json!("qwen3s"),
            vec![("attention_sink", json!(8)), ("moe_of_mine", json!(1))],
            "the nearest is qwen3, which does not know `moe_of_mine` and lacks\n  `attention_sink` = 8: another form",
        ),
        ("llama", json!("x"), vec![("magic", json!(1))], ", which does not know `magic`"),
        (
            "llama",
            json!("own"),
            vec![("auto_map", json!({"AutoModelForCausalLM": "modeling_own.Own"}))],
            " (Python code that comes with a model is never run)",
        ),
        ("llama", json!("undefined"), vec![], "there is no family for `architectures` = \"Own\"; known are"),
    ] {
        let mut all = vec![("model_type", model_type), ("architectures", json!(["Own"]))];
        all.extend(keys);
        let message = refusal(fixture, &all);
        let expected = expected.replace("{families}", &families);
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn the_nearest_is_the_one_whose_tensors_fit() {
    for (fixture, nearest) in
        [("qwen3", "qwen3"), ("olmo2", "olmo2"), ("qwen3_moe", "qwen3_moe"), ("phi", "phi")]
    {
        let keys = [("model_type", json!("lark")), ("architectures", json!(["LarkForCausalLM"]))];
        let checkpoint =
            ModelDir::open(&data("fixtures").join(fixture)).unwrap().checkpoint().unwrap().unwrap();
        let error = trace(&config(&changed(fixture, &keys)), Some(&checkpoint), &options(DType::F32));
        let message = error.unwrap_err().to_string();
        assert!(message.contains(&format!("the nearest is {nearest}, which knows all keys")), "{message}");
        assert!(!message.contains("tensors differ"), "{message}");
    }
    let keys = [("model_type", json!("lark")), ("architectures", json!([])), ("num_hidden_layers", json!(4))];
    let checkpoint = ModelDir::open(&data("fixtures/llama")).unwrap().checkpoint().unwrap().unwrap();
    let error = trace(&config(&changed("llama", &keys)), Some(&checkpoint), &options(DType::F32));
    let message = error.unwrap_err().to_string();
    assert!(
        message.contains(
            "\n  its tensors differ:\n  model.layers.3.input_layernorm.weight: expected [64], but it is"
        ),
        "{message}"
    );
}

#[test]
fn warns_of_keys_that_nobody_knows() {
    let keys = [
        ("num_key_value_head", json!(2)),
        ("shine", json!(2.0)),
        ("rope_scaling", json!({"rope_type": "linear", "factor": 2, "facter": 2})),
    ];
    assert_eq!(
        warnings("llama", &keys),
        [
            "config.json: `rope_scaling.facter` is not known and not read, did you mean `rope_scaling.factor`?",
            "config.json: `num_key_value_head` is not known and not read, did you mean `num_key_value_heads`?",
            "config.json: `shine` is not known and not read",
        ]
    );
    let strict = TraceOptions { strict: true, ..options(DType::F32) };
    let error = trace(&config(&changed("llama", &keys)), None, &strict).unwrap_err().to_string();
    assert!(error.contains("errors here:\n") && error.contains("`shine` is not known"), "{error}");
    assert!(
        warnings("llama", &[("architectures", json!(["LlamaForTokenClassification"]))])[0]
            .contains("none of LlamaForCausalLM")
    );
    let long = TraceOptions { max_model_len: Some(1000), ..options(DType::F32) };
    let traced = trace(&config(&changed("llama", &[])), None, &long).unwrap();
    assert_eq!(
        traced.warnings[0].to_string(),
        "max_model_len is 1000, but the model was trained for 256 tokens"
    );
    let ignored: Vec<&str> = traced.ignored.iter().map(|ignored| ignored.name.as_str()).collect();
    assert_eq!(ignored, ["`attention_dropout`", "`use_cache`", "`initializer_range`"]);
}

/// `{:#}` of `anyhow` prints an error and its sources; none may say what the other has said.
#[test]
fn no_error_says_the_same_twice() {
    for keys in [
        [("num_attention_heads", json!(3))],
        [("head_dim", json!(15))],
        [("hidden_size", json!("x"))],
        [("model_type", json!(1))],
    ] {
        let error = trace(&config(&changed("llama", &keys)), None, &options(DType::F32)).unwrap_err();
        let mut source = std::error::Error::source(&error);
        while let Some(inner) = source {
            assert!(!error.to_string().contains(&inner.to_string()), "{error}");
            source = inner.source();
        }
    }
}

#[test]
fn refuses_options_out_of_range() {
    let config = config(&changed("llama", &[]));
    for options in [
        TraceOptions { compute_dtype: DType::I8, ..options(DType::F32) },
        TraceOptions { block_size: 0, ..options(DType::F32) },
        TraceOptions { max_num_seqs: u32::MAX, ..options(DType::F32) },
    ] {
        assert!(trace(&config, None, &options).is_err());
    }
}

#[test]
fn lists_all_tensors_that_do_not_fit() {
    let config = config(&changed("qwen3", &[]));
    let mut tensors: Vec<SourceWeight> = source_weights(&config).unwrap().collect();
    tensors.retain(|weight| !weight.name.ends_with("up_proj.weight"));
    for weight in &mut tensors {
        match weight.name.as_str() {
            "model.layers.1.self_attn.q_norm.weight" => weight.shape = vec![16],
            "model.layers.2.mlp.gate_proj.weight" => weight.dtype = DType::I8,
            "model.norm.weight" => weight.name = "model.norn.weight".to_owned(),
            _ => {}
        }
    }
    let (dir, checkpoint) = checkpoint(&tensors);
    let error = trace(&config, Some(&checkpoint), &options(DType::F32)).unwrap_err().to_string();
    let expected = format!(
        "the checkpoint in {} does not fit the config:
  model.layers.2.mlp.gate_proj.weight: expected BF16, F16, F32 or F64, found I8
  model.layers.{{i}}.mlp.up_proj.weight: expected [136, 64], but it is missing (layers 0-2)
  model.layers.1.self_attn.q_norm.weight: expected [24], found [16]
  model.norm.weight: expected [64], but it is missing, did you mean `model.norn.weight`?",
        dir.path().display()
    );
    assert_eq!(error, expected);
}

#[test]
fn long_lists_of_tensors_are_cut() {
    let config = config(&changed("llama", &[("attention_bias", json!(true)), ("mlp_bias", json!(true))]));
    let (_dir, checkpoint) = checkpoint(&[]);
    let error = trace(&config, Some(&checkpoint), &options(DType::F32)).unwrap_err().to_string();
    assert!(error.lines().count() < 30 && error.contains("(layers 0-2)"), "{error}");
    // Layers of many kinds: 300 kinds would be refused, 200 have 12 problems each.
    let wide: Vec<Value> = (0..200).map(Value::from).collect();
    let family = USERS.replace("if i in wide then 4 * width else 2 * width", "width + i");
    let family = Family::parse("mine.yaml", &family).unwrap();
    let config = self::config(&json!({"width": 16, "n_layer": 200, "wide": wide}));
    let error =
        trace_family(&family, &config, Some(&checkpoint), &options(DType::F32)).unwrap_err().to_string();
    assert!(error.lines().count() < 30 && error.contains("\n  and "), "{error}");
}

#[test]
fn a_tensor_belongs_to_one_slot() {
    let text = USERS.replace("post: { block: rms_norm,", "post: { block: rms_norm, at: ln_1,");
    let family = Family::parse("mine.yaml", &text).unwrap();
    let config = config(&json!({"width": 16, "n_layer": 4}));
    let error = trace_family(&family, &config, None, &options(DType::F32)).unwrap_err().to_string();
    assert_eq!(error, "mine.yaml: slots `ln_1` and `post` both read `h.{i}.ln_1.weight`");
}

#[test]
fn layers_of_other_stored_types_are_another_kind() {
    let config = config(&changed("qwen3", &[("num_hidden_layers", json!(4))]));
    let mut tensors: Vec<SourceWeight> = source_weights(&config).unwrap().collect();
    for weight in &mut tensors {
        if weight.name.contains(".1.mlp") || weight.name.starts_with("model.embed") {
            weight.dtype = DType::F32;
        }
    }
    let (_dir, checkpoint) = checkpoint(&tensors);
    let module = trace(&config, Some(&checkpoint), &options(DType::BF16)).unwrap().module;
    let names: Vec<&str> = module.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["embed", "layer_0", "layer_1", "head"]);
    let calls: Vec<_> = module.program.iter().map(|call| (call.function, call.layers.clone())).collect();
    assert_eq!(calls, [(0, 0..1), (1, 0..1), (2, 1..2), (1, 2..4), (3, 4..5)]);
    assert!(matches!(op(module.function("embed").unwrap(), "model.embed_tokens.cast"), Op::Cast(_)));
    assert!(module.caches[0].layers.iter().cloned().eq(std::iter::once(0..4)));
}

#[test]
fn says_which_stored_tensors_are_not_used() {
    let config = config(&changed("qwen2_tied", &[]));
    let mut tensors: Vec<SourceWeight> = source_weights(&config).unwrap().collect();
    let mut add = |name: &str, shape: &[u64]| {
        tensors.push(SourceWeight { name: name.to_owned(), shape: shape.to_vec(), dtype: DType::F32 });
    };
    add("lm_head.weight", &[512, 64]);
    add("model.layers.3.eh_proj.weight", &[64, 64]);
    add("model.layers.0.self_attn.rotary_emb.inv_freq", &[8]);
    add("model.layers.0.self_attn.o_proj.bias", &[64]);
    add("model.layers.1.self_attn.o_proj.bias", &[64]);
    let (_dir, checkpoint) = checkpoint(&tensors);
    let traced = trace(&config, Some(&checkpoint), &options(DType::F32)).unwrap();
    let warnings: Vec<String> = traced.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "`lm_head.weight` is tied to `model.embed_tokens.weight` by the config, but stored on its own: \
             the stored one is used",
            "tensors of layers from 3 on are not read, 1 in all: the config has 3 layers",
            "2 tensors of the checkpoint are not read: model.layers.*.self_attn.o_proj.bias, \
             did you mean `model.layers.*.self_attn.k_proj.bias`?",
        ]
    );
    assert!(traced.source_weights().any(|weight| weight.name == "lm_head.weight"));
    let skipped = traced.ignored.last().unwrap().to_string();
    assert_eq!(skipped, "1 tensors `*.rotary_emb.inv_freq`: computed from the config");
}

const USERS: &str = "
model_type: mine
architectures: []
config: { width: null, n_layer: null, wide: [], max: 64, eps: 1.0e-5 }
max_model_len: max
embed_tokens: { block: embedding, at: wte, num_embeddings: 32, embedding_dim: width }
rotary_emb: { block: rotary_embedding, dim: width / 2, theta: 500 }
layers:
  at: h.{i}
  count: n_layer
  slots:
    ln_1: { block: rms_norm, eps: eps }
    post: { block: rms_norm, eps: eps }
    attn:
      block: attention
      num_attention_heads: 2
      num_key_value_heads: 1
      head_dim: width / 2
      names: { q_proj: query, o_proj: out.dense }
    mlp:
      block: gated_mlp
      at: feed_forward
      intermediate_size: \"if i in wide then 4 * width else 2 * width\"
      hidden_act: \"'swish'\"
      names: { gate_proj: w1, up_proj: w3, down_proj: w2 }
  steps:
    normed: ln_1(hidden_states)
    output: hidden_states + post(attn(normed)) + mlp(normed)
norm: { block: rms_norm, at: ln_f, eps: eps }
lm_head: { block: linear, at: out, out_features: 32, bias: true }
";

#[test]
fn a_family_of_the_users_needs_no_code() {
    let family = Family::parse("mine.yaml", USERS).unwrap();
    let config = config(&json!({"width": 16, "n_layer": 4, "wide": [1, 2]}));
    let traced = trace_family(&family, &config, None, &options(DType::F32)).unwrap();
    assert_eq!(traced.warnings, []);
    let calls: Vec<_> =
        traced.module.program.iter().map(|call| (call.function, call.layers.clone())).collect();
    assert_eq!(calls, [(0, 0..1), (1, 0..1), (2, 1..3), (1, 3..4), (3, 4..5)]);
    let names: Vec<String> =
        traced.source_weights().map(|weight| format!("{} {:?}", weight.name, weight.shape)).collect();
    for name in [
        "wte.weight [32, 16]",
        "h.1.attn.query.weight [16, 16]",
        "h.1.attn.out.dense.weight [16, 16]",
        "h.1.feed_forward.w1.weight [64, 16]",
        "h.3.feed_forward.w2.weight [16, 32]",
        "out.bias [32]",
    ] {
        assert!(names.iter().any(|other| other == name), "{name}: {names:?}");
    }
}

#[test]
fn family_files_are_refused_with_the_place() {
    for (from, to, expected) in [
        (
            "eps: eps }\n    post",
            "epz: eps }\n    post",
            "12:30: unknown key `epz`, did you mean `eps`?: expected if, block, at,",
        ),
        (
            "block: gated_mlp",
            "block: gated_mpl",
            "21:14: there is no block `gated_mpl`, did you mean `gated_mlp`?",
        ),
        (
            "count: n_layer",
            "count: n_layers",
            "10:10: there is no key in `config` `n_layers`, did you mean `n_layer`?",
        ),
        (
            "block: rms_norm, at",
            "block: embedding, at",
            "slot `norm` takes a block that makes hidden states of hidden states",
        ),
        (
            "head_dim: width / 2",
            "head_dim: width /",
            "18:17: in `width /`, at character 8: expected a value, found the end",
        ),
        ("mlp(normed)", "mpl(normed)", "28:13: there is no slot `mpl`, did you mean `mlp`?"),
        ("mlp(normed)", "mlp(norm)", "there is no step `norm`"),
        (" + mlp(normed)", "", "no step uses slot `mlp`"),
        (" + mlp(normed)", " * mlp(normed)", "at character 38: there is no function `mlp` of 1 arguments"),
        ("at: h.{i}", "at: h.{j}", "9:7: bad placeholder in `h.{j}`"),
        ("at: h.{i}", "at: h", "9:7: expected a path with {i}, found \"h\""),
        ("dim: width / 2,", "", "7:13: `dim` is missing"),
        ("max_model_len: max", "max_model_len: i", "there is no key in `config` `i`"),
        ("architectures: []", "architectures: none", "3:16: expected a list, found \"none\""),
        ("norm: {", "norm: [", "mine.yaml:"),
        ("model_type: mine", "model_type: mine\nmodel_type: mine", "mine.yaml:3:1: "),
    ] {
        assert!(USERS.contains(from), "{from}");
        let text = USERS.replacen(from, to, 1);
        let message = Family::parse("mine.yaml", &text).unwrap_err().to_string();
        assert!(
            message.starts_with("mine.yaml:") && message.contains(expected),
            "{expected}
{message}"
        );
    }
    let huge = format!("model_type: {}", "x".repeat(1 << 20));
    assert!(Family::parse("mine.yaml", &huge).is_err());
    assert!(Family::parse("mine.yaml", &"[".repeat(10_000)).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0i64..5).prop_map(Value::from),
        Just(json!(1u64 << 31)),
        any::<f64>().prop_map(Value::from),
        Just(json!("silu")),
        Just(json!(["full_attention"])),
        Just(json!({"rope_type": "yarn", "factor": 0.5, "beta_fast": 0})),
    ]
}

/// An object with keys that configs have, and others, around anything.
fn any_object() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        prop::sample::select(vec![
            "model_type",
            "architectures",
            "rope_parameters",
            "rope_scaling",
            "rope_theta",
            "full_attention",
            "factor",
            "type",
            "dtype",
            "hidden_size",
            "head_dim",
            "num_experts",
            "quantization_config",
            "text_config",
            "eos_token_id",
        ])
        .prop_map(str::to_owned),
        "[a-z_.é]{0,12}",
    ];
    let leaf =
        prop_oneof![any_json(), Just(json!("llama")), Just(json!("qwen3")), ".{0,80}".prop_map(Value::from)];
    let tree = leaf.prop_recursive(4, 32, 6, move |inner| {
        let entries = prop::collection::vec((key.clone(), inner.clone()), 0..6);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Value::from),
            entries.prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    });
    (tree, prop::option::of(Just(json!("llama")))).prop_map(|(tree, model_type)| {
        let mut object = if tree.is_object() { tree } else { json!({ "hidden_act": tree }) };
        if let Some(model_type) = model_type {
            object["model_type"] = model_type;
        }
        object
    })
}

/// Errors that say that a family or a block is wrong, which no config may cause.
fn blames_the_family(error: &TraceError) -> bool {
    matches!(
        error,
        TraceError::Misfit(_)
            | TraceError::Step { .. }
            | TraceError::Unsound { .. }
            | TraceError::ClaimedTwice { .. }
            | TraceError::TooLarge { .. }
    )
}

proptest! {
    #[test]
    fn no_config_makes_it_panic(
        fixture in prop::sample::select(vec!["llama", "qwen2_tied", "qwen3"]),
        keys in prop::collection::vec(
            (prop::sample::select(vec![
                "vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads",
                "head_dim", "rms_norm_eps", "rope_theta", "rope_scaling", "max_position_embeddings", "layer_types",
                "attention_bias", "tie_word_embeddings", "torch_dtype", "hidden_act", "use_sliding_window",
            ]), any_json()),
            1..4,
        ),
    ) {
        let text = changed(fixture, &keys).to_string();
        if let Ok(config) = HfConfig::parse(Path::new("config.json"), text.as_bytes()) {
            let done = trace(&config, None, &options(DType::F32));
            prop_assert!(!done.as_ref().is_err_and(blames_the_family), "{} {:?}", text, done);
        }
    }

    #[test]
    fn no_object_makes_it_panic(object in any_object()) {
        let text = object.to_string();
        if let Ok(config) = HfConfig::parse(Path::new("config.json"), text.as_bytes()) {
            let done = trace(&config, None, &options(DType::F32));
            prop_assert!(!done.as_ref().is_err_and(blames_the_family), "{} {:?}", text, done);
            if let Err(error) = done {
                prop_assert!(error.to_string().len() < 16 << 10);
            }
        }
    }

    #[test]
    fn no_change_of_a_family_makes_it_panic(at in 0..USERS.len(), with in "[a-z0-9{}\\[\\]:, \n'\"?+-]{0,4}") {
        let text = format!("{}{with}{}", &USERS[..at], &USERS[at + 1..]);
        if let Ok(family) = Family::parse("mine.yaml", &text) {
            let config = config(&json!({"width": 16, "n_layer": 4, "wide": [1, 2]}));
            let _ = trace_family(&family, &config, None, &options(DType::F32));
        }
    }
}
