//! The families that are built in: one file each in `families/`, found by the build.

use std::cmp::Reverse;
use std::sync::OnceLock;

use crate::hf::{HfConfig, nearest};
use crate::keys::UnreadKeys;
use crate::spec::Family;
use crate::trace::{TraceError, UnknownFamily};

// `FILES`: name and text of every family file, sorted by name.
include!(concat!(env!("OUT_DIR"), "/families.rs"));

/// All built-in families, ordered by file name.
pub fn builtin() -> &'static [Family] {
    static FAMILIES: OnceLock<Vec<Family>> = OnceLock::new();
    FAMILIES.get_or_init(|| {
        let parse = |(file, text): &(&str, &str)| match Family::parse(file, text) {
            Ok(family) => Family { is_builtin: true, ..family },
            Err(error) => panic!("a built-in family is broken: {error}"),
        };
        FILES.iter().map(parse).collect()
    })
}

/// The file of a built-in family: a beginning for one of your own.
pub fn text(model_type: &str) -> Option<&'static str> {
    let at = builtin().iter().position(|family| family.model_type == model_type)?;
    Some(FILES[at].1)
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
        let (nearest, differs) = nearest_family(config, model_type.unwrap_or_default());
        TraceError::UnknownFamily(Box::new(UnknownFamily {
            config: config.path().to_owned(),
            found: match model_type {
                Some(model_type) => format!("`model_type` = {:?}", shortened(model_type)),
                None => match architectures.first() {
                    Some(name) => format!("`architectures` = {:?}", shortened(name)),
                    None => "a config without `model_type` and `architectures`".to_owned(),
                },
            },
            known: builtin().iter().map(|family| family.model_type.clone()).collect(),
            nearest: nearest.model_type.clone(),
            differs,
            has_sizes: ["hidden_size", "num_hidden_layers", "num_attention_heads"]
                .iter()
                .all(|key| config.has(key)),
            has_code: config.has("auto_map"),
        }))
    })
}

/// The family with almost this name; else the one that reads most of what the config says, among equals that whose
/// name begins most alike.
fn nearest_family(config: &HfConfig, name: &str) -> (&'static Family, UnreadKeys) {
    let names = builtin().iter().map(|family| family.model_type.as_str());
    let alike =
        nearest(name, names).and_then(|name| builtin().iter().find(|family| family.model_type == name));
    if let Some(family) = alike {
        return (family, UnreadKeys::new(config, family, None));
    }
    let common = |other: &str| name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let families = builtin().iter().map(|family| (family, UnreadKeys::new(config, family, None)));
    let nearest = families.min_by_key(|(family, keys)| {
        // Of families that know as much of it, the one that knows least besides.
        let left = keys.lacking.len() + keys.unknown.len();
        (left, Reverse(common(&family.model_type)), family.keys().count())
    });
    nearest.expect("there are families")
}

fn shortened(name: &str) -> String {
    const SHOWN: usize = 60;
    match name.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
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
