use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::files::{self, FileError};

/// Largest `tokenizer_config.json`, in bytes; it may hold a chat template and thousands of reserved tokens.
pub(crate) const MAX_CONFIG_BYTES: u64 = 64 << 20;

/// The special tokens that a repository's tokenizer configuration names.
///
/// Source: transformers 5.23, `tokenization_utils_base.py`, `_from_pretrained` and `special_tokens_map`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SpecialTokens {
    /// Text by name (`bos_token`, ...), including tokens particular to the model such as `image_token`: what a
    /// chat template sees as variables.
    pub(crate) named: Map<String, Value>,
    /// Tokens without a name: `extra_special_tokens` or, in older files, `additional_special_tokens`.
    pub(crate) extra: Vec<String>,
}

impl SpecialTokens {
    /// Reads them from the content of `tokenizer_config.json`.
    pub(crate) fn from_config(config: &Map<String, Value>) -> Self {
        let mut tokens = Self::default();
        for (key, value) in config {
            if key.ends_with("_token") {
                tokens.set(key, value);
            }
        }
        let extra = config.get("extra_special_tokens").filter(|extra| match extra {
            Value::Array(items) => !items.is_empty(),
            Value::Object(items) => !items.is_empty(),
            _ => false,
        });
        match extra.or_else(|| config.get("additional_special_tokens")) {
            Some(Value::Object(named)) => named.iter().for_each(|(key, value)| tokens.set(key, value)),
            Some(Value::Array(items)) => {
                tokens.extra.extend(items.iter().filter_map(text).map(str::to_owned))
            }
            _ => {}
        }
        tokens
    }

    /// The text of a named token.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.named.get(name).and_then(Value::as_str)
    }

    /// All texts, named ones first.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.named.values().filter_map(Value::as_str).chain(self.extra.iter().map(String::as_str))
    }

    fn set(&mut self, key: &str, value: &Value) {
        if let Some(text) = text(value) {
            self.named.insert(key.to_owned(), text.into());
        }
    }
}

/// The content of `tokenizer_config.json` (empty if there is none) with that of `special_tokens_map.json`, which
/// was written before the config held the added tokens and is ignored once it does.
pub(crate) fn config_of_dir(dir: &Path) -> Result<(PathBuf, Map<String, Value>), FileError> {
    let file = dir.join("tokenizer_config.json");
    let mut config = match files::read_optional(&file, MAX_CONFIG_BYTES)? {
        Some(bytes) => files::json_object(&file, &bytes)?,
        None => Map::new(),
    };
    if !config.contains_key("added_tokens_decoder") {
        let map_file = dir.join("special_tokens_map.json");
        if let Some(bytes) = files::read_optional(&map_file, MAX_CONFIG_BYTES)? {
            config.extend(files::json_object(&map_file, &bytes)?);
        }
    }
    Ok((file, config))
}

/// The token of a value that is its text, or an object with the text in `content`.
fn text(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// The tokens of `added_tokens_decoder`, by id.
pub(crate) fn added_tokens(
    file: &Path,
    config: &Map<String, Value>,
) -> Result<Vec<(u32, AddedToken)>, FileError> {
    let Some(decoder) = config.get("added_tokens_decoder").filter(|value| !value.is_null()) else {
        return Ok(Vec::new());
    };
    let decoder = decoder.as_object().ok_or_else(|| {
        FileError::invalid(file, "added_tokens_decoder: expected an object of tokens by id")
    })?;
    let mut tokens = Vec::with_capacity(decoder.len());
    for (key, value) in decoder {
        let fail = |what: &str| FileError::invalid(file, format!("added_tokens_decoder.{key}: {what}"));
        let id = key.parse::<u32>().map_err(|_| fail("the key is not a token id"))?;
        let content = text(value).ok_or_else(|| fail("expected an object with the text in `content`"))?;
        let flag = |name: &str, default: bool| value.get(name).and_then(Value::as_bool).unwrap_or(default);
        let special = flag("special", false);
        let token = AddedToken::from(content, special)
            .lstrip(flag("lstrip", false))
            .rstrip(flag("rstrip", false))
            .single_word(flag("single_word", false))
            .normalized(flag("normalized", !special));
        tokens.push((id, token));
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_strings_or_objects() {
        let config = serde_json::json!({
            "bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": null, "image_token": "<img>",
            "add_bos_token": true, "additional_special_tokens": ["<a>", {"content": "<b>"}],
        });
        let tokens = SpecialTokens::from_config(config.as_object().unwrap());
        assert_eq!(tokens.get("bos_token"), Some("<s>"));
        assert_eq!(tokens.get("pad_token"), None);
        assert_eq!(tokens.texts().collect::<Vec<_>>(), ["<s>", "</s>", "<img>", "<a>", "<b>"]);
    }

    #[test]
    fn a_bad_added_token_is_named() {
        let config = serde_json::json!({"added_tokens_decoder": {"7": {"lstrip": true}}});
        let error =
            added_tokens(Path::new("tokenizer_config.json"), config.as_object().unwrap()).unwrap_err();
        assert!(error.to_string().contains("added_tokens_decoder.7"), "{error}");
    }
}
