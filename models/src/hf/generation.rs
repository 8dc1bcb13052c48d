//! Which tokens stop generation, and the sampling that the model's authors suggest.

use std::ops::RangeInclusive;

use serde_json::Value;

use super::config::HfConfig;
use super::fields::{ConfigError, Fields, TOKEN_IDS};

/// What generation_config.json says, with special tokens from config.json where it is silent.
///
/// Sampling fields are `None` where the file does not set them; greedy decoding ignores them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a sequence; possibly none.
    pub eos_token_ids: Vec<u32>,
    /// The token that begins a sequence.
    pub bos_token_id: Option<u32>,
    /// The token that fills short rows of a batch.
    pub pad_token_id: Option<u32>,
    /// Whether to sample rather than to take the likeliest token.
    pub do_sample: Option<bool>,
    /// Divides the logits; at least 0.
    pub temperature: Option<f64>,
    /// How many of the likeliest tokens are kept; 0 keeps all.
    pub top_k: Option<u64>,
    /// How much probability the kept tokens hold, 0 to 1.
    pub top_p: Option<f64>,
    /// The least probability of a kept token, as a part of the likeliest one's, 0 to 1.
    pub min_p: Option<f64>,
    /// Divides positive and multiplies negative logits of tokens seen before; above 0.
    pub repetition_penalty: Option<f64>,
}

impl GenerationConfig {
    /// Brings both files together; `generation` is generation_config.json, where there is one.
    ///
    /// Special tokens are taken one by one: each from generation_config.json if it is set there, else
    /// from config.json. An id below 0 means that there is no such token.
    pub fn new(config: &HfConfig, generation: Option<&Fields>) -> Result<Self, ConfigError> {
        // Both files are asked for all three, so that none of config.json counts as unread.
        let ids = |key: &str| -> Result<Option<Vec<u32>>, ConfigError> {
            let older = token_ids(config, key)?;
            let newer = generation.map(|generation| token_ids(generation, key)).transpose()?.flatten();
            Ok(newer.or(older))
        };
        let one = |key: &str| ids(key).map(|ids| ids.and_then(|ids| ids.first().copied()));
        let number = |key: &str, range: RangeInclusive<f64>| {
            generation.map_or(Ok(None), |generation| generation.opt_f64(key, range))
        };
        Ok(GenerationConfig {
            eos_token_ids: ids("eos_token_id")?.unwrap_or_default(),
            bos_token_id: one("bos_token_id")?,
            pad_token_id: one("pad_token_id")?,
            do_sample: generation.map_or(Ok(None), |generation| generation.opt_bool("do_sample"))?,
            temperature: number("temperature", 0.0..=f64::MAX)?,
            top_k: generation.map_or(Ok(None), |generation| generation.opt_u64("top_k", TOKEN_IDS))?,
            top_p: number("top_p", 0.0..=1.0)?,
            min_p: number("min_p", 0.0..=1.0)?,
            repetition_penalty: number("repetition_penalty", f64::MIN_POSITIVE..=f64::MAX)?,
        })
    }
}

/// One id or a list of them.
fn token_ids(fields: &Fields, key: &str) -> Result<Option<Vec<u32>>, ConfigError> {
    let Some(value) = fields.value(key)? else { return Ok(None) };
    let items = match value {
        Value::Array(items) => items.as_slice(),
        other => std::slice::from_ref(other),
    };
    let mut ids = Vec::with_capacity(items.len());
    for item in items {
        if item.as_i64().is_some_and(|id| id < 0) {
            continue;
        }
        let id = fields.to_u64(key, item, &TOKEN_IDS)?;
        ids.push(u32::try_from(id).expect("the range of token ids is within 32 bits"));
    }
    Ok((!ids.is_empty()).then_some(ids))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::hf::json;

    fn read(config: &str, generation: Option<&str>) -> Result<GenerationConfig, ConfigError> {
        let config = HfConfig::parse(Path::new("config.json"), config.as_bytes())?;
        let path = Path::new("generation_config.json");
        let generation = generation
            .map(|text| json::parse_object(path, text.as_bytes()))
            .transpose()?
            .map(|root| Fields::new(path, root, Default::default()));
        GenerationConfig::new(&config, generation.as_ref())
    }

    #[test]
    fn the_newer_file_wins_token_by_token() {
        let config = r#"{"eos_token_id":511,"bos_token_id":507,"pad_token_id":-1,"temperature":2}"#;
        let alone = read(config, None).unwrap();
        assert_eq!(
            (alone.eos_token_ids, alone.bos_token_id, alone.pad_token_id),
            (vec![511], Some(507), None)
        );
        assert_eq!(alone.temperature, None);
        let both = read(config, Some(r#"{"eos_token_id":[1,2],"bos_token_id":null,"top_k":0,"top_p":0.9}"#))
            .unwrap();
        assert_eq!((both.eos_token_ids, both.bos_token_id), (vec![1, 2], Some(507)));
        assert_eq!((both.top_k, both.top_p, both.do_sample), (Some(0), Some(0.9), None));
        assert_eq!(read("{}", None).unwrap(), GenerationConfig::default());
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        let cases = [
            (r#"{"eos_token_id":"x"}"#, "`eos_token_id`: expected an integer"),
            (r#"{"eos_token_id":[1,2.5]}"#, "found 2.5"),
            (r#"{"eos_token_id":4294967296}"#, "expected an integer from 0 to 2147483647"),
            (r#"{"temperature":-1}"#, "`temperature`: expected a number from 0, found -1"),
            (r#"{"top_p":1.5}"#, "expected a number from 0 to 1"),
            (r#"{"repetition_penalty":0}"#, "a number above 0"),
            (r#"{"do_sample":"yes"}"#, "true or false"),
        ];
        for (text, expected) in cases {
            let message = read("{}", Some(text)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
