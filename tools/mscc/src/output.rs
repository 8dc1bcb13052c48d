//! Standard output for results, standard error for what is said about them.

use std::io::Write;
use std::path::Path;

use clap::builder::styling::AnsiColor;
use mscc_report::figures::bytes;

pub use crate::new_file::check_writable;

use crate::error::CliError;
use crate::inputs::Inputs;
use crate::new_file::NewFile;
use crate::terminal::{colored, settings};

/// Writes a file, which is there whole or not at all and is none of what the command reads; says so.
pub fn write_file(path: &Path, inputs: &Inputs, content: &[u8]) -> Result<(), CliError> {
    let mut file = NewFile::create(path, inputs)?;
    file.write_at(0, content)?;
    file.finish()?;
    written(path, content.len() as u64);
    Ok(())
}

/// Says that a file has been written.
pub fn written(path: &Path, size: u64) {
    note(&format!("wrote {}, {}", path.display(), bytes(Some(size))));
}

/// Writes text to standard output.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a document of data to standard output.
pub fn print_json(document: &serde_json::Value) -> Result<(), CliError> {
    print(&format!("{document:#}\n"))
}

/// Writes a line to standard error, unless the user wants quiet.
pub fn note(line: &str) {
    if !settings().quiet {
        say(line);
    }
}

/// Writes a line to standard error if the user wants to know all.
pub fn detail(line: &str) {
    if settings().verbose {
        say(line);
    }
}

/// Writes a warning to standard error, unless the user wants quiet.
pub fn warning(problem: &str) {
    note(&format!("{} {}", colored("warning:", AnsiColor::Yellow), printable(problem)));
}

/// Writes an error to standard error.
pub fn error(problem: &str) {
    say(&format!("{} {}", colored("error:", AnsiColor::Red), printable(problem)));
}

/// Names out of files may hold control characters, which a terminal would obey; they are shown in their place.
fn printable(text: &str) -> String {
    let is_plain = |character: char| !character.is_control() || matches!(character, '\n' | '\t');
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_plain(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_unicode());
        }
    }
    shown
}

/// If nobody listens there, the work goes on.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
