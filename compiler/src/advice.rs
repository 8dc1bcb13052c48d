//! What in a model's directory is allowed, and yet probably not what its user wants.

use std::path::Path;

use mscc_ir::plan::Plan;
use mscc_models::hf::ModelDir;

use crate::compile::TOKENIZER_FILE;

/// Forms of a tokenizer that are not read, and of which transformers makes one that is.
pub const OTHER_TOKENIZERS: [&str; 4] = ["tokenizer.model", "spiece.model", "tiktoken.model", "vocab.json"];

/// One line for each thing; none for a lone config.
pub(crate) fn advice(dir: &ModelDir, plan: &Plan) -> Vec<String> {
    let Some(dir) = dir.dir() else { return Vec::new() };
    let mut lines = Vec::new();
    if plan.text.tokenizer_dir.is_none() {
        lines.push(of_tokenizer(dir));
    }
    let vocab_size = plan.meta.limits.vocab_size;
    let unknown = plan.text.eos_token_ids.iter().find(|id| **id >= vocab_size);
    lines.extend(unknown.map(|id| {
        format!(
            "eos_token_id {id} is not in the model's vocabulary of {vocab_size}, so that it never ends a text: \
             look into generation_config.json and config.json in {}",
            dir.display()
        )
    }));
    let (whole, index) = (dir.join("model.safetensors"), dir.join("model.safetensors.index.json"));
    if !plan.weights.files.is_empty() && whole.is_file() && index.is_file() {
        lines.push(format!(
            "{} is read and {} is not: remove the one that is not meant",
            whole.display(),
            index.display()
        ));
    }
    lines
}

fn of_tokenizer(model: &Path) -> String {
    let other = OTHER_TOKENIZERS.iter().find(|name| model.join(name).is_file());
    let problem = match other {
        None => "only token ids can be run; --tokenizer DIR names a directory that has one".to_owned(),
        Some(name) => format!(
            "only {name}, of which transformers makes one: \
             AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        ),
    };
    format!("there is no {TOKENIZER_FILE} in {}: {problem}", model.display())
}
