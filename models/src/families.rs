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
    find_fitting(config, &|_| Some(Vec::new()))
}

/// As [`find`]; among families that read as much of a config of none of them, the nearest is one whose model has least
/// that `misfits` tells of it; nothing, if there is no such model.
pub(crate) fn find_fitting(
    config: &HfConfig,
    misfits: &dyn Fn(&Family) -> Option<Vec<String>>,
) -> Result<&'static Family, TraceError> {
    let model_type = config.opt_str("model_type")?;
    let architectures = config.architectures()?;
    let by_type = builtin().iter().find(|family| Some(family.model_type.as_str()) == model_type);
    let by_class = || {
        let is_one = |family: &&Family| {
            architectures.iter().any(|name| family.architectures.iter().any(|other| other == name))
        };
        builtin().iter().find(is_one)
    };
    let has_sizes =
        ["hidden_size", "num_hidden_layers", "num_attention_heads"].iter().all(|key| config.has(key));
    // Tensors say nothing of a config without sizes.
    let misfits = |family: &Family| if has_sizes { misfits(family) } else { Some(Vec::new()) };
    by_type.or_else(by_class).ok_or_else(|| {
        let (nearest, differs, misfits) = nearest_family(config, model_type.unwrap_or_default(), &misfits);
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
            misfits,
            has_sizes,
            has_code: config.has("auto_map"),
        }))
    })
}

/// The family that lacks least of what the config says, and how it differs. Among equals that whose tensors fit best,
/// then that with almost this name, then that whose name begins most alike, then that which reads most keys of the config
/// and knows fewest besides.
fn nearest_family(
    config: &HfConfig,
    name: &str,
    misfits: &dyn Fn(&Family) -> Option<Vec<String>>,
) -> (&'static Family, UnreadKeys, Vec<String>) {
    let alike = nearest(name, builtin().iter().map(|family| family.model_type.as_str()));
    let common = |other: &str| name.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let left = |keys: &UnreadKeys| keys.lacking.len() + keys.unknown.len();
    let all: Vec<_> =
        builtin().iter().map(|family| (family, UnreadKeys::new(config, family, None))).collect();
    let least = all.iter().map(|(_, keys)| left(keys)).min().unwrap_or(0);
    let candidates = all.into_iter().filter(|(_, keys)| left(keys) == least);
    let candidates = candidates.map(|(family, keys)| (family, keys, misfits(family)));
    let nearest = candidates.min_by_key(|(family, _, misfits)| {
        let model_type = family.model_type.as_str();
        let (read, known) = (family.keys().filter(|key| config.has(key)).count(), family.keys().count());
        let is_other = Some(model_type) != alike;
        (
            misfits.is_none(),
            misfits.as_ref().map_or(0, Vec::len),
            is_other,
            Reverse(common(model_type)),
            Reverse(2 * read as i64 - known as i64),
        )
    });
    let (family, keys, misfits) = nearest.expect("there are families");
    (family, keys, misfits.unwrap_or_default())
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
