//! model.yaml.

use std::path::{Path, PathBuf};

use mscc_compiler::files::read_text;
use mscc_compiler::{CompileError, Compiled, Options};
use serde_saphyr::UserMessageFormatter;

use crate::error::CliError;

/// Without this file a directory holds no tokenizer.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// The options that `model` stands for: those of a YAML file, or the defaults for a model directory or config.json.
///
/// Paths in a YAML file are relative to the file.
pub fn read(model: &Path) -> Result<Options, CliError> {
    if !is_yaml(model) {
        return Ok(Options { model: Some(model.to_owned()), ..Options::default() });
    }
    let text = read_text(model).map_err(|source| CliError::Read { path: model.to_owned(), source })?;
    let mut options =
        parse(&text).map_err(|problem| CliError::Input(format!("{}: {problem}", model.display())))?;
    let own = [&mut options.model, &mut options.tokenizer, &mut options.chat_template];
    let paths = own.into_iter().flatten().chain(options.rules.iter_mut().flatten());
    paths.for_each(|path| relative_to(path, model));
    Ok(options)
}

/// Whether a path names a model.yaml.
pub fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml")) && !path.is_dir()
}

/// Compiles what the options name, once it is known to be there.
pub fn compile(options: &Options, config_only: bool) -> Result<Compiled, CliError> {
    if let Some(model) = options.model.as_deref().filter(|model| !model.exists()) {
        let problem = "there is no such model directory; mscc takes models that are on this machine";
        return Err(CliError::Input(format!("{}: {problem}", model.display())));
    }
    if let Some(dir) = options.tokenizer.as_deref().filter(|dir| !dir.join(TOKENIZER_FILE).is_file()) {
        let problem = format!("there is no {TOKENIZER_FILE} in {}", dir.display());
        return Err(CliError::Input(format!("option `tokenizer`: {problem}")));
    }
    mscc_compiler::compile(options, config_only).map_err(|error| match error {
        CompileError::NoModel => {
            CliError::Input("no model is named: set `model` in model.yaml, or pass --model DIR".to_owned())
        }
        other => other.into(),
    })
}

fn parse(text: &str) -> Result<Options, String> {
    serde_saphyr::from_str(text).map_err(|error| {
        let problem = problem(error.without_snippet());
        let Some(place) = error.location() else { return problem };
        let line = text.lines().nth((place.line() as usize).saturating_sub(1)).unwrap_or_default();
        format!("line {}, column {}: {problem}\n  {}", place.line(), place.column(), line.trim())
    })
}

/// What is wrong, in words of model.yaml and not of the library that reads it.
fn problem(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::InvalidScalar { .. } => format!("expected a whole number from 0 to {}", u32::MAX),
        Error::Unexpected { .. } => "expected a single value".to_owned(),
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("key `{key}` is there twice"),
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key `{field}`: expected one of {}", expected.join(", "))
        }
        Error::SerdeInvalidType { .. } => "expected keys with values, `key: value`".to_owned(),
        Error::MultipleDocuments { .. } => "expected one document, and here the second begins".to_owned(),
        other => {
            let text = other.render_with_formatter(&UserMessageFormatter);
            text.split(" at line ").next().unwrap_or_default().to_owned()
        }
    }
}

fn relative_to(path: &mut PathBuf, file: &Path) {
    if let Some(dir) = file.parent() {
        *path = dir.join(&path);
    }
}
