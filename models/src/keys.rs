//! The keys of a config, sorted by what a family makes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::families;
use crate::hf::{
    Fields, HfConfig, Visit, feature, feature_keys, irrelevant_keys, is_off, nearest, why_irrelevant,
};
use crate::spec::Family;

/// The keys of a config that a family does not read, `null`s aside: the first few of each sort, in the order
/// of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnreadKeys {
    /// Those that ask for what the family does not do.
    pub lacking: Vec<LackingKey>,
    /// Those that nobody knows.
    pub unknown: Vec<UnknownKey>,
    /// Those that change nothing.
    pub ignored: Vec<Ignored>,
}

/// A key that asks for what a family does not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LackingKey {
    /// The key as the file spells it.
    pub key: String,
    /// Its value, shortened.
    pub value: String,
    /// What it asks for.
    pub what: String,
    /// Up to which `max_model_len` it changes nothing, if there is such a length.
    pub reach: Option<u64>,
}

impl fmt::Display for LackingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` = {}: {}", self.key, self.value, self.what)?;
        match self.reach {
            Some(reach) => write!(f, "; with --max-model-len {reach} or less it changes nothing"),
            None => Ok(()),
        }
    }
}

/// A key that nobody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// The key as the file spells it.
    pub key: String,
    /// The known key that was probably meant.
    pub nearest: Option<String>,
}

/// Something in a model's files that is left aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ignored {
    /// A config key as the file spells it, or tensors.
    pub name: String,
    /// Why it changes nothing.
    pub reason: String,
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

impl UnreadKeys {
    /// Sorts the keys of `config` that `family` does not read, for sequences of at most `max_model_len` tokens, by
    /// default as many as the config says.
    pub fn new(config: &HfConfig, family: &Family, max_model_len: Option<u32>) -> UnreadKeys {
        let stated = || config.value("max_position_embeddings").ok().flatten().and_then(Value::as_u64);
        let longest = max_model_len.map(u64::from).or_else(stated);
        let read: BTreeSet<&str> = family.keys().chain(READ_FOR_ALL).collect();
        let visit = |key: &str| match () {
            () if read.contains(key) => Visit::Skip,
            () if feature(key).is_some() || why_irrelevant(key).is_some() => Visit::Take,
            () if family.ignore.iter().any(|(ignored, _)| ignored == key) => Visit::Take,
            () => Visit::Enter,
        };
        let mut of_others: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for other in families::builtin() {
            for key in other.keys() {
                let names = of_others.entry(key).or_default();
                if names.last() != Some(&other.model_type.as_str()) {
                    names.push(&other.model_type);
                }
            }
        }
        let mut keys = UnreadKeys::default();
        for (key, value) in config.leaves(&visit) {
            let spelling = config.spelling(&key).into_owned();
            let own = family.ignore.iter().find(|(ignored, _)| *ignored == key);
            let meaning = match own {
                Some((_, reason)) => Meaning::Nothing(reason),
                None => meaning(config, &key, value, longest, &of_others),
            };
            match meaning {
                Meaning::Nothing(reason) => {
                    push(&mut keys.ignored, || Ignored {
                        name: format!("`{spelling}`"),
                        reason: reason.to_owned(),
                    });
                }
                Meaning::Lacking(what, reach) => {
                    let value = shortened(value);
                    push(&mut keys.lacking, || LackingKey { key: spelling, value, what, reach });
                }
                Meaning::Unknown => push(&mut keys.unknown, || UnknownKey {
                    nearest: nearest_key(&read, &key, &spelling),
                    key: spelling,
                }),
            }
        }
        keys
    }
}

/// Keys that are read whatever the family.
const READ_FOR_ALL: [&str; 6] =
    ["architectures", "bos_token_id", "dtype", "eos_token_id", "model_type", "pad_token_id"];

/// Most keys of a sort that are told of.
const MAX_KEYS: usize = 64;

fn push<T>(keys: &mut Vec<T>, key: impl FnOnce() -> T) {
    if keys.len() < MAX_KEYS {
        keys.push(key());
    }
}

/// What a key means that the family does not read.
enum Meaning<'a> {
    /// Nothing, and why.
    Nothing(&'a str),
    /// What it asks for, and up to which length of sequences it changes nothing.
    Lacking(String, Option<u64>),
    Unknown,
}

fn meaning(
    config: &Fields,
    key: &str,
    value: &Value,
    longest: Option<u64>,
    of_others: &BTreeMap<&str, Vec<&str>>,
) -> Meaning<'static> {
    if let Some(feature) = feature(key) {
        let reach = (feature.reach)(value, config);
        let is_far = reach.zip(longest).is_some_and(|(reach, longest)| longest <= reach);
        return match (feature.is_neutral)(value, config) {
            true => Meaning::Nothing(SWITCHED_OFF),
            false if is_far => Meaning::Nothing(OUT_OF_REACH),
            false => Meaning::Lacking(feature.what.to_owned(), reach.filter(|reach| *reach > 0)),
        };
    }
    match (why_irrelevant(key), of_others.get(key)) {
        (Some(reason), _) => Meaning::Nothing(reason),
        (None, Some(_)) if is_off(value) => Meaning::Nothing(SWITCHED_OFF),
        (None, Some(others)) => Meaning::Lacking(key_of(others, config), None),
        (None, None) => Meaning::Unknown,
    }
}

/// Whose key it is: first of all the config's own family, if it names one.
fn key_of(families: &[&str], config: &Fields) -> String {
    let own = config.value("model_type").ok().flatten().and_then(Value::as_str);
    match families {
        [only] => format!("a key of family {only}"),
        _ => match families.iter().find(|family| Some(**family) == own) {
            Some(own) => format!("a key of family {own}"),
            None => format!("a key of {} other families", families.len()),
        },
    }
}

const SWITCHED_OFF: &str = "with this value it asks for nothing";
const OUT_OF_REACH: &str = "with this value it changes nothing for sequences as long as max_model_len";

/// The known key with almost this name; inside an object, whatever the object is called.
fn nearest_key(read: &BTreeSet<&str>, key: &str, spelling: &str) -> Option<String> {
    let tables: Vec<&str> = feature_keys().chain(irrelevant_keys()).collect();
    let known = || read.iter().chain(&tables).copied();
    let nearest = match (key.rsplit_once('.'), spelling.rsplit_once('.')) {
        (Some((_, key)), Some((object, _))) => {
            let inner = known().filter_map(|known| Some(known.rsplit_once('.')?.1));
            nearest(key, inner).map(|nearest| format!("{object}.{nearest}"))
        }
        _ => nearest(key, known()).map(str::to_owned),
    };
    // The same key of another object.
    nearest.filter(|nearest| nearest != spelling)
}

/// JSON in at most a few words.
fn shortened(value: &Value) -> String {
    const SHOWN: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn sorted(family: &str, config: &Value) -> UnreadKeys {
        let config = HfConfig::parse(Path::new("config.json"), config.to_string().as_bytes()).unwrap();
        let family = families::builtin().iter().find(|other| other.model_type == family).unwrap();
        UnreadKeys::new(&config, family, None)
    }

    /// Each key alone: `error WHAT`, `warning NEAREST`, `ignored`, or `read`.
    #[test]
    fn each_key_is_read_ignored_unknown_or_refused() {
        for (family, config, expected) in [
            ("llama", json!({"hidden_size": 64}), "read"),
            ("llama", json!({"rope_scaling": {"type": "linear", "factor": 2}}), "read"),
            ("llama", json!({"eos_token_id": 3}), "read"),
            ("llama", json!({"torch_dtype": "float16"}), "read"),
            ("llama", json!({"sliding_window": null}), "read"),
            ("llama", json!({"use_cache": true}), "ignored keys and values are always cached"),
            (
                "llama",
                json!({"auto_map": {"AutoModel": "x.Y"}}),
                "ignored names Python code, which is never run",
            ),
            ("llama", json!({"id2label": {"0": "LABEL_0"}}), "ignored describes a classifier"),
            ("llama", json!({"sliding_window": 0}), "ignored with this value it asks for nothing"),
            ("llama", json!({"use_sliding_window": false}), "ignored with this value it asks for nothing"),
            ("llama", json!({"max_window_layers": 28}), "ignored counts layers"),
            ("llama", json!({"sliding_window": 4096}), "error 4096: attention to a window"),
            (
                "llama",
                json!({"sliding_window": 64, "max_position_embeddings": 64}),
                "ignored with this value it changes nothing for sequences as long",
            ),
            (
                "llama",
                json!({"layer_types": ["linear_attention"]}),
                "error [\"linear_attention\"]: layers of several",
            ),
            ("qwen2", json!({"mlp_bias": true}), "error true: biases"),
            ("qwen2", json!({"mlp_bias": false}), "ignored"),
            ("qwen2", json!({"attention_bias": true}), "read"),
            ("qwen3", json!({"num_experts": 8}), "error 8: a mixture of experts"),
            ("qwen3", json!({"kv_lora_rank": 512}), "error 512: latent attention"),
            ("qwen3", json!({"attn_logit_softcapping": 50.0}), "error 50.0: a soft cap"),
            (
                "llama",
                json!({"quantization_config": {"quant_method": "fp8"}}),
                "error {\"quant_method\":\"fp8\"}: weights",
            ),
            ("llama", json!({"text_config": {"hidden_size": 64}}), "error {\"hidden_size\":64}: images"),
            ("llama", json!({"partial_rotary_factor": 1.0}), "ignored with this value it asks for nothing"),
            ("llama", json!({"partial_rotary_factor": 0.5}), "error 0.5: another form of rotary positions"),
            (
                "llama",
                json!({"rope_scaling": {"type": "default", "mrope_section": [1, 2]}}),
                "error [1,2]: another form",
            ),
            ("llama", json!({"num_key_value_head": 2}), "warning Some(\"num_key_value_heads\")"),
            ("llama", json!({"sliding_windw": 2}), "warning Some(\"sliding_window\")"),
            ("llama", json!({"rope_scaling": {"facter": 2}}), "warning Some(\"rope_scaling.factor\")"),
            ("llama", json!({"my_own": {"deep": {"key": 1}}}), "warning None"),
            ("llama", json!({"my_own": {}}), "warning None"),
            ("llama", json!({"x": "y"}), "warning None"),
        ] {
            let keys = sorted(family, &config);
            let lacking = keys.lacking.iter().map(|key| format!("error {}: {}", key.value, key.what));
            let unknown = keys.unknown.iter().map(|key| format!("warning {:?}", key.nearest));
            let ignored = keys.ignored.iter().map(|key| format!("ignored {}", key.reason));
            let all: Vec<String> = lacking.chain(unknown).chain(ignored).collect();
            let told = if all.is_empty() { "read".to_owned() } else { all.join("; ") };
            assert!(told.starts_with(expected) && all.len() <= 1, "{family} {config}: {told}");
        }
    }

    #[test]
    fn keys_are_called_as_the_file_calls_them() {
        let keys = sorted("llama", &json!({"rope_scaling": {"mrope_section": [1]}, "qkv_bias": 1}));
        let told: Vec<String> = keys.lacking.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "`rope_scaling.mrope_section` = [1]: another form of rotary positions",
                "`qkv_bias` = 1: biases that the family does not have"
            ]
        );
    }

    #[test]
    fn long_values_are_shortened() {
        let keys = sorted("llama", &json!({"num_experts": vec!["é"; 100_000]}));
        assert_eq!(keys.lacking[0].value.chars().count(), 61);
    }
}
