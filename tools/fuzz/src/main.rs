//! `cargo xtask fuzz`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use mscc_fuzz::campaign::{self, Campaign, Failure};
use mscc_fuzz::{TARGETS, Target};

/// Run fuzz targets on mutated inputs, on any toolchain: all of them, or those named.
///
/// Inputs are numbered, and the same number is the same input on every machine, so a failure can be repeated with
/// `--seed NUMBER --runs 1`. Overflow and other debug assertions are checked in this profile. For coverage-guided
/// fuzzing see CONTRIBUTING.md.
#[derive(Parser)]
#[command(name = "cargo xtask fuzz", bin_name = "cargo xtask fuzz")]
struct Args {
    /// Targets; all if none is named.
    targets: Vec<String>,
    /// Number of inputs for each target.
    #[arg(long)]
    runs: Option<u64>,
    /// Time for each target, in seconds; 10 if nothing is said.
    #[arg(long)]
    seconds: Option<u64>,
    /// Number of the first input.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads; as many as the machine has if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Run the content of this file instead.
    #[arg(long, conflicts_with_all = ["runs", "seconds", "corpus"])]
    input: Option<PathBuf>,
    /// Write the targets' seeds below this directory instead, for other fuzzers.
    #[arg(long)]
    corpus: Option<PathBuf>,
    /// List the targets.
    #[arg(long)]
    list: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = &Args::parse();
    if args.list {
        TARGETS.iter().for_each(|target| println!("{:<20} {}", target.name, target.about));
        return Ok(ExitCode::SUCCESS);
    }
    let named = |name: &String| {
        mscc_fuzz::target(name).with_context(|| format!("no fuzz target `{name}`; `--list` names them"))
    };
    let mut targets: Vec<&'static Target> = args.targets.iter().map(named).collect::<Result<_, _>>()?;
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    let mut code = ExitCode::SUCCESS;
    for target in targets {
        if let Some(dir) = &args.corpus {
            write_corpus(target, &dir.join(target.name))?;
        } else if let Err(failure) = fuzz(target, args)? {
            report(target, &failure)?;
            code = ExitCode::FAILURE;
        }
    }
    Ok(code)
}

fn fuzz(target: &'static Target, args: &Args) -> anyhow::Result<Result<(), Failure>> {
    if let Some(path) = &args.input {
        let input = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let outcome =
            campaign::execute(target, &input).map_err(|problem| Failure { seed: 0, input, problem });
        return Ok(outcome.map(|outcome| println!("{}: {outcome}", target.name)));
    }
    let seconds = args.seconds.or(if args.runs.is_none() { Some(10) } else { None });
    let defaults = Campaign::default();
    let campaign = Campaign {
        seed: args.seed,
        runs: args.runs,
        time: seconds.map(Duration::from_secs),
        threads: args.threads.unwrap_or(defaults.threads),
        ..defaults
    };
    Ok(campaign::run(target, campaign).map(|report| println!("{}: {report}", target.name)))
}

fn report(target: &Target, failure: &Failure) -> anyhow::Result<()> {
    let path = PathBuf::from(format!("fuzz-{}-{}", target.name, failure.seed));
    fs::write(&path, &failure.input).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("{}: {}", target.name, failure.problem);
    let (name, path) = (target.name, path.display());
    eprintln!("  the input is in {path}; again: cargo xtask fuzz {name} --input {path}");
    Ok(())
}

fn write_corpus(target: &Target, dir: &std::path::Path) -> anyhow::Result<()> {
    let unwritable = || format!("cannot write {}", dir.display());
    fs::create_dir_all(dir).with_context(unwritable)?;
    for (number, seed) in (target.seeds)().iter().enumerate() {
        fs::write(dir.join(format!("seed-{number}")), seed).with_context(unwritable)?;
    }
    Ok(())
}
