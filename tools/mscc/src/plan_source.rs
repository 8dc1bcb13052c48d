//! Plans that commands run: compiled before, or on the way.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mscc_compiler::{CompileError, OTHER_TOKENIZERS, Options, TOKENIZER_FILE};
use mscc_ir::plan::Plan;
use mscc_ir::plan::container::ContainerError;
use mscc_models::hf::{ModelDirError, hub_name};
use mscc_runtime::engine::text::{chat_template, tokenizer_dir};
use mscc_runtime::load::plan::read_plan;
use mscc_runtime::load::weights::LoadProgress;
use mscc_runtime::{LlmError, LoadOptions, Model, RuntimeError};
use mscc_text::{ChatTemplate, Tokenizer};

use crate::error::CliError;
use crate::inputs::Inputs;
use crate::memory::{Budget, Size};
use crate::model_yaml;
use crate::new_file::directory;
use crate::numbers::threads;
use crate::usage::{TextUse, UsageError};
use crate::{output, terminal};

/// What is run, and on how many threads.
#[derive(clap::Args)]
pub struct PlanArgs {
    /// A plan; or a model directory or model.yaml, which is compiled in memory first
    pub plan: PathBuf,
    /// Directory of the weights, in place of the one the plan was compiled from
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// File that describes the family of the model compiled here, in place of a built-in one
    #[arg(long, value_name = "FILE")]
    pub family: Option<PathBuf>,
    /// Threads that compute [default: one for each core]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = threads)]
    pub threads: Option<u16>,
    /// Most memory for caches, activations and weights that are made at the start, such as 8GiB [default: what is free]
    #[arg(long, value_name = "SIZE", allow_negative_numbers = true)]
    pub memory_limit: Option<Size>,
}

impl PlanArgs {
    /// Reads the plan, or compiles the model, and loads its weights; also says what memory is left.
    pub fn load(&self) -> Result<(Model, Budget), CliError> {
        self.bind(self.plan()?)
    }

    /// Reads the plan, or compiles the model.
    pub fn plan(&self) -> Result<Plan, CliError> {
        if !is_model(&self.plan) {
            // Without an ending it was meant as a model, and so was a name on the hub.
            let is_model = self.plan.extension().is_none() || hub_name(&self.plan).is_some();
            if is_model && !self.plan.exists() {
                let path = self.plan.clone();
                return Err(CompileError::from(ModelDirError::Absent { path }).into());
            }
            let plan = read(&self.plan)?;
            return match self.family {
                None => Ok(plan),
                Some(_) => Err(UsageError::FamilyOfPlan { path: self.plan.clone() }.into()),
            };
        }
        let started = Instant::now();
        let spinner = terminal::spinner(&format!("compiling {}", self.plan.display()));
        let family = Options { family: self.family.clone(), ..Options::default() };
        let compiled = model_yaml::compile(&model_yaml::read(&self.plan)?.overridden_by(family), false);
        spinner.finish_and_clear();
        let compiled = compiled?;
        compiled.plan.meta.warnings.iter().for_each(|warning| output::warning(warning));
        output::detail(&format!("compiled in {:.0?}", started.elapsed()));
        Ok(compiled.plan)
    }

    /// What the command reads, as far as it is known without the plan, or with it.
    pub fn inputs(&self, plan: Option<&Plan>) -> Inputs {
        let inputs = Inputs::default().with("the plan", &self.plan).with_model(&self.plan);
        let inputs = self.family.iter().fold(inputs, |all, file| all.with("the family's file", file));
        match plan {
            Some(plan) => inputs.with_plan(plan, base_dir(&self.plan), self.weights.as_deref()),
            None => inputs,
        }
    }

    /// Loads the weights of a plan; also says what memory is left.
    pub fn bind(&self, plan: Plan) -> Result<(Model, Budget), CliError> {
        let started = Instant::now();
        let budget = Budget::new(&plan, self.memory_limit)?;
        let bar = terminal::progress_bar("loading weights", 0);
        let progress = |progress: LoadProgress| {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
        };
        let options = LoadOptions {
            threads: self.threads.map(usize::from),
            weights_dir: self.weights.clone(),
            progress: Some(&progress),
            memory_limit: budget.left(),
            ..LoadOptions::default()
        };
        let model = Model::from_plan(plan, base_dir(&self.plan), &options);
        bar.finish_and_clear();
        let model = model.map_err(|error| match error {
            RuntimeError::Invalid(error) => {
                RuntimeError::Plan { path: self.plan.clone(), source: ContainerError::Invalid(error) }.into()
            }
            // A plan without weights names no directory of theirs.
            RuntimeError::Weights { path, problem } if path.as_os_str().is_empty() => {
                RuntimeError::Weights { path: self.plan.clone(), problem }.into()
            }
            // Where they were looked for, whoever reads the message.
            RuntimeError::Weights { path, problem } if !path.exists() => {
                RuntimeError::Weights { path: std::path::absolute(&path).unwrap_or(path), problem }.into()
            }
            other => CliError::from(other),
        })?;
        output::detail(&format!("{} is ready after {:.0?}", model.plan().meta.model, started.elapsed()));
        Ok((model, budget))
    }

    /// The model's tokenizer; without one, an error that says what needs it.
    pub fn tokenizer(&self, model: &Model, what_for: TextUse) -> Result<Tokenizer, CliError> {
        let found = || self.other_tokenizer(model);
        let dir =
            self.tokenizer_dir(model).ok_or_else(|| UsageError::NoTokenizer { what_for, found: found() })?;
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

    /// A tokenizer in a form that is not read, beside the weights.
    fn other_tokenizer(&self, model: &Model) -> Option<PathBuf> {
        let stated = Path::new(&model.plan().weights.dir);
        let dirs = [self.weights.clone(), Some(stated.to_owned()), Some(base_dir(&self.plan).join(stated))];
        let files = dirs.into_iter().flatten().flat_map(|dir| OTHER_TOKENIZERS.map(|name| dir.join(name)));
        files.into_iter().find(|file| file.is_file())
    }

    fn tokenizer_dir(&self, model: &Model) -> Option<PathBuf> {
        tokenizer_dir(&model.plan().text, base_dir(&self.plan), self.weights.as_deref())
    }
}

/// Where relative paths of a plan are looked for if they are not in the current directory.
pub fn base_dir(plan: &Path) -> &Path {
    plan.parent().unwrap_or(Path::new(""))
}

/// Reads a plan.
pub fn read(path: &Path) -> Result<Plan, CliError> {
    match path.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(UsageError::NoPlan { path: path.to_owned() }.into())
        }
        Ok(kind) if kind.is_dir() => Err(UsageError::PlanIsDir { path: path.to_owned() }.into()),
        Ok(_) if path.extension().is_some_and(|ending| ending == "json" || ending == "safetensors") => {
            let (path, dir) = (path.to_owned(), directory(path).to_owned());
            Err(UsageError::PlanIsModelFile { path, dir }.into())
        }
        Ok(_) | Err(_) => Ok(read_plan(path)?),
    }
}

/// Whether a path names a model to be compiled, not a plan.
pub fn is_model(path: &Path) -> bool {
    path.is_dir() || model_yaml::is_yaml(path)
}
