//! Models of real sizes compile without their data being read, and run: the long tier.
//!
//! Each is measured in a process of its own, so that the peak of memory is its own. Times are printed and never
//! asserted.
#![allow(clippy::unwrap_used)]

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use mscc_compiler::{Compiled, Options, compile};
use mscc_ir::plan::container;
use mscc_tests::{bits, compile_model, data, greedy, load, logits, max_abs, max_error};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Peak memory of a compilation, as all sizes here in bytes.
const MAX_COMPILE_BYTES: u64 = 100_000_000;
/// What a compilation may read beside the headers of the checkpoint: config, family, tokenizer.
const MAX_OTHER_READ: u64 = 1 << 20;
/// A plan of any number of layers and experts.
const MAX_PLAN_BYTES: usize = 250_000;

#[test]
#[ignore = "long: makes sparse models of real sizes"]
fn long_real_sizes_compile_in_little_time_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    // Bytes that one token takes in the cache, in bf16, by hand from the configs.
    let cases = [
        ("qwen3-0.6b", 28 * 2 * 8 * 128 * 2),
        ("llama-3.2-1b", 16 * 2 * 8 * 64 * 2),
        ("qwen2.5-0.5b", 24 * 2 * 2 * 64 * 2),
        ("qwen3-32b", 64 * 2 * 8 * 128 * 2),
        ("llama-3.1-70b", 80 * 2 * 8 * 128 * 2),
        ("qwen3-235b-a22b", 94 * 2 * 4 * 128 * 2),
        ("deepseek-v3-671b", 61 * (512 + 64) * 2),
    ];
    for (config, cache_bytes_per_token) in cases {
        let model = make(config, &["--sparse"], dir.path());
        let stored: u64 = safetensors(&model).iter().map(|file| file.metadata().unwrap().len()).sum();
        let compiled: CompileFigures = in_child(&Task::Compile { model: model.clone() });
        println!(
            "{config}: {:.2} s of the 1 s asked, peak {} of {} MB, {} kB of {} MB read, plan of {} bytes",
            compiled.seconds,
            compiled.peak_bytes / 1_000_000,
            MAX_COMPILE_BYTES / 1_000_000,
            compiled.read_bytes / 1000,
            stored / 1_000_000,
            compiled.plan_bytes,
        );
        assert_eq!(compiled.cache_bytes_per_token, Some(cache_bytes_per_token), "{config}");
        assert!(compiled.plan_bytes < MAX_PLAN_BYTES, "{config}: the plan grows with the layers");
        let headers: u64 = safetensors(&model).iter().map(|file| header_bytes(file)).sum();
        let index = model.join("model.safetensors.index.json").metadata().map_or(0, |index| index.len());
        let (read, names) = (compiled.read_bytes, headers + index);
        assert!(read < names + MAX_OTHER_READ, "{config}: {read} bytes read, {names} of headers and index");
        // Mapped pages count once they are touched, so this bounds what is read by mapping, too.
        assert!(compiled.peak_bytes < MAX_COMPILE_BYTES, "{config}: {} bytes", compiled.peak_bytes);
    }
}

#[test]
#[ignore = "long: makes a model of 1.2 GB and runs it"]
fn long_a_model_of_full_size_runs() {
    let dir = tempfile::tempdir().unwrap();
    let model = make("qwen3-0.6b", &["--seed", "7"], dir.path());
    let run = |threads: usize| -> (Vec<u32>, u64) {
        let figures: RunFigures = in_child(&Task::Run { model: model.clone(), threads });
        println!(
            "qwen3-0.6b, {threads} threads: {:.2} s to compile, {:.2} s to load, {:.2} s for {} tokens after {}, \
             peak {} MB",
            figures.compile_seconds,
            figures.load_seconds,
            figures.run_seconds,
            figures.tokens.len(),
            PROMPT.len(),
            figures.peak_bytes / 1_000_000,
        );
        (figures.tokens, figures.logits_hash)
    };
    let one = run(1);
    assert_eq!(one.0.len(), NEW_TOKENS);
    assert_eq!(run(2), one);
}

