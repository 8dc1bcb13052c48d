//! Command line of mscc: compile language models ahead of time, run and look at plans.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod commands;
mod compile_args;
mod error;
mod explanation;
mod generation;
mod inputs;
mod interrupt;
mod leftovers;
mod manifest;
mod memory;
mod model_yaml;
mod new_file;
mod numbers;
mod operators;
mod output;
mod plan_source;
mod prediction;
mod prompt;
mod summary;
mod terminal;
mod usage;

use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use error::CliError;

const EXAMPLES: &str = "Examples:
  mscc run ./Qwen3-0.6B --prompt 'Once upon a time'
  mscc compile ./Qwen3-0.6B -o plan.bin
  mscc chat plan.bin";

/// Ahead-of-time graph compiler and runtime for language models.
#[derive(Parser)]
#[command(name = "mscc", version, max_term_width = 100, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    global: terminal::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Compile(commands::compile::Args),
    Run(commands::run::Args),
    Chat(commands::chat::Args),
    Logits(commands::logits::Args),
    Eval(commands::eval::Args),
    Inspect(commands::inspect::Args),
    Explain(commands::explain::Args),
    Opt(commands::opt::Args),
    Models(commands::models::Args),
    Completions(commands::completions::Args),
    Man(commands::man::Args),
}

/// Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.
fn main() -> std::process::ExitCode {
    let color =
        terminal::color_of_arguments(std::env::args_os().map(|word| word.to_string_lossy().into_owned()));
    let matches = Cli::command().color(color).try_get_matches();
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = cli.unwrap_or_else(|error| without_odd_tip(error).exit());
    terminal::set(&cli.global);
    let done =
        interrupt::watch().map_err(|error| CliError::Failure(format!("cannot watch for Ctrl-C: {error}")));
    match done.and_then(|()| run(cli.command)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            match error {
                // Whoever reads our output has had enough of it (`mscc inspect plan.bin | head`), or wanted no more.
                CliError::ClosedPipe | CliError::Interrupted => {}
                _ => output::error(&error.to_string()),
            }
            std::process::ExitCode::from(error.exit_code())
        }
    }
}

/// Leaves out advice to pass a misspelt option as a value, `-- --option`, which is never meant here.
fn without_odd_tip(mut error: clap::Error) -> clap::Error {
    let tip = error.get(ContextKind::Suggested);
    let is_odd = |tip: &StyledStr| tip.to_string().contains("as a value, use");
    if matches!(tip, Some(ContextValue::StyledStrs(tips)) if tips.iter().all(is_odd)) {
        error.remove(ContextKind::Suggested);
    }
    error
}

fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Compile(args) => commands::compile::run(args),
        Command::Run(args) => commands::run::run(args),
        Command::Chat(args) => commands::chat::run(args),
        Command::Logits(args) => commands::logits::run(args),
        Command::Eval(args) => commands::eval::run(args),
        Command::Inspect(args) => commands::inspect::run(args),
        Command::Explain(args) => commands::explain::run(args),
        Command::Opt(args) => commands::opt::run(args),
        Command::Models(args) => commands::models::run(args),
        Command::Completions(args) => commands::completions::run(args, &mut Cli::command()),
        Command::Man(args) => commands::man::run(args, Cli::command()),
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
