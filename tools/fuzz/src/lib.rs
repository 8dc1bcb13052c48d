//! Fuzz targets of mscc: every parser of what comes from outside, and plans with hostile fields.
//!
//! A [`Target`] is a function of bytes with seeds. Three drivers call it: [`campaign`], a loop for any toolchain, which
//! tests and `cargo xtask fuzz` use; and, with coverage, `cargo fuzz` in the `fuzz` folders beside the crates. Its tests
//! run a seeded sample of every target.
//!
//! Not here: expectations of what is accepted. A target asks for an answer, typed errors included, in bounded time and
//! memory.
//!
//! Read first: [`Target`], [`campaign::Campaign`], [`tree::Tree`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod bytes;
pub mod campaign;
mod plan;
mod random;
pub mod targets;
#[allow(
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "a model that tests of the runtime share"
)]
#[path = "../../../runtime/tests/tiny/mod.rs"]
mod tiny;
pub mod tree;

use std::fs;
use std::path::{Path, PathBuf};

pub use plan::{plan_bytes, plan_fields, seal};
pub use random::Random;

/// What is fuzzed.
#[derive(Debug)]
pub struct Target {
    /// Its name, also that of its `cargo fuzz` target.
    pub name: &'static str,
    /// What it reads.
    pub about: &'static str,
    /// Inputs that are well-formed, or were trouble.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Makes an input of the seeds.
    pub mutate: fn(&mut Random<'_>, &[Vec<u8>]) -> Vec<u8>,
    /// Runs an input and says how it ended; panics if something is wrong.
    pub run: fn(&[u8]) -> &'static str,
}

/// All targets, by name.
pub static TARGETS: [Target; 9] = [
    Target {
        name: "chat_template",
        about: "chat templates, rendered",
        seeds: || seeds(&["tests/data/chat", "runtime/text/tests"], &["jinja"]),
        mutate: bytes::mutate,
        run: targets::chat_template,
    },
    Target {
        name: "family_yaml",
        about: "descriptions of model families",
        seeds: || seeds(&["models/families"], &["yaml"]),
        mutate: bytes::mutate,
        run: targets::family_yaml,
    },
    Target {
        name: "hf_config",
        about: "config.json, traced",
        seeds: || {
            seeds(&["tests/data/configs", "tests/data/fixtures"], &["config.json", "b.json", "tiny.json"])
        },
        mutate: bytes::mutate_json,
        run: targets::hf_config,
    },
    Target {
        name: "ir_text",
        about: "the text form of the IR, printed and parsed back",
        seeds: || texts_in_snapshots(&["models/tests", "compiler/src", "tests/tests"]),
        mutate: bytes::mutate,
        run: targets::ir_text,
    },
    Target {
        name: "model_yaml",
        about: "model.yaml",
        seeds: || MODEL_YAML.map(|text| text.as_bytes().to_vec()).to_vec(),
        mutate: bytes::mutate,
        run: targets::model_yaml,
    },
    Target {
        name: "plan_bytes",
        about: "plan.bin with any bytes and right hashes, loaded and run",
        seeds: plan::seeds,
        mutate: plan::mutate,
        run: plan_bytes,
    },
    Target {
        name: "plan_fields",
        about: "plans with fields changed, loaded and run",
        seeds: Vec::new,
        mutate: bytes::draw,
        run: plan_fields,
    },
    Target {
        name: "rule_text",
        about: "files of rewrite rules",
        seeds: || seeds(&["patterns/rules"], &["rule"]),
        mutate: bytes::mutate,
        run: targets::rule_text,
    },
    Target {
        name: "safetensors_header",
        about: "headers of safetensors files",
        seeds: || headers(&["tests/data/fixtures"]),
        mutate: bytes::mutate_header,
        run: targets::safetensors_header,
    },
];

const MODEL_YAML: [&str; 5] = [
    "trust_remote_code: true\ntensor-parallel-size: 1\nmax-model-len: 4k\ngpu_memory_utilization: 0.9\n",
    "use_past: True\nmodel:\n  model_config:\n    type: LlamaConfig\n    batch_size: 1\n    seq_length: 4096\n  arch:\n    type: L\n",
    "model: ./Qwen3-0.6B\ncompute_dtype: bfloat16\nmax_model_len: 4096\n",
    "pretrained_model_dir: \"a b\"\ntarget: cpu\ndtype: auto\nmax_num_seqs: 64\nmax_num_batched_tokens: 2048\n",
    "# everything\nmodel: &dir m\ntokenizer: *dir\nblock_size: 16\nchat_template: t.jinja\nrules: [a.rule, b.rule]\n",
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The repository that this was built from.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files of some folders whose names end so, in order of name; those of folders that do not exist are none.
fn files(folders: &[&str], endings: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| repository().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for path in fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                // What `cargo fuzz` builds.
                let built = path.ends_with("fuzz/target") || path.ends_with("fuzz/corpus");
                open.extend((!built).then_some(path));
            } else if endings.iter().any(|ending| path.to_string_lossy().ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// Contents of files up to 64 KiB.
fn seeds(folders: &[&str], endings: &[&str]) -> Vec<Vec<u8>> {
    let read = files(folders, endings).into_iter().filter_map(|path| fs::read(path).ok());
    read.filter(|bytes| bytes.len() <= 1 << 16).collect()
}

/// The modules that snapshots hold behind their header.
fn texts_in_snapshots(folders: &[&str]) -> Vec<Vec<u8>> {
    let text = |bytes: Vec<u8>| {
        let text = String::from_utf8(bytes).ok()?;
        let (_, body) = text.strip_prefix("---\n")?.split_once("\n---\n")?;
        mscc_ir::text::parse_module(body).is_ok().then(|| body.as_bytes().to_vec())
    };
    seeds(folders, &[".snap"]).into_iter().filter_map(text).collect()
}

/// Weight files up to the end of their headers.
fn headers(folders: &[&str]) -> Vec<Vec<u8>> {
    let header = |path: PathBuf| {
        let mut bytes = fs::read(path).ok()?;
        let length = u64::from_le_bytes(*bytes.first_chunk::<8>()?);
        bytes.truncate(usize::try_from(length).ok()?.checked_add(8)?);
        Some(bytes)
    };
    files(folders, &["model.safetensors", "of-00002.safetensors"]).into_iter().filter_map(header).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_sorted_have_seeds_and_a_file_for_cargo_fuzz() {
        assert!(TARGETS.windows(2).all(|pair| pair[0].name < pair[1].name));
        for target in TARGETS.iter().filter(|target| target.name != "plan_fields") {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        }
        let folders = ["compiler", "ir", "models", "patterns", "runtime"];
        let guided: Vec<String> = files(&folders, &[".rs"])
            .iter()
            .filter(|path| path.parent().unwrap().ends_with("fuzz/fuzz_targets"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        let mut guided: Vec<&str> = guided.iter().map(String::as_str).collect();
        guided.sort_unstable();
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        assert_eq!(guided, names, "`fuzz/fuzz_targets` of the crates");
    }
}
