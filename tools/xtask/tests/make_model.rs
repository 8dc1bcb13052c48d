//! `make-model` through its binary.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mscc_checkpoint::{Checkpoint, DType, MappedCheckpoint};
use mscc_models::hf::{HfConfig, ModelDir};
use mscc_models::{TraceOptions, trace};
use mscc_text::Tokenizer;
use serde_json::{Value, json};
use tempfile::TempDir;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/configs")
}

fn make_model(config: &Path, output: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["make-model".as_ref(), config, "-o".as_ref(), output]).args(options).output().unwrap()
}

/// Makes a model and gives what was printed.
fn make(config: &Path, output: &Path, options: &[&str]) -> String {
    let made = make_model(config, output, options);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap()
}

/// What is printed on refusal.
fn refusal(config: &Path, output: &Path, options: &[&str]) -> String {
    let made = make_model(config, output, options);
    assert!(!made.status.success());
    String::from_utf8(made.stderr).unwrap()
}

/// A real config, made small.
fn tiny(home: &TempDir, name: &str, changes: Value) -> PathBuf {
    let mut config: Value = serde_json::from_slice(&fs::read(configs().join(name)).unwrap()).unwrap();
    let small = json!({
        "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 600, "bos_token_id": 500, "eos_token_id": 501,
    });
    for source in [small, changes] {
        config.as_object_mut().unwrap().extend(source.as_object().unwrap().clone());
    }
    let path = home.path().join(name);
    fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    path
}

/// Everything in a directory.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// What a trace needs beside the model.
const OPTIONS: TraceOptions = TraceOptions {
    compute_dtype: mscc_ir::DType::F32,
    residual_dtype: None,
    max_model_len: None,
    max_num_seqs: 4,
    max_num_batched_tokens: 64,
    block_size: 16,
    strict: false,
};

#[test]
fn writes_what_loaders_read() {
    for (name, changes) in [
        ("qwen3-0.6b.json", json!({})),
        ("qwen2.5-0.5b.json", json!({"torch_dtype": "float16"})),
        ("llama-3.2-1b.json", json!({"tie_word_embeddings": false, "torch_dtype": "float32"})),
        (
            "qwen3-235b-a22b.json",
            json!({"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 24}),
        ),
    ] {
        let home = tempfile::tempdir().unwrap();
        let (config, dir) = (tiny(&home, name, changes), home.path().join("model"));
        let printed = make(&config, &dir, &[]);
        assert!(printed.starts_with(&format!("wrote {}: ", dir.display())), "{printed}");
        assert_eq!(fs::read(dir.join("config.json")).unwrap(), fs::read(&config).unwrap());

        let model = ModelDir::open(&dir).unwrap();
        let config = model.config().unwrap();
        let checkpoint = model.checkpoint().unwrap().unwrap();
        let traced = trace(&config, Some(&checkpoint), &OPTIONS).unwrap();
        assert!(!traced.warnings.iter().any(|warning| warning.to_string().contains("tensor")));
        assert_eq!(checkpoint.tensors().len(), traced.source_weights().count());
        let generation = model.generation_config(&config).unwrap();
        assert_eq!((generation.bos_token_id, generation.eos_token_ids), (Some(500), vec![501]));

        let tokenizer = Tokenizer::from_dir(&dir).unwrap();
        assert_eq!((tokenizer.vocab_size(), tokenizer.eos_token_id()), (600, Some(501)));
        let text = "Tiny model, großer Text: 你好 🦀\n";
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, true).unwrap(), true).unwrap(), text);
    }
}

#[test]
fn weights_are_in_proportion() {
    let home = tempfile::tempdir().unwrap();
    let (config, dir) = (tiny(&home, "qwen3-0.6b.json", json!({})), home.path().join("model"));
    make(&config, &dir, &[]);
    let weights = MappedCheckpoint::new(Checkpoint::open(&dir).unwrap()).unwrap();
    let values = |name: &str| -> Vec<f32> {
        assert_eq!(weights.checkpoint().tensor(name).unwrap().dtype, DType::BF16);
        let (halves, _) = weights.tensor(name).unwrap().as_chunks();
        halves.iter().map(|&bytes| half::bf16::from_le_bytes(bytes).to_f32()).collect()
    };
    assert!(values("model.norm.weight").iter().all(|value| (value - 1.0).abs() < 0.2));
    let gate = values("model.layers.2.mlp.gate_proj.weight");
    let deviation = (gate.iter().map(|value| value * value).sum::<f32>() / gate.len() as f32).sqrt();
    assert!((deviation - 0.125).abs() < 0.01, "one over the root of 64 inputs, not {deviation}");
}

