//! Text files that a user names.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// Largest file that [`read_text`] reads, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// The text of a regular file of at most [`MAX_BYTES`].
///
/// Errors: what the system says; a directory, a pipe or a device, of which the last two might never end; a file that is
/// larger or not UTF-8.
pub fn read_text(path: &Path) -> Result<String> {
    let problem = |text: &str| Error::new(ErrorKind::InvalidInput, text);
    // Asked before opening, since opening a pipe would wait for its other end.
    let kind = std::fs::metadata(path)?;
    if !kind.is_file() {
        return Err(problem(if kind.is_dir() { "it is a directory" } else { "it is a pipe or a device" }));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(problem("it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        problem(&format!("line {line} is not UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_no_text() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            read_text(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"a\n").unwrap(), "a\n");
        assert_eq!(read(b"a\n\xff").unwrap_err(), "line 2 is not UTF-8");
        assert_eq!(read(&vec![b'a'; MAX_BYTES as usize + 1]).unwrap_err(), "it is larger than 1 MiB");
        assert_eq!(read_text(dir.path()).unwrap_err().to_string(), "it is a directory");
    }
}
