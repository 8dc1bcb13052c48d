//! Keys of config.json that change nothing when a model is run.

/// Why a key can be left unread whatever it says; `None` if it is not known to be harmless.
pub fn why_irrelevant(key: &str) -> Option<&'static str> {
    IRRELEVANT.binary_search_by_key(&key, |(key, _)| key).ok().map(|at| IRRELEVANT[at].1)
}

/// All keys that change nothing, sorted.
pub(crate) fn irrelevant_keys() -> impl Iterator<Item = &'static str> {
    IRRELEVANT.iter().map(|(key, _)| *key)
}

const LABELS: &str = "describes a classifier";
const OUTPUTS: &str = "says which outputs the Python API returns";
const PARALLEL: &str = "says how the reference was spread over devices";
const REFERENCE: &str = "chooses among equivalent implementations of the reference";
const SAMPLING: &str = "sampling defaults are read from generation_config.json";
const TOKENS: &str = "special tokens are read by their ids and from the tokenizer's files";
const TRAINING: &str = "used in training only";

/// Key and reason, sorted by key.
const IRRELEVANT: &[(&str, &str)] = &[
    ("_attn_implementation", REFERENCE),
    ("_attn_implementation_autoset", REFERENCE),
    ("_flash_attn_2_enabled", REFERENCE),
    ("_name_or_path", "says where the model came from"),
    ("attention_dropout", TRAINING),
    ("attention_probs_dropout_prob", TRAINING),
    ("attn_implementation", REFERENCE),
    ("attn_pdrop", TRAINING),
    ("auto_map", "names Python code, which is never run"),
    ("aux_loss_alpha", TRAINING),
    ("bad_words_ids", SAMPLING),
    ("batch_size", TRAINING),
    ("begin_suppress_tokens", SAMPLING),
    ("bos_token", TOKENS),
    ("cache_implementation", REFERENCE),
    ("chunk_size_feed_forward", "saves memory in the reference without changing the result"),
    ("classifier_activation", LABELS),
    ("classifier_bias", LABELS),
    ("classifier_dropout", LABELS),
    ("classifier_pooling", LABELS),
    ("diversity_penalty", SAMPLING),
    ("do_sample", SAMPLING),
    ("dropout", TRAINING),
    ("dropout_rate", TRAINING),
    ("early_stopping", SAMPLING),
    ("embd_pdrop", TRAINING),
    ("embedding_dropout", TRAINING),
    ("encoder_no_repeat_ngram_size", SAMPLING),
    ("eos_token", TOKENS),
    ("ep_size", PARALLEL),
    ("exponential_decay_length_penalty", SAMPLING),
    ("ffn_dropout", TRAINING),
    ("finetuning_task", LABELS),
    ("flash_attn", REFERENCE),
    ("forced_bos_token_id", SAMPLING),
    ("forced_eos_token_id", SAMPLING),
    ("gradient_checkpointing", TRAINING),
    ("hidden_dropout", TRAINING),
    ("hidden_dropout_prob", TRAINING),
    ("id2label", LABELS),
    ("ignore_index", TRAINING),
    ("initializer_factor", "the weights are read, not drawn"),
    ("initializer_range", "the weights are read, not drawn"),
    ("is_decoder", "every family here is a decoder"),
    ("label2id", LABELS),
    ("layerdrop", TRAINING),
    ("length_penalty", SAMPLING),
    ("max_length", SAMPLING),
    ("max_window_layers", "counts layers without the window that `use_sliding_window` turns on"),
    ("min_length", SAMPLING),
    ("model_max_length", "max_position_embeddings says how long sequences may be"),
    ("no_repeat_ngram_size", SAMPLING),
    ("num_beam_groups", SAMPLING),
    ("num_beams", SAMPLING),
    ("num_labels", LABELS),
    ("num_nextn_predict_layers", "the layers that predict further tokens are not run"),
    ("num_return_sequences", SAMPLING),
    ("output_attentions", OUTPUTS),
    ("output_hidden_states", OUTPUTS),
    ("output_router_logits", OUTPUTS),
    ("output_scores", OUTPUTS),
    ("pad_token", TOKENS),
    ("prefix", SAMPLING),
    ("pretraining_tp", "splits products in the reference without changing their meaning"),
    ("problem_type", LABELS),
    ("remove_invalid_values", SAMPLING),
    ("repetition_penalty", SAMPLING),
    ("resid_pdrop", TRAINING),
    ("return_dict", OUTPUTS),
    ("return_dict_in_generate", OUTPUTS),
    ("router_aux_loss_coef", TRAINING),
    ("router_jitter_noise", TRAINING),
    ("router_z_loss_coef", TRAINING),
    ("sep_token_id", "no prompt is made from it"),
    ("seq_aux", TRAINING),
    ("summary_activation", LABELS),
    ("summary_first_dropout", LABELS),
    ("summary_proj_to_labels", LABELS),
    ("summary_type", LABELS),
    ("summary_use_proj", LABELS),
    ("suppress_tokens", SAMPLING),
    ("task_specific_params", SAMPLING),
    ("temperature", SAMPLING),
    ("tf_legacy_loss", TRAINING),
    ("tokenizer_class", "tokenizer.json says what the tokenizer does"),
    ("top_k", SAMPLING),
    ("top_p", SAMPLING),
    ("torchscript", OUTPUTS),
    ("transformers_version", "says which version wrote the file"),
    ("typical_p", SAMPLING),
    ("unsloth_fixed", "says which tool wrote the file"),
    ("unsloth_version", "says which tool wrote the file"),
    ("use_bfloat16", TRAINING),
    ("use_cache", "keys and values are always cached"),
    ("use_flash_attention", REFERENCE),
    ("use_flash_attn", REFERENCE),
    ("z_loss_coefficient", TRAINING),
    ("z_loss_weight", TRAINING),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(IRRELEVANT.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn keys_are_found() {
        assert_eq!(why_irrelevant("attention_dropout"), Some(TRAINING));
        assert!(why_irrelevant("auto_map").is_some_and(|reason| reason.contains("never run")));
        assert_eq!(why_irrelevant("sliding_window"), None);
    }
}
