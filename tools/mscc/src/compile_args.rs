//! Options of a compilation, for all commands that compile.

use std::path::PathBuf;

use mscc_compiler::{MAX_BLOCK_SIZE, MAX_MODEL_LEN, MAX_NUM_BATCHED_TOKENS, Options};

use crate::numbers::{up_to, whole};

/// How a model is compiled.
#[derive(clap::Args)]
pub struct CompileArgs {
    /// Device the plan is for: cpu, ascend910b1 to ascend910b4, ascend910_93 or ascend310p [default: cpu]
    #[arg(long)]
    target: Option<String>,
    /// Element type of weights on the device: auto, float32 (or fp32, f32), float16 (half, fp16, f16), bfloat16 (bf16)
    /// [default: auto]
    #[arg(long)]
    dtype: Option<String>,
    /// Element type of activations: float32 (or fp32, f32), bfloat16 (bf16, auto) [default: bfloat16]
    #[arg(long)]
    compute_dtype: Option<String>,
    /// Longest sequence, in tokens [default: the model's own limit]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to::<MAX_MODEL_LEN>)]
    max_model_len: Option<u32>,
    /// Most sequences in a step [default: 64]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to::<MAX_NUM_BATCHED_TOKENS>)]
    max_num_seqs: Option<u32>,
    /// Most new tokens in a step [default: 2048]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to::<MAX_NUM_BATCHED_TOKENS>)]
    max_num_batched_tokens: Option<u32>,
    /// Tokens of a cache page [default: 16]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = up_to::<MAX_BLOCK_SIZE>)]
    block_size: Option<u32>,
    /// Form of attention over cached latents: auto, absorbed, expanded; of one form, logits do not depend on how a
    /// prompt is cut into steps [default: auto]
    #[arg(long, value_name = "FORM")]
    latent_attention: Option<String>,
    /// Directory with tokenizer files [default: the model's]
    #[arg(long, value_name = "DIR")]
    tokenizer: Option<PathBuf>,
    /// File with a chat template [default: the model's own]
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// File that describes the model's family, in place of a built-in one
    #[arg(long, value_name = "FILE")]
    family: Option<PathBuf>,
    /// File with rewrite rules of your own, which are proved first; may be given several times
    #[arg(long, value_name = "FILE")]
    rules: Vec<PathBuf>,
    /// Rewrite rules that are left out, by name
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    without_rule: Vec<String>,
    /// Make no more rewrites after so many, to find one that is at fault; `mscc explain` numbers them
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = whole::<u32>)]
    stop_after_rewrite: Option<u32>,
    /// Take warnings about the model's files as errors: keys and tensors that nobody reads
    #[arg(long)]
    strict: bool,
}

impl CompileArgs {
    /// What is given here; the rest is left to a file or to defaults.
    pub fn options(&self) -> Options {
        let many = |values: &[PathBuf]| (!values.is_empty()).then(|| values.to_vec());
        Options {
            model: None,
            target: self.target.clone(),
            dtype: self.dtype.clone(),
            compute_dtype: self.compute_dtype.clone(),
            max_model_len: self.max_model_len,
            max_num_seqs: self.max_num_seqs,
            max_num_batched_tokens: self.max_num_batched_tokens,
            block_size: self.block_size,
            latent_attention: self.latent_attention.clone(),
            tokenizer: self.tokenizer.clone(),
            chat_template: self.chat_template.clone(),
            family: self.family.clone(),
            rules: many(&self.rules),
            without_rule: (!self.without_rule.is_empty()).then(|| self.without_rule.clone()),
            stop_after_rewrite: self.stop_after_rewrite,
            strict: self.strict.then_some(true),
            places: Default::default(),
        }
    }
}
