//! The targets but the plan, each a function of bytes that says how it ended.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use mscc_checkpoint::{Header, HeaderError};
use mscc_compiler::ModelYaml;
use mscc_ir::DType;
use mscc_ir::text::{parse_module, print_module};
use mscc_ir::verify::verify;
use mscc_models::hf::{GenerationConfig, HfConfig};
use mscc_models::{Family, TraceError, TraceOptions, Traced, families, trace, trace_family};
use mscc_text::{ChatInput, ChatLimits, ChatTemplate};
use serde_json::json;

const REFUSED: &str = "refused";
const ACCEPTED: &str = "accepted";

/// A safetensors file, up to the end of its header.
pub fn safetensors_header(input: &[u8]) -> &'static str {
    // As long as the header says, so that more than the length is read.
    let stated = |error: HeaderError| match error {
        HeaderError::FileLength { expected, .. } => Header::parse(input, expected),
        other => Err(other),
    };
    let Ok(header) = Header::parse(input, input.len() as u64).or_else(stated) else { return REFUSED };
    for tensor in &header.tensors {
        assert!(tensor.offset.checked_add(tensor.bytes).is_some(), "{tensor:?} has no end");
    }
    ACCEPTED
}

/// config.json, traced without weights where it is one.
pub fn hf_config(input: &[u8]) -> &'static str {
    let Ok(config) = HfConfig::parse(Path::new("config.json"), input) else { return "no config" };
    let _ = GenerationConfig::new(&config, None);
    let Ok(_) = families::find(&config) else { return "no family" };
    outcome(trace(&config, None, &OPTIONS))
}

const OPTIONS: TraceOptions = TraceOptions {
    compute_dtype: DType::BF16,
    residual_dtype: None,
    max_model_len: None,
    max_num_seqs: 4,
    max_num_batched_tokens: 32,
    block_size: 16,
    strict: false,
};

fn outcome(traced: Result<Traced, TraceError>) -> &'static str {
    match traced {
        Ok(traced) => {
            assert_eq!(verify(&traced.module), [], "what was traced is sound");
            ACCEPTED
        }
        Err(_) => REFUSED,
    }
}

/// The description of a family, traced with its own defaults where it is one.
pub fn family_yaml(input: &[u8]) -> &'static str {
    let Ok(text) = std::str::from_utf8(input) else { return REFUSED };
    let Ok(family) = Family::parse("family.yaml", text) else { return REFUSED };
    let config = HfConfig::parse(Path::new("config.json"), br#"{"num_hidden_layers": 3}"#);
    let config = config.expect("it is an object");
    match outcome(trace_family(&family, &config, None, &OPTIONS)) {
        REFUSED => "a family that does not fit",
        other => other,
    }
}

/// model.yaml.
pub fn model_yaml(input: &[u8]) -> &'static str {
    let Ok(text) = std::str::from_utf8(input) else { return REFUSED };
    let Ok(yaml) = ModelYaml::parse(Path::new("model.yaml"), text) else { return REFUSED };
    if yaml.options.resolve().is_ok() { ACCEPTED } else { "options that do not fit" }
}

/// The text form of the IR: what parses prints, and parses back to the same.
pub fn ir_text(input: &[u8]) -> &'static str {
    let Ok(text) = std::str::from_utf8(input) else { return REFUSED };
    let Ok(module) = parse_module(text) else { return REFUSED };
    let printed = print_module(&module);
    assert_eq!(parse_module(&printed).as_ref(), Ok(&module), "{printed}");
    if verify(&module).is_empty() { ACCEPTED } else { "unsound" }
}

/// A file of rewrite rules.
pub fn rule_text(input: &[u8]) -> &'static str {
    let Ok(text) = std::str::from_utf8(input) else { return REFUSED };
    if mscc_patterns::load(text, "fuzz.rule").is_ok() { ACCEPTED } else { REFUSED }
}

/// A chat template, rendered where it is one.
pub fn chat_template(input: &[u8]) -> &'static str {
    let Ok(text) = std::str::from_utf8(input) else { return REFUSED };
    let Ok(template) = ChatTemplate::from_text(text) else { return REFUSED };
    let limits = ChatLimits { fuel: 20_000, output_bytes: 1 << 16, time: Duration::from_secs(5) };
    let mut input = ChatInput::new(json!([
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Hello <|im_end|> {{ 7 * 7 }}"},
        {"role": "assistant", "content": "Hi.", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
        {"role": "user", "content": "Bye"},
    ]));
    input.now = Some(UNIX_EPOCH);
    if template.with_limits(limits).render(&input).is_ok() { ACCEPTED } else { "not rendered" }
}
