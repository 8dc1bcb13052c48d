use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::hf::fields::{LAYERS, SIZES, Visit};

const ANY: std::ops::RangeInclusive<f64> = f64::MIN..=f64::MAX;

fn parse(text: &str) -> HfConfig {
    HfConfig::parse(Path::new("config.json"), text.as_bytes()).unwrap()
}

fn refusal(text: &str) -> String {
    HfConfig::parse(Path::new("config.json"), text.as_bytes()).unwrap_err().to_string()
}

/// The canonical rope settings of a config.
fn rope(text: &str) -> Value {
    parse(text).value("rope_parameters").unwrap().cloned().unwrap_or_default()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn all_spellings_of_rope_become_one() {
    let default = json(r#"{"rope_type":"default","rope_theta":1e6}"#);
    let theta = json(r#"{"rope_theta":1e6}"#);
    assert_eq!(rope(r#"{"rope_theta":1e6}"#), theta);
    assert_eq!(rope(r#"{"rope_scaling":null,"rope_theta":1e6}"#), theta);
    assert_eq!(rope(r#"{"rope_parameters":null,"rope_theta":1e6}"#), theta);
    assert_eq!(rope(r#"{"rope_parameters":{"rope_theta":1e6}}"#), default);
    assert_eq!(rope(r#"{"rope_parameters":{"rope_type":"default"},"rope_theta":1e6}"#), default);
    let linear = json(r#"{"rope_type":"linear","factor":2.0,"rope_theta":1e4}"#);
    assert_eq!(rope(r#"{"rope_theta":1e4,"rope_scaling":{"type":"linear","factor":2.0}}"#), linear);
    assert_eq!(rope(r#"{"rope_theta":1e4,"rope_scaling":{"rope_type":"linear","factor":2.0}}"#), linear);
    let both = r#"{"rope_theta":1e4,"rope_scaling":{"type":"old","rope_type":"linear","factor":2.0}}"#;
    assert_eq!(rope(both), linear);
    let old_and_new = r#"{"rope_theta":10000,"rope_scaling":{"type":"linear","factor":2},
        "rope_parameters":{"rope_type":"linear","factor":2.0,"rope_theta":1e4}}"#;
    assert_eq!(rope(old_and_new), linear);
    assert_eq!(rope(r#"{"rope_scaling":{"factor":2.0}}"#), json(r#"{"factor":2.0,"rope_type":"default"}"#));
}

#[test]
fn rope_that_is_absent_or_per_layer_stays_so() {
    let none = parse(r#"{"a":1,"rope_scaling":null,"b":2}"#);
    assert!(!none.has("rope_parameters") && !none.has("rope_scaling"));
    let per_layer = parse(
        r#"{"rope_theta":1e4,"rope_parameters":{"full_attention":{"type":"linear"},"sliding_attention":{}}}"#,
    );
    assert_eq!(per_layer.str("rope_parameters.full_attention.type").unwrap(), "linear");
    assert_eq!(per_layer.f64("rope_theta", ANY).unwrap(), 1e4);
}

#[test]
fn spellings_that_disagree_are_refused() {
    let scaling =
        r#"{"rope_scaling":{"type":"linear","factor":4},"rope_parameters":{"rope_type":"default"}}"#;
    assert!(refusal(scaling).contains("`rope_scaling` and `rope_parameters` disagree"));
    let theta = r#"{"rope_theta":1,"rope_parameters":{"rope_theta":2}}"#;
    assert!(refusal(theta).contains("`rope_parameters.rope_theta` and `rope_theta` disagree"));
    assert!(refusal(r#"{"rope_scaling":"yarn"}"#).contains("`rope_scaling`: expected an object or null"));
    assert!(refusal(r#"{"rope_parameters":[1]}"#).contains("found a list of 1"));
}

#[test]
fn messages_use_the_spelling_of_the_file() {
    let old = parse(r#"{"torch_dtype":"float12","rope_theta":"x","rope_scaling":{"type":1,"factor":[]}}"#);
    let message = |error: ConfigError| error.to_string();
    assert!(message(old.dtype().unwrap_err()).contains("`torch_dtype`: expected bfloat16"));
    assert!(
        message(old.f64("rope_parameters.rope_theta", ANY).unwrap_err()).contains("`rope_theta`: expected")
    );
    assert!(message(old.str("rope_parameters.rope_type").unwrap_err()).contains("`rope_scaling.type`"));
    assert!(message(old.f64("rope_parameters.factor", ANY).unwrap_err()).contains("`rope_scaling.factor`"));
    let new = parse(r#"{"dtype":7,"rope_parameters":{"rope_theta":"x","type":1}}"#);
    assert!(message(new.dtype().unwrap_err()).contains("`dtype`: expected a string, found 7"));
    assert!(message(new.str("rope_parameters.rope_type").unwrap_err()).contains("`rope_parameters.type`"));
}

#[test]
fn dtype_has_two_names_and_may_be_left_open() {
    let dtype = |text: &str| parse(text).dtype().unwrap();
    assert_eq!(dtype(r#"{"torch_dtype":"float16"}"#), Some(DType::F16));
    assert_eq!(dtype(r#"{"dtype":"float32","torch_dtype":"float16"}"#), Some(DType::F32));
    assert_eq!(dtype(r#"{"torch_dtype":"float16","dtype":null}"#), Some(DType::F16));
    assert_eq!(dtype(r#"{"dtype":"bfloat16","torch_dtype":null}"#), Some(DType::BF16));
    assert_eq!(dtype(r#"{"dtype":"auto"}"#), None);
    assert_eq!(dtype("{}"), None);
}

#[test]
fn keeps_the_order_of_keys() {
    let config = parse(
        r#"{"z":1,"torch_dtype":"float16","rope_scaling":{"type":"linear","factor":2},"rope_theta":5,
            "use_cache":true,"model_type":"llama","quantization_config":{"bits":4}}"#,
    );
    let leaves = config.leaves(&|key| if key == "model_type" { Visit::Skip } else { Visit::Enter });
    let keys = Vec::from_iter(leaves.iter().map(|(key, _)| config.spelling(key)));
    assert_eq!(
        keys,
        [
            "z",
            "torch_dtype",
            "rope_scaling.factor",
            "rope_scaling.type",
            "rope_theta",
            "use_cache",
            "quantization_config.bits"
        ]
    );
}

#[test]
fn a_missing_setting_of_rope_is_called_as_the_file_would() {
    let spelling = |text: &str, key: &str| parse(text).spelling(key).into_owned();
    let old = r#"{"rope_scaling":{"type":"linear"}}"#;
    assert_eq!(spelling(old, "rope_parameters.factor"), "rope_scaling.factor");
    assert_eq!(spelling(old, "rope_parameters.rope_theta"), "rope_theta");
    assert_eq!(spelling(r#"{"rope_theta":5}"#, "rope_parameters.factor"), "rope_parameters.factor");
    let new = r#"{"rope_parameters":{"rope_type":"linear"}}"#;
    assert_eq!(spelling(new, "rope_parameters.factor"), "rope_parameters.factor");
}

#[test]
fn reads_every_config_of_the_test_data() {
    let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let files = |folder: &str| fs::read_dir(data.join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let fixtures = files("fixtures").map(|dir| dir.join("config.json"));
    let configs: Vec<PathBuf> = fixtures.chain(files("configs")).collect();
    assert!(configs.len() >= 12);
    for path in configs {
        let config = HfConfig::read(&path).unwrap();
        let family = config.model_type().unwrap();
        assert!(
            crate::families::find(&config).is_ok_and(|found| found.model_type == family),
            "{}",
            path.display()
        );
        assert_eq!(config.architectures().unwrap().len(), 1);
        assert!(config.dtype().unwrap().is_some());
        assert!(config.u64("num_hidden_layers", LAYERS).is_ok());
        assert!(config.u64("hidden_size", SIZES).unwrap() >= 32);
        assert!(config.f64("rope_parameters.rope_theta", ANY).unwrap() >= 1e4);
        let rope_type = config.opt_str("rope_parameters.rope_type").unwrap().unwrap_or("default");
        let known = ["default", "dynamic", "linear", "llama3", "longrope", "yarn"];
        assert!(known.contains(&rope_type), "{}: {rope_type}", path.display());
        if rope_type == "llama3" {
            config.f64("rope_parameters.low_freq_factor", ANY).unwrap();
            config.u64("rope_parameters.original_max_position_embeddings", SIZES).unwrap();
        }
    }
}

/// JSON with the keys that normalisation looks at, holding anything.
fn rope_json() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "dtype",
        "torch_dtype",
        "x",
    ]);
    let inner = prop::sample::select(vec!["type", "rope_type", "rope_theta", "factor", "full_attention"]);
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("\"linear\"".to_owned()),
        Just("1e4".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
    ];
    let object = prop::collection::hash_map(inner, leaf.clone(), 0..5);
    let value = prop_oneof![leaf, object.prop_map(|map| to_json(&map))];
    prop::collection::hash_map(key, value, 0..6).prop_map(|map| to_json(&map))
}

fn to_json(map: &std::collections::HashMap<&str, String>) -> String {
    let entries: Vec<String> = map.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
    format!("{{{}}}", entries.join(","))
}

proptest! {
    #[test]
    fn normalising_never_panics_and_leaves_no_older_spelling(text in rope_json()) {
        let path = Path::new("c");
        if let Ok(config) = HfConfig::parse(path, text.as_bytes()) {
            config.leaves(&|_| Visit::Enter);
            let _ = (config.dtype(), config.opt_f64("rope_parameters.rope_theta", ANY));
            let per_layer = json(&text)["rope_parameters"].as_object().is_some_and(is_per_layer);
            if !per_layer {
                for key in ["torch_dtype", "rope_theta", "rope_scaling", "rope_parameters.type"] {
                    prop_assert!(!config.has(key), "{} in {}", key, text);
                }
            }
        }
    }
}
