//! config.json in one spelling.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;

use mscc_ir::DType;
use serde_json::{Map, Value};

use super::dtype::dtype_from_name;
use super::fields::{ConfigError, Fields, describe};
use super::json;

/// The config of a model, with the spellings of all versions of `transformers` brought to the newest.
///
/// | in the file                                   | key here                                     |
/// |-----------------------------------------------|----------------------------------------------|
/// | `torch_dtype` or `dtype`                      | `dtype` (the newer wins)                     |
/// | `rope_theta`, `rope_scaling`                  | `rope_parameters.rope_theta`, `.factor`, ... |
/// | `type` or `rope_type` in either object        | `rope_parameters.rope_type` (the newer wins) |
///
/// Where an object of rope settings is given, `rope_parameters.rope_type` is always there, `default` if the file
/// has none; a file without one gets none. A `rope_parameters` with an object per type of
/// layer is left as it is, with everything around it. Other keys keep their names. Keys are read
/// through [`Fields`], to which this dereferences; messages use the file's spelling.
///
/// Source: `convert_rope_params_to_dict` and `standardize_rope_params` of `transformers` 5.
#[derive(Debug)]
pub struct HfConfig {
    fields: Fields,
}

impl HfConfig {
    /// Reads a file.
    ///
    /// Errors: anything that is not one JSON object within the limits; spellings of one setting that
    /// disagree.
    pub fn read(path: &Path) -> Result<HfConfig, ConfigError> {
        Self::from_object(path, json::read_object(path)?)
    }

    /// Reads the content of a file; the path is for messages. Errors as for [`HfConfig::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<HfConfig, ConfigError> {
        Self::from_object(path, json::parse_object(path, bytes)?)
    }

    /// Name of the model's family, such as `qwen3`.
    pub fn model_type(&self) -> Result<&str, ConfigError> {
        self.fields.str("model_type")
    }

    /// Names of the Python classes that can hold the model, such as `Qwen3ForCausalLM`; often one,
    /// possibly none.
    pub fn architectures(&self) -> Result<Vec<&str>, ConfigError> {
        Ok(self.fields.opt_str_list("architectures")?.unwrap_or_default())
    }

    /// The type in which the model was released; `None` if the file does not say, or says `auto`.
    pub fn dtype(&self) -> Result<Option<DType>, ConfigError> {
        let Some(name) = self.fields.opt_str("dtype")? else { return Ok(None) };
        dtype_from_name(name).map_err(|_| {
            let found = Value::from(name);
            self.fields.wrong_type("dtype", "bfloat16, float16, float32 or auto", &found)
        })
    }

    fn from_object(path: &Path, mut root: Map<String, Value>) -> Result<HfConfig, ConfigError> {
        let mut spellings = BTreeMap::new();
        normalise_dtype(&mut root, &mut spellings);
        normalise_rope(path, &mut root, &mut spellings)?;
        Ok(HfConfig { fields: Fields::new(path, root, spellings) })
    }
}

impl Deref for HfConfig {
    type Target = Fields;

    fn deref(&self) -> &Fields {
        &self.fields
    }
}

/// Canonical path to the path in the file.
type Spellings = BTreeMap<String, String>;

fn normalise_dtype(root: &mut Map<String, Value>, spellings: &mut Spellings) {
    let at = root.keys().position(|key| key == "torch_dtype");
    let (Some(at), Some(older)) = (at, root.shift_remove("torch_dtype")) else { return };
    if given(root, "dtype").is_none() && !older.is_null() {
        root.shift_remove("dtype");
        root.shift_insert(at.min(root.len()), "dtype".to_owned(), older);
        spellings.insert("dtype".to_owned(), "torch_dtype".to_owned());
    }
}

const ROPE_KEYS: [&str; 3] = ["rope_parameters", "rope_scaling", "rope_theta"];