#[test]
fn bytes_depend_on_the_seed_alone() {
    let home = tempfile::tempdir().unwrap();
    // Several pieces for the threads to take.
    let config = tiny(&home, "llama-3.2-1b.json", json!({"vocab_size": 9000}));
    let made = |name: &str, options: &[&str]| {
        let dir = home.path().join(name);
        make(&config, &dir, options);
        content(&dir)
    };
    let one = made("one", &["--threads", "1"]);
    assert!(one == made("two", &["--threads", "2"]) && one == made("many", &["--threads", "7"]));
    let other = made("other", &["--seed", "1"]);
    assert!(one["model.safetensors"] != other["model.safetensors"]);
    assert!(one["tokenizer.json"] == other["tokenizer.json"]);

    made("sharded", &["--max-shard-bytes", "100000"]);
    let open = |name| MappedCheckpoint::new(Checkpoint::open(&home.path().join(name)).unwrap()).unwrap();
    let (whole, sharded) = (open("one"), open("sharded"));
    assert!(sharded.checkpoint().files().len() > 2);
    assert_eq!(whole.checkpoint().tensors().len(), sharded.checkpoint().tensors().len());
    for name in whole.checkpoint().tensors().keys() {
        assert!(whole.tensor(name) == sharded.tensor(name), "{name}");
    }
}

#[test]
fn holes_take_no_disk() {
    let home = tempfile::tempdir().unwrap();
    let (config, dir) = (configs().join("llama-3.1-70b.json"), home.path().join("model"));
    let printed = make(&config, &dir, &["--sparse", "--tokenizer-size", "300"]);
    assert!(printed.contains("70,553,706,496 parameters"), "{printed}");

    let checkpoint = Checkpoint::open(&dir).unwrap();
    let stated: u64 = checkpoint.tensors().values().map(|tensor| tensor.bytes).sum();
    assert_eq!(stated, 2 * 70_553_706_496);
    let index: Value =
        serde_json::from_slice(&fs::read(dir.join("model.safetensors.index.json")).unwrap()).unwrap();
    assert_eq!(index["metadata"]["total_size"], stated);
    for file in checkpoint.files() {
        assert!(file.len - file.header_len <= 5_000_000_000, "{}", file.name);
    }
    let config = HfConfig::read(&config).unwrap();
    trace(&config, Some(&checkpoint), &OPTIONS).unwrap();
    assert_eq!(Tokenizer::from_dir(&dir).unwrap().vocab_size(), 300);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let blocks = |entry: fs::DirEntry| entry.metadata().unwrap().blocks();
        let blocks: u64 = fs::read_dir(&dir).unwrap().map(|entry| blocks(entry.unwrap())).sum();
        assert!(blocks * 512 < 10_000_000, "{blocks} blocks");
    }
}

#[test]
fn experts_are_tensors_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let (config, dir) = (configs().join("deepseek-v3-671b.json"), home.path().join("model"));
    let printed = make(&config, &dir, &["--sparse", "--tokenizer-size", "300"]);
    assert!(printed.contains("671,026,419,200 parameters"), "{printed}");
    let checkpoint = Checkpoint::open(&dir).unwrap();
    let experts = || checkpoint.tensors().iter().filter(|(name, _)| name.contains(".mlp.experts."));
    assert_eq!(experts().count(), 58 * 256 * 3);
    let name = |part: &str| format!("model.layers.60.mlp.experts.255.{part}_proj.weight");
    let at = ["gate", "up", "down"].map(|part| checkpoint.tensor(&name(part)).unwrap());
    assert_eq!((&at[1].shape, &at[2].shape), (&vec![2048, 7168], &vec![7168, 2048]));
    let ends = at.map(|tensor| (tensor.file.0, tensor.offset + tensor.bytes));
    assert!(
        ends[0].0 < ends[1].0 || ends[0] == (at[1].file.0, at[1].offset),
        "an expert's tensors lie together"
    );
    trace(&HfConfig::read(&config).unwrap(), Some(&checkpoint), &OPTIONS).unwrap();
}

#[test]
fn refuses_what_cannot_be_meant() {
    let home = tempfile::tempdir().unwrap();
    let (config, dir) = (tiny(&home, "qwen3-0.6b.json", json!({})), home.path().join("model"));
    let message = refusal(&config, &dir, &["--tokenizer-size", "601"]);
    assert!(message.contains("601") && message.contains("vocab_size of 600"), "{message}");
    let message = refusal(&config, &dir, &["--tokenizer-size", "100"]);
    assert!(message.contains("at least 259"), "{message}");
    let message = refusal(&home.path().join("nowhere.json"), &dir, &[]);
    assert!(message.contains("nowhere.json"), "{message}");
    assert!(!dir.exists());

    let message = refusal(&config, home.path(), &["--force"]);
    assert!(message.contains("would be lost; name another directory"), "{message}");

    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("thesis.txt"), "years of work").unwrap();
    assert!(refusal(&config, &dir, &[]).contains("not empty"));
    assert!(refusal(&config, &dir, &["--force"]).contains("no config.json"));
    assert_eq!(content(&dir).len(), 1);
}
