//! config.json.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::model::{Model, Tensor};
use crate::{COMPILE, refused};

#[test]
fn not_json() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("empty", |m| m.write("config.json", "")),
            ("blank", |m| m.write("config.json", " \n\n")),
            ("cut", |m| m.write("config.json", &m.read("config.json")[..40])),
            ("comma behind the last key", |m| m.replace("config.json", "}", ",}")),
            ("comment", |m| m.replace("config.json", "{", "{ // a model\n")),
            ("text behind it", |m| m.replace("config.json", "}", "}\n}")),
            ("two documents", |m| m.write("config.json", m.read("config.json").repeat(2))),
            ("Python dict", |m| m.write("config.json", "{'model_type': 'llama', 'use_cache': True}")),
            ("YAML", |m| m.write("config.json", "model_type: llama\nhidden_size: 16\n")),
            ("web page", |m| m.write("config.json", "<!DOCTYPE html>\n<html><body>404</body></html>\n")),
            ("LFS pointer", |m| m.write("config.json", LFS_POINTER)),
            ("zero bytes", |m| m.write("config.json", [0; 64])),
            ("compressed", |m| m.write("config.json", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xe6\x02")),
            ("larger than any config", |m| m.write("config.json", vec![b' '; (16 << 20) + 1])),
            ("control character in a text", |m| m.replace("config.json", "silu", "si\u{1}lu")),
            ("half a surrogate pair", |m| m.replace("config.json", "silu", "\\ud800")),
            ("bad escape", |m| m.replace("config.json", "silu", "\\x41")),
            ("leading zero", |m| m.replace("config.json", ":16,", ":016,")),
            ("hexadecimal number", |m| m.replace("config.json", ":16,", ":0x10,")),
            ("NaN", |m| m.replace("config.json", ":10000.0", ":NaN")),
            ("Infinity", |m| m.replace("config.json", ":10000.0", ": Infinity")),
            ("-Infinity", |m| m.replace("config.json", ":10000.0", ":-Infinity")),
            ("number beyond f64", |m| m.replace("config.json", ":10000.0", ":1e999")),
        ]
    ));
}

#[test]
fn encodings() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("UTF-8 with a byte order mark", |m| {
                m.write("config.json", [b"\xef\xbb\xbf", &m.read("config.json")[..]].concat());
            }),
            ("UTF-16, little endian", |m| {
                let text = String::from_utf8(m.read("config.json")).unwrap();
                let units = std::iter::once(0xfeff).chain(text.encode_utf16());
                m.write("config.json", units.flat_map(u16::to_le_bytes).collect::<Vec<_>>());
            }),
            ("UTF-16, big endian", |m| {
                let text = String::from_utf8(m.read("config.json")).unwrap();
                let units = std::iter::once(0xfeff).chain(text.encode_utf16());
                m.write("config.json", units.flat_map(u16::to_be_bytes).collect::<Vec<_>>());
            }),
            ("UTF-16 without a byte order mark", |m| {
                let text = String::from_utf8(m.read("config.json")).unwrap();
                m.write("config.json", text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>());
            }),
            ("Latin-1", |m| {
                m.write("config.json", b"{\"model_type\": \"llama\",\n \"author\": \"Andr\xe9\"}");
            }),
        ]
    ));
}

#[test]
fn structure() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("null", |m| m.write("config.json", "null")),
            ("list", |m| m.write("config.json", "[{}]")),
            ("text", |m| m.write("config.json", "\"llama\"")),
            ("number", |m| m.write("config.json", "7")),
            ("no keys", |m| m.write("config.json", "{}")),
            ("the same key twice", |m| m.replace("config.json", "{", "{\"hidden_size\":16,")),
            ("objects in objects", |m| {
                m.config("extra", json!(0));
                let deep = format!("\"extra\":{}0{}", "{\"a\":".repeat(100), "}".repeat(100));
                m.replace("config.json", "\"extra\":0", &deep);
            }),
            ("a million brackets", |m| m.write("config.json", format!("{{\"a\":{}", "[".repeat(1_000_000)))),
        ]
    ));
}

