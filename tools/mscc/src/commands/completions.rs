//! `mscc completions`

use clap_complete::Shell;

use crate::error::CliError;

/// Write completions for a shell to standard output
#[derive(clap::Args)]
#[command(after_help = "Example:\n  mscc completions bash > ~/.local/share/bash-completion/completions/mscc")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub fn run(args: Args, command: &mut clap::Command) -> Result<(), CliError> {
    clap_complete::generate(args.shell, command, "mscc", &mut std::io::stdout());
    Ok(())
}
