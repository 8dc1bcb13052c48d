//! Keys of config.json that ask for something, and the values with which they ask for nothing.

use serde_json::Value;

use super::fields::Fields;

/// What a key of config.json asks for.
///
/// The table of features is about keys that a family does not read: what another family reads, or what changes
/// models that mscc does not have. With a neutral value such a key changes nothing, whatever the family.
#[derive(Debug)]
pub struct Feature {
    /// The key, in the spelling of [`HfConfig`](super::HfConfig).
    pub key: &'static str,
    /// Whether the value asks for nothing, in this config.
    pub is_neutral: fn(&Value, &Fields) -> bool,
    /// Up to which length of sequences, in tokens, the value changes nothing; if there is such a length.
    pub reach: fn(&Value, &Fields) -> Option<u64>,
    /// What any other value asks for.
    pub what: &'static str,
}

/// The feature of a key, if it is known.
pub fn feature(key: &str) -> Option<&'static Feature> {
    FEATURES.binary_search_by_key(&key, |feature| feature.key).ok().map(|at| &FEATURES[at])
}

/// All keys with a feature, sorted.
pub(crate) fn feature_keys() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().map(|feature| feature.key)
}

/// Whether a value switches off whatever its key stands for.
pub(crate) fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn off(value: &Value, _: &Fields) -> bool {
    is_off(value)
}

fn on(value: &Value, _: &Fields) -> bool {
    value == &Value::Bool(true)
}

fn one(value: &Value, _: &Fields) -> bool {
    value.as_f64() == Some(1.0)
}

/// No window: none given, or switched off.
fn no_window(value: &Value, config: &Fields) -> bool {
    is_off(value) || config.value("use_sliding_window").ok().flatten() == Some(&Value::Bool(false))
}

/// As many tokens as the window has.
fn window(value: &Value, _: &Fields) -> Option<u64> {
    value.as_u64()
}

/// The first chunk, without the tokens that chunks have in common, if scores are not scaled before and no token is
/// left out.
///
/// Source: vLLM 0.10, `dual_chunk_flash_attn.py`, for names and defaults.
fn first_chunk(value: &Value, _: &Fields) -> Option<u64> {
    let number = |key: &str, default| value.get(key).map_or(Some(default), Value::as_u64);
    let chunk = number("chunk_size", 8192)?.checked_sub(number("local_size", 1024)?)?;
    let scaled = number("original_max_position_embeddings", 0)?;
    let is_sparse = value.get("sparse_attention_config").is_some_and(|config| !is_off(config));
    let sparse = if is_sparse { number("sparse_attention_threshold", 32768)? } else { u64::MAX };
    Some(chunk.min(if scaled == 0 { u64::MAX } else { scaled }).min(sparse))
}

/// A list of the plain type of layer.
fn all_full(value: &Value, _: &Fields) -> bool {
    let is_full = |item: &Value| matches!(item.as_str(), Some("full_attention" | "attention"));
    value.as_array().is_some_and(|items| items.iter().all(is_full))
}

fn is_default(value: &Value, _: &Fields) -> bool {
    value.as_str() == Some("default")
}

fn is_rms_norm(value: &Value, _: &Fields) -> bool {
    value
        .as_str()
        .is_some_and(|name| matches!(name.to_ascii_lowercase().as_str(), "rmsnorm" | "rms_norm" | "rms"))
}

fn is_rope(value: &Value, _: &Fields) -> bool {
    matches!(value.as_str(), Some("rope" | "rotary"))
}

fn is_silu(value: &Value, _: &Fields) -> bool {
    matches!(value.as_str(), Some("silu" | "swish"))
}

const ATTENTION: &str = "another form of attention";
const BIAS: &str = "biases that the family does not have";
const CAP: &str = "a soft cap on scores or logits";
const DUAL_CHUNK: &str = "attention in chunks with positions of their own";
const LATENT: &str = "latent attention";
const MIXTURE: &str = "a mixture of experts";
const MULTIMODAL: &str = "images, sound or several models in one";
const NORM: &str = "norms that the family does not have";
const POSITIONS: &str = "positions that are not rotary";
const RECURRENT: &str = "layers with a state in place of attention";
const ROTARY: &str = "another form of rotary positions";
const SCALE: &str = "a scale that the family does not have";
const SPARSE: &str = "attention to chosen tokens";
const WINDOW: &str = "attention to a window of the last tokens";

