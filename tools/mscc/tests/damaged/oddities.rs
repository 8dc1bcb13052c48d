//! What is unusual and right: it has to work, and give the tokens of the plain model.

use std::os::unix::fs::symlink;

use insta::assert_snapshot;
use serde_json::json;

use crate::model::{Tensor, safetensors, tensors, with_header};
use crate::{Case, Model, accepted, tokens};

const INDEX: &str = "model.safetensors.index.json";

#[test]
fn headers() {
    assert_snapshot!(accepted(&[
        ("as it was", |_| ()),
        ("data at a multiple of 8", |m| pad(m, 0)),
        ("data at 1 past a multiple of 8", |m| pad(m, 1)),
        ("data at 2 past a multiple of 8", |m| pad(m, 2)),
        ("data at 3 past a multiple of 8", |m| pad(m, 3)),
        ("data at 7 past a multiple of 8", |m| pad(m, 7)),
        ("a thousand spaces", |m| pad(m, 1000)),
        ("line ends and tabs for padding", |m| {
            let (header, data) = crate::model::split(&m.read("model.safetensors"));
            m.write(
                "model.safetensors",
                with_header(format!("{}\n\t\r\n ", json!(header)).as_bytes(), &data),
            );
        }),
        ("indented JSON", |m| {
            let (header, data) = crate::model::split(&m.read("model.safetensors"));
            m.write("model.safetensors", with_header(format!("{:#}", json!(header)).as_bytes(), &data));
        }),
        ("metadata", |m| {
            m.edit_header(|h| {
                drop(h.insert("__metadata__".into(), json!({ "format": "pt", "né": "\u{0}" })))
            });
        }),
        ("empty metadata", |m| m.edit_header(|h| drop(h.insert("__metadata__".into(), json!({}))))),
        ("unknown fields of a tensor", |m| {
            m.edit_header(|h| h["lm_head.weight"]["quantized"] = json!(false));
        }),
        ("data in the other order", |m| m.edit_tensors(|tensors| tensors.reverse())),
        ("header in another order than the data", |m| {
            let (header, data) = crate::model::split(&m.read("model.safetensors"));
            let mut entries: Vec<String> =
                header.iter().map(|(name, entry)| format!("\"{name}\":{entry}")).collect();
            entries.reverse();
            m.write("model.safetensors", with_header(format!("{{{}}}", entries.join(",")).as_bytes(), &data));
        }),
    ]));
}

/// Puts spaces behind the header, so that the data begins `past` bytes past a multiple of 8.
fn pad(model: &Model, past: usize) {
    let (header, data) = crate::model::split(&model.read("model.safetensors"));
    let json = json!(header).to_string();
    let padded = json.len().next_multiple_of(8) + past;
    model.write("model.safetensors", with_header(format!("{json:padded$}").as_bytes(), &data));
}

