//! model.safetensors: every rule of the format, and what is found in place of such files.

use insta::assert_snapshot;
use serde_json::json;

use crate::config::LFS_POINTER;
use crate::model::Tensor;
use crate::{COMPILE, refused};

#[test]
fn length_of_the_header() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("empty file", |m| m.write("model.safetensors", "")),
            ("one byte", |m| m.write("model.safetensors", "\u{1}")),
            ("seven bytes", |m| m.write("model.safetensors", [9, 0, 0, 0, 0, 0, 0])),
            ("the length alone", |m| m.write("model.safetensors", 2u64.to_le_bytes())),
            ("length 0", |m| m.write("model.safetensors", 0u64.to_le_bytes())),
            ("length 0, and data", |m| m.write("model.safetensors", [0; 64])),
            ("one less than the header", |m| change_length(m, |length| length - 1)),
            ("one more than the header", |m| change_length(m, |length| length + 1)),
            ("to the end of the file", |m| {
                let file = m.read("model.safetensors");
                change_length(m, |_| file.len() as u64 - 8);
            }),
            ("one past the end of the file", |m| {
                let file = m.read("model.safetensors");
                change_length(m, |_| file.len() as u64 - 7);
            }),
            ("at the limit of the format", |m| change_length(m, |_| 100_000_000)),
            ("over the limit of the format", |m| change_length(m, |_| 100_000_001)),
            ("2^63", |m| change_length(m, |_| 1 << 63)),
            ("2^64 - 1", |m| change_length(m, |_| u64::MAX)),
            ("big endian", |m| change_length(m, u64::swap_bytes)),
        ]
    ));
}

fn change_length(model: &crate::Model, change: impl FnOnce(u64) -> u64) {
    let mut file = model.read("model.safetensors");
    let length = u64::from_le_bytes(file[..8].try_into().unwrap());
    file[..8].copy_from_slice(&change(length).to_le_bytes());
    model.write("model.safetensors", file);
}

