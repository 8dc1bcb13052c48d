//! What a command reads, which its output must not replace.

use std::path::{Path, PathBuf};

use mscc_compiler::Options;
use mscc_ir::plan::Plan;

use crate::usage::UsageError;

/// Files that a command reads.
///
/// Invariant, kept by [`NewFile`](crate::new_file::NewFile): none of them is written by the same command, by whatever
/// path, symlink or hard link it is named.
#[derive(Default)]
pub struct Inputs(Vec<Input>);

struct Input {
    /// What it is to the command, for the message.
    role: &'static str,
    path: PathBuf,
}

/// How files of a model end. What else lies in its directory, such as a plan, may be written anew.
const MODEL_FILES: [&str; 6] = ["safetensors", "json", "jinja", "model", "txt", "py"];

impl Inputs {
    /// With a file.
    pub fn with(mut self, role: &'static str, path: &Path) -> Self {
        self.0.push(Input { role, path: path.to_owned() });
        self
    }

    /// With what a compilation reads.
    pub fn with_options(mut self, options: &Options) -> Self {
        for model in options.model.iter().chain(&options.tokenizer) {
            self = self.with_model(model);
        }
        for rules in options.rules.iter().flatten() {
            self = self.with("the file of rules", rules);
        }
        if let Some(family) = &options.family {
            self = self.with("the family's file", family);
        }
        match &options.chat_template {
            Some(template) => self.with("the chat template", template),
            None => self,
        }
    }

    /// With what running a plan reads: its weights and tokenizer, wherever they are looked for.
    pub fn with_plan(mut self, plan: &Plan, base_dir: &Path, weights: Option<&Path>) -> Self {
        let stated = [Some(&plan.weights.dir), plan.text.tokenizer_dir.as_ref()];
        for dir in stated.into_iter().flatten().filter(|dir| !dir.is_empty()) {
            self = self.with_model(Path::new(dir)).with_model(&base_dir.join(dir));
        }
        weights.into_iter().fold(self, Self::with_model)
    }

    /// With the files of a model directory, or a lone config.
    pub fn with_model(mut self, model: &Path) -> Self {
        let Ok(entries) = std::fs::read_dir(model) else { return self.with("the file", model) };
        let is_model_file = |path: &PathBuf| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            extension.is_some_and(|extension| MODEL_FILES.contains(&extension))
        };
        for path in entries.flatten().map(|entry| entry.path()).filter(is_model_file) {
            self = self.with("the model's file", &path);
        }
        self
    }

    /// Refuses an output that is one of them.
    pub fn spare(&self, output: &Path) -> Result<(), UsageError> {
        let Some(found) = identity(output) else { return Ok(()) };
        match self.0.iter().find(|input| identity(&input.path).as_ref() == Some(&found)) {
            None => Ok(()),
            Some(Input { role, path }) => {
                Err(UsageError::OutputIsInput { output: output.to_owned(), role, input: path.clone() })
            }
        }
    }
}

/// What is equal for all names of a file; `None` for what is no file and cannot be replaced, such as /dev/null.
#[cfg(unix)]
fn identity(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let data = path.metadata().ok().filter(|data| data.is_file())?;
    Some((data.dev(), data.ino()))
}

/// As above, blind to hard links.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok().filter(|path| path.is_file())
}

/// Whether two outputs would be one file.
pub fn is_same_output(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let dir = crate::new_file::directory(path).canonicalize().ok()?;
        path.canonicalize().ok().or_else(|| Some(dir.join(path.file_name()?)))
    };
    place(a).is_some_and(|place_of_a| Some(place_of_a) == place(b))
}
