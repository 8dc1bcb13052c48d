//! `model.safetensors.index.json`: which shard holds which tensor.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Component, Path};

use serde::Deserialize;
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::IndexError;
use crate::header::MAX_TENSORS;
use crate::other_format::other_format;

/// Largest index that is read, in bytes; that of a model with 671B parameters has 9 MB.
pub(crate) const MAX_INDEX_BYTES: u64 = 256 << 20;

/// The index, checked: its shards are names of files inside the directory.
#[derive(Debug)]
pub(crate) struct ShardIndex {
    /// Tensor name to shard.
    pub weight_map: BTreeMap<String, String>,
}

impl ShardIndex {
    /// Reads an index from its JSON.
    pub(crate) fn parse(json: &[u8]) -> Result<ShardIndex, IndexError> {
        if json.iter().all(u8::is_ascii_whitespace) {
            return Err(IndexError::Blank);
        }
        let RawIndex { weight_map: WeightMap(weight_map) } =
            serde_json::from_slice(json).map_err(|error| {
                let start = &json[..json.len().min(64)];
                // A JSON object is an index, though a bad one.
                let is_object = start.trim_ascii_start().starts_with(b"{");
                let other = if is_object { None } else { other_format(start) };
                other.map_or(IndexError::Json(error), IndexError::OtherFormat)
            })?;
        if weight_map.is_empty() {
            return Err(IndexError::Empty);
        }
        for (tensor, shard) in &weight_map {
            if let Err(reason) = inside(shard) {
                return Err(IndexError::ShardName { tensor: tensor.clone(), shard: shard.clone(), reason });
            }
        }
        Ok(ShardIndex { weight_map })
    }
}

/// Checks that a file name from outside stays inside the directory it is joined to. Backslashes and
/// colons are refused everywhere, so that a checkpoint means the same on all systems.
pub(crate) fn inside(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > 4096 {
        return Err("it is too long");
    }
    if name.contains(['\\', ':', '\0']) {
        return Err("it has a backslash, a colon or a zero byte");
    }
    let mut components = Path::new(name).components();
    if components.all(|component| matches!(component, Component::Normal(_))) {
        Ok(())
    } else {
        Err("it is absolute or leads out of the directory")
    }
}

/// The file's own form; other keys (`metadata`) say nothing that the headers do not.
#[derive(Deserialize)]
#[serde(expecting = "an object with `weight_map`")]
struct RawIndex {
    weight_map: WeightMap,
}

/// `weight_map`, with repeated names refused where a map would keep the last.
struct WeightMap(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(WeightMapVisitor)
    }
}

struct WeightMapVisitor;

impl<'de> Visitor<'de> for WeightMapVisitor {
    type Value = WeightMap;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map from tensor names to file names")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
        let mut weight_map = BTreeMap::new();
        while let Some(tensor) = map.next_key::<String>()? {
            if weight_map.len() == MAX_TENSORS {
                return Err(de::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
            }
            if weight_map.contains_key(&tensor) {
                map.next_value::<IgnoredAny>()?;
                return Err(de::Error::custom(format_args!("tensor `{tensor}` is listed twice")));
            }
            let shard = map.next_value()?;
            weight_map.insert(tensor, shard);
        }
        Ok(WeightMap(weight_map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(json: &str) -> String {
        ShardIndex::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn reads_the_map_and_ignores_the_rest() {
        let index =
            r#"{"metadata":{"total_size":1},"weight_map":{"a":"x.safetensors","b":"d/y.safetensors"}}"#;
        let index = ShardIndex::parse(index.as_bytes()).unwrap();
        assert_eq!(index.weight_map["b"], "d/y.safetensors");
    }

    #[test]
    fn refuses_shards_outside_the_directory() {
        for shard in ["../x", "/x", "a/../../x", "", ".", "a\\\\..\\\\x", "C:x", "a\\u0000"] {
            let message = refusal(&format!(r#"{{"weight_map":{{"w":"{shard}"}}}}"#));
            assert!(message.contains("places tensor `w`"), "{shard}: {message}");
        }
    }

    #[test]
    fn refuses_what_is_no_index() {
        assert!(refusal("").contains("is empty"));
        assert!(refusal("[]").contains("line 1"));
        assert!(refusal("{}").contains("weight_map"));
        assert!(refusal(r#"{"weight_map":{}}"#).contains("`weight_map` is empty"));
        assert!(refusal("<html></html>").contains("web page"));
        assert!(refusal(r#"{"weight_map":{"a":1}}"#).contains("expected a string"));
        assert!(refusal(r#"{"weight_map":{"a":"x","a":"y"}}"#).contains("`a` is listed twice"));
        assert!(refusal("version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
        assert!(ShardIndex::parse(b"{\"weight_map\":{\"\xff\":\"x\"}}").is_err());
    }
}
