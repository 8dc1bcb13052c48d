//! Developer tasks of mscc, run as `cargo xtask TASK`.
//!
//! What a user of mscc needs is not here but in the `mscc` command. The rules that the repository keeps
//! about itself are tests: `tests/tidy.rs`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod docs;
mod fuzz;
mod long;
mod make_model;

use std::process::ExitCode;

use clap::Parser;

/// Developer tasks of mscc.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    Docs(docs::Args),
    MakeModel(make_model::Args),
    Long(long::Args),
    Fuzz(fuzz::Args),
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Docs(args) => docs::run(&args).map(|()| ExitCode::SUCCESS),
        Task::MakeModel(args) => make_model::run(&args).map(|()| ExitCode::SUCCESS),
        Task::Long(args) => long::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
