//! What can be wrong with a checkpoint.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::dtype::DType;

/// Why a checkpoint cannot be used. Each variant names the file.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A directory was expected.
    #[error("{} is not a directory: give the directory that holds the weights", path.display())]
    NotADirectory {
        /// What was given.
        path: PathBuf,
    },
    /// A weight file or index is a directory, a device or a pipe.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// What was found.
        path: PathBuf,
    },
    /// Neither a weight file nor an index.
    #[error(
        "{} holds no weights: expected model.safetensors or model.safetensors.index.json{}",
        dir.display(), NoWeights(found)
    )]
    NoWeights {
        /// Where it was looked for.
        dir: PathBuf,
        /// Names of files that look like weights in another form, sorted.
        found: Vec<String>,
    },
    /// A safetensors file breaks the format.
    #[error("{}: {source}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The rule it breaks.
        source: HeaderError,
    },
    /// The index breaks its form.
    #[error("{}: {source}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        source: IndexError,
    },
    /// Shards that the index names do not exist.
    #[error("{} names shards that are not there: {}; download them", index.display(), Listed(missing))]
    MissingShards {
        /// The index.
        index: PathBuf,
        /// All missing shards, sorted.
        missing: Vec<String>,
    },
    /// Tensors that the index places in a shard are not in it.
    #[error("{} lists tensors that their shards do not hold: {}", index.display(), Listed(missing))]
    MissingTensors {
        /// The index.
        index: PathBuf,
        /// All of them, each as `tensor (shard)`, sorted.
        missing: Vec<String>,
    },
    /// Two files hold a tensor of the same name, and it is not clear which is meant.
    #[error("tensor `{tensor}` is in both {first} and {second} of {}", dir.display())]
    DuplicateTensor {
        /// The directory.
        dir: PathBuf,
        /// Its name.
        tensor: String,
        /// The file that comes first by name.
        first: String,
        /// The other.
        second: String,
    },
    /// All files together hold more tensors than [`MAX_TENSORS`](crate::MAX_TENSORS).
    #[error("{}: more than {limit} tensors", dir.display())]
    TooManyTensors {
        /// The directory.
        dir: PathBuf,
        /// How many are accepted.
        limit: usize,
    },
    /// A file name leads out of the directory, is empty, or was given twice.
    #[error("file name `{name}` is not usable inside {}: {reason}", dir.display())]
    FileName {
        /// The directory.
        dir: PathBuf,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A file changed between reading its header and mapping it.
    #[error("{} changed while it was being opened", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Why a safetensors header is refused.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// No bytes at all.
    #[error("the file is empty: download it again")]
    Empty,
    /// Too short for the length of the header.
    #[error("the file has {file_len} bytes, too few for a safetensors header")]
    TooShort {
        /// Size in bytes.
        file_len: u64,
    },
    /// The beginning is that of another kind of file.
    #[error("not a safetensors file but {0}")]
    OtherFormat(&'static str),
    /// The header is longer than [`MAX_HEADER_BYTES`](crate::MAX_HEADER_BYTES).
    #[error("the header would have {bytes} bytes, the limit is {limit}: not a safetensors file, or damaged")]
    TooLarge {
        /// Its length in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The header ends after the file.
    #[error("the header of {bytes} bytes does not fit in the file of {file_len} bytes: download it again")]
    BeyondFile {
        /// Length of the header in bytes.
        bytes: u64,
        /// Size of the file in bytes.
        file_len: u64,
    },
    /// The header is not the JSON that it must be.
    #[error("bad header: {0}")]
    Json(#[from] serde_json::Error),
    /// Two tensors of one name.
    #[error("the header lists tensor `{tensor}` twice")]
    DuplicateTensor {
        /// Its name.
        tensor: String,
    },
    /// A name that the format keeps for itself.
    #[error("`{tensor}` cannot be the name of a tensor")]
    ReservedName {
        /// The name.
        tensor: String,
    },
    /// Its type has no size that we know.
    #[error("tensor `{tensor}` has type {dtype}, which cannot be written")]
    UnknownDType {
        /// Name of the tensor.
        tensor: String,
        /// Its type.
        dtype: DType,
    },
    /// More dims than any tensor of a model has.
    #[error("tensor `{tensor}` has {rank} dims, the limit is {limit}")]
    Rank {
        /// Name of the tensor.
        tensor: String,
        /// How many dims it has.
        rank: usize,
        /// How many are accepted.
        limit: usize,
    },
    /// The size of a tensor does not fit in 64 bits, or is no whole number of bytes.
    #[error("tensor `{tensor}` {dtype}{shape:?} has no size in bytes")]
    Unsizable {
        /// Name of the tensor.
        tensor: String,
        /// Its type.
        dtype: DType,
        /// Its shape, in elements.
        shape: Vec<u64>,
    },
    /// The range of a tensor is not as long as its type and shape say.
    #[error("tensor `{tensor}` {dtype}{shape:?} takes {expected} bytes, but its range is {start}..{end}")]
    Size {
        /// Name of the tensor.
        tensor: String,
        /// Its type.
        dtype: DType,
        /// Its shape, in elements.
        shape: Vec<u64>,
        /// Bytes that type and shape ask for.
        expected: u64,
        /// Where its range starts, in bytes from the start of the data.
        start: u64,
        /// Where its range ends.
        end: u64,
    },
    /// The ranges of the tensors overlap or leave a hole.
    #[error("the range of tensor `{tensor}` does not start where the one before it ends")]
    Layout {
        /// The first tensor in the wrong place.
        tensor: String,
    },
    /// The data does not end where the file ends.
    #[error("the header describes a file of {expected} bytes, but it has {found}: download it again")]
    FileLength {
        /// Bytes that the header describes, itself included.
        expected: u64,
        /// Size of the file in bytes.
        found: u64,
    },
}

/// Why an index is refused.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// Larger than the limit.
    #[error("the index has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// A Git LFS pointer in its place.
    #[error("this is a Git LFS pointer, not the file: run `git lfs pull`")]
    LfsPointer,
    /// Not the JSON that it must be.
    #[error("bad index: {0}")]
    Json(#[from] serde_json::Error),
    /// It lists no tensor.
    #[error("`weight_map` is empty")]
    Empty,
    /// A shard's name leads out of the directory or is no file name.
    #[error("`weight_map` places tensor `{tensor}` in `{shard}`: {reason}")]
    ShardName {
        /// The tensor.
        tensor: String,
        /// The shard it names.
        shard: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// How many names an error prints before it only counts.
const SHOWN: usize = 8;

/// Names with commas, cut after the first few.
struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, name) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{name}", if i == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// The hint at the end of [`CheckpointError::NoWeights`].
struct NoWeights<'a>(&'a [String]);

impl fmt::Display for NoWeights<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else { return Ok(()) };
        write!(f, "; found {}", Listed(self.0))?;
        if first.ends_with(".safetensors") {
            f.write_str(", which nothing refers to: the index is missing")
        } else if first.ends_with(".gguf") {
            f.write_str(": GGUF is not read")
        } else {
            f.write_str(": pickled weights can run code and are not read, convert them to safetensors")
        }
    }
}
