mod shards;
mod staging;
mod tokenizer;
mod values;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, bail};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use mscc_models::hf::{GenerationConfig, HfConfig};
use serde::Serialize;
use serde_json::{Map, Value, json};

use self::shards::Shard;
use self::staging::Staging;
use self::tokenizer::TokenizerFile;

/// Write a Hugging Face directory with random weights for a config.
///
/// The directory loads wherever real ones do: config.json as given, generation_config.json, a byte-level
/// tokenizer of the config's vocabulary with a ChatML template, and safetensors of every tensor that the
/// model reads. It appears under its name when it is complete.
#[derive(clap::Args)]
pub struct Args {
    /// The config.json of the model.
    config: PathBuf,
    /// The directory to write.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Replace the directory if it holds a model.
    #[arg(long)]
    force: bool,
    /// What the weights are drawn from: the same number gives the same bytes, on any machine.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Write real headers and leave the data as holes, which read as zeros and take no disk.
    #[arg(long)]
    sparse: bool,
    /// Tokens of the tokenizer [default: the config's vocab_size].
    #[arg(long, value_name = "N")]
    tokenizer_size: Option<u64>,
    /// Most bytes of weights in a file; a tensor that is larger gets a file of its own.
    #[arg(long, value_name = "N", default_value_t = 5_000_000_000)]
    max_shard_bytes: u64,
    /// Threads that draw weights [default: one for each core].
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Ids of tokens are 32-bit and not negative.
const MAX_VOCAB: u64 = i32::MAX as u64;

pub fn run(args: &Args) -> anyhow::Result<()> {
    let config = HfConfig::read(&args.config)?;
    if fs::canonicalize(&args.output)
        .is_ok_and(|dir| fs::canonicalize(&args.config).is_ok_and(|it| it.starts_with(dir)))
    {
        bail!(
            "{} holds {}, and would be lost; name another directory",
            args.output.display(),
            args.config.display()
        );
    }
    let vocab_size = config.u64("vocab_size", 1..=MAX_VOCAB)?;
    let tokenizer_size = args.tokenizer_size.unwrap_or(vocab_size);
    if tokenizer_size > vocab_size {
        bail!("--tokenizer-size {tokenizer_size} is more than the config's vocab_size of {vocab_size}");
    }
    let special = GenerationConfig::new(&config, None)?;
    let tokenizer = TokenizerFile::new(tokenizer_size, special.bos_token_id, &special.eos_token_ids)?;
    let shards = shards::divide(mscc_models::source_weights(&config)?, args.max_shard_bytes)?;

    let staging = Staging::new(&args.output, args.force)?;
    let dir = staging.path();
    // Not `fs::copy`: it would pass on that the original cannot be written.
    let content = fs::read(&args.config).with_context(|| args.config.display().to_string())?;
    fs::write(dir.join("config.json"), content)?;
    write_json(&dir.join("generation_config.json"), &generation_config(&config)?)?;
    write_json(&dir.join("tokenizer.json"), &tokenizer)?;
    let max_len = config.value("max_position_embeddings")?;
    write_json(&dir.join("tokenizer_config.json"), &tokenizer.config(max_len))?;
    write_weights(&dir, &shards, args)?;
    staging.commit()?;

    let parameters = shards.iter().flat_map(|shard| &shard.weights).map(shards::elements).sum::<u64>();
    println!(
        "wrote {}: {} parameters, {} of weights in {} {}{}, {} tokens",
        args.output.display(),
        HumanCount(parameters),
        HumanBytes(shards.iter().map(|shard| shard.data_bytes).sum()),
        shards.len(),
        if shards.len() == 1 { "file" } else { "files" },
        if args.sparse { " of holes" } else { "" },
        HumanCount(tokenizer_size),
    );
    Ok(())
}

/// The special tokens of the config, as it writes them.
fn generation_config(config: &HfConfig) -> anyhow::Result<Value> {
    let mut object = Map::new();
    for key in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        if let Some(value) = config.value(key)? {
            object.insert(key.to_owned(), value.clone());
        }
    }
    Ok(Value::Object(object))
}

fn write_weights(dir: &Path, shards: &[Shard], args: &Args) -> anyhow::Result<()> {
    let threads = args.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
    let total_bytes = shards.iter().map(|shard| shard.data_bytes).sum::<u64>();
    // Shown on a terminal only.
    let progress = ProgressBar::new(total_bytes).with_style(
        ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
            .expect("the template is well formed"),
    );
    for shard in shards {
        let path = dir.join(&shard.file);
        let written = if args.sparse {
            shard.write_sparse(&path)
        } else {
            shard.write(&path, args.seed, threads, &|bytes| progress.inc(bytes))
        };
        written.with_context(|| path.display().to_string())?;
    }
    progress.finish_and_clear();
    if shards.len() > 1 {
        let index = json!({
            "metadata": { "total_size": total_bytes },
            "weight_map": shards::weight_map(shards),
        });
        write_json(&dir.join(mscc_checkpoint::INDEX_FILE), &index)?;
    }
    Ok(())
}

fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut file, value)?;
        file.write_all(b"\n")?;
        Ok(file.flush()?)
    };
    write().with_context(|| path.display().to_string())
}
