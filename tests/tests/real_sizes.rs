//! Models of real sizes compile without their data being read: the long tier.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use mscc_compiler::{Options, compile};
use mscc_ir::plan::container;
use mscc_tests::data;

fn make(config: &str, dir: &Path) -> PathBuf {
    let out = dir.join(config);
    let done = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "xtask", "--", "make-model", "--sparse", "-o"])
        .arg(&out)
        .arg(data().join(format!("configs/{config}.json")))
        .status()
        .expect("cargo runs");
    assert!(done.success(), "make-model {config}");
    out
}

/// Peak memory of this process in bytes.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") * 1024
}

#[test]
#[ignore = "long: makes sparse models of real sizes"]
fn long_real_sizes_compile_in_little_time_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    // Parameters and bytes that one token takes in the cache, in bf16, by hand from the configs.
    let cases = [
        ("qwen3-0.6b", 28 * 2 * 8 * 128 * 2),
        ("llama-3.2-1b", 16 * 2 * 8 * 64 * 2),
        ("qwen2.5-0.5b", 24 * 2 * 2 * 64 * 2),
        ("qwen3-32b", 64 * 2 * 8 * 128 * 2),
        ("llama-3.1-70b", 80 * 2 * 8 * 128 * 2),
    ];
    for (config, cache_bytes_per_token) in cases {
        let model = make(config, dir.path());
        let started = Instant::now();
        let options = Options { model: Some(model), ..Options::default() };
        let compiled = compile(&options, false).unwrap();
        let bytes = container::encode(&compiled.plan).unwrap();
        println!(
            "{config}: {:?}, {} bytes, peak {} MB",
            started.elapsed(),
            bytes.len(),
            peak_bytes() / 1_000_000
        );
        assert_eq!(compiled.plan.cache_bytes_per_token(), Some(cache_bytes_per_token), "{config}");
        assert!(bytes.len() < 100_000, "{config}: the plan grows with the layers");
    }
    assert!(peak_bytes() < 100_000_000, "{} bytes at the peak", peak_bytes());
}
