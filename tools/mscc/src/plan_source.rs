//! Plans that commands run: compiled before, or on the way.

use std::path::{Path, PathBuf};
use std::time::Instant;

use mscc_compiler::TOKENIZER_FILE;
use mscc_runtime::engine::text::{chat_template, tokenizer_dir};
use mscc_runtime::load::weights::LoadProgress;
use mscc_runtime::{LlmError, LoadOptions, Model, RuntimeError};
use mscc_text::{ChatTemplate, Tokenizer};

use crate::error::CliError;
use crate::model_yaml;
use crate::usage::UsageError;
use crate::{output, terminal};

/// What is run, and on how many threads.
#[derive(clap::Args)]
pub struct PlanArgs {
    /// A plan; or a model directory or model.yaml, which is compiled in memory first
    pub plan: PathBuf,
    /// Directory of the weights, in place of the one the plan was compiled from
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl PlanArgs {
    /// Loads the plan and binds its weights.
    pub fn load(&self) -> Result<Model, CliError> {
        let started = Instant::now();
        let bar = terminal::progress_bar("loading weights", 0);
        let progress = |progress: LoadProgress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
        };
        let options = LoadOptions {
            threads: self.threads.map(usize::from),
            weights_dir: self.weights.clone(),
            progress: Some(&progress),
            ..LoadOptions::default()
        };
        let model = if is_model(&self.plan) {
            let spinner = terminal::spinner(&format!("compiling {}", self.plan.display()));
            let compiled = model_yaml::compile(&model_yaml::read(&self.plan)?, false);
            spinner.finish_and_clear();
            let compiled = compiled?;
            output::detail(&format!("compiled in {:.0?}", started.elapsed()));
            Model::from_plan(compiled.plan, self.base_dir(), &options)
        } else {
            Model::load(&self.plan, &options)
        };
        bar.finish_and_clear();
        let model = model.map_err(|error| match error {
            // A plan without weights names no directory of theirs.
            RuntimeError::Weights { path, problem } if path.as_os_str().is_empty() => {
                RuntimeError::Weights { path: self.plan.clone(), problem }.into()
            }
            other => CliError::from(other),
        })?;
        output::detail(&format!("{} is ready after {:.0?}", model.plan().meta.model, started.elapsed()));
        Ok(model)
    }

    /// Where relative paths of the plan are looked for if they are not in the current directory.
    pub fn base_dir(&self) -> &Path {
        self.plan.parent().unwrap_or(Path::new(""))
    }

    /// The model's tokenizer; without one, an error that says what needs it.
    pub fn tokenizer(&self, model: &Model, what_for: &'static str) -> Result<Tokenizer, CliError> {
        let dir = self.tokenizer_dir(model).ok_or(UsageError::NoTokenizer { what_for })?;
        if !dir.join(TOKENIZER_FILE).is_file() {
            return Err(UsageError::TokenizerNotThere { what_for, dir }.into());
        }
        Ok(Tokenizer::from_dir(&dir)?)
    }

    /// The model's chat template; without one, an error.
    pub fn chat_template(&self, model: &Model) -> Result<ChatTemplate, CliError> {
        let dir = self.tokenizer_dir(model).unwrap_or_default();
        let template = chat_template(&model.plan().text, &dir)?;
        Ok(template.ok_or(LlmError::NoChatTemplate)?)
    }

    /// Whether the model's tokenizer is where it should be.
    pub fn has_tokenizer(&self, model: &Model) -> bool {
        self.tokenizer_dir(model).is_some_and(|dir| dir.join(TOKENIZER_FILE).is_file())
    }

    fn tokenizer_dir(&self, model: &Model) -> Option<PathBuf> {
        tokenizer_dir(&model.plan().text, self.base_dir(), self.weights.as_deref())
    }
}

/// Whether a path names a model to be compiled, not a plan.
fn is_model(path: &Path) -> bool {
    path.is_dir() || model_yaml::is_yaml(path)
}