#[test]
fn tensors_and_keys_that_nobody_asked_for() {
    assert_snapshot!(accepted(&[
        ("an unknown tensor", |m| m.edit_tensors(|t| t.push(Tensor::new("model.extra.weight", &[3])))),
        ("one at an odd place, in front of all", |m| {
            m.edit_tensors(|t| {
                let mut odd = Tensor::new("extra", &[3]);
                odd.stored_as("U8", |_| vec![1]);
                t.insert(0, odd);
            });
        }),
        ("tensors without elements", |m| {
            m.edit_tensors(|t| {
                t.insert(0, Tensor::new("empty.first", &[0]));
                t.insert(5, Tensor::new("empty.middle", &[0, 4294967296]));
                t.push(Tensor::new("empty.last", &[3, 0]));
            });
        }),
        ("a scalar", |m| m.edit_tensors(|t| t.push(Tensor::new("logit_scale", &[])))),
        ("tensors of types that nothing computes with", |m| {
            m.edit_tensors(|t| {
                t.push(Tensor { dtype: "F4", shape: vec![4], data: vec![0; 2], name: "a.f4".into() });
                t.push(Tensor { dtype: "C64", shape: vec![2], data: vec![0; 16], name: "a.c64".into() });
                t.push(Tensor { dtype: "I64", shape: vec![1], data: vec![0; 8], name: "a.i64".into() });
            });
        }),
        ("tensors that other tools leave", |m| {
            m.edit_tensors(|t| t.push(Tensor::new("model.layers.0.self_attn.rotary_emb.inv_freq", &[4])));
        }),
        ("names of all kinds", |m| {
            m.edit_tensors(|t| {
                let names =
                    ["", " ", "..", "/etc/passwd", "a\nb", "\u{1b}[31mred", "ключ", "\"quoted\"", "{i}"];
                t.extend(names.map(|name| Tensor::new(name, &[1])));
            });
        }),
        ("an unknown key", |m| m.config("some_new_setting", json!({ "a": [1] }))),
        ("a known key, misspelt", |m| m.config("rms_norm_epsilon", json!(1e-6))),
        ("keys that do not matter", |m| {
            m.config("use_cache", json!(true));
            m.config("transformers_version", json!("5.0.0"));
            m.config("_name_or_path", json!("/home/somebody/model"));
        }),
    ]));
}

#[test]
fn element_types() {
    assert_snapshot!(accepted(&[
        ("f64", |m| stored_as(m, "F64", |value| f64::from(value).to_le_bytes().to_vec())),
        ("f32", |m| stored_as(m, "F32", |value| value.to_le_bytes().to_vec())),
        ("f16", |m| stored_as(m, "F16", |value| f16_bits(value).to_le_bytes().to_vec())),
        ("f64 among bf16", |m| {
            m.edit_tensors(|t| {
                let some = t.iter_mut().step_by(3);
                some.for_each(|t| t.stored_as("F64", |value| f64::from(value).to_le_bytes().to_vec()));
            });
        }),
        ("f64 in the config too", |m| {
            stored_as(m, "F64", |value| f64::from(value).to_le_bytes().to_vec());
            m.config("torch_dtype", json!("float64"));
        }),
    ]));
}

#[test]
fn f64_weights_go_with_every_dtype() {
    let model = Model::new();
    let run = |dtype: &str, compute: &str| {
        let options = ["--dtype", dtype, "--compute-dtype", compute];
        let compiled = model.mscc(&[crate::COMPILE, &options].concat());
        assert_eq!(compiled.code, 0, "{dtype}, {compute}: {compiled:?}");
        let ran = model.mscc(&[
            "run",
            "plan.bin",
            "--prompt-ids",
            "1,2",
            "--max-tokens",
            "8",
            "--ignore-eos",
            "--json",
        ]);
        assert_eq!(ran.code, 0, "{dtype}, {compute}: {ran:?}");
        let ran: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        ran["token_ids"].to_string()
    };
    for (dtype, compute) in [("float32", "float32"), ("bfloat16", "bfloat16"), ("float16", "bfloat16")] {
        model.edit_tensors(|_| ());
        let expected = run(dtype, compute);
        stored_as(&model, "F64", |value| f64::from(value).to_le_bytes().to_vec());
        assert_eq!(run(dtype, compute), expected, "{dtype}, {compute}");
        assert_eq!(run("auto", compute), expected, "{dtype}, {compute}");
    }
}

fn stored_as(model: &Model, dtype: &'static str, bytes: fn(f32) -> Vec<u8>) {
    model.edit_tensors(|tensors| tensors.iter_mut().for_each(|tensor| tensor.stored_as(dtype, bytes)));
}

/// The f16 of a multiple of 1/64 from -1 to 1.
fn f16_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    if value == 0.0 {
        return 0;
    }
    let exponent = ((bits >> 23) & 0xff) as i32 - 127 + 15;
    ((bits >> 16) & 0x8000) as u16 | (exponent as u16) << 10 | ((bits >> 13) & 0x3ff) as u16
}