/// Sorted by key.
const FEATURES: &[Feature] = &[
    ask("_sliding_window_pattern", off, WINDOW),
    ask("activation_function", is_silu, "another activation"),
    ask("activation_sparsity_pattern", off, "activations of which few are kept"),
    ask("add_bias_linear", off, BIAS),
    ask("add_cross_attention", off, ATTENTION),
    ask("add_qkv_bias", off, BIAS),
    ask("add_swa_attention_sink_bias", off, ATTENTION),
    ask("alibi", off, POSITIONS),
    ask("altup_num_inputs", off, "inputs of each layer's own"),
    ask("attention_bias", off, BIAS),
    Feature { reach: window, ..ask("attention_chunk_size", no_window, WINDOW) },
    ask("attention_in_multiplier", one, SCALE),
    ask("attention_logit_cap", off, CAP),
    ask("attention_multiplier", off, SCALE),
    ask("attention_out_bias", off, BIAS),
    ask("attention_out_multiplier", one, SCALE),
    ask("attention_qkv_bias", off, BIAS),
    ask("attention_sink", off, ATTENTION),
    ask("attention_type", off, ATTENTION),
    ask("attention_window", off, WINDOW),
    ask("attention_window_size", off, WINDOW),
    ask("attn_layer_period", off, MIXTURE),
    ask("attn_logit_softcapping", off, CAP),
    ask("attn_output_gate", off, ATTENTION),
    ask("attn_scale", off, SCALE),
    ask("attn_temperature_tuning", off, SCALE),
    ask("attn_type_list", off, "layers of several types"),
    ask("audio_config", off, MULTIMODAL),
    ask("audio_token_id", off, MULTIMODAL),
    ask("bias", off, BIAS),
    ask("block_configs", off, "a shape of each layer's own"),
    ask("clip_qkv", off, ATTENTION),
    ask("compression_config", off, "weights that are quantised"),
    ask("conv_L_cache", off, RECURRENT),
    ask("conv_kernel", off, RECURRENT),
    ask("cross_attention_layers", off, ATTENTION),
    ask("decoder_sparse_step", off, MIXTURE),
    ask("dim_model_base", off, SCALE),
    Feature { reach: first_chunk, ..ask("dual_chunk_attention_config", off, DUAL_CHUNK) },
    ask("embedding_multiplier", one, SCALE),
    ask("embedding_scale", one, SCALE),
    ask("embedding_size", off, "embeddings of another width than the layers"),
    ask("enable_moe_block", off, MIXTURE),
    ask("encoder", off, "an encoder"),
    ask("expert_ffn_hidden_size", off, MIXTURE),
    ask("expert_layer_period", off, MIXTURE),
    ask("experts_per_token", off, MIXTURE),
    ask("ffn_config", off, MIXTURE),
    ask("final_logit_softcapping", off, CAP),
    ask("first_k_dense_replace", off, MIXTURE),
    ask("floor_scale", off, SCALE),
    ask("full_attention_interval", off, "layers of several types"),
    ask("gated_linear_unit", on, "an MLP without a gate"),
    ask("global_attn_every_n_layers", off, WINDOW),
    ask("hidden_activation", is_silu, "another activation"),
    ask("hidden_size_per_layer_input", off, "inputs of each layer's own"),
    ask("hybrid_override_pattern", off, RECURRENT),
    ask("image_token_id", off, MULTIMODAL),
    ask("image_token_index", off, MULTIMODAL),
    ask("index_head_dim", off, SPARSE),
    ask("index_n_heads", off, SPARSE),
    ask("index_topk", off, SPARSE),
    ask("interleave_moe_layer_step", off, MIXTURE),
    ask("interleaved_sliding_window", off, WINDOW),
    ask("is_causal", on, ATTENTION),
    ask("is_encoder_decoder", off, "an encoder"),
    ask("key_multiplier", one, SCALE),
    ask("kv_lora_rank", off, LATENT),
    ask("laurel_rank", off, "inputs of each layer's own"),
    ask("layer_group_size", off, ATTENTION),
    ask("layer_norm_eps", off, "layer normalisation with means"),
    ask("layer_norm_epsilon", off, "layer normalisation with means"),
    ask("layer_types", all_full, "layers of several types"),
    ask("layernorm_epsilon", off, "layer normalisation with means"),
    ask("layers_block_type", all_full, "layers of several types"),
    ask("linear_conv_kernel_dim", off, RECURRENT),
    ask("linear_key_head_dim", off, RECURRENT),
    ask("linear_num_key_heads", off, RECURRENT),
    ask("linear_num_value_heads", off, RECURRENT),
    ask("linear_value_head_dim", off, RECURRENT),
    ask("lm_head_bias", off, BIAS),
    ask("lm_head_multiplier", one, SCALE),
    ask("local_attention", off, WINDOW),
    ask("logit_scale", one, SCALE),
    ask("logit_softcapping", off, CAP),
    ask("logits_scaling", one, SCALE),
    ask("lru_width", off, RECURRENT),
    ask("mamba_d_conv", off, RECURRENT),
    ask("mamba_d_state", off, RECURRENT),
    ask("mamba_expand", off, RECURRENT),
    ask("mamba_n_heads", off, RECURRENT),
    ask("mlp_bias", off, BIAS),
    ask("mlp_only_layers", off, MIXTURE),
    ask("mm_vision_tower", off, MULTIMODAL),
    ask("moe_config", off, MIXTURE),
    ask("moe_ffn_hidden_size", off, MIXTURE),
    ask("moe_intermediate_size", off, MIXTURE),
    ask("moe_k", off, MIXTURE),
    ask("moe_layer_freq", off, MIXTURE),
    ask("moe_layer_interval", off, MIXTURE),
    ask("moe_layers", off, MIXTURE),
    ask("moe_num_experts", off, MIXTURE),
    ask("moe_num_shared_experts", off, MIXTURE),
    ask("moe_router_topk_scaling_factor", off, MIXTURE),
    ask("moe_router_use_sigmoid", off, MIXTURE),
    ask("moe_top_k", off, MIXTURE),
    ask("moe_topk", off, MIXTURE),
    ask("mrope_section", off, ROTARY),
    ask("multi_query", off, ATTENTION),
    ask("mup_attn_multiplier", one, SCALE),
    ask("mup_embeddings_multiplier", one, SCALE),
    ask("mup_width_scale", one, SCALE),
    ask("n_group", off, MIXTURE),
    ask("n_routed_experts", off, MIXTURE),
    ask("n_shared_experts", off, MIXTURE),
    ask("no_rope_layer_interval", off, "layers without rotary positions"),
    ask("no_rope_layers", off, "layers without rotary positions"),
    ask("norm_epsilon", off, "layer normalisation with means"),
    ask("norm_topk_prob", off, MIXTURE),
    ask("norm_type", is_rms_norm, "layer normalisation with means"),
    ask("normalization", is_rms_norm, "layer normalisation with means"),
    ask("normalize_embedding", off, SCALE),
    ask("num_expert_group", off, MIXTURE),
    ask("num_experts", off, MIXTURE),
    ask("num_experts_per_tok", off, MIXTURE),
    ask("num_experts_per_token", off, MIXTURE),
    ask("num_heads_per_layer", off, "a shape of each layer's own"),
    ask("num_hidden_groups", off, "layers that share weights"),
    ask("num_kv_shared_layers", off, ATTENTION),
    ask("num_local_experts", off, MIXTURE),
    ask("num_shared_experts", off, MIXTURE),
    ask("num_zero_experts", off, MIXTURE),
    ask("o_bias", off, BIAS),
    ask("parallel_attn", off, "attention and MLP beside each other"),
    ask("partial_rotary_factor", one, ROTARY),
    ask("position_embedding_type", is_rope, POSITIONS),
    ask("projector_hidden_act", off, MULTIMODAL),
    ask("pruned_heads", off, "heads that were taken out"),
    ask("q_lora_rank", off, LATENT),
    ask("qk_head_dim", off, LATENT),
    ask("qk_layernorm", off, NORM),
    ask("qk_nope_head_dim", off, LATENT),
    ask("qk_norm", off, NORM),
    ask("qk_rope_head_dim", off, LATENT),
    ask("qkv_bias", off, BIAS),
    ask("qkv_clip", off, ATTENTION),
    ask("quantization", off, "weights that are quantised"),
    ask("quantization_config", off, "weights that are quantised"),
    ask("query_pre_attn_scalar", off, SCALE),
    ask("residual_multiplier", one, SCALE),
    ask("rope_interleave", off, ROTARY),
    ask("rope_interleaved", off, ROTARY),
    ask("rope_local_base_freq", off, ROTARY),
    ask("rope_parameters.alpha", off, ROTARY),
    ask("rope_parameters.long_factor", off, ROTARY),
    ask("rope_parameters.mrope_interleaved", off, ROTARY),
    ask("rope_parameters.mrope_section", off, ROTARY),
    ask("rope_parameters.partial_rotary_factor", one, ROTARY),
    ask("rope_parameters.rope_type", is_default, ROTARY),
    ask("rope_parameters.short_factor", off, ROTARY),
    ask("rope_ratio", one, ROTARY),
    ask("rotary", on, POSITIONS),
    ask("rotary_dim", off, ROTARY),
    ask("rotary_emb_base", off, ROTARY),
    ask("rotary_pct", one, ROTARY),
    ask("rotary_percent", one, ROTARY),
    ask("routed_scaling_factor", one, MIXTURE),
    ask("router_bias", off, MIXTURE),
    ask("rwkv_version", off, RECURRENT),
    ask("sandwich_norm", off, NORM),
    ask("scale_attn_by_inverse_layer_idx", off, SCALE),
    ask("scale_attn_weights", on, SCALE),
    ask("scale_depth", off, SCALE),
    ask("scale_emb", one, SCALE),
    ask("scale_embedding", off, SCALE),
    ask("score_function", off, MIXTURE),
    ask("scoring_func", off, MIXTURE),
    ask("share_layers", off, "layers that share weights"),
    ask("shared_expert_intermediate_size", off, MIXTURE),
    Feature { reach: window, ..ask("sliding_window", no_window, WINDOW) },
    ask("sliding_window_pattern", off, WINDOW),
    Feature { reach: window, ..ask("sliding_window_size", no_window, WINDOW) },
    ask("sparse_attention_config", off, SPARSE),
    ask("sparsity_config", off, "weights that are sparse"),
    ask("ssm_cfg", off, RECURRENT),
    ask("ssm_state_size", off, RECURRENT),
    ask("state_size", off, RECURRENT),
    ask("swiglu_limit", off, "a limit on activations"),
    ask("talker_config", off, MULTIMODAL),
    ask("text_config", off, MULTIMODAL),
    ask("thinker_config", off, MULTIMODAL),
    ask("tie_encoder_decoder", off, "an encoder"),
    ask("topk_group", off, MIXTURE),
    ask("topk_method", off, MIXTURE),
    ask("use_absolute_position_embeddings", off, POSITIONS),
    ask("use_alibi", off, POSITIONS),
    ask("use_bias", off, BIAS),
    ask("use_causal_mask", on, ATTENTION),
    ask("use_differential_attention", off, ATTENTION),
    ask("use_dynamic_ntk", off, ROTARY),
    ask("use_gated_attention", off, ATTENTION),
    ask("use_lm_head_bias", off, BIAS),
    ask("use_logn_attn", off, ROTARY),
    ask("use_mlp_bias", off, BIAS),
    ask("use_mrope", off, ROTARY),
    ask("use_parallel_residual", off, "attention and MLP beside each other"),
    ask("use_post_norm", off, NORM),
    ask("use_qk_norm", off, NORM),
    ask("use_qkv_bias", off, BIAS),
    ask("use_rope", on, POSITIONS),
    ask("use_sliding_window", off, WINDOW),
    ask("v_head_dim", off, LATENT),
    ask("video_token_id", off, MULTIMODAL),
    ask("vision_config", off, MULTIMODAL),
    ask("vision_start_token_id", off, MULTIMODAL),
    ask("window_size", off, WINDOW),
    ask("word_embed_proj_dim", off, "embeddings of another width than the layers"),
    ask("zero_expert_num", off, MIXTURE),
];

