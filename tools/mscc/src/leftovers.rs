//! Temporary files, and what is left of those whose program was killed.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// How names of temporary files begin.
pub const PREFIX: &str = ".mscc-";

/// Creates a temporary file. It is locked for as long as its program has it open, so that others [leave](clear) it.
pub fn create(path: &Path) -> io::Result<File> {
    let file = File::create_new(path)?;
    // Where files cannot be locked, none are cleared either.
    let _ = file.lock();
    // Somebody else may have cleared it before it was locked; the caller tries another name.
    if path.exists() { Ok(file) } else { Err(ErrorKind::AlreadyExists.into()) }
}

/// Removes temporary files from a directory that nobody writes any more. What cannot be looked at or removed stays.
pub fn clear(dir: &Path) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        if File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_stays_and_what_is_left_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let written = create(&path(".mscc-written")).unwrap();
        drop(create(&path(".mscc-left")).unwrap());
        fs::write(path("other"), "").unwrap();
        fs::create_dir(path(".mscc-dir")).unwrap();
        clear(dir.path());
        let left = [".mscc-written", ".mscc-left", "other", ".mscc-dir"].map(|name| path(name).exists());
        assert_eq!(left, [true, false, true, true]);
        drop(written);
        clear(dir.path());
        assert!(!path(".mscc-written").exists());
    }
}