#[test]
fn files_of_weights() {
    assert_snapshot!(accepted(&[
        ("shards", |m| drop(m.shard())),
        ("shards, in a directory of their own", |m| {
            let mut index = m.shard();
            std::fs::create_dir(m.file("weights")).unwrap();
            for shard in index["weight_map"].as_object_mut().unwrap().values_mut() {
                let name = shard.as_str().unwrap().to_owned();
                let _ = std::fs::rename(m.file(&name), m.file("weights").join(&name));
                *shard = json!(format!("weights/{name}"));
            }
            m.write(INDEX, index.to_string());
        }),
        ("shards that hold more than listed", |m| {
            let mut index = m.shard();
            index["weight_map"].as_object_mut().unwrap().remove("lm_head.weight");
            m.write(INDEX, index.to_string());
        }),
        ("an index without metadata", |m| {
            let index = m.shard();
            m.write(INDEX, json!({ "weight_map": index["weight_map"] }).to_string());
        }),
        ("an index of one shard", |m| {
            std::fs::rename(m.file("model.safetensors"), m.file("all.safetensors")).unwrap();
            let map: serde_json::Map<_, _> =
                tensors().iter().map(|t| (t.name.clone(), json!("all.safetensors"))).collect();
            m.write(INDEX, json!({ "weight_map": map }).to_string());
        }),
        ("a shard without elements", |m| {
            let mut index = m.shard();
            m.write("model-00003.safetensors", safetensors(&[Tensor::new("empty", &[0])]));
            index["weight_map"]["empty"] = json!("model-00003.safetensors");
            m.write(INDEX, index.to_string());
        }),
        ("a shard that nobody lists", |m| {
            m.shard();
            m.write("consolidated.safetensors", "not even looked at");
        }),
        ("single file beside an index without its shards", |m| {
            let whole = m.read("model.safetensors");
            m.shard();
            m.write("model.safetensors", whole);
            m.remove("model-00001-of-00002.safetensors");
        }),
        ("single file beside shards with other weights", |m| {
            let whole = m.read("model.safetensors");
            m.shard();
            let mut others = tensors();
            others.iter_mut().for_each(|tensor| tensor.data.fill(0));
            let (one, two) = others.split_at(others.len() / 2);
            m.write("model-00001-of-00002.safetensors", safetensors(one));
            m.write("model-00002-of-00002.safetensors", safetensors(two));
            m.write("model.safetensors", whole);
        }),
        ("single file beside a damaged index", |m| m.write(INDEX, "{")),
        ("pickles beside them", |m| m.write("pytorch_model.bin", b"PK\x03\x04")),
        ("executable code beside them", |m| {
            m.write("modeling_llama.py", "raise SystemExit('run')\n");
            m.config("auto_map", json!({ "AutoModelForCausalLM": "modeling_llama.LlamaForCausalLM" }));
        }),
    ]));
}

