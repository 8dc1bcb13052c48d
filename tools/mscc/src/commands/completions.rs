//! `mscc completions`

use clap_complete::Shell;

use crate::error::CliError;
use crate::output;

/// Write completions for a shell to standard output
#[derive(clap::Args)]
#[command(after_help = "Example:\n  mscc completions bash > ~/.local/share/bash-completion/completions/mscc")]
pub struct Args {
    /// The shell
    shell: Shell,
}

/// Runs the command.
pub fn run(args: Args, command: &mut clap::Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "mscc", &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