#[test]
fn family() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("neither model_type nor architectures", |m| {
                m.unset("config.json", "model_type");
                m.unset("config.json", "architectures");
            }),
            ("model_type is a number", |m| m.config("model_type", json!(3))),
            ("model_type is misspelt", |m| {
                m.config("model_type", json!("lama"));
                m.unset("config.json", "architectures");
            }),
            ("model_type is unknown", |m| {
                m.config("model_type", json!("mamba2"));
                m.config("architectures", json!(["Mamba2ForCausalLM"]));
            }),
            ("model_type is a path", |m| {
                m.config("model_type", json!("../../../etc/passwd"));
                m.config("architectures", json!([]));
            }),
            ("model_type is empty", |m| {
                m.config("model_type", json!(""));
                m.config("architectures", json!([]));
            }),
            ("architectures is a text", |m| m.config("architectures", json!("LlamaForCausalLM"))),
            ("architectures holds numbers", |m| m.config("architectures", json!([1]))),
        ]
    ));
}

#[test]
fn sizes() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("hidden_size is a text", |m| m.config("hidden_size", json!("16"))),
            ("hidden_size is a fraction", |m| m.config("hidden_size", json!(16.5))),
            ("hidden_size is negative", |m| m.config("hidden_size", json!(-16))),
            ("hidden_size is 0", |m| m.config("hidden_size", json!(0))),
            ("hidden_size is null", |m| m.config("hidden_size", Value::Null)),
            ("hidden_size is a list", |m| m.config("hidden_size", json!([16]))),
            ("hidden_size is an object", |m| m.config("hidden_size", json!({ "value": 16 }))),
            ("hidden_size is true", |m| m.config("hidden_size", json!(true))),
            ("hidden_size is 2^63", |m| m.config("hidden_size", json!(1u64 << 63))),
            ("hidden_size is 1e30", |m| m.config("hidden_size", json!(1e30))),
            ("hidden_size has 40 digits", |m| {
                m.replace(
                    "config.json",
                    "\"hidden_size\":16",
                    &format!("\"hidden_size\":{}", "9".repeat(40)),
                );
            }),
            ("no hidden_size, whose default is another", |m| m.unset("config.json", "hidden_size")),
            ("vocab_size is 0", |m| m.config("vocab_size", json!(0))),
            ("vocab_size is another than the weights'", |m| m.config("vocab_size", json!(33))),
            ("intermediate_size is another than the weights'", |m| m.config("intermediate_size", json!(32))),
            ("num_hidden_layers is 0", |m| m.config("num_hidden_layers", json!(0))),
            ("num_hidden_layers is one more than stored", |m| m.config("num_hidden_layers", json!(3))),
            ("num_hidden_layers is a billion", |m| m.config("num_hidden_layers", json!(1_000_000_000))),
            ("num_attention_heads is 0", |m| m.config("num_attention_heads", json!(0))),
            ("num_attention_heads does not divide hidden_size", |m| {
                m.config("num_attention_heads", json!(3));
                m.unset("config.json", "head_dim");
            }),
            ("num_key_value_heads is 0", |m| m.config("num_key_value_heads", json!(0))),
            ("num_key_value_heads does not divide num_attention_heads", |m| {
                m.config("num_key_value_heads", json!(3));
            }),
            ("head_dim is odd", |m| m.config("head_dim", json!(7))),
            ("max_position_embeddings is 0", |m| m.config("max_position_embeddings", json!(0))),
            ("max_position_embeddings is a text", |m| m.config("max_position_embeddings", json!("64"))),
        ]
    ));
}