#[test]
fn links() {
    let cases: &[Case] = &[
        ("all files, as in the hub's cache", |m| {
            let hub = m.path("models--org--name");
            std::fs::create_dir_all(hub.join("blobs")).unwrap();
            std::fs::create_dir_all(hub.join("snapshots/abc")).unwrap();
            for (number, entry) in std::fs::read_dir(m.path("model")).unwrap().enumerate() {
                let entry = entry.unwrap();
                std::fs::rename(entry.path(), hub.join("blobs").join(number.to_string())).unwrap();
                let link = hub.join("snapshots/abc").join(entry.file_name());
                symlink(format!("../../blobs/{number}"), link).unwrap();
            }
            std::fs::remove_dir(m.path("model")).unwrap();
            symlink("models--org--name/snapshots/abc", m.path("model")).unwrap();
        }),
        ("shards, as in the hub's cache", |m| {
            m.shard();
            std::fs::create_dir(m.path("blobs")).unwrap();
            for name in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
                std::fs::rename(m.file(name), m.path("blobs").join(&name[..11])).unwrap();
                symlink(format!("../blobs/{}", &name[..11]), m.file(name)).unwrap();
            }
        }),
        ("an absolute link", |m| {
            std::fs::rename(m.file("model.safetensors"), m.path("blob")).unwrap();
            symlink(m.path("blob"), m.file("model.safetensors")).unwrap();
        }),
        ("links to links", |m| {
            std::fs::rename(m.file("model.safetensors"), m.path("blob")).unwrap();
            for n in 0..20 {
                let target = if n == 0 { "../blob".to_owned() } else { format!("link{}", n - 1) };
                symlink(target, m.file(&format!("link{n}"))).unwrap();
            }
            symlink("link19", m.file("model.safetensors")).unwrap();
        }),
        ("the directory", |m| {
            std::fs::rename(m.path("model"), m.path("elsewhere")).unwrap();
            symlink("elsewhere", m.path("model")).unwrap();
        }),
        ("hard links", |m| {
            std::fs::hard_link(m.file("model.safetensors"), m.path("other")).unwrap();
        }),
        ("a link to nothing that nobody needs", |m| symlink("gone", m.file("README.md")).unwrap()),
    ];
    assert_snapshot!(accepted(cases));
}

#[test]
fn without_what_is_not_needed() {
    assert_snapshot!(accepted(&[
        ("no generation_config.json", |m| m.remove("generation_config.json")),
        ("no keys in generation_config.json", |m| m.write("generation_config.json", "{}")),
        ("unknown keys in generation_config.json", |m| {
            m.set("generation_config.json", "new_setting", json!([1]));
        }),
        ("no model_type, but an architecture", |m| m.unset("config.json", "model_type")),
        ("architecture of another task", |m| {
            m.config("architectures", json!(["LlamaForSequenceClassification"]));
        }),
        ("eos_token_id is -1, which is none", |m| m.config("eos_token_id", json!(-1))),
        ("no torch_dtype", |m| m.unset("config.json", "torch_dtype")),
        ("no eos_token_id", |m| m.unset("config.json", "eos_token_id")),
        ("indented config with Windows' line ends", |m| {
            let config: serde_json::Value = serde_json::from_slice(&m.read("config.json")).unwrap();
            m.write("config.json", format!("{config:#}\n").replace('\n', "\r\n"));
        }),
        ("config with escapes", |m| m.replace("config.json", "silu", "\\u0073ilu")),
    ]));
}

#[test]
fn ids_run_without_a_tokenizer() {
    let model = Model::new();
    let run = || model.mscc(&["run", "model", "--prompt-ids", "1,2", "--max-tokens", "8", "--ignore-eos"]);
    model.remove("tokenizer.json");
    let expected = run();
    assert_eq!(expected.code, 0, "{expected:?}");
    assert_eq!(expected.stdout.trim_end().split(',').count(), 8, "{expected:?}");
    model.write("tokenizer_config.json", "{");
    assert_eq!(run().stdout, expected.stdout);
}

#[test]
fn names_of_directories() {
    let expected = tokens(&Model::new()).unwrap().0;
    for name in ["with space", "-dash", "ünïcode", "quote'\"", "new\nline", "a.yaml.d", "%s{}"] {
        let model = Model::new();
        std::fs::rename(model.path("model"), model.path(name)).unwrap();
        let compiled = model.mscc(&["compile", &format!("./{name}"), "-o", "plan.bin"]);
        assert_eq!(compiled.code, 0, "{name}: {compiled:?}");
        let ran =
            model.mscc(&["run", "plan.bin", "--prompt-ids", "1,2", "--max-tokens", "8", "--ignore-eos"]);
        assert_eq!(ran.stdout, expected, "{name}: {ran:?}");
    }
}
