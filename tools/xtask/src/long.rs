use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::Context;

/// Run the long acceptance tests: those marked `#[ignore]` whose names begin with `long_`.
///
/// They measure, so they run optimised, one after the other, and print what they find.
#[derive(clap::Args)]
pub struct Args {
    /// Run only the long tests whose names go on like this, with or without the `long_`.
    names: Vec<String>,
    /// Run only the long tests of this package.
    #[arg(short, long)]
    package: Option<String>,
}

/// The release profile without link-time optimisation, which would be paid once for every test binary.
/// It is a profile of its own, so that running the tests does not throw away a release build.
const PROFILE: [&str; 5] = [
    "--profile=long",
    "--config=profile.long.inherits='release'",
    "--config=profile.long.lto=false",
    "--config=profile.long.codegen-units=16",
    "--config=profile.long.debug='line-tables-only'",
];

/// Gives the exit code of the tests.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(cargo);
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).arg("test");
    match &args.package {
        Some(package) => command.args(["--package", package]),
        None => command.arg("--workspace"),
    };
    command.args(["--tests", "--no-fail-fast"]).args(PROFILE);
    command.args(["--", "--ignored", "--nocapture", "--test-threads=1"]).args(filters(&args.names));

    let words: Vec<_> = command.get_args().map(|word| quoted(&word.to_string_lossy())).collect();
    eprintln!("running: cargo {}", words.join(" "));
    let start = Instant::now();
    let status = command.status().context("cannot start cargo")?;
    let outcome = if status.success() { "passed" } else { "failed" };
    eprintln!("long tests {outcome} after {} s", start.elapsed().as_secs());
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    if word.contains('\'') { format!("\"{word}\"") } else { word.to_owned() }
}

/// What the test binaries select by: a part of the name, any of several.
fn filters(names: &[String]) -> Vec<String> {
    let long = |name: &String| format!("long_{}", name.strip_prefix("long_").unwrap_or(name));
    if names.is_empty() { vec!["long_".to_owned()] } else { names.iter().map(long).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_tests_are_selected() {
        assert_eq!(filters(&[]), ["long_"]);
        assert_eq!(filters(&["compile".to_owned(), "long_eval".to_owned()]), ["long_compile", "long_eval"]);
    }
}