#[test]
#[ignore = "long: makes a model of 5 GB and runs it"]
fn long_deepseek_v3_of_real_widths_gives_what_the_reference_gives() {
    let dir = tempfile::tempdir().unwrap();
    // `tests/generator/wide.py` made the reference's logits of the same model.
    let model = make("deepseek-v3-wide", &["--seed", "7"], dir.path());
    let bytes = std::fs::read(data().join("wide/deepseek-v3.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let words = |name: &str| -> Vec<[u8; 4]> {
        file.tensor(name).unwrap().data().chunks_exact(4).map(|word| word.try_into().unwrap()).collect()
    };
    let token_ids: Vec<u32> = words("token_ids").into_iter().map(u32::from_le_bytes).collect();
    let expected: Vec<f32> = words("logits").into_iter().map(f32::from_le_bytes).collect();
    let tolerance = 1e-4 * max_abs(&expected);
    // The prompt at once, and in chunks that end inside a page.
    for chunk in [None, Some(5)] {
        let mut model = load(&compile_model(&model, "float32", |_| {}), 2);
        let got = &logits(&mut model, &[&token_ids], chunk)[0];
        let error = max_error(got, &expected);
        println!("deepseek-v3-wide, chunk {chunk:?}: largest error {error:.2e} of {tolerance:.2e}");
        assert!(error <= tolerance, "{error} > {tolerance}");
    }
}

/// Runs a task in a process of its own: this test binary, asked for [`child`] alone.
fn in_child<T: DeserializeOwned>(task: &Task) -> T {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env(TASK, serde_json::to_string(task).unwrap())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&child.stdout);
    let figures = printed.lines().find_map(|line| line.split_once(FIGURES));
    let (_, figures) =
        figures.unwrap_or_else(|| panic!("{printed}{}", String::from_utf8_lossy(&child.stderr)));
    serde_json::from_str(figures).unwrap()
}

/// Where a child finds its task.
const TASK: &str = "MSCC_REAL_SIZES_TASK";
/// What stands before a child's figures.
const FIGURES: &str = "figures: ";
const PROMPT: [u32; 16] = [1, 15, 151, 1515, 15151, 3, 37, 377, 3773, 37737, 9, 99, 990, 9909, 99099, 2];
const NEW_TOKENS: usize = 8;

#[derive(Serialize, Deserialize)]
enum Task {
    Compile { model: PathBuf },
    Run { model: PathBuf, threads: usize },
}

#[derive(Serialize, Deserialize)]
struct CompileFigures {
    seconds: f64,
    peak_bytes: u64,
    read_bytes: u64,
    plan_bytes: usize,
    cache_bytes_per_token: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct RunFigures {
    compile_seconds: f64,
    load_seconds: f64,
    run_seconds: f64,
    peak_bytes: u64,
    /// Of the bits of the logits of all prompt tokens, since a random model may like one token above all.
    logits_hash: u64,
    tokens: Vec<u32>,
}

#[test]
#[ignore = "no test: what the long tests do in processes of their own"]
fn child() {
    let Ok(task) = std::env::var(TASK) else { return };
    let figures = match serde_json::from_str(&task).unwrap() {
        Task::Compile { model } => serde_json::to_string(&compile_figures(model)),
        Task::Run { model, threads } => serde_json::to_string(&run_figures(model, threads)),
    };
    println!("{FIGURES}{}", figures.unwrap());
}

fn compile_figures(model: PathBuf) -> CompileFigures {
    let before = proc_figure("io", "rchar:");
    let started = Instant::now();
    let compiled = compile_default(model);
    let plan_bytes = container::encode(&compiled.plan).unwrap().len();
    CompileFigures {
        seconds: started.elapsed().as_secs_f64(),
        peak_bytes: proc_figure("status", "VmHWM:") * 1024,
        read_bytes: proc_figure("io", "rchar:") - before,
        plan_bytes,
        cache_bytes_per_token: compiled.plan.cache_bytes_per_token(),
    }
}

fn run_figures(model: PathBuf, threads: usize) -> RunFigures {
    let started = Instant::now();
    let compiled = compile_default(model);
    let compile_seconds = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let mut model = load(&compiled, threads);
    let load_seconds = started.elapsed().as_secs_f64();
    let prompt_logits = bits(&logits(&mut model, &[&PROMPT], None)[0]);
    let started = Instant::now();
    let tokens = greedy(model, &[&PROMPT], NEW_TOKENS, None).remove(0);
    RunFigures {
        compile_seconds,
        load_seconds,
        run_seconds: started.elapsed().as_secs_f64(),
        peak_bytes: proc_figure("status", "VmHWM:") * 1024,
        logits_hash: hash(&prompt_logits),
        tokens,
    }
}

fn hash(values: &[u32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    values.hash(&mut hasher);
    hasher.finish()
}

fn compile_default(model: PathBuf) -> Compiled {
    compile(&Options { model: Some(model), ..Options::default() }, false).unwrap()
}

/// A number that Linux tells of this process.
fn proc_figure(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/{file}")).expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("Linux");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// Makes a model of `tests/data/configs`.
fn make(config: &str, options: &[&str], dir: &Path) -> PathBuf {
    let out = dir.join(config);
    let done = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--", "make-model", "-o"])
        .arg(&out)
        .args(options)
        .arg(data().join(format!("configs/{config}.json")))
        .status()
        .expect("cargo runs");
    assert!(done.success(), "make-model {config}");
    out
}

fn safetensors(model: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(model).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|file| file.extension().is_some_and(|extension| extension == "safetensors")).collect()
}

/// Bytes in front of the data of a safetensors file: the length of the header, and the header.
fn header_bytes(file: &Path) -> u64 {
    use std::io::Read as _;
    let mut length = [0; 8];
    std::fs::File::open(file).unwrap().read_exact(&mut length).unwrap();
    8 + u64::from_le_bytes(length)
}
