use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A file of a model repository that cannot be used.
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
    let fail = |source| FileError::Read { file: file.to_path_buf(), source };
    // A pipe or a device would block or never end, so its type is asked before it is opened.
    if !std::fs::metadata(file).map_err(fail)?.is_file() {
        return Err(FileError::invalid(file, "not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|f| f.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(fail)?;
    if bytes.len() as u64 > limit_bytes {
        return Err(FileError::TooLarge { file: file.to_path_buf(), limit_bytes });
    }
    Ok(bytes)
}

/// As [`read`], but a file that does not exist is no error.
pub(crate) fn read_optional(file: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>, FileError> {
    match read(file, limit_bytes) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(FileError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A JSON object out of the bytes of `file`.
pub(crate) fn json_object(
    file: &Path,
    bytes: &[u8],
) -> Result<serde_json::Map<String, serde_json::Value>, FileError> {
    serde_json::from_slice(bytes).map_err(|error| FileError::invalid(file, error))
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
        assert!(json_object(&path, b"{\"a\":\n tru}").unwrap_err().to_string().contains("line 2"));
    }
}