fn normalise_rope(
    path: &Path,
    root: &mut Map<String, Value>,
    spellings: &mut Spellings,
) -> Result<(), ConfigError> {
    let conflict = |key: &str, other: &str| ConfigError::Conflict {
        path: path.to_owned(),
        key: key.to_owned(),
        other: other.to_owned(),
    };
    let object = |key: &str| match given(root, key) {
        None => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(other) => Err(ConfigError::WrongType {
            path: path.to_owned(),
            key: key.to_owned(),
            expected: "an object or null".to_owned(),
            found: describe(other),
        }),
    };
    let parameters = object("rope_parameters")?;
    let scaling = object("rope_scaling")?;
    let theta = given(root, "rope_theta");
    if parameters.is_some_and(is_per_layer) {
        return Ok(());
    }
    let (source, given_object) = match (parameters, scaling) {
        (Some(parameters), Some(scaling)) if !agrees(scaling, parameters) => {
            return Err(conflict("rope_scaling", "rope_parameters"));
        }
        (Some(parameters), _) => ("rope_parameters", parameters.clone()),
        (None, Some(scaling)) => ("rope_scaling", scaling.clone()),
        (None, None) if theta.is_some() => ("rope_theta", Map::new()),
        // Nulls at most, which are the same as nothing.
        (None, None) => return Ok(()),
    };
    // A base alone does not say which type; that is the family's.
    let (mut rope, type_key) = match source {
        "rope_theta" => (given_object, None),
        _ => with_rope_type(given_object),
    };

    let mut spell = |canonical: &str, original: String| {
        if canonical != original {
            spellings.insert(canonical.to_owned(), original);
        }
    };
    if source != "rope_parameters" {
        spell("rope_parameters.rope_theta", "rope_theta".to_owned());
    }
    if source != "rope_theta" {
        spell("rope_parameters", source.to_owned());
        for key in rope.keys() {
            let original = if key == "rope_type" { type_key.unwrap_or(key) } else { key };
            spell(&format!("rope_parameters.{key}"), format!("{source}.{original}"));
        }
    }
    match (given(&rope, "rope_theta"), theta) {
        (Some(inner), Some(outer)) if !same(inner, outer) => {
            return Err(conflict(&format!("{source}.rope_theta"), "rope_theta"));
        }
        (None, Some(outer)) => {
            rope.insert("rope_theta".to_owned(), outer.clone());
            spell("rope_parameters.rope_theta", "rope_theta".to_owned());
        }
        (_, _) => {}
    }

    let at = root.keys().position(|key| ROPE_KEYS.contains(&key.as_str()));
    for key in ROPE_KEYS {
        root.shift_remove(key);
    }
    let at = at.unwrap_or(root.len());
    root.shift_insert(at, "rope_parameters".to_owned(), Value::Object(rope));
    Ok(())
}

/// Whether the object holds settings for each type of layer rather than settings.
fn is_per_layer(parameters: &Map<String, Value>) -> bool {
    !parameters.is_empty() && parameters.values().all(Value::is_object)
}

/// The settings with `rope_type` for `type`, and the key that the file has for it, if any.
fn with_rope_type(mut rope: Map<String, Value>) -> (Map<String, Value>, Option<&'static str>) {
    let older = rope.shift_remove("type").filter(|value| !value.is_null());
    if given(&rope, "rope_type").is_some() {
        return (rope, Some("rope_type"));
    }
    let key = older.is_some().then_some("type");
    rope.insert("rope_type".to_owned(), older.unwrap_or_else(|| Value::from("default")));
    (rope, key)
}

/// Whether the older object says nothing that the newer does not say too.
fn agrees(older: &Map<String, Value>, newer: &Map<String, Value>) -> bool {
    let (older, _) = with_rope_type(older.clone());
    let (newer, _) = with_rope_type(newer.clone());
    older
        .iter()
        .filter(|(_, value)| !value.is_null())
        .all(|(key, value)| newer.get(key).is_some_and(|other| same(value, other)))
}

/// Equality in which 8 and 8.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        (_, _) => a == b,
    }
}

/// The value of a key; a `null` is none.
fn given<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    map.get(key).filter(|value| !value.is_null())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
