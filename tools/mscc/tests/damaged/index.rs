//! model.safetensors.index.json and shards.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::config::LFS_POINTER;
use crate::{COMPILE, Model, refused};

const INDEX: &str = "model.safetensors.index.json";
const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";

#[test]
fn form() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("empty file", |m| replace(m, "")),
            ("not JSON", |m| replace(m, "weights")),
            ("cut", |m| replace(m, "{\"weight_map\": {\"model.norm.weight\": \"model-0")),
            ("text behind it", |m| replace(m, "{\"weight_map\":{\"a\":\"a.safetensors\"}} }")),
            ("list", |m| replace(m, "[]")),
            ("null", |m| replace(m, "null")),
            ("no weight_map", |m| replace(m, "{}")),
            ("weight_map is null", |m| replace(m, "{\"weight_map\":null}")),
            ("weight_map is a list", |m| replace(m, "{\"weight_map\":[\"a\"]}")),
            ("weight_map is a text", |m| replace(m, "{\"weight_map\":\"model.safetensors\"}")),
            ("weight_map is empty", |m| replace(m, "{\"weight_map\":{}}")),
            ("weight_map twice", |m| {
                replace(
                    m,
                    "{\"weight_map\":{\"a\":\"a.safetensors\"},\"weight_map\":{\"a\":\"b.safetensors\"}}",
                );
            }),
            ("shard is a number", |m| replace(m, "{\"weight_map\":{\"a\":1}}")),
            ("shard is a list", |m| replace(m, "{\"weight_map\":{\"a\":[\"a.safetensors\"]}}")),
            ("shard is null", |m| replace(m, "{\"weight_map\":{\"a\":null}}")),
            ("tensor twice", |m| {
                replace(m, "{\"weight_map\":{\"a\":\"a.safetensors\",\n\"a\":\"b.safetensors\"}}");
            }),
            ("not UTF-8", |m| replace(m, b"{\"weight_map\":{\"\xff\":\"a\"}}")),
            ("UTF-8 with a byte order mark", |m| replace(m, b"\xef\xbb\xbf{\"weight_map\":{}}")),
            ("UTF-16", |m| replace(
                m,
                "\u{feff}{}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()
            )),
            ("LFS pointer", |m| replace(m, LFS_POINTER)),
            ("web page", |m| replace(m, "<!DOCTYPE html><html></html>")),
            ("brackets", |m| replace(m, format!("{{\"metadata\":{}", "[".repeat(100_000)))),
            ("larger than any index", |m| {
                m.shard();
                let file = std::fs::File::create(m.file(INDEX)).unwrap();
                file.set_len((256 << 20) + 1).unwrap();
            }),
        ]
    ));
}

fn replace(model: &Model, content: impl AsRef<[u8]>) {
    model.shard();
    model.write(INDEX, content);
}

#[test]
fn names_of_shards() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("directory above", |m| {
                place(m, "../stolen.safetensors");
                std::fs::rename(m.file(ONE), m.path("stolen.safetensors")).unwrap();
            }),
            ("directory above, later", |m| place(m, "a/../../stolen.safetensors")),
            ("absolute", |m| place(m, "/etc/passwd")),
            ("Windows' separators", |m| place(m, "..\\stolen.safetensors")),
            ("drive", |m| place(m, "C:stolen.safetensors")),
            ("address", |m| place(m, "https://example.com/model.safetensors")),
            ("empty", |m| place(m, "")),
            ("the directory itself", |m| place(m, ".")),
            ("zero byte", |m| place(m, "a\0.safetensors")),
            ("a name of 5000 bytes", |m| place(m, &"a".repeat(5000))),
            ("a name of 300 bytes", |m| place(m, &"a".repeat(300))),
        ]
    ));
}

/// Has the index place the last norm in a shard of this name.
fn place(model: &Model, shard: &str) {
    let mut index = model.shard();
    index["weight_map"]["model.norm.weight"] = json!(shard);
    model.write(INDEX, index.to_string());
}

#[test]
fn shards() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("one is missing", |m| {
                m.shard();
                m.remove(TWO);
            }),
            ("all are missing", |m| {
                m.shard();
                m.remove(ONE);
                m.remove(TWO);
            }),
            ("one is empty", |m| {
                m.shard();
                m.write(TWO, "");
            }),
            ("one is an LFS pointer", |m| {
                m.shard();
                m.write(TWO, LFS_POINTER);
            }),
            ("one is cut", |m| {
                m.shard();
                m.write(TWO, &m.read(TWO)[..900]);
            }),
            ("one is a copy of the other", |m| {
                m.shard();
                m.write(TWO, m.read(ONE));
            }),
            ("one is a link to the other", |m| {
                m.shard();
                m.link(ONE, TWO);
            }),
            ("one is a link to nothing", |m| {
                m.shard();
                m.link("../blobs/4d7a21", TWO);
            }),
            ("one is a link to itself", |m| {
                m.shard();
                m.link(TWO, TWO);
            }),
            ("links in a circle", |m| {
                m.shard();
                m.link(ONE, TWO);
                m.link(TWO, ONE);
            }),
            ("one is a directory", |m| {
                m.shard();
                m.dir(TWO);
            }),
            ("one is a pipe", |m| {
                m.shard();
                m.pipe(TWO);
            }),
            ("the index is a shard", |m| place(m, INDEX)),
            ("the config is a shard", |m| place(m, "config.json")),
            ("a tensor is in another shard than listed", |m| place(m, ONE)),
            ("a tensor is listed that no shard has", |m| {
                let mut index = m.shard();
                index["weight_map"]["model.extra.weight"] = json!(ONE);
                m.write(INDEX, index.to_string());
            }),
            ("a tensor is in both", |m| {
                m.shard();
                let tensors = crate::model::tensors();
                m.write(TWO, crate::model::safetensors(&tensors[tensors.len() / 2 - 1..]));
            }),
            ("a tensor is in none and not listed", |m| {
                let mut index = m.shard();
                index["weight_map"].as_object_mut().unwrap().remove("lm_head.weight");
                m.write(INDEX, index.to_string());
                let tensors = crate::model::tensors();
                m.write(TWO, crate::model::safetensors(&tensors[tensors.len() / 2..tensors.len() - 1]));
            }),
            ("a directory in place of the index", |m| {
                m.shard();
                m.dir(INDEX);
            }),
            ("the index is a link to nothing", |m| {
                m.shard();
                m.link("../blobs/index", INDEX);
            }),
            ("the index is a link to itself", |m| {
                m.shard();
                m.link(INDEX, INDEX);
            }),
            ("the index is a pipe", |m| {
                m.shard();
                m.pipe(INDEX);
            }),
            ("50 shards are missing", |m| {
                m.shard();
                let shard = |n: usize| (format!("t{n}"), json!(format!("model-{n:05}-of-00050.safetensors")));
                let map: serde_json::Map<String, Value> = (1..=50).map(shard).collect();
                m.write(INDEX, json!({ "weight_map": map }).to_string());
            }),
        ]
    ));
}
