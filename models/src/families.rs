//! The families that are built in: one file each in `families/`, found by the build.

use std::sync::OnceLock;

use crate::hf::{HfConfig, nearest};
use crate::spec::Family;
use crate::trace::TraceError;

// `FILES`: name and text of every family file, sorted by name.
include!(concat!(env!("OUT_DIR"), "/families.rs"));

/// All built-in families, ordered by file name.
pub fn builtin() -> &'static [Family] {
    static FAMILIES: OnceLock<Vec<Family>> = OnceLock::new();
    FAMILIES.get_or_init(|| {
        let parse = |(file, text): &(&str, &str)| match Family::parse(file, text) {
            Ok(family) => family,
            Err(error) => panic!("a built-in family is broken: {error}"),
        };
        FILES.iter().map(parse).collect()
    })
}

/// The built-in family of a config: by `model_type`, else by `architectures`.
///
/// Errors: [`TraceError::UnknownFamily`]; keys of the wrong type.
pub fn find(config: &HfConfig) -> Result<&'static Family, TraceError> {
    let model_type = config.opt_str("model_type")?;
    let architectures = config.architectures()?;
    let by_type = builtin().iter().find(|family| Some(family.model_type.as_str()) == model_type);
    let by_class = || {
        let is_one = |family: &&Family| {
            architectures.iter().any(|name| family.architectures.iter().any(|other| other == name))
        };
        builtin().iter().find(is_one)
    };
    by_type.or_else(by_class).ok_or_else(|| {
        let names = || builtin().iter().map(|family| family.model_type.as_str());
        TraceError::UnknownFamily {
            config: config.path().to_owned(),
            found: match model_type {
                Some(model_type) => format!("`model_type` = {model_type:?}"),
                None => format!("`architectures` = {architectures:?} without `model_type`"),
            },
            nearest: model_type.and_then(|name| nearest(name, names())).map(str::to_owned),
            known: names().map(str::to_owned).collect(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_for_their_model_type() {
        for ((file, _), family) in FILES.iter().zip(builtin()) {
            assert_eq!(*file, format!("families/{}.yaml", family.model_type));
        }
        assert!(FILES.is_sorted());
    }
}
