use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A file of a model repository that cannot be used.
///
/// What to do: download the file again.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// The file is larger than any real one.
    #[error("{} is larger than the limit of {limit_bytes} bytes", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// The file's content is not what it should be.
    #[error("{}: {reason}", file.display())]
    Invalid {
        /// The file, or its usual name when it was given as bytes.
        file: PathBuf,
        /// What is wrong, with line, column or key where known.
        reason: String,
    },
}

impl FileError {
    /// A complaint about the content of `file`.
    pub(crate) fn invalid(file: &Path, reason: impl ToString) -> Self {
        Self::Invalid { file: file.to_path_buf(), reason: reason.to_string() }
    }
}

/// Reads a regular file of at most `limit_bytes` bytes.
pub(crate) fn read(file: &Path, limit_bytes: u64) -> Result<Vec<u8>, FileError> {
    read_optional(file, limit_bytes)?.ok_or_else(|| FileError::Read {
        file: file.to_path_buf(),
        source: std::io::ErrorKind::NotFound.into(),
    })
}

/// As [`read`], but a file that does not exist is no error. A link to nothing is: it was meant to be there.
pub(crate) fn read_optional(file: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, FileError> {
    let fail = |source| FileError::Read { file: file.to_path_buf(), source };
    let kind = match std::fs::metadata(file) {
        Ok(kind) => kind,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let Ok(target) = std::fs::read_link(file) else { return Ok(None) };
            let problem = format!("a link to {}, which is not there: download it again", target.display());
            return Err(FileError::invalid(file, problem));
        }
        Err(error) => return Err(fail(error)),
    };
    // A pipe or a device would block or never end, so its type is asked before it is opened.
    if !kind.is_file() {
        let kind = if kind.is_dir() { "a directory" } else { "a pipe or a device" };
        return Err(FileError::invalid(file, format!("{kind} and not a file")));
    }
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|f| f.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(fail)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(FileError::TooLarge { file: file.to_path_buf(), limit_bytes });
    }
    Ok(Some(bytes))
}

/// A value out of the JSON in the bytes of `file`.
pub(crate) fn json<T: DeserializeOwned>(file: &Path, bytes: &[u8]) -> Result<T, FileError> {
    if let Some(other) = other_than_json(bytes) {
        return Err(FileError::invalid(file, other));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let advice = if error.is_eof() { ": download the file again" } else { "" };
        FileError::invalid(file, format!("{}{advice}", in_words(&error.to_string())))
    })
}

/// A complaint of the libraries that read JSON, with words in place of names of Rust types.
pub(crate) fn in_words(complaint: &str) -> String {
    let complaint = complaint.replace("expected u32", "expected a token id, 0 to 4294967295");
    let Some((before, rest)) = complaint.split_once(UNTAGGED) else { return complaint };
    let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let what = match name.trim_end_matches("Untagged") {
        "Model" => "`model` is",
        "Normalizer" => "`normalizer` is",
        "PreTokenizer" => "`pre_tokenizer` is",
        "PostProcessor" => "`post_processor` is",
        "Decoder" => "`decoder` is",
        "MergeType" => "`merges` are",
        _ => "a part is",
    };
    format!("{before}{what} of no form that the tokenizers library knows {rest}")
}

/// How serde complains of a value that is none of several.
const UNTAGGED: &str = "data did not match any variant of untagged enum ";

/// A JSON object out of the bytes of `file`.
pub(crate) fn json_object(file: &Path, bytes: &[u8]) -> Result<Map<String, Value>, FileError> {
    match json(file, bytes)? {
        Value::Object(object) => Ok(object),
        _ => Err(FileError::invalid(file, "expected a JSON object, `{...}`")),
    }
}

/// What is often found in place of JSON, with what to do about it.
fn other_than_json(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    if text.is_empty() {
        Some("the file is empty: download it again")
    } else if bytes.starts_with(b"\xef\xbb\xbf") {
        Some("begins with a byte order mark: save it as UTF-8 without one")
    } else if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        Some("is UTF-16: save it as UTF-8")
    } else if text.starts_with(b"version https://git-lfs") {
        Some("a Git LFS pointer, not the file: run `git lfs pull`")
    } else if text.starts_with(b"<") {
        Some("a web page, perhaps an error in place of the download: download it again")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_kinds_and_absence_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(FileError::TooLarge { limit_bytes: 4, .. })));
        assert!(matches!(read(dir.path(), 5), Err(FileError::Invalid { .. })));
        assert!(read_optional(&dir.path().join("none"), 5).unwrap().is_none());
        let complaint = |bytes: &[u8]| json_object(&path, bytes).unwrap_err().to_string();
        assert!(complaint(b"{\"a\":\n tru}").contains("line 2"));
        assert!(complaint(b"[]").contains("expected a JSON object"));
        assert!(complaint(b"{\"a\":").ends_with(": download the file again"));
        let words = in_words("data did not match any variant of untagged enum ModelUntagged at line 1");
        assert_eq!(words, "`model` is of no form that the tokenizers library knows at line 1");
        assert!(complaint(b"\n <!DOCTYPE html>").contains("web page"));
        assert!(complaint(b"version https://git-lfs.github.com/spec/v1\n").contains("git lfs pull"));
    }
}
