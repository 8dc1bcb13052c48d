//! Writing files whole, and standard output.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::error::CliError;

/// Writes a file through a temporary one beside it, so that it is there whole or not at all.
pub fn write_file(path: &Path, content: &[u8]) -> Result<(), CliError> {
    write_with(path, |file| file.write_all(content))
}

/// As [`write_file`], for content that is made while it is written.
pub fn write_with(path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<(), CliError> {
    let failed = |source| CliError::Write { path: path.to_owned(), source };
    check_writable(path)?;
    // A link stays and what it leads to is replaced; what is no file (a pipe, /dev/null) cannot be replaced.
    let resolved = path.canonicalize();
    let path = resolved.as_deref().unwrap_or(path);
    if path.exists() && !path.is_file() {
        let mut file = File::options().write(true).open(path).map_err(failed)?;
        return write(&mut file).map_err(failed);
    }
    // Created by us and not by `tempfile`, whose files are for their owner alone.
    let create = |path: &Path| File::create_new(path);
    let mut file =
        tempfile::Builder::new().prefix(".mscc-").make_in(directory(path), create).map_err(failed)?;
    write(file.as_file_mut()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// Says before long work whether its result has a place to go.
pub fn check_writable(path: &Path) -> Result<(), CliError> {
    let failed = |kind, problem: String| {
        Err(CliError::Write { path: path.to_owned(), source: std::io::Error::new(kind, problem) })
    };
    let dir = directory(path);
    if path.is_dir() {
        return failed(ErrorKind::IsADirectory, "it is a directory".to_owned());
    }
    if !dir.is_dir() {
        return failed(ErrorKind::NotFound, format!("there is no directory {}", dir.display()));
    }
    Ok(())
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Writes text to standard output.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// Writes a line to standard error; if nobody listens there, the work goes on.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Writes a document of data to standard output.
pub fn print_json(document: &serde_json::Value) -> Result<(), CliError> {
    print(&format!("{document:#}\n"))
}
