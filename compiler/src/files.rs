//! Text files that a user names.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

use mscc_ir::plan::container::MAGIC;

/// Largest file of options, rules, templates or IR text, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

/// The text of a regular file of at most `max_bytes`.
///
/// Errors: what the system says; a directory, a pipe or a device, of which the last two might never end; a file that is
/// larger, or is no text in UTF-8.
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String> {
    let problem = |text: &str| Error::new(ErrorKind::InvalidInput, text);
    // Asked before opening, since opening a pipe would wait for its other end.
    let kind = std::fs::metadata(path)?;
    if !kind.is_file() {
        return Err(problem(if kind.is_dir() { "it is a directory" } else { "it is a pipe or a device" }));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    text(bytes, max_bytes)
}

/// The bytes as a text of at most `max_bytes`.
///
/// Errors: more than that; bytes that are no text in UTF-8, with what they seem to be.
pub fn text(bytes: Vec<u8>, max_bytes: u64) -> Result<String> {
    let problem = |text: String| Error::new(ErrorKind::InvalidInput, text);
    if bytes.len() as u64 > max_bytes {
        return Err(problem(format!("it is larger than {} MiB", max_bytes >> 20)));
    }
    if let Some(format) = other_format(&bytes) {
        return Err(problem(format!("it is {format}, not a text")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        problem(format!("line {line} is not UTF-8"))
    })
}

/// What bytes are that begin as no text in UTF-8 does.
fn other_format(bytes: &[u8]) -> Option<&'static str> {
    let starts = |prefix: &[u8]| bytes.starts_with(prefix);
    let formats: [(&[u8], &str); 5] = [
        (MAGIC, "a plan, which `mscc inspect` shows"),
        (b"\xff\xfe", "UTF-16 (save it as UTF-8)"),
        (b"\xfe\xff", "UTF-16 (save it as UTF-8)"),
        (b"\x1f\x8b", "compressed (unpack it with gunzip)"),
        (b"PK\x03\x04", "a zip file"),
    ];
    let format = formats.into_iter().find_map(|(prefix, format)| starts(prefix).then_some(format));
    format.or_else(|| bytes.iter().take(1 << 10).any(|byte| *byte == 0).then_some("a binary file"))
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
            read_text(&path, MAX_BYTES).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"a\n").unwrap(), "a\n");
        assert_eq!(read(b"a\n\xff").unwrap_err(), "line 2 is not UTF-8");
        assert!(read(b"MSCCPLAN").unwrap_err().contains("a plan, which `mscc inspect` shows"));
        assert!(read(b"\xff\xfea\0").unwrap_err().contains("UTF-16"));
        assert_eq!(read(b"a\0b").unwrap_err(), "it is a binary file, not a text");
        assert_eq!(read(&vec![b'a'; MAX_BYTES as usize + 1]).unwrap_err(), "it is larger than 1 MiB");
        assert_eq!(read_text(dir.path(), MAX_BYTES).unwrap_err().to_string(), "it is a directory");
    }
}
