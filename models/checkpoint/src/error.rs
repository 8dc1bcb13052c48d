//! What can be wrong with a checkpoint.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::dtype::DType;

/// Why a checkpoint cannot be used. Each variant names the file.
///
/// What to do: mend what the message names, or download the model again.
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
    #[error("{} is {kind} and not a file", path.display())]
    NotAFile {
        /// What was found.
        path: PathBuf,
        /// What it is, with its article.
        kind: &'static str,
    },
    /// A weight file or index is a link to something that is not there.
    #[error("{} is a link to {}, which is not there: download it again", path.display(), target.display())]
    BrokenLink {
        /// The link.
        path: PathBuf,
        /// What it leads to.
        target: PathBuf,
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
    #[error(
        "{} lists tensors that their shards do not hold: {}; download the index and its shards again",
        index.display(), Listed(missing)
    )]
    MissingTensors {
        /// The index.
        index: PathBuf,
        /// All of them, each as `tensor (shard)`, sorted.
        missing: Vec<String>,
    },
    /// Two files hold a tensor of the same name, and it is not clear which is meant.
    #[error(
        "tensor `{tensor}` is in both {first} and {second} of {}: one of them does not belong there",
        dir.display()
    )]
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
///
/// What to do: download the file again, or write it again with a program that keeps to the format.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// No bytes at all.
    #[error("the file is empty: download it again")]
    Empty,
    /// Too short for the length of the header.
    #[error("the file of {file_len} B is too short for a safetensors header: download it again")]
    TooShort {
        /// Size in bytes.
        file_len: u64,
    },
    /// The beginning is that of another kind of file.
    #[error("not a safetensors file but {0}")]
    OtherFormat(&'static str),
    /// The length of the header is 0.
    #[error(
        "the file begins with a header of 0 bytes, as one that was never written whole: download it again"
    )]
    NoHeader,
    /// The header does not begin as a JSON object.
    #[error("the header does not begin with `{{`: not a safetensors file, or damaged")]
    NotAnObject,
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
    #[error("bad header: {}", Placed(.0))]
    Json(#[source] serde_json::Error),
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
    #[error("tensor `{tensor}` {dtype}{shape:?} has no size in whole bytes that fits in 64 bits")]
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
///
/// What to do: download the index again.
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
    /// Not the JSON that it must be.
    #[error("bad index: {}{}", .0, if .0.is_eof() { CUT } else { "" })]
    Json(#[from] serde_json::Error),
    /// No bytes but white space.
    #[error("the file is empty: download it again")]
    Blank,
    /// The beginning is that of another kind of file.
    #[error("not an index but {0}")]
    OtherFormat(&'static str),
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

/// A complaint of the JSON reader about a header, whose place is counted in bytes: it has no lines that anybody sees.
struct Placed<'a>(&'a serde_json::Error);

impl fmt::Display for Placed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Placed(error) = self;
        let text = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        match text.strip_suffix(&place) {
            Some(problem) if error.line() == 1 => write!(f, "{problem} at byte {}", error.column()),
            Some(_) | None => f.write_str(&text),
        }
    }
}

/// What to do about JSON that ends too early.
const CUT: &str = ": download the file again";

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
        let ends = |endings: &[&str]| endings.iter().any(|ending| first.ends_with(ending));
        let shards = self.0.iter().filter(|name| name.ends_with(".safetensors")).count();
        f.write_str(if first.starts_with("adapter_") {
            ": an adapter, merge it into its model first"
        } else if shards == 1 {
            ": if it holds the whole model, rename it to model.safetensors"
        } else if shards > 1 {
            ", which nothing refers to: download model.safetensors.index.json"
        } else if ends(UNFINISHED) {
            ": the download is not complete"
        } else if ends(&[".gguf", ".ggml"]) {
            ": GGUF is not read, take the model's release in safetensors"
        } else if ends(PICKLED) {
            ": pickled weights can run code and are not read, convert them to safetensors"
        } else {
            ", which is not read: convert it to safetensors"
        })
    }
}

/// Endings of files that hold weights in other forms.
pub(crate) const OTHER_FORMS: &[&str] = &[".h5", ".msgpack", ".onnx", ".npz"];
/// Endings of files that hold pickles.
pub(crate) const PICKLED: &[&str] = &[".bin", ".pt", ".pth", ".ckpt"];
/// Endings of files that are not all there yet.
pub(crate) const UNFINISHED: &[&str] = &[".incomplete", ".part", ".crdownload", ".aria2"];
