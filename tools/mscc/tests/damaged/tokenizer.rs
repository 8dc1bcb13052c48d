//! tokenizer.json and tokenizer_config.json, which `run` reads when it is given a text.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::config::LFS_POINTER;
use crate::{RUN_TEXT, refused};

const FILE: &str = "tokenizer.json";
const CONFIG: &str = "tokenizer_config.json";

#[test]
fn not_a_tokenizer() {
    assert_snapshot!(refused(
        RUN_TEXT,
        &[
            ("empty", |m| m.write(FILE, "")),
            ("blank", |m| m.write(FILE, " \n")),
            ("cut", |m| m.write(FILE, &m.read(FILE)[..300])),
            ("text behind it", |m| m.write(FILE, [&m.read(FILE)[..], b"}"].concat())),
            ("LFS pointer", |m| m.write(FILE, LFS_POINTER)),
            ("web page", |m| m.write(FILE, "<!DOCTYPE html><html></html>")),
            ("byte order mark", |m| m.write(FILE, [b"\xef\xbb\xbf", &m.read(FILE)[..]].concat())),
            ("not UTF-8", |m| m.write(FILE, b"{\"version\": \"\xff\"}")),
            ("null", |m| m.write(FILE, "null")),
            ("list", |m| m.write(FILE, "[]")),
            ("no keys", |m| m.write(FILE, "{}")),
            ("the config in its place", |m| m.write(FILE, m.read("config.json"))),
            ("the weights in its place", |m| m.write(FILE, m.read("model.safetensors"))),
            ("brackets", |m| m.write(FILE, "[".repeat(1_000_000))),
            ("only tokenizer.model of SentencePiece", |m| {
                m.remove(FILE);
                m.write("tokenizer.model", b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02");
            }),
            ("only vocab.json and merges.txt", |m| {
                m.remove(FILE);
                m.write("vocab.json", "{}");
                m.write("merges.txt", "#version: 0.2\n");
            }),
            ("only tiktoken's file", |m| {
                m.remove(FILE);
                m.write("tiktoken.model", "IQ== 0\n");
            }),
            ("version of the future", |m| m.set(FILE, "version", json!("9.0"))),
        ]
    ));
}

#[test]
fn parts() {
    assert_snapshot!(refused(
        RUN_TEXT,
        &[
            ("no model", |m| m.unset(FILE, "model")),
            ("model is null", |m| m.set(FILE, "model", Value::Null)),
            ("model of an unknown type", |m| m.set(FILE, "model.type", json!("Magic"))),
            ("vocabulary is a list", |m| m.set(FILE, "model.vocab", json!(["a"]))),
            ("vocabulary is a number", |m| m.set(FILE, "model.vocab", json!(1))),
            ("id is a text", |m| m.set(FILE, "model.vocab.a", json!("3"))),
            ("id is negative", |m| m.set(FILE, "model.vocab.a", json!(-3))),
            ("id is 2^32", |m| m.set(FILE, "model.vocab.a", json!(1u64 << 32))),
            ("id is a fraction", |m| m.set(FILE, "model.vocab.a", json!(3.5))),
            ("pre_tokenizer of an unknown type", |m| m.set(
                FILE,
                "pre_tokenizer",
                json!({ "type": "Magic" })
            )),
            ("pre_tokenizer is a text", |m| m.set(FILE, "pre_tokenizer", json!("Whitespace"))),
            ("pre_tokenizer with a broken pattern", |m| {
                let split = json!({ "type": "Split", "pattern": { "Regex": "(" }, "behavior": "Isolated", "invert": false });
                m.set(FILE, "pre_tokenizer", split);
            }),
            ("normalizer of an unknown type", |m| m.set(FILE, "normalizer", json!({ "type": "Magic" }))),
            ("decoder of an unknown type", |m| m.set(FILE, "decoder", json!({ "type": "Magic" }))),
            ("added_tokens is an object", |m| m.set(FILE, "added_tokens", json!({ "<a>": 40 }))),
            ("added token without its text", |m| m.set(FILE, "added_tokens", json!([{ "id": 40 }]))),
            ("byte-level merges of unknown tokens", |m| {
                let model = json!({ "type": "BPE", "vocab": { "a": 0 }, "merges": [["a", "b"]] });
                m.set(FILE, "model", model);
            }),
            ("merges are numbers", |m| {
                m.set(FILE, "model", json!({ "type": "BPE", "vocab": { "a": 0 }, "merges": [1, 2] }));
            }),
            ("word that is not in it, and no unknown token", |m| {
                m.unset(FILE, "model");
                m.set(
                    FILE,
                    "model",
                    json!({ "type": "WordLevel", "vocab": { "q": 0 }, "unk_token": "<unk>" }),
                );
            }),
            ("SentencePiece's unknown id is outside", |m| {
                m.set(FILE, "model", json!({ "type": "Unigram", "unk_id": 7, "vocab": [["a", -1.0]] }));
            }),
            ("template of a post-processor names an unknown token", |m| {
                let template = json!({
                    "type": "TemplateProcessing", "single": [{ "SpecialToken": { "id": "<x>", "type_id": 0 } }],
                    "pair": [], "special_tokens": {}
                });
                m.set(FILE, "post_processor", template);
            }),
        ]
    ));
}

#[test]
fn ids_beyond_the_model() {
    assert_snapshot!(refused(
        RUN_TEXT,
        &[
            ("a word of the text", |m| m.set(FILE, "model.vocab.b", json!(32))),
            ("a word of the text, far out", |m| m.set(FILE, "model.vocab.b", json!(u32::MAX))),
            ("a special token in front", |m| {
                let bos = json!({ "id": 99, "content": "<bos>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false });
                m.set(FILE, "added_tokens", json!([bos]));
                m.set(FILE, "model.vocab.<bos>", json!(99));
                m.set(FILE, "post_processor", json!({
                    "type": "TemplateProcessing",
                    "single": [{ "SpecialToken": { "id": "<bos>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
                    "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 0 } }],
                    "special_tokens": { "<bos>": { "id": "<bos>", "ids": [99], "tokens": ["<bos>"] } }
                }));
            }),
        ]
    ));
}

#[test]
fn tokenizer_config() {
    assert_snapshot!(refused(
        RUN_TEXT,
        &[
            ("empty", |m| m.write(CONFIG, "")),
            ("cut", |m| m.write(CONFIG, "{\"bos_token\": \"<s")),
            ("list", |m| m.write(CONFIG, "[]")),
            ("null", |m| m.write(CONFIG, "null")),
            ("LFS pointer", |m| m.write(CONFIG, LFS_POINTER)),
            ("web page", |m| m.write(CONFIG, "<!DOCTYPE html><html></html>")),
            ("byte order mark", |m| m.write(CONFIG, [b"\xef\xbb\xbf", &m.read(CONFIG)[..]].concat())),
            ("Latin-1", |m| m.write(CONFIG, b"{\"bos_token\": \"\xab\"}")),
            ("brackets", |m| m.write(CONFIG, format!("{{\"a\":{}", "[".repeat(100_000)))),
            ("added_tokens_decoder is a list", |m| m.set(CONFIG, "added_tokens_decoder", json!([]))),
            ("added_tokens_decoder has no ids", |m| {
                m.set(CONFIG, "added_tokens_decoder", json!({ "<a>": { "content": "<a>" } }));
            }),
            ("added_tokens_decoder without texts", |m| {
                m.set(CONFIG, "added_tokens_decoder", json!({ "7": { "special": true } }));
            }),
            ("added_tokens_decoder with a huge id", |m| {
                m.set(CONFIG, "added_tokens_decoder", json!({ "99999999999": { "content": "<a>" } }));
            }),
            ("special_tokens_map.json is cut", |m| m.write("special_tokens_map.json", "{\"bos_token\":")),
            ("special_tokens_map.json is a list", |m| m.write("special_tokens_map.json", "[]")),
        ]
    ));
}
