//! Keys of config.json that change nothing when a model is run.

use serde_json::Value;

/// Why a key can be left unread when it has this value; `None` if it is not known to be harmless.
pub fn why_irrelevant(key: &str, value: &Value) -> Option<&'static str> {
    let entry = IRRELEVANT.iter().find(|entry| entry.key == key)?;
    let harmless = match entry.when {
        When::Always => true,
        When::False => value == &Value::Bool(false),
        When::Empty => {
            value.as_object().is_some_and(serde_json::Map::is_empty)
                || value.as_array().is_some_and(Vec::is_empty)
        }
    };
    harmless.then_some(entry.reason)
}

/// A key, the values with which it is harmless, and why.
struct Irrelevant {
    key: &'static str,
    when: When,
    reason: &'static str,
}

/// Values with which a key changes nothing.
enum When {
    Always,
    False,
    Empty,
}

const TRAINING: &str = "used in training only";
const OUTPUTS: &str = "says which outputs the Python API returns";
const LABELS: &str = "describes the labels of a classifier";
const SAMPLING: &str = "sampling defaults are read from generation_config.json";
const OTHER_TASK: &str = "the feature is off";

/// Sorted by key.
const IRRELEVANT: &[Irrelevant] = &[
    always("_attn_implementation", "chooses among equivalent implementations of the reference"),
    always("_attn_implementation_autoset", "chooses among equivalent implementations of the reference"),
    always("_name_or_path", "says where the model came from"),
    when("add_cross_attention", When::False, OTHER_TASK),
    always("attention_dropout", TRAINING),
    always("attn_implementation", "chooses among equivalent implementations of the reference"),
    always("attn_pdrop", TRAINING),
    always("auto_map", "names Python code, which is never run"),
    always("aux_loss_alpha", TRAINING),
    always("bad_words_ids", SAMPLING),
    always("begin_suppress_tokens", SAMPLING),
    always("chunk_size_feed_forward", "saves memory in the reference without changing the result"),
    always("diversity_penalty", SAMPLING),
    always("do_sample", SAMPLING),
    always("early_stopping", SAMPLING),
    always("embd_pdrop", TRAINING),
    always("embedding_dropout", TRAINING),
    always("encoder_no_repeat_ngram_size", SAMPLING),
    always("exponential_decay_length_penalty", SAMPLING),
    always("finetuning_task", LABELS),
    always("forced_bos_token_id", SAMPLING),
    always("forced_eos_token_id", SAMPLING),
    always("gradient_checkpointing", TRAINING),
    always("hidden_dropout", TRAINING),
    always("hidden_dropout_prob", TRAINING),
    always("id2label", LABELS),
    always("initializer_range", "the weights are read, not drawn"),
    always("is_decoder", "every family here is a decoder"),
    when("is_encoder_decoder", When::False, OTHER_TASK),
    always("label2id", LABELS),
    always("length_penalty", SAMPLING),
    always("max_length", SAMPLING),
    always("min_length", SAMPLING),
    always("no_repeat_ngram_size", SAMPLING),
    always("num_beam_groups", SAMPLING),
    always("num_beams", SAMPLING),
    always("num_return_sequences", SAMPLING),
    always("output_attentions", OUTPUTS),
    always("output_hidden_states", OUTPUTS),
    always("output_router_logits", OUTPUTS),
    always("output_scores", OUTPUTS),
    always("prefix", SAMPLING),
    always("pretraining_tp", "splits products in the reference without changing their meaning"),
    always("problem_type", LABELS),
    when("pruned_heads", When::Empty, OTHER_TASK),
    always("remove_invalid_values", SAMPLING),
    always("repetition_penalty", SAMPLING),
    always("resid_pdrop", TRAINING),
    always("return_dict", OUTPUTS),
    always("return_dict_in_generate", OUTPUTS),
    always("router_aux_loss_coef", TRAINING),
    always("router_jitter_noise", TRAINING),
    always("sep_token_id", "no prompt is made from it"),
    always("seq_aux", TRAINING),
    always("suppress_tokens", SAMPLING),
    always("task_specific_params", SAMPLING),
    always("temperature", SAMPLING),
    always("tf_legacy_loss", TRAINING),
    when("tie_encoder_decoder", When::False, OTHER_TASK),
    always("tokenizer_class", "tokenizer.json says what the tokenizer does"),
    always("top_k", SAMPLING),
    always("top_p", SAMPLING),
    always("torchscript", OUTPUTS),
    always("transformers_version", "says which version wrote the file"),
    always("typical_p", SAMPLING),
    always("use_bfloat16", TRAINING),
    always("use_cache", "keys and values are always cached"),
    when("use_mrope", When::False, OTHER_TASK),
];

const fn always(key: &'static str, reason: &'static str) -> Irrelevant {
    Irrelevant { key, when: When::Always, reason }
}

const fn when(key: &'static str, when: When, reason: &'static str) -> Irrelevant {
    Irrelevant { key, when, reason }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(IRRELEVANT.is_sorted_by(|a, b| a.key < b.key));
    }

    #[test]
    fn some_keys_are_harmless_only_when_off() {
        assert!(why_irrelevant("use_mrope", &json!(false)).is_some());
        assert!(why_irrelevant("use_mrope", &json!(true)).is_none());
        assert!(why_irrelevant("pruned_heads", &json!({})).is_some());
        assert!(why_irrelevant("pruned_heads", &json!({"0": [1]})).is_none());
        assert!(why_irrelevant("initializer_range", &json!(0.02)).is_some());
        assert!(why_irrelevant("quantization_config", &json!({})).is_none());
    }
}
