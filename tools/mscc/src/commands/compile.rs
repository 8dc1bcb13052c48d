//! `mscc compile`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::ValueEnum;
use mscc_compiler::{Compiled, Options, TOKENIZER_FILE};
use mscc_ir::plan::{TextAssets, container, print_plan};
use mscc_ir::text::print_module;
use mscc_runtime::LlmError;
use mscc_runtime::engine::text::chat_template;
use mscc_text::Tokenizer;
use serde_json::json;

use crate::commands::opt;
use crate::compile_args::CompileArgs;
use crate::error::CliError;
use crate::inputs::Inputs;
use crate::usage::UsageError;
use crate::{model_yaml, output, terminal};

/// Compile a model into a plan
///
/// Takes a directory in Hugging Face's layout, unchanged, or a model.yaml. Reads the headers of weight files, never
/// their data; the plan refers to the weights where they are.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc compile ./Qwen3-0.6B -o plan.bin
  mscc compile model.yaml -o plan.bin --compute-dtype float32
  mscc compile ./Qwen3-0.6B --emit fused
  mscc compile --config-only config.json --emit lowered

Keys of model.yaml are the options above with `_` for `-`; options win over them.")]
pub struct Args {
    /// model.yaml, or a model directory
    #[arg(value_name = "MODEL", required_unless_present_any = ["model", "config_only"])]
    source: Option<PathBuf>,
    /// Where the plan is written, or the stage that is printed
    #[arg(short, long, value_name = "FILE", required_unless_present = "emit")]
    output: Option<PathBuf>,
    /// Print a stage as text in place of writing the plan
    #[arg(long, value_enum)]
    emit: Option<Emit>,
    /// Compile from a config alone, without weights; the plan can be inspected but not run
    #[arg(long, value_name = "CONFIG", num_args = 0..=1)]
    config_only: Option<Option<PathBuf>>,
    /// Model directory
    #[arg(long, alias = "pretrained-model-dir", value_name = "DIR")]
    model: Option<PathBuf>,
    #[command(flatten)]
    how: CompileArgs,
    /// Print what was compiled as JSON
    #[arg(long, conflicts_with = "emit")]
    json: bool,
}

/// A stage of compilation that can be printed.
#[derive(Clone, Copy, ValueEnum)]
enum Emit {
    /// The model as its author wrote it
    Traced,
    /// The model after all passes
    Fused,
    /// Kernel launches and memory
    Lowered,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), CliError> {
    let started = Instant::now();
    let config_only = args.config_only.is_some();
    let options = options(&args)?;
    let inputs = args.source.iter().fold(Inputs::default(), |all, source| all.with("the file", source));
    let inputs = inputs.with_options(&options);
    // A stage is text, and `-` stands for what it is without a file.
    let output = args.output.as_deref().filter(|path| args.emit.is_none() || path.as_os_str() != "-");
    output.map_or(Ok(()), |path| output::check_writable(path, &inputs))?;
    let spinner = terminal::spinner("compiling");
    let compiled = model_yaml::compile(&options, config_only);
    spinner.finish_and_clear();
    let compiled = compiled?;
    let warnings = compiled.plan.meta.warnings.iter().cloned().chain(opt::warnings(&compiled.reports));
    warnings.chain(compiled.advice.iter().cloned()).for_each(|warning| output::warning(&warning));
    for (lost, problem) in text_problems(&compiled.plan.text, compiled.plan.meta.limits.vocab_size) {
        // A template that the user names is meant to be used.
        let is_named = lost == CHAT && options.chat_template.is_some();
        match options.strict {
            _ if is_named => return Err(problem.into()),
            Some(true) => return Err(problem.into()),
            Some(false) | None => output::warning(&format!("{problem}; without it there is no {lost}")),
        }
    }
    for (rule, count) in &compiled.plan.meta.rewrites {
        output::detail(&format!("{rule}: {count}"));
    }
    if let Some(emit) = args.emit {
        let text = text(&compiled, emit);
        return match output {
            None => output::print(&text),
            Some(path) => output::write_file(path, &inputs, text.as_bytes()),
        };
    }
    let path = output.ok_or(UsageError::NoPlanName)?;
    let bytes = container::encode(&compiled.plan).map_err(|error| CliError::Failure(error.to_string()))?;
    output::write_file(path, &inputs, &bytes)?;
    if args.json {
        return output::print_json(&summary(&compiled, path, bytes.len(), started));
    }
    output::detail(&format!("compiled in {:.0?}", started.elapsed()));
    Ok(())
}

