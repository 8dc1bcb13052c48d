//! `mscc man`

use std::path::PathBuf;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::error::CliError;
use crate::inputs::Inputs;
use crate::output;
use crate::usage::UsageError;

/// Exit codes, in words.
const EXIT_STATUS: [(&str, &str); 4] = [
    ("0", "done"),
    ("1", "failed, though the input was right: no memory, no right to write, a full disk"),
    ("2", "bad input, or an output with no place to go"),
    ("130", "interrupted"),
];

/// Write a manual page to standard output
#[derive(clap::Args)]
#[command(after_help = "Examples:
  mscc man run > mscc-run.1
  mscc man -o ~/.local/share/man/man1")]
pub struct Args {
    /// The command whose page it is [default: that of mscc itself]
    command: Option<String>,
    /// Write the pages of all commands into this directory
    #[arg(short, long, value_name = "DIR", conflicts_with = "command")]
    output: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args, mut command: clap::Command) -> Result<(), CliError> {
    command.build();
    let pages: Vec<&clap::Command> = std::iter::once(&command)
        .chain(command.get_subcommands().filter(|sub| sub.get_name() != "help"))
        .collect();
    if let Some(dir) = &args.output {
        for command in pages {
            let path = dir.join(format!("{}.1", name(command)));
            output::write_file(&path, &Inputs::default(), page(command)?.as_bytes())?;
        }
        return Ok(());
    }
    let wanted = args.command.as_deref().unwrap_or(command.get_name());
    match pages.iter().find(|command| command.get_name() == wanted) {
        Some(command) => output::print(&page(command)?),
        None => {
            let known = pages.iter().skip(1).map(|command| command.get_name().to_owned()).collect();
            Err(UsageError::NoCommand { name: wanted.to_owned(), known }.into())
        }
    }
}

/// As pages are called: `mscc-run`.
fn name(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

fn page(command: &clap::Command) -> Result<String, CliError> {
    let mut text = Vec::new();
    let version = concat!("mscc ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).title(name(command)).source(version).manual("mscc");
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    if let Some(help) = command.get_after_help() {
        let help = help.to_string();
        let (title, examples) = help.split_once(":\n").unwrap_or(("Examples", &help));
        rest.control("SH", [title.to_uppercase().as_str()]).control("nf", []);
        rest.text([roman(examples)]).control("fi", []);
    }
    rest.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in EXIT_STATUS {
        rest.control("TP", []).text([roman(code)]).text([roman(meaning)]);
    }
    rest.to_writer(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
