//! The keys of model.yaml: ours, and those of vLLM's and mindformers' files that mean something here, or nothing.

use std::fmt;

use mscc_models::spec::Setting;

/// Whose name for something a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dialect {
    /// Ours; vLLM calls many of them the same.
    Mscc,
    /// The arguments of vLLM's engine and server, with `_` or `-`.
    Vllm,
    /// The predict files of mindformers.
    Mindformers,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dialect::Mscc => "mscc",
            Dialect::Vllm => "vLLM",
            Dialect::Mindformers => "mindformers",
        })
    }
}

/// A key of model.yaml.
#[derive(Debug)]
pub struct Key {
    /// Its path, with dots through nested mappings.
    pub path: &'static str,
    /// Whose it is.
    pub dialect: Dialect,
    /// What it does.
    pub meaning: Meaning,
}

/// What a key of model.yaml does.
#[derive(Debug)]
pub enum Meaning {
    /// Sets the option of this name.
    Option(&'static str),
    /// Nothing, whatever its value, and why.
    Nothing(&'static str),
    /// Nothing with some values, and an error with others.
    Only {
        /// Whether the value asks for nothing.
        is_neutral: fn(&Setting) -> bool,
        /// The values that do, in words, and why.
        supported: &'static str,
    },
}

/// The key at a path, if it is known.
pub fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether keys are known inside the mapping at a path.
pub fn has_inner(path: &str) -> bool {
    KEYS.iter().any(|key| key.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.')))
}

/// All paths.
pub fn paths() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|key| key.path)
}

/// Our own keys.
pub fn own() -> impl Iterator<Item = &'static str> {
    KEYS.iter().filter(|key| key.dialect == Dialect::Mscc).map(|key| key.path)
}

const fn own_key(path: &'static str) -> Key {
    Key { path, dialect: Dialect::Mscc, meaning: Meaning::Option(path) }
}

const fn sets(dialect: Dialect, path: &'static str, option: &'static str) -> Key {
    Key { path, dialect, meaning: Meaning::Option(option) }
}

const fn nothing(dialect: Dialect, path: &'static str, reason: &'static str) -> Key {
    Key { path, dialect, meaning: Meaning::Nothing(reason) }
}

const fn only(
    dialect: Dialect,
    path: &'static str,
    is_neutral: fn(&Setting) -> bool,
    supported: &'static str,
) -> Key {
    Key { path, dialect, meaning: Meaning::Only { is_neutral, supported } }
}

fn off(value: &Setting) -> bool {
    match value {
        Setting::Null => true,
        Setting::Bool(value) => !value,
        Setting::Int(value) => *value == 0,
        Setting::Float(value) => *value == 0.0,
        Setting::Str(text) => {
            matches!(text.to_ascii_lowercase().as_str(), "" | "none" | "null" | "{}" | "[]")
        }
        Setting::List(items) => items.is_empty(),
        Setting::Object => false,
    }
}

fn one(value: &Setting) -> bool {
    off(value) || value.as_f64() == Some(1.0)
}

fn auto(value: &Setting) -> bool {
    off(value) || is(value, &["auto"])
}

fn safetensors(value: &Setting) -> bool {
    auto(value) || is(value, &["safetensors"])
}

fn own_tokenizer(value: &Setting) -> bool {
    auto(value) || is(value, &["hf", "slow"])
}

fn generates(value: &Setting) -> bool {
    auto(value) || is(value, &["generate"])
}

fn predicts(value: &Setting) -> bool {
    is(value, &["predict"])
}

fn is(value: &Setting, names: &[&str]) -> bool {
    matches!(value, Setting::Str(text) if names.contains(&text.as_ref()))
}

const ARCHITECTURE: &str = "config.json says what the model is";
const DEVICE: &str = "devices and their memory are chosen when the plan runs";
const F32: &str = "it is computed in float32 whatever compute_dtype is";
const FUSION: &str = "fusion is found by rules";
const HUB: &str = "models are taken as they are on this machine";
const ONE_DEVICE: &str = "1, since a plan is for one device";
const PAGES: &str = "the cache is sized when the plan runs";
const SERVER: &str = "it is about a server, and a plan has none";
const STORED: &str = "none: weights keep the types that they are stored in";
const TRAINING: &str = "it is about training or checkpoints of training";

use Dialect::{Mindformers, Vllm};

