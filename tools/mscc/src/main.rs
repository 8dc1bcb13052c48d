//! Command line of mscc: compile language models ahead of time, run and look at plans.

mod commands;
mod error;
mod model_yaml;
mod output;
mod plan_source;

use clap::{CommandFactory, Parser, Subcommand};

use error::CliError;

const EXAMPLES: &str = "Examples:
  mscc run ./Qwen3-0.6B --prompt 'Once upon a time'
  mscc compile ./Qwen3-0.6B -o plan.bin
  mscc run plan.bin --prompt 'Once upon a time' --max-tokens 50";

/// Ahead-of-time graph compiler and runtime for language models.
#[derive(Parser)]
#[command(name = "mscc", version, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compile(commands::compile::Args),
    Run(commands::run::Args),
    Logits(commands::logits::Args),
    Eval(commands::eval::Args),
    Inspect(commands::inspect::Args),
    Opt(commands::opt::Args),
    Models(commands::models::Args),
    Completions(commands::completions::Args),
}

/// Exit codes: 0 done, 1 failed, 2 bad input.
fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Compile(args) => commands::compile::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Logits(args) => commands::logits::run(args),
        Command::Eval(args) => commands::eval::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Opt(args) => commands::opt::run(args),
        Command::Models(args) => commands::models::run(args),
        Command::Completions(args) => commands::completions::run(args, &mut Cli::command()),
    };
    match done {
        Ok(()) => std::process::ExitCode::SUCCESS,
        // Whoever reads our output has had enough of it: `mscc inspect plan.bin | head`.
        Err(CliError::ClosedPipe) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            output::note(&format!("error: {error}"));
            std::process::ExitCode::from(error.exit_code())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
