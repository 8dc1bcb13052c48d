//! Files that are there whole or not at all.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::CliError;
use crate::inputs::Inputs;
use crate::usage::UsageError;
use crate::{interrupt, leftovers};

/// A file being written. Until it is [finished](Self::finish), what was at its path stays there.
pub struct NewFile {
    /// As given, for messages.
    path: PathBuf,
    /// Where it will be, links followed.
    target: PathBuf,
    content: Content,
}

enum Content {
    /// A temporary file beside the target.
    Beside(NamedTempFile),
    /// A file without a name, for a target that is no file (a pipe, /dev/null) and cannot be replaced.
    Apart(File),
}

impl NewFile {
    /// Begins a file, which is none of what the command reads.
    pub fn create(path: &Path, inputs: &Inputs) -> Result<Self, CliError> {
        check_writable(path, inputs)?;
        let failed = |source| CliError::Write { path: path.to_owned(), source };
        // A link stays, and what it leads to is replaced.
        let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let content = if target.exists() && !target.is_file() {
            Content::Apart(tempfile::tempfile().map_err(failed)?)
        } else {
            leftovers::clear(directory(&target));
            // Created by us and not by `tempfile`, whose files are for their owner alone.
            let beside = tempfile::Builder::new()
                .prefix(leftovers::PREFIX)
                .make_in(directory(&target), interrupt::create_temporary);
            Content::Beside(beside.map_err(failed)?)
        };
        Ok(Self { path: path.to_owned(), target, content })
    }

    /// Writes bytes, behind the end or over what is there.
    pub fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), CliError> {
        let file = self.content.file();
        let written = file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(bytes));
        written.map_err(|source| CliError::Write { path: self.path.clone(), source })
    }

    /// Puts the file in its place.
    pub fn finish(self) -> Result<(), CliError> {
        let Self { path, target, content } = self;
        let finished = match content {
            Content::Beside(file) => {
                let temporary = file.path().to_owned();
                let synced = file.as_file().sync_all();
                let done = synced.and_then(|()| Ok(file.persist(&target).map(drop)?));
                interrupt::keep(&temporary);
                done
            }
            Content::Apart(mut file) => copy(&mut file, &target),
        };
        finished.map_err(|source| CliError::Write { path, source })
    }
}

impl Content {
    fn file(&mut self) -> &mut File {
        match self {
            Content::Beside(file) => file.as_file_mut(),
            Content::Apart(file) => file,
        }
    }
}

/// Says before long work whether its result has a place to go.
pub fn check_writable(path: &Path, inputs: &Inputs) -> Result<(), CliError> {
    inputs.spare(path)?;
    let unfit = |problem: String| Err(UsageError::NoPlace { path: path.to_owned(), problem }.into());
    let dir = directory(path);
    if path.as_os_str() == "-" {
        return unfit("`-` does not stand for standard output here; name a file".to_owned());
    }
    if path.is_dir() {
        return unfit("it is a directory".to_owned());
    }
    if !dir.is_dir() {
        return unfit(format!("there is no directory {}", dir.display()));
    }
    Ok(())
}

fn copy(from: &mut File, target: &Path) -> std::io::Result<()> {
    from.seek(SeekFrom::Start(0))?;
    std::io::copy(from, &mut File::options().write(true).open(target)?).map(drop)
}

/// Where a file lies.
pub fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
