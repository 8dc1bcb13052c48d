//! `mscc logits`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mscc_runtime::engine::{EngineError, Scorer};
use mscc_runtime::step::batch::{StepModel, TapSink};
use safetensors::tensor::{Dtype, TensorView};

use crate::error::CliError;
use crate::output;
use crate::plan_source::{PlanArgs, TokenIds};

/// Write the logits of every token of a prompt
///
/// The file holds f32 `logits` [T, V]; with --hidden also every layer's output [T, H] under its source name.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc logits plan.bin --prompt-ids 1,2,3 -o out.safetensors
  mscc logits plan.bin --prompt 'To be, or not to be' --hidden --chunk 4 -o out.safetensors")]
pub struct Args {
    #[command(flatten)]
    plan: PlanArgs,
    /// Text whose tokens are taken
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_ids", required_unless_present = "prompt_ids")]
    prompt: Option<String>,
    /// Token ids
    #[arg(long, value_name = "IDS")]
    prompt_ids: Option<TokenIds>,
    /// Most tokens in a step [default: as many as the plan takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunk: Option<u32>,
    /// Also write every layer's output
    #[arg(long)]
    hidden: bool,
    /// File for the tensors
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    output::check_writable(&args.output)?;
    let mut model = args.plan.load()?;
    let tokens = match (&args.prompt, &args.prompt_ids) {
        (None, Some(ids)) => ids.0.clone(),
        (text, _) => {
            let tokenizer = args.plan.tokenizer(&model, "--prompt")?;
            let ids = tokenizer.encode(text.as_deref().unwrap_or_default(), true);
            ids.map_err(|error| CliError::Input(error.to_string()))?
        }
    };
    let vocab_size = model.limits().vocab_size as usize;
    let mut taps = HiddenStates::default();
    let mut logits: Vec<f32> = Vec::with_capacity(tokens.len() * vocab_size);
    let sink: Option<&mut dyn TapSink> = if args.hidden { Some(&mut taps) } else { None };
    let chunk = args.chunk.map(|chunk| chunk as usize);
    Scorer::new(&mut model)?.score(&[tokens.as_slice()], chunk, sink, |rows| {
        logits.extend_from_slice(rows.logits);
        Ok::<(), EngineError>(())
    })?;
    let mut tensors = taps.tensors;
    tensors.insert("logits".to_owned(), Rows { width: vocab_size, values: logits });
    write(&args.output, &tensors)
}

/// Rows that come in one step after the other.
#[derive(Default)]
struct Rows {
    width: usize,
    values: Vec<f32>,
}

/// Collects all taps.
#[derive(Default)]
struct HiddenStates {
    tensors: BTreeMap<String, Rows>,
}

impl TapSink for HiddenStates {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn take(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        let rows = self.tensors.entry(name.to_owned()).or_default();
        rows.width = shape.iter().skip(1).product();
        rows.values.extend(values);
    }
}

fn write(path: &Path, tensors: &BTreeMap<String, Rows>) -> Result<(), CliError> {
    let bytes: BTreeMap<&str, Vec<u8>> = tensors
        .iter()
        .map(|(name, rows)| {
            (name.as_str(), rows.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (name, rows) in tensors {
        let shape = vec![rows.values.len() / rows.width.max(1), rows.width];
        let view = TensorView::new(Dtype::F32, shape, &bytes[name.as_str()])
            .map_err(|error| CliError::Failure(format!("tensor `{name}`: {error}")))?;
        views.push((name.as_str(), view));
    }
    let file = safetensors::serialize(views, None).map_err(|error| CliError::Failure(error.to_string()))?;
    output::write_file(path, &file)
}