/// What a model without a chat template cannot do.
const CHAT: &str = "chat";

/// A tokenizer.json of so many bytes is not read here, only when the plan is run: compiling takes little time and memory,
/// whatever the model. A larger one still is refused at once.
const READ_LATER: std::ops::Range<u64> = 4 << 20..256 << 20;

/// What will be refused when the plan is run, and what cannot be done then: a tokenizer or a chat template that is
/// broken. Whether there are such is said elsewhere.
fn text_problems(text: &TextAssets, vocab_size: u32) -> Vec<(&'static str, LlmError)> {
    let dir = text.tokenizer_dir.as_deref().map(Path::new);
    let is_read = |dir: &&Path| {
        let file = dir.join(TOKENIZER_FILE).metadata();
        file.is_ok_and(|file| file.is_file() && !READ_LATER.contains(&file.len()))
    };
    let tokenizer = dir.filter(is_read).map(Tokenizer::from_dir);
    if let Some(Ok(tokenizer)) = &tokenizer
        && tokenizer.vocab_size() > vocab_size as usize
    {
        output::warning(&format!(
            "the tokenizer has {} tokens and the model {vocab_size}: it is another model's, or its last tokens cannot be read",
            tokenizer.vocab_size()
        ));
    }
    let tokenizer = tokenizer.and_then(Result::err).map(LlmError::from);
    let template = chat_template(text, dir.unwrap_or(Path::new(""))).err().map(LlmError::from);
    // What both read is broken for both.
    let template = template.filter(|template| {
        tokenizer.as_ref().is_none_or(|tokenizer| tokenizer.to_string() != template.to_string())
    });
    let lost = [("text, only token ids", tokenizer), (CHAT, template)];
    lost.into_iter().filter_map(|(lost, problem)| Some((lost, problem?))).collect()
}

fn options(args: &Args) -> Result<Options, CliError> {
    let config = args.config_only.as_ref().and_then(Option::as_ref);
    let source = match (args.source.as_ref(), config) {
        (Some(_), Some(_)) => {
            return Err(UsageError::TwoConfigs.into());
        }
        (source, config) => source.or(config),
    };
    if let (Some(source), Some(model)) = (source.filter(|source| !model_yaml::is_yaml(source)), &args.model) {
        return Err(UsageError::TwoModels { first: source.to_path_buf(), model: model.clone() }.into());
    }
    let file = source.map_or(Ok(Options::default()), |path| model_yaml::read(path))?;
    let model = Options { model: args.model.clone(), ..Options::default() };
    Ok(file.overridden_by(args.how.options()).overridden_by(model))
}

fn text(compiled: &Compiled, emit: Emit) -> String {
    match emit {
        Emit::Traced => print_module(&compiled.traced),
        Emit::Fused => print_module(&compiled.fused),
        Emit::Lowered => print_plan(&compiled.plan),
    }
}

fn summary(compiled: &Compiled, path: &Path, bytes: usize, started: Instant) -> serde_json::Value {
    let meta = &compiled.plan.meta;
    json!({
        "schema": "mscc.compile.v1",
        "plan": path,
        "bytes": bytes,
        "seconds": started.elapsed().as_secs_f64(),
        "model": meta.model,
        "family": meta.family,
        "target": meta.target,
        "rewrites": meta.rewrites.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        "warnings": meta.warnings,
    })
}
