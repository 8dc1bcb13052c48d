//! model.yaml.

use std::path::{Path, PathBuf};

use mscc_compiler::Options;

use crate::error::CliError;

/// Largest model.yaml that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The options that `model` stands for: those of a YAML file, or the defaults for a model directory or config.json.
///
/// Paths in a YAML file are relative to the file.
pub fn read(model: &Path) -> Result<Options, CliError> {
    let is_yaml = model.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if model.is_dir() || !is_yaml {
        return Ok(Options { model: Some(model.to_owned()), ..Options::default() });
    }
    let read = |source| CliError::Read { path: model.to_owned(), source };
    if std::fs::metadata(model).map_err(read)?.len() > MAX_BYTES {
        return Err(CliError::Input(format!("{}: larger than 1 MiB", model.display())));
    }
    let text = std::fs::read_to_string(model).map_err(read)?;
    let mut options: Options = serde_saphyr::from_str(&text)
        .map_err(|error| CliError::Input(format!("{}: {error}", model.display())))?;
    for path in [&mut options.model, &mut options.tokenizer, &mut options.chat_template] {
        relative_to(path, model);
    }
    Ok(options)
}

fn relative_to(path: &mut Option<PathBuf>, file: &Path) {
    if let (Some(given), Some(dir)) = (path.as_mut(), file.parent()) {
        *given = dir.join(&given);
    }
}
