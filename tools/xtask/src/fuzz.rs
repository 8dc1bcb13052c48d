use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Context;

/// Run fuzz targets on mutated inputs, on any toolchain; `cargo xtask fuzz --help` has the options.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Targets and options of `mscc-fuzz`, which is built apart as it uses all crates.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

/// Gives the exit code of `mscc-fuzz`.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml");
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--manifest-path"]).arg(manifest).arg("--").args(&args.rest);
    let status = command.status().context("cannot start cargo")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