#[test]
fn text_of_the_header() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("blank", |m| m.header("        ", 0)),
            ("text", |m| m.header("weights", 0)),
            ("space in front", |m| m.header(" {}", 0)),
            ("list", |m| m.header("[]", 0)),
            ("null", |m| m.header("null", 0)),
            ("cut", |m| m.header(r#"{"a":{"dtype":"F32","#, 0)),
            ("comma behind the last", |m| m.header("{\"__metadata__\":{},}", 0)),
            ("text behind it", |m| m.header("{}x", 0)),
            ("zero bytes behind it", |m| m.header("{}\0\0\0\0\0\0", 0)),
            ("not UTF-8", |m| m
                .header(b"{\"\xff\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0)),
            ("UTF-16", |m| m.header("{}".encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(), 0)),
            ("NaN", |m| m.header(r#"{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}"#, 4)),
            ("brackets", |m| m.header(format!("{{\"a\":{}", "[".repeat(100_000)), 0)),
            ("no tensors", |m| m.header("{}", 0)),
            ("no tensors, but data", |m| m.header("{}", 64)),
        ]
    ));
}

#[test]
fn entries_of_the_header() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("metadata is a text", |m| m.header(r#"{"__metadata__":"pt"}"#, 0)),
            ("metadata is a list", |m| m.header(r#"{"__metadata__":["pt"]}"#, 0)),
            ("metadata holds a number", |m| m.header(r#"{"__metadata__":{"format":1}}"#, 0)),
            ("metadata holds an object", |m| m.header(r#"{"__metadata__":{"format":{}}}"#, 0)),
            ("metadata holds null", |m| m.header(r#"{"__metadata__":{"format":null}}"#, 0)),
            ("metadata twice", |m| m.header(r#"{"__metadata__":{},"__metadata__":{}}"#, 0)),
            ("metadata is a tensor", |m| {
                m.header(r#"{"__metadata__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
            }),
            ("tensor is null", |m| m.header(r#"{"a":null}"#, 0)),
            ("tensor is a number", |m| m.header(r#"{"a":1}"#, 0)),
            ("tensor is an empty object", |m| m.header(r#"{"a":{}}"#, 0)),
            ("no dtype", |m| m.header(r#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, 4)),
            ("no shape", |m| m.header(r#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, 4)),
            ("no data_offsets", |m| m.header(r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4)),
            ("dtype twice", |m| {
                m.header(r#"{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4);
            }),
            ("tensor twice", |m| {
                let tensor = r#""a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
                m.header(format!("{{{tensor},{tensor}}}"), 1);
            }),
            ("tensor twice, at different places", |m| {
                let tensor = r#""a":{"dtype":"U8","shape":[1],"data_offsets":"#;
                m.header(format!("{{{tensor}[0,1]}},{tensor}[1,2]}}}}"), 2);
            }),
        ]
    ));
}

#[test]
fn types_and_shapes() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("dtype is a number", |m| one(m, "7", "[1]", "[0,4]", 4)),
            ("dtype is null", |m| one(m, "null", "[1]", "[0,4]", 4)),
            ("dtype is unknown", |m| one(m, "\"F7\"", "[1]", "[0,4]", 4)),
            ("dtype in small letters", |m| one(m, "\"f32\"", "[1]", "[0,4]", 4)),
            ("dtype as PyTorch spells it", |m| one(m, "\"torch.float32\"", "[1]", "[0,4]", 4)),
            ("shape is a number", |m| one(m, "\"F32\"", "1", "[0,4]", 4)),
            ("shape is null", |m| one(m, "\"F32\"", "null", "[0,4]", 4)),
            ("shape holds a text", |m| one(m, "\"F32\"", "[\"1\"]", "[0,4]", 4)),
            ("negative dim", |m| one(m, "\"F32\"", "[-1]", "[0,4]", 4)),
            ("fractional dim", |m| one(m, "\"F32\"", "[1.0]", "[0,4]", 4)),
            ("dim of 2^64", |m| one(m, "\"F32\"", "[18446744073709551616]", "[0,4]", 4)),
            ("dims whose product overflows", |m| one(m, "\"F32\"", "[4294967296,4294967296]", "[0,0]", 0)),
            ("size that overflows", |m| one(m, "\"F64\"", "[2305843009213693952]", "[0,0]", 0)),
            ("zero dim behind dims that overflow", |m| {
                one(m, "\"F32\"", "[4294967296,4294967296,0]", "[0,0]", 0);
            }),
            ("hundred dims", |m| {
                one(m, "\"U8\"", &format!("[{}1]", "1,".repeat(99)), "[0,1]", 1);
            }),
            ("half a byte", |m| one(m, "\"F4\"", "[3]", "[0,2]", 2)),
        ]
    ));
}

#[test]
fn places_of_data() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("offsets are a number", |m| one(m, "\"F32\"", "[1]", "4", 4)),
            ("one offset", |m| one(m, "\"F32\"", "[1]", "[4]", 4)),
            ("three offsets", |m| one(m, "\"F32\"", "[1]", "[0,4,8]", 4)),
            ("negative offset", |m| one(m, "\"F32\"", "[1]", "[-4,0]", 4)),
            ("fractional offset", |m| one(m, "\"F32\"", "[1]", "[0.0,4.0]", 4)),
            ("offsets reversed", |m| one(m, "\"F32\"", "[1]", "[4,0]", 4)),
            ("offsets near 2^64", |m| {
                one(m, "\"U8\"", "[1]", "[18446744073709551614,18446744073709551615]", 1);
            }),
            ("too small for the shape", |m| one(m, "\"F32\"", "[2]", "[0,4]", 4)),
            ("too large for the shape", |m| one(m, "\"F32\"", "[1]", "[0,8]", 8)),
            ("empty, but for a scalar", |m| one(m, "\"F32\"", "[]", "[0,0]", 0)),
            ("not empty for a dim of 0", |m| one(m, "\"F32\"", "[0,4]", "[0,4]", 4)),
            ("hole in front", |m| one(m, "\"F32\"", "[1]", "[4,8]", 8)),
            ("hole between", |m| {
                let one = r#"{"dtype":"U8","shape":[1],"data_offsets""#;
                m.header(format!(r#"{{"a":{one}:[0,1]}},"b":{one}:[2,3]}}}}"#), 3);
            }),
            ("overlap", |m| {
                let two = r#"{"dtype":"U8","shape":[2],"data_offsets""#;
                m.header(format!(r#"{{"a":{two}:[0,2]}},"b":{two}:[1,3]}}}}"#), 3);
            }),
            ("two tensors in one place", |m| {
                let two = r#"{"dtype":"U8","shape":[2],"data_offsets""#;
                m.header(format!(r#"{{"a":{two}:[0,2]}},"b":{two}:[0,2]}}}}"#), 2);
            }),
            ("beyond the file", |m| one(m, "\"F32\"", "[100]", "[0,400]", 4)),
            ("far beyond the file", |m| one(m, "\"U8\"", "[1099511627776]", "[0,1099511627776]", 4)),
            ("a byte behind the data", |m| {
                m.write("model.safetensors", [m.read("model.safetensors"), vec![0]].concat());
            }),
            ("a byte less than the data", |m| {
                let file = m.read("model.safetensors");
                m.write("model.safetensors", &file[..file.len() - 1]);
            }),
            ("half a download", |m| {
                let file = m.read("model.safetensors");
                m.write("model.safetensors", &file[..file.len() / 2]);
            }),
            ("a download that stopped in the header", |m| {
                m.write("model.safetensors", &m.read("model.safetensors")[..200]);
            }),
        ]
    ));
}

/// Weights with one tensor, whose fields are given as JSON.
fn one(model: &crate::Model, dtype: &str, shape: &str, offsets: &str, data_bytes: usize) {
    model.header(
        format!(r#"{{"model.norm.weight":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}}}"#),
        data_bytes,
    );
}

#[test]
fn tensors_of_the_model() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("one is missing", |m| m.edit_tensors(|t| t.retain(|t| t.name != "model.norm.weight"))),
            ("the last layer is missing", |m| m
                .edit_tensors(|t| t.retain(|t| !t.name.contains("layers.1.")))),
            ("all are missing", |m| m.edit_tensors(|t| t.retain(|t| t.name.is_empty()))),
            ("one is misspelt", |m| m
                .edit_tensors(|t| t[1].name = "model.layers.0.input_layer_norm.weight".into())),
            ("all have a prefix", |m| {
                m.edit_tensors(|t| t.iter_mut().for_each(|t| t.name = format!("module.{}", t.name)));
            }),
            ("one is transposed", |m| {
                m.edit_tensors(|t| {
                    t.iter_mut().filter(|t| t.shape == [24, 16]).for_each(|t| t.shape.reverse())
                });
            }),
            ("a norm has a dim more", |m| m.edit_tensors(|t| t[1].shape = vec![1, 16])),
            ("a norm is a scalar", |m| m
                .edit_tensors(|t| t[1] = Tensor { shape: vec![], data: vec![0; 2], ..t[1].clone() })),
            ("one has no elements", |m| {
                m.edit_tensors(|t| t[1] = Tensor { shape: vec![0], data: vec![], ..t[1].clone() });
            }),
            ("one is of bools", |m| m.edit_tensors(|t| t[1].stored_as("BOOL", |_| vec![1]))),
            ("one is of 8-bit integers", |m| m.edit_tensors(|t| t[2].stored_as("I8", |_| vec![1]))),
            ("one is of 8-bit floats", |m| m.edit_tensors(|t| t[2].stored_as("F8_E4M3", |_| vec![1]))),
            ("one is of 4-bit floats", |m| {
                m.edit_tensors(|t| t[2] = Tensor { dtype: "F4", data: vec![0; 128], ..t[2].clone() });
            }),
            ("one is complex", |m| m.edit_tensors(|t| t[2].stored_as("C64", |_| vec![0; 8]))),
            ("one is of 64-bit integers", |m| m.edit_tensors(|t| t[2].stored_as("I64", |_| vec![0; 8]))),
            ("quantised by GPTQ", |m| {
                m.edit_tensors(|t| {
                    t[2].name = "model.layers.0.self_attn.q_proj.qweight".into();
                    t[2].stored_as("I32", |_| vec![0; 4]);
                });
            }),
        ]
    ));
}

#[test]
fn other_formats() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("LFS pointer", |m| m.write("model.safetensors", LFS_POINTER)),
            ("LFS pointer with Windows' line ends", |m| {
                m.write("model.safetensors", LFS_POINTER.replace('\n', "\r\n"));
            }),
            ("pickle in a zip", |m| m.write("model.safetensors", [b"PK\x03\x04", &[0; 60][..]].concat())),
            ("pickle of protocol 2", |m| {
                m.write(
                    "model.safetensors",
                    [b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", &[0; 60][..]].concat(),
                );
            }),
            ("pickle of protocol 4", |m| {
                m.write("model.safetensors", [b"\x80\x04\x95\x0b\0\0\0\0\0\0\0}\x94", &[0; 60][..]].concat());
            }),
            ("GGUF", |m| m
                .write("model.safetensors", [b"GGUF\x03\0\0\0\x23\x01\0\0", &[0; 60][..]].concat())),
            ("older GGML", |m| m.write("model.safetensors", [b"tjgg\x03\0\0\0", &[1; 60][..]].concat())),
            ("HDF5", |m| m.write("model.safetensors", [b"\x89HDF\r\n\x1a\n", &[0; 60][..]].concat())),
            ("NumPy", |m| m.write("model.safetensors", [b"\x93NUMPY\x01\0v\0", &[b' '; 60][..]].concat())),
            ("ONNX", |m| m
                .write("model.safetensors", [b"\x08\x07\x12\x07pytorch", &[b'x'; 60][..]].concat())),
            ("gzip", |m| m
                .write("model.safetensors", [b"\x1f\x8b\x08\0\0\0\0\0\0\x03", &[1; 60][..]].concat())),
            ("zstd", |m| m
                .write("model.safetensors", [b"\x28\xb5\x2f\xfd\x24\0\x01\0", &[1; 60][..]].concat())),
            ("tar", |m| m.write("model.safetensors", [b"model.bin", &[0; 600][..]].concat())),
            ("web page", |m| m
                .write("model.safetensors", "<!DOCTYPE html>\n<html><body>Not found</body></html>")),
            ("web page behind a blank line", |m| {
                m.write("model.safetensors", "\r\n  <html><head><title>Sign in</title></head></html>");
            }),
            ("XML of a store", |m| m
                .write("model.safetensors", "<?xml version=\"1.0\"?><Error>AccessDenied</Error>")),
            ("JSON", |m| m.write("model.safetensors", r#"{"error":"Repository not found"}"#)),
            ("plain text", |m| m.write("model.safetensors", "Entry not found\n")),
            ("short plain text", |m| m.write("model.safetensors", "Found")),
            ("byte order mark", |m| {
                m.write("model.safetensors", [b"\xef\xbb\xbf", &m.read("model.safetensors")[..]].concat());
            }),
            ("zero bytes, as after a crash", |m| m.write("model.safetensors", vec![0; 4096])),
            ("a plan", |m| m.write("model.safetensors", [b"MSCCPLAN", &[1; 60][..]].concat())),
        ]
    ));
}

#[test]
fn other_files_than_safetensors() {
    assert_snapshot!(refused(
        COMPILE,
        &[
            ("no weights", |m| m.remove("model.safetensors")),
            ("pytorch_model.bin", |m| {
                m.remove("model.safetensors");
                m.write("pytorch_model.bin", b"PK\x03\x04");
            }),
            ("pytorch_model.bin in shards", |m| {
                m.remove("model.safetensors");
                m.write("pytorch_model-00001-of-00002.bin", b"PK\x03\x04");
                m.write("pytorch_model-00002-of-00002.bin", b"PK\x03\x04");
                m.write("pytorch_model.bin.index.json", "{}");
            }),
            ("GGUF", |m| {
                m.remove("model.safetensors");
                m.write("model-q4_k_m.gguf", b"GGUF");
            }),
            ("TensorFlow", |m| {
                m.remove("model.safetensors");
                m.write("tf_model.h5", b"\x89HDF\r\n");
            }),
            ("shards without their index", |m| {
                m.shard();
                m.remove("model.safetensors.index.json");
            }),
            ("another name", |m| {
                std::fs::rename(m.file("model.safetensors"), m.file("weights.safetensors")).unwrap();
            }),
            ("a download that goes on", |m| {
                std::fs::rename(m.file("model.safetensors"), m.file("model.safetensors.incomplete")).unwrap();
            }),
            ("adapter", |m| {
                m.remove("model.safetensors");
                m.write("adapter_model.safetensors", "");
                m.write("adapter_config.json", json!({ "peft_type": "LORA" }).to_string());
            }),
        ]
    ));
}