const fn ask(key: &'static str, is_neutral: fn(&Value, &Fields) -> bool, what: &'static str) -> Feature {
    Feature { key, is_neutral, reach: |_, _| None, what }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::hf::irrelevant::why_irrelevant;

    #[test]
    fn the_table_is_sorted_and_apart_from_that_of_irrelevant_keys() {
        assert!(FEATURES.is_sorted_by(|a, b| a.key < b.key));
        assert!(feature_keys().all(|key| why_irrelevant(key).is_none()));
    }

    #[test]
    fn values_that_ask_for_nothing_are_known() {
        let neutral = |config: Value| {
            let Value::Object(config) = config else { panic!("an object") };
            let (key, value) = config.iter().next().map(|(key, value)| (key.clone(), value.clone())).unwrap();
            let fields = Fields::new(Path::new("c"), config, Default::default());
            (feature(&key).unwrap().is_neutral)(&value, &fields)
        };
        for config in [
            json!({"sliding_window": 0}),
            json!({"sliding_window": 64, "use_sliding_window": false}),
            json!({"attn_logit_softcapping": 0.0}),
            json!({"num_experts": 0}),
            json!({"mlp_only_layers": []}),
            json!({"quantization_config": {}}),
            json!({"pruned_heads": {}}),
            json!({"logit_scale": 1}),
            json!({"layer_types": ["full_attention", "full_attention"]}),
            json!({"use_mrope": false}),
            json!({"normalization": "RMSNorm"}),
            json!({"position_embedding_type": "rope"}),
            json!({"scale_attn_weights": true}),
        ] {
            assert!(neutral(config.clone()), "{config}");
        }
        for config in [
            json!({"sliding_window": 64}),
            json!({"sliding_window": 64, "use_sliding_window": true}),
            json!({"sliding_window": "64"}),
            json!({"dual_chunk_attention_config": {"chunk_size": 64}}),
            json!({"attn_logit_softcapping": 50.0}),
            json!({"num_experts": 1}),
            json!({"quantization_config": {"bits": 4}}),
            json!({"logit_scale": 0.5}),
            json!({"layer_types": ["full_attention", "sliding_attention"]}),
            json!({"layer_types": "full_attention"}),
            json!({"use_mrope": true}),
            json!({"scale_attn_weights": false}),
            json!({"is_encoder_decoder": true}),
        ] {
            assert!(!neutral(config.clone()), "{config}");
        }
    }

    #[test]
    fn how_far_values_change_nothing_is_known() {
        for (key, value, expected) in [
            ("sliding_window", json!(64), Some(64)),
            ("sliding_window", json!("64"), None),
            ("num_experts", json!(8), None),
            ("dual_chunk_attention_config", json!({}), Some(7168)),
            ("dual_chunk_attention_config", json!({"chunk_size": 100, "local_size": 10}), Some(90)),
            ("dual_chunk_attention_config", json!({"original_max_position_embeddings": 512}), Some(512)),
            ("dual_chunk_attention_config", json!({"chunk_size": 1, "local_size": 10}), None),
            ("dual_chunk_attention_config", json!({"chunk_size": "1"}), None),
            (
                "dual_chunk_attention_config",
                json!({"sparse_attention_config": {"0": 1}, "sparse_attention_threshold": 7}),
                Some(7),
            ),
        ] {
            let fields = Fields::new(Path::new("c"), Default::default(), Default::default());
            assert_eq!((feature(key).unwrap().reach)(&value, &fields), expected, "{key} {value}");
        }
    }
}
