//! The weight files of a directory and what they hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::dtype::DType;
use crate::error::{CheckpointError, HeaderError, IndexError, OTHER_FORMS, PICKLED, UNFINISHED};
use crate::header::{self, Header, MAX_TENSORS, PREFIX_BYTES};
use crate::index::{self, MAX_INDEX_BYTES, ShardIndex};
use crate::{INDEX_FILE, SINGLE_FILE};

/// All tensors of a checkpoint by name, and the files they are in. Holds no data and no open file.
///
/// Equal directories give equal checkpoints, whatever the order in which the system lists files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    dir: PathBuf,
    files: Vec<FileRecord>,
    tensors: BTreeMap<String, TensorInfo>,
}

/// A weight file: an index into [`Checkpoint::files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(pub u32);

/// What is remembered of a weight file to know it again without reading its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRecord {
    /// Path relative to the directory, as the index spells it.
    pub name: String,
    /// Size in bytes.
    pub len: u64,
    /// BLAKE3 of the beginning of the file up to the first byte of data.
    pub header_hash: [u8; 32],
    /// How many bytes that beginning has.
    pub header_len: u64,
}

/// Where a tensor is stored, and as what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Type of its elements.
    pub dtype: DType,
    /// Its shape, in elements; row-major.
    pub shape: Vec<u64>,
    /// The file that holds it.
    pub file: FileId,
    /// Where its data starts, in bytes from the start of the file; no alignment is promised.
    pub offset: u64,
    /// Size of its data in bytes.
    pub bytes: u64,
}

impl Checkpoint {
    /// Opens the checkpoint in a Hugging Face directory.
    ///
    /// `model.safetensors` is taken if it is there, else the shards that `model.safetensors.index.json`
    /// names, as `transformers` chooses; with both, the index is not looked at. Tensors that a shard
    /// holds without the index listing them belong to the checkpoint too, as they do there. Weight files
    /// may be symbolic links, as in the cache of the Hugging Face hub; names in the index may not lead
    /// out of the directory.
    ///
    /// Reads the index and the headers, no weight data.
    ///
    /// Errors: all missing shards at once; a tensor that is not in its shard or is in two of them; any
    /// broken rule of the format; pickled weights, pointers of Git LFS, empty files; links to nothing.
    pub fn open(dir: &Path) -> Result<Checkpoint, CheckpointError> {
        require_dir(dir)?;
        if exists(&dir.join(SINGLE_FILE))? {
            return Checkpoint::open_files(dir, &[SINGLE_FILE]);
        }
        let index_path = dir.join(INDEX_FILE);
        if !exists(&index_path)? {
            return Err(CheckpointError::NoWeights {
                dir: dir.to_owned(),
                found: weights_in_other_forms(dir)?,
            });
        }
        let index = read_index(&index_path)?;
        let shards: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
        let mut missing = Vec::new();
        for shard in &shards {
            if !exists(&dir.join(shard))? {
                missing.push((*shard).to_owned());
            }
        }
        if !missing.is_empty() {
            return Err(CheckpointError::MissingShards { index: index_path, missing });
        }
        let checkpoint = Checkpoint::open_files(dir, &Vec::from_iter(shards))?;
        checkpoint.require_listed(&index, &index_path)?;
        Ok(checkpoint)
    }

    /// Opens exactly the given files of a directory, in the order given, without looking at an index.
    ///
    /// Errors: as for [`Checkpoint::open`]; a name that leads out of the directory or is given twice.
    pub fn open_files(dir: &Path, names: &[impl AsRef<str>]) -> Result<Checkpoint, CheckpointError> {
        require_dir(dir)?;
        let mut checkpoint = Checkpoint {
            dir: dir.to_owned(),
            files: Vec::with_capacity(names.len()),
            tensors: BTreeMap::new(),
        };
        let mut seen = BTreeSet::new();
        for name in names.iter().map(AsRef::as_ref) {
            let unique = if seen.insert(name) { Ok(()) } else { Err("it is given twice") };
            index::inside(name).and(unique).map_err(|reason| CheckpointError::FileName {
                dir: dir.to_owned(),
                name: name.to_owned(),
                reason,
            })?;
            checkpoint.add_file(name)?;
        }
        Ok(checkpoint)
    }

    /// The directory as it was given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The weight files; [`FileId`] is an index into them.
    pub fn files(&self) -> &[FileRecord] {
        &self.files
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.tensors
    }

