//! Time of a compilation from its config to the plan, weights left aside, for each of two targets.
//!
//! ```sh
//! cargo bench -p mscc-compiler --bench compile
//! ```
//!
//! What is asked of a release build on two cores: DeepSeek-V3-671B under 100 ms, Qwen3-32B under 50 ms, and with ten times
//! the layers under twice the time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mscc_compiler::{Options, compile};
use tempfile::TempDir;

const TARGETS: [&str; 2] = ["cpu", "ascend910b3"];

fn config(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../tests/data/configs/{name}.json"))
}

/// DeepSeek-V3 with ten times its layers.
fn deep(dir: &TempDir) -> PathBuf {
    let text = fs::read_to_string(config("deepseek-v3-671b")).expect("the config is in the repository");
    let (layers, more) = ("\"num_hidden_layers\": 61", "\"num_hidden_layers\": 610");
    assert!(text.contains(layers), "the config says {layers}");
    let path = dir.path().join("deepseek-v3-610-layers.json");
    fs::write(&path, text.replace(layers, more)).expect("temporary files can be written");
    path
}

fn compile_times(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("temporary files can be written");
    let mut group = criterion.benchmark_group("compile");
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    for path in [config("qwen3-32b"), config("deepseek-v3-671b"), deep(&dir)] {
        let model = path.file_stem().expect("it names a file").to_string_lossy().into_owned();
        for target in TARGETS {
            let options =
                Options { model: Some(path.clone()), target: Some(target.to_owned()), ..Options::default() };
            group.bench_with_input(BenchmarkId::new(&model, target), &options, |bencher, options| {
                bencher.iter(|| compile(options, true).expect("the model is supported"));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, compile_times);
criterion_main!(benches);
