//! What is compiled: a model.yaml, a model directory or a config.

use std::path::Path;

use mscc_compiler::{Compiled, ModelYaml, Options};

use crate::error::CliError;
use crate::output;
use crate::terminal::settings;

/// The options that `model` stands for: those of a YAML file, or the defaults for a model directory or config.json.
pub fn read(model: &Path) -> Result<Options, CliError> {
    if !is_yaml(model) {
        return Ok(Options { model: Some(model.to_owned()), ..Options::default() });
    }
    let yaml = ModelYaml::read(model)?;
    yaml.notes.iter().for_each(|note| output::detail(&note.to_string()));
    let ignored = yaml.notes.iter().filter(|note| note.effect.is_err()).count();
    if ignored > 0 && !settings().verbose {
        let file = model.display();
        output::note(&format!(
            "{file}: keys of other tools that mean nothing here: {ignored}; -v lists them"
        ));
    }
    Ok(yaml.options)
}

/// Whether a path names a model.yaml.
pub fn is_yaml(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml")) && !path.is_dir()
}

/// Compiles what the options name.
pub fn compile(options: &Options, config_only: bool) -> Result<Compiled, CliError> {
    let compiled = mscc_compiler::compile(options, config_only)?;
    compiled.ignored.iter().for_each(|ignored| output::detail(&format!("left aside {ignored}")));
    Ok(compiled)
}