#[test]
fn settings() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("rms_norm_eps is a text", |m| m.config("rms_norm_eps", json!("1e-6"))),
            ("rms_norm_eps is negative", |m| m.config("rms_norm_eps", json!(-1e-6))),
            ("rope_theta is 0", |m| m.config("rope_theta", json!(0))),
            ("rope_theta is negative", |m| m.config("rope_theta", json!(-1))),
            ("rope_theta is a list", |m| m.config("rope_theta", json!([10000]))),
            ("rope_scaling is a list", |m| m.config("rope_scaling", json!([]))),
            ("rope_scaling of an unknown type", |m| m
                .config("rope_scaling", json!({ "rope_type": "spiral" }))),
            ("rope_scaling without its factor", |m| m.config("rope_scaling", json!({ "type": "linear" }))),
            ("rope_scaling with factor 0", |m| {
                m.config("rope_scaling", json!({ "type": "linear", "factor": 0 }));
            }),
            ("rope_scaling and rope_parameters disagree", |m| {
                m.config("rope_scaling", json!({ "type": "linear", "factor": 2 }));
                m.config("rope_parameters", json!({ "rope_type": "default" }));
            }),
            ("hidden_act is unknown", |m| m.config("hidden_act", json!("swish7"))),
            ("hidden_act is a number", |m| m.config("hidden_act", json!(1))),
            ("tie_word_embeddings is a text", |m| m.config("tie_word_embeddings", json!("false"))),
            ("torch_dtype is a number", |m| m.config("torch_dtype", json!(16))),
            ("torch_dtype is unknown", |m| m.config("torch_dtype", json!("bfloat17"))),
            ("torch_dtype is of integers", |m| m.config("torch_dtype", json!("int8"))),
            ("quantised", |m| {
                m.config("quantization_config", json!({ "quant_method": "gptq", "bits": 4 }));
            }),
            ("biases that the weights lack", |m| m.config("attention_bias", json!(true))),
            ("eos_token_id is a text", |m| m.config("eos_token_id", json!("</s>"))),
            ("eos_token_id is a list of lists", |m| m.config("eos_token_id", json!([[2]]))),
            ("eos_token_id is 2^40", |m| m.config("eos_token_id", json!(1u64 << 40))),
            ("bos_token_id is a fraction", |m| m.config("bos_token_id", json!(1.5))),
        ]
    ));
}

#[test]
fn more_than_any_plan_holds() {
    const CONFIG_ONLY: &[&str] = &["compile", "model", "--config-only", "-o", "plan.bin"];
    assert_snapshot!(refused(
        CONFIG_ONLY,
        &[
            ("a hundred thousand layers", |m| m.config("num_hidden_layers", json!(100_000))),
            ("40000 experts in 60 layers", |m| {
                mixture(m, 40_000);
                m.config("num_hidden_layers", json!(60));
            }),
            ("a million experts", |m| mixture(m, 1_000_000)),
        ]
    ));
}

#[test]
fn experts_that_are_not_stored() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("all of 64", |m| mixture(m, 64)),
            ("all but some", |m| {
                mixture(m, 4);
                m.edit_tensors(|tensors| {
                    for (layer, expert) in [(0, 1), (0, 2), (1, 1), (1, 3)] {
                        for name in ["gate_proj", "up_proj"] {
                            let name = format!("model.layers.{layer}.mlp.experts.{expert}.{name}.weight");
                            tensors.push(Tensor::new(&name, &[16, 16]));
                        }
                    }
                });
            }),
        ]
    ));
}

#[test]
fn what_a_family_cannot_do() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("a window shorter than sequences", |m| m.config("sliding_window", json!(60))),
            ("attention in chunks", |m| {
                m.config("dual_chunk_attention_config", json!({ "chunk_size": 60, "local_size": 12 }));
            }),
            ("a window of 0 in some layers", |m| {
                m.config("model_type", json!("gpt_oss"));
                m.config("sliding_window", json!(0));
            }),
            ("no window in layers that have one", |m| {
                m.config("model_type", json!("gemma2"));
                m.config("sliding_window", Value::Null);
            }),
            ("windows that are switched off in layers that have one", |m| {
                mixture(m, 4);
                m.config("model_type", json!("qwen2_moe"));
                m.config("use_sliding_window", json!(false));
                m.config("layer_types", json!(["sliding_attention", "full_attention"]));
            }),
            ("an odd number of elements that are rotated", |m| {
                m.config("model_type", json!("phi"));
                m.unset("config.json", "head_dim");
                m.unset("config.json", "rms_norm_eps");
                m.config("partial_rotary_factor", json!(0.4));
            }),
        ]
    ));
}

/// Asks for a mixture of experts.
fn mixture(model: &Model, num_experts: u32) {
    model.config("model_type", json!("qwen3_moe"));
    model.config("architectures", json!(["Qwen3MoeForCausalLM"]));
    model.config("num_experts", json!(num_experts));
    model.config("num_experts_per_tok", json!(2));
    model.config("moe_intermediate_size", json!(16));
}

/// What Git leaves in place of a large file.
pub const LFS_POINTER: &str = "version https://git-lfs.github.com/spec/v1\n\
    oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