/// Ours first, as they are listed in README.md.
static KEYS: &[Key] = &[
    own_key("model"),
    own_key("target"),
    own_key("dtype"),
    own_key("compute_dtype"),
    own_key("max_model_len"),
    own_key("max_num_seqs"),
    own_key("max_num_batched_tokens"),
    own_key("block_size"),
    own_key("latent_attention"),
    own_key("tokenizer"),
    own_key("chat_template"),
    own_key("family"),
    own_key("rules"),
    own_key("without_rule"),
    own_key("stop_after_rewrite"),
    own_key("strict"),
    sets(Vllm, "device", "target"),
    only(Vllm, "quantization", off, STORED),
    only(Vllm, "kv_cache_dtype", auto, "auto: caches are in compute_dtype"),
    only(Vllm, "tensor_parallel_size", one, ONE_DEVICE),
    only(Vllm, "pipeline_parallel_size", one, ONE_DEVICE),
    only(Vllm, "data_parallel_size", one, ONE_DEVICE),
    only(Vllm, "decode_context_parallel_size", one, ONE_DEVICE),
    only(Vllm, "enable_expert_parallel", off, "false, since a plan is for one device"),
    only(Vllm, "speculative_config", off, "none: no tokens are guessed ahead"),
    only(Vllm, "speculative_model", off, "none: no tokens are guessed ahead"),
    only(Vllm, "enable_lora", off, "false: merge adapters into the model first"),
    only(Vllm, "lora_modules", off, "none: merge adapters into the model first"),
    only(Vllm, "rope_scaling", off, "none: change config.json instead"),
    only(Vllm, "rope_theta", off, "none: change config.json instead"),
    only(Vllm, "hf_overrides", off, "none: change config.json instead"),
    only(Vllm, "generation_config", auto, "auto: the model's own generation_config.json"),
    only(Vllm, "override_generation_config", off, "none: change generation_config.json instead"),
    only(Vllm, "logits_processors", off, "none: there is no Python to run them"),
    only(Vllm, "load_format", safetensors, "auto or safetensors"),
    only(Vllm, "config_format", own_tokenizer, "auto or hf"),
    only(Vllm, "tokenizer_mode", own_tokenizer, "auto: tokenizer.json is read"),
    only(Vllm, "task", generates, "auto or generate"),
    only(Vllm, "runner", generates, "auto or generate"),
    nothing(Vllm, "trust_remote_code", "code that comes with a model is never run"),
    nothing(Vllm, "gpu_memory_utilization", DEVICE),
    nothing(Vllm, "swap_space", DEVICE),
    nothing(Vllm, "cpu_offload_gb", DEVICE),
    nothing(Vllm, "distributed_executor_backend", DEVICE),
    nothing(Vllm, "max_parallel_loading_workers", DEVICE),
    nothing(Vllm, "num_gpu_blocks_override", PAGES),
    nothing(Vllm, "kv_cache_memory_bytes", PAGES),
    nothing(Vllm, "enable_prefix_caching", "it changes no result"),
    nothing(Vllm, "enable_chunked_prefill", "prompts are always taken in chunks of max_num_batched_tokens"),
    nothing(Vllm, "max_num_partial_prefills", "prompts are always taken in chunks of max_num_batched_tokens"),
    nothing(Vllm, "scheduling_policy", "requests are served in order"),
    nothing(Vllm, "async_scheduling", "it changes no result"),
    nothing(Vllm, "num_scheduler_steps", "it changes no result"),
    nothing(Vllm, "compilation_config", "plans are compiled ahead of time"),
    nothing(Vllm, "enforce_eager", "plans are compiled ahead of time"),
    nothing(Vllm, "max_seq_len_to_capture", "plans are compiled ahead of time"),
    nothing(Vllm, "additional_config", FUSION),
    nothing(Vllm, "seed", "sampling takes its seed when it runs"),
    nothing(Vllm, "max_logprobs", "it is chosen with each request"),
    nothing(Vllm, "limit_mm_per_prompt", "the families here are of text"),
    nothing(Vllm, "download_dir", HUB),
    nothing(Vllm, "revision", HUB),
    nothing(Vllm, "code_revision", HUB),
    nothing(Vllm, "tokenizer_revision", HUB),
    nothing(Vllm, "hf_token", HUB),
    nothing(Vllm, "use_tqdm_on_load", "progress is shown on terminals"),
    nothing(Vllm, "disable_log_stats", SERVER),
    nothing(Vllm, "disable_log_requests", SERVER),
    nothing(Vllm, "enable_log_requests", SERVER),
    nothing(Vllm, "served_model_name", SERVER),
    nothing(Vllm, "host", SERVER),
    nothing(Vllm, "port", SERVER),
    nothing(Vllm, "api_key", SERVER),
    nothing(Vllm, "uvicorn_log_level", SERVER),
    nothing(Vllm, "response_role", SERVER),
    nothing(Vllm, "enable_auto_tool_choice", SERVER),
    nothing(Vllm, "tool_call_parser", SERVER),
    nothing(Vllm, "reasoning_parser", SERVER),
    nothing(Vllm, "chat_template_content_format", SERVER),
    sets(Mindformers, "pretrained_model_dir", "model"),
    sets(Mindformers, "load_checkpoint", "model"),
    sets(Mindformers, "context.device_target", "target"),
    sets(Mindformers, "model.model_config.params_dtype", "dtype"),
    sets(Mindformers, "model.model_config.compute_dtype", "compute_dtype"),
    sets(Mindformers, "model.model_config.seq_length", "max_model_len"),
    sets(Mindformers, "model.model_config.block_size", "block_size"),
    only(Mindformers, "run_mode", predicts, "predict"),
    only(Mindformers, "load_ckpt_format", safetensors, "safetensors"),
    only(Mindformers, "parallel_config.data_parallel", one, ONE_DEVICE),
    only(Mindformers, "parallel_config.model_parallel", one, ONE_DEVICE),
    only(Mindformers, "parallel_config.expert_parallel", one, ONE_DEVICE),
    only(Mindformers, "parallel_config.context_parallel", one, ONE_DEVICE),
    only(Mindformers, "parallel_config.pipeline_stage", one, ONE_DEVICE),
    only(Mindformers, "model.model_config.quantization_config", off, STORED),
    nothing(Mindformers, "model.model_config.type", ARCHITECTURE),
    nothing(Mindformers, "model.model_config.position_embedding_type", ARCHITECTURE),
    nothing(Mindformers, "model.model_config.normalization", ARCHITECTURE),
    nothing(Mindformers, "model.model_config.add_bias_linear", ARCHITECTURE),
    nothing(Mindformers, "model.model_config.gated_linear_unit", ARCHITECTURE),
    nothing(Mindformers, "model.model_config.pad_token_id", "special tokens are read from the model's files"),
    nothing(Mindformers, "model.model_config.bos_token_id", "special tokens are read from the model's files"),
    nothing(Mindformers, "model.model_config.eos_token_id", "special tokens are read from the model's files"),
    nothing(Mindformers, "model.model_config.layernorm_compute_dtype", F32),
    nothing(Mindformers, "model.model_config.softmax_compute_dtype", F32),
    nothing(Mindformers, "model.model_config.rotary_dtype", F32),
    nothing(Mindformers, "model.model_config.router_dense_type", F32),
    nothing(Mindformers, "model.model_config.num_blocks", PAGES),
    nothing(Mindformers, "model.model_config.moe_router_fusion", FUSION),
    nothing(Mindformers, "model.model_config.use_fused_mla", FUSION),
    nothing(Mindformers, "model.model_config.use_flash_attention", FUSION),
    nothing(Mindformers, "model.arch", ARCHITECTURE),
    nothing(Mindformers, "use_legacy", "model files in the layout of Hugging Face are read"),
    nothing(Mindformers, "use_parallel", "the sizes in parallel_config say it"),
    nothing(Mindformers, "trainer", ARCHITECTURE),
    nothing(Mindformers, "parallel", "the sizes in parallel_config say it"),
    nothing(Mindformers, "parallel_config.use_seq_parallel", TRAINING),
    nothing(Mindformers, "parallel_config.micro_batch_num", TRAINING),
    nothing(Mindformers, "parallel_config.vocab_emb_dp", TRAINING),
    nothing(Mindformers, "parallel_config.gradient_aggregation_group", TRAINING),
    nothing(Mindformers, "parallel_config.optimizer_shard", TRAINING),
    nothing(Mindformers, "micro_batch_interleave_num", TRAINING),
    nothing(Mindformers, "auto_trans_ckpt", TRAINING),
    nothing(Mindformers, "src_strategy_path_or_dir", TRAINING),
    nothing(Mindformers, "only_save_strategy", TRAINING),
    nothing(Mindformers, "remove_redundancy", TRAINING),
    nothing(Mindformers, "resume_training", TRAINING),
    nothing(Mindformers, "output_dir", TRAINING),
    nothing(Mindformers, "runner_config", TRAINING),
    nothing(Mindformers, "runner_wrapper", TRAINING),
    nothing(Mindformers, "callbacks", TRAINING),
    nothing(Mindformers, "processor", "tokenizer.json says what the tokenizer does"),
    nothing(Mindformers, "context.mode", "plans are compiled ahead of time"),
    nothing(Mindformers, "context.jit_config", "plans are compiled ahead of time"),
    nothing(Mindformers, "context.jit_level", "plans are compiled ahead of time"),
    nothing(Mindformers, "context.max_call_depth", "plans are compiled ahead of time"),
    nothing(Mindformers, "context.enable_graph_kernel", FUSION),
    nothing(Mindformers, "context.graph_kernel_flags", FUSION),
    nothing(Mindformers, "context.ascend_config", DEVICE),
    nothing(Mindformers, "context.max_device_memory", DEVICE),
    nothing(Mindformers, "context.mempool_block_size", DEVICE),
    nothing(Mindformers, "context.memory_optimize_level", DEVICE),
    nothing(Mindformers, "context.device_id", DEVICE),
    nothing(Mindformers, "context.affinity_cpu_list", DEVICE),
    nothing(Mindformers, "context.save_graphs", "`--emit` prints graphs"),
    nothing(Mindformers, "context.save_graphs_path", "`--emit` prints graphs"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_there_once_and_options_are_ours() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..at].iter().all(|other| other.path != key.path), "{}", key.path);
            if let Meaning::Option(option) = key.meaning {
                assert!(own().any(|own| own == option), "{option}");
            }
        }
        assert!(KEYS.is_sorted_by_key(|key| key.dialect));
    }
}