    /// One tensor; `None` if there is none of that name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.tensors.get(name)
    }

    /// The path of a weight file; `None` for an id of another checkpoint.
    pub fn path(&self, file: FileId) -> Option<PathBuf> {
        self.files.get(file.0 as usize).map(|record| self.dir.join(&record.name))
    }

    /// A hash over names, sizes and headers of all files, whatever their order: two checkpoints that
    /// differ in any tensor's name, type, shape or place differ in it. Data is not part of it.
    pub fn identity(&self) -> [u8; 32] {
        let mut records: Vec<&FileRecord> = self.files.iter().collect();
        records.sort_by(|a, b| a.name.cmp(&b.name));
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"mscc checkpoint identity 1\0");
        for record in records {
            hasher.update(&(record.name.len() as u64).to_le_bytes());
            hasher.update(record.name.as_bytes());
            hasher.update(&record.len.to_le_bytes());
            hasher.update(&record.header_hash);
        }
        *hasher.finalize().as_bytes()
    }

    /// Reads one file's header and takes in its tensors.
    fn add_file(&mut self, name: &str) -> Result<(), CheckpointError> {
        let (record, header) = read_header(&self.dir.join(name), name)?;
        if self.tensors.len() + header.tensors.len() > MAX_TENSORS {
            return Err(CheckpointError::TooManyTensors { dir: self.dir.clone(), limit: MAX_TENSORS });
        }
        let file =
            FileId(u32::try_from(self.files.len()).expect("a list of 2^32 names does not fit in memory"));
        self.files.push(record);
        for tensor in header.tensors {
            let info = TensorInfo {
                dtype: tensor.dtype,
                shape: tensor.shape,
                file,
                offset: tensor.offset,
                bytes: tensor.bytes,
            };
            if let Some(other) = self.tensors.get(&tensor.name) {
                return Err(CheckpointError::DuplicateTensor {
                    dir: self.dir.clone(),
                    tensor: tensor.name,
                    first: self.files[other.file.0 as usize].name.clone(),
                    second: name.to_owned(),
                });
            }
            self.tensors.insert(tensor.name, info);
        }
        Ok(())
    }

    /// Checks that every tensor of the index is in the shard that the index names.
    fn require_listed(&self, index: &ShardIndex, path: &Path) -> Result<(), CheckpointError> {
        let in_its_shard = |tensor: &str, shard: &str| {
            self.tensors.get(tensor).is_some_and(|info| self.files[info.file.0 as usize].name == shard)
        };
        let missing: Vec<String> = index
            .weight_map
            .iter()
            .filter(|(tensor, shard)| !in_its_shard(tensor, shard))
            .map(|(tensor, shard)| format!("{tensor} ({shard})"))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(CheckpointError::MissingTensors { index: path.to_owned(), missing })
    }
}

/// Reads the length and the header of a file, nothing else.
fn read_header(path: &Path, name: &str) -> Result<(FileRecord, Header), CheckpointError> {
    let bad = |source: HeaderError| CheckpointError::Header { path: path.to_owned(), source };
    let (mut file, len) = open_regular(path)?;
    let mut start = Vec::new();
    read_up_to(&mut file, &mut start, PREFIX_BYTES).map_err(|source| io_error(path, source))?;
    let header_bytes = header::header_length(&start, len).map_err(bad)?;
    read_up_to(&mut file, &mut start, header_bytes).map_err(|source| io_error(path, source))?;
    let header = Header::parse(&start, len).map_err(bad)?;
    let header_hash = *blake3::hash(&start).as_bytes();
    Ok((FileRecord { name: name.to_owned(), len, header_hash, header_len: start.len() as u64 }, header))
}

fn read_index(path: &Path) -> Result<ShardIndex, CheckpointError> {
    let bad = |source: IndexError| CheckpointError::Index { path: path.to_owned(), source };
    let (mut file, len) = open_regular(path)?;
    if len > MAX_INDEX_BYTES {
        return Err(bad(IndexError::TooLarge { bytes: len, limit: MAX_INDEX_BYTES }));
    }
    let mut json = Vec::new();
    read_up_to(&mut file, &mut json, MAX_INDEX_BYTES).map_err(|source| io_error(path, source))?;
    ShardIndex::parse(&json).map_err(bad)
}

/// Opens a file and gives its size in bytes. The kind is asked before opening, since opening a pipe
/// would wait for its other end.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64), CheckpointError> {
    if !exists(path)? {
        return Err(io_error(path, io::ErrorKind::NotFound.into()));
    }
    let kind = fs::metadata(path).map_err(|source| io_error(path, source))?;
    if !kind.is_file() {
        let kind = if kind.is_dir() { "a directory" } else { "a pipe or a device" };
        return Err(CheckpointError::NotAFile { path: path.to_owned(), kind });
    }
    let file = File::open(path).map_err(|source| io_error(path, source))?;
    let len = file.metadata().map_err(|source| io_error(path, source))?.len();
    Ok((file, len))
}

/// Appends at most `bytes` bytes of the file to `buffer`.
fn read_up_to(file: &mut File, buffer: &mut Vec<u8>, bytes: u64) -> io::Result<()> {
    file.take(bytes).read_to_end(buffer).map(|_| ())
}

fn require_dir(dir: &Path) -> Result<(), CheckpointError> {
    let kind = fs::metadata(dir).map_err(|source| io_error(dir, source))?;
    if kind.is_dir() { Ok(()) } else { Err(CheckpointError::NotADirectory { path: dir.to_owned() }) }
}

/// Whether something is there. A link to nothing is an error: what it stood for was meant to be there.
fn exists(path: &Path) -> Result<bool, CheckpointError> {
    let exists = path.try_exists().map_err(|source| io_error(path, source))?;
    match fs::read_link(path) {
        Ok(target) if !exists => Err(CheckpointError::BrokenLink { path: path.to_owned(), target }),
        Ok(_) | Err(_) => Ok(exists),
    }
}

/// Files that look like weights of another form, or like shards without an index.
fn weights_in_other_forms(dir: &Path) -> Result<Vec<String>, CheckpointError> {
    let endings = [&[".safetensors"], UNFINISHED, &[".gguf", ".ggml"], PICKLED, OTHER_FORMS].concat();
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|source| io_error(dir, source))? {
        let name = entry.map_err(|source| io_error(dir, source))?.file_name();
        let name = name.to_string_lossy();
        if let Some(rank) = endings.iter().position(|ending| name.ends_with(ending)) {
            found.push((rank, name.into_owned()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

fn io_error(path: &Path, source: io::Error) -> CheckpointError {
    CheckpointError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
