//! `mscc logits`

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mscc_runtime::engine::Scorer;
use mscc_runtime::step::batch::{StepModel, TapSink};
use serde_json::{Map, Value, json};

use crate::error::CliError;
use crate::inputs::Inputs;
use crate::new_file::NewFile;
use crate::numbers::count;
use crate::plan_source::PlanArgs;
use crate::prompt::PromptArgs;
use crate::usage::{TextUse, UsageError};
use crate::{output, terminal};

/// Write the logits of every token of a prompt
///
/// The file holds f32 `logits` [T, V]; with --hidden also every layer's output [T, H] under its source name. It is
/// written step by step: memory holds the tensors of one step.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc logits plan.bin --prompt-ids 1,2,3 -o out.safetensors
  mscc logits plan.bin --prompt 'To be, or not to be' --hidden --chunk 4 -o out.safetensors")]
pub struct Args {
    #[command(flatten)]
    plan: PlanArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Most tokens in a step [default: as many as the plan takes, and as have 64 MiB of logits]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    chunk: Option<u32>,
    /// Also write every layer's output
    #[arg(long)]
    hidden: bool,
    /// File for the tensors
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Print tokens, names and shapes as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    output::check_writable(&args.output, &args.plan.inputs(None))?;
    let plan = args.plan.plan()?;
    let inputs = args.plan.inputs(Some(&plan));
    output::check_writable(&args.output, &inputs)?;
    let (mut model, _) = args.plan.bind(plan)?;
    let tokens = args.prompt.tokens(|| args.plan.tokenizer(&model, TextUse::Prompt))?;
    let vocab_size = model.limits().vocab_size as usize;
    let file = RefCell::new(TensorFile::create(&args.output, &inputs, tokens.len())?);
    let mut taps = Taps(&file);
    let sink: Option<&mut dyn TapSink> = if args.hidden { Some(&mut taps) } else { None };
    let chunk = args.chunk.map(|chunk| chunk as usize);
    let bar = terminal::progress_bar("tokens", tokens.len() as u64);
    Scorer::new(&mut model)?.score(&[tokens.as_slice()], chunk, sink, |rows| {
        bar.inc((rows.logits.len() / vocab_size) as u64);
        let mut file = file.borrow_mut();
        if let Some(row) = rows.logits.chunks_exact(vocab_size).position(|row| !are_numbers(row)) {
            let (token, layer) = (rows.first_position + row, file.not_numbers.take());
            return Err(UsageError::NoLogits { token, layer }.into());
        }
        file.take("logits", vocab_size, rows.logits);
        file.write_step()
    })?;
    bar.finish_and_clear();
    let (size, shapes) = file.into_inner().finish()?;
    output::written(&args.output, size);
    if args.json {
        return output::print_json(&json!({
            "schema": "mscc.logits.v1",
            "output": args.output,
            "prompt_ids": tokens,
            "tensors": shapes,
        }));
    }
    Ok(())
}

/// Hands over every layer's output.
struct Taps<'a>(&'a RefCell<TensorFile>);

impl TapSink for Taps<'_> {
    fn wants(&self, _: &str) -> bool {
        true
    }

    fn take(&mut self, name: &str, shape: &[usize], values: Vec<f32>) {
        let mut file = self.0.borrow_mut();
        if file.not_numbers.is_none() && !are_numbers(&values) {
            file.not_numbers = Some(name.to_owned());
        }
        file.take(name, shape.iter().skip(1).product(), &values);
    }
}

/// Minus infinity is the logit of a token that never comes.
fn are_numbers(values: &[f32]) -> bool {
    values.iter().all(|value| *value < f32::INFINITY)
}

/// A safetensors file of f32 tensors whose rows come step by step. The first step says which tensors there are, and
/// where each of them lies.
struct TensorFile {
    file: NewFile,
    /// Rows of each tensor in the end.
    rows: usize,
    tensors: BTreeMap<String, Tensor>,
    is_laid_out: bool,
    /// The first layer whose output is no numbers.
    not_numbers: Option<String>,
}

#[derive(Default)]
struct Tensor {
    width: usize,
    /// Where its next row is written.
    next: u64,
    /// Where it ends.
    end: u64,
    /// Little-endian f32 of rows that are not written yet.
    pending: Vec<u8>,
}

impl TensorFile {
    fn create(path: &Path, inputs: &Inputs, rows: usize) -> Result<Self, CliError> {
        let file = NewFile::create(path, inputs)?;
        Ok(Self { file, rows, tensors: BTreeMap::new(), is_laid_out: false, not_numbers: None })
    }

    fn take(&mut self, name: &str, width: usize, values: &[f32]) {
        let tensor = self.tensors.entry(name.to_owned()).or_default();
        tensor.width = width;
        tensor.pending.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }

    /// Writes what a step has given.
    fn write_step(&mut self) -> Result<(), CliError> {
        if !self.is_laid_out {
            let header = self.lay_out();
            self.file.write_at(0, &header)?;
            self.is_laid_out = true;
        }
        for tensor in self.tensors.values_mut() {
            self.file.write_at(tensor.next, &tensor.pending)?;
            tensor.next += tensor.pending.len() as u64;
            tensor.pending.clear();
        }
        Ok(())
    }

    /// Places the tensors one behind the other; gives the file's header.
    ///
    /// Source: the safetensors format, version 0.4.
    fn lay_out(&mut self) -> Vec<u8> {
        let mut header = Map::new();
        let mut offset = 0;
        for (name, tensor) in &mut self.tensors {
            let end = offset + (self.rows * tensor.width * size_of::<f32>()) as u64;
            let shape = [self.rows, tensor.width];
            header.insert(
                name.clone(),
                json!({ "dtype": "F32", "shape": shape, "data_offsets": [offset, end] }),
            );
            (tensor.next, tensor.end) = (offset, end);
            offset = end;
        }
        let mut text = Value::Object(header).to_string();
        text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
        let data = (size_of::<u64>() + text.len()) as u64;
        for tensor in self.tensors.values_mut() {
            tensor.next += data;
            tensor.end += data;
        }
        [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
    }

    /// Puts the file in its place; gives its bytes, and the shapes.
    fn finish(self) -> Result<(u64, BTreeMap<String, [usize; 2]>), CliError> {
        if let Some((name, _)) = self.tensors.iter().find(|(_, tensor)| tensor.next != tensor.end) {
            return Err(CliError::Failure(format!("`{name}` has not a row for each token")));
        }
        self.file.finish()?;
        let size = self.tensors.values().map(|tensor| tensor.end).max().unwrap_or(0);
        let shapes = self.tensors.into_iter().map(|(name, tensor)| (name, [self.rows, tensor.width]));
        Ok((size, shapes.collect()))
    }
}
