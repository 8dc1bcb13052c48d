//! The `mscc` binary from outside, each test in a directory of its own.
#![allow(clippy::unwrap_used)]

mod ascend;
mod broken;
mod chat;
mod compile;
mod docs;
mod eval;
mod explain;
mod families;
mod help;
mod inputs;
mod inspect;
#[cfg(unix)]
mod interrupt;
mod logits;
mod memory;
mod opt;
mod output;
mod run;
#[cfg(unix)]
mod terminal;
mod yaml;

use std::collections::HashMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Fixtures with a cache of keys and values for all layers.
const DENSE: [&str; 6] = ["llama", "llama_f16", "qwen2_sharded", "qwen2_tied", "qwen3", "qwen3_f32"];
/// Largest error of f32 results, relative to the largest value.
const TOLERANCE: f32 = 1e-4;

/// A directory in which `mscc` is called.
struct Bench(TempDir);

impl Bench {
    fn new() -> Bench {
        Bench(tempfile::tempdir().unwrap())
    }

    /// With `plan.bin`, a fixture compiled in f32.
    fn with_plan(fixture: &str) -> Bench {
        let bench = Bench::new();
        let model = text(&fixture_dir(fixture));
        let mut args = vec!["compile", &model, "-o", "plan.bin", "--compute-dtype", "float32"];
        if fixture == "phi3_short" {
            // The reference takes the factors of short texts, which a plan of short texts has.
            args.extend(["--max-model-len", "64"]);
        }
        bench.ok(&args);
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// Names of all files, sorted.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mscc"));
        // A backtrace, if there is one, shall show.
        command.args(args).current_dir(self.0.path()).env("RUST_BACKTRACE", "1").env_remove("COLUMNS");
        command
    }

    fn call(&self, args: &[&str]) -> Output {
        let output = self.command(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        let is_crash = stderr.contains("panicked") || stderr.contains("stack backtrace");
        assert!(!is_crash && output.status.code().is_some(), "mscc {args:?}: {:?}\n{stderr}", output.status);
        output
    }

    /// A call that is given `input`.
    fn feed(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // It may leave before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// Standard output of a call that succeeds.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.call(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "mscc {args:?}\n{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// What a call says that ends with `code`, its own directory and the data's left out of paths.
    fn fails(&self, code: i32, args: &[&str]) -> String {
        let output = self.call(args);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "mscc {args:?}\n{stderr}");
        assert!(output.stdout.is_empty(), "mscc {args:?} fails after writing to standard output");
        let stderr = stderr.replace(&text(self.0.path()), "BENCH").replace(&text(&data()), "DATA");
        stderr.trim_end().to_owned()
    }
}

/// `tests/data`, without dots.
fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("tests/data")
}

fn fixture_dir(name: &str) -> PathBuf {
    data().join("fixtures").join(name)
}

/// The names of all fixtures.
fn fixtures() -> Vec<String> {
    let entries = std::fs::read_dir(data().join("fixtures")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert!(names.len() > 40);
    names
}

/// A trained model that is in the repository.
fn bard() -> PathBuf {
    data().join("models/bard-qwen3")
}

/// All trained models that are in the repository.
fn bards() -> [PathBuf; 2] {
    [bard(), data().join("models/bard-deepseek-v3")]
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|number| number.as_u64().unwrap() as u32).collect()
}

/// Token ids as an argument.
fn ids(tokens: &[u32]) -> String {
    tokens.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// An f32 tensor.
#[derive(Debug, PartialEq)]
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f32>,
}

fn read_tensors(path: &Path) -> HashMap<String, Tensor> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |view: safetensors::tensor::TensorView| {
        assert_eq!(view.dtype(), safetensors::Dtype::F32);
        let floats = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()));
        Tensor { shape: view.shape().to_vec(), values: floats.collect() }
    };
    file.iter().map(|(name, view)| (name.to_owned(), tensor(view))).collect()
}

fn max_abs(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, value| most.max(value.abs()))
}

fn assert_close(got: &Tensor, expected: &Tensor, scale: f32, what: &str) {
    assert_eq!(got.shape, expected.shape, "{what}");
    let differences = got.values.iter().zip(&expected.values).map(|(a, b)| (a - b).abs());
    let error = differences.fold(0.0, |most: f32, error| if error <= most { most } else { error });
    assert!(error <= TOLERANCE * scale, "{what}: {error} of {scale}");
}

/// Copies a model directory, so that a test can change it.
fn copy_model(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_str().unwrap().starts_with("expected") {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
