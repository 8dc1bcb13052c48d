//! The weight files in memory.
#![allow(unsafe_code)] // Mapping a file is unsafe; see the reason at the block.

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;

use crate::checkpoint::{Checkpoint, FileId, TensorInfo, open_regular};
use crate::error::CheckpointError;

/// A checkpoint with its files mapped read-only. Pages are read when first touched and shared with
/// every process that maps the same files; wrap it in an `Arc` to share it between threads.
///
/// The files must stay as they are while it lives. Replacing a file (as downloads do) is harmless;
/// shortening one in place makes the system end the process (`SIGBUS`) when a lost page is touched,
/// and writing into one changes the weights. [`MappedCheckpoint::new`] detects changes made since the
/// headers were read.
#[derive(Debug)]
pub struct MappedCheckpoint {
    checkpoint: Checkpoint,
    maps: Vec<Mmap>,
}

impl MappedCheckpoint {
    /// Maps all files of a checkpoint, without reading data.
    ///
    /// Errors: [`CheckpointError::Changed`] if a file is no longer what its header was read from;
    /// whatever the system says about opening and mapping.
    pub fn new(checkpoint: Checkpoint) -> Result<Self, CheckpointError> {
        let mut maps = Vec::with_capacity(checkpoint.files().len());
        for record in checkpoint.files() {
            let path = checkpoint.dir().join(&record.name);
            let (file, _) = open_regular(&path)?;
            // SAFETY: the mapping is read-only and private to us; nothing in this process writes to
            // the file. Another process could: then bytes change or pages vanish under us, which no
            // mapping can prevent. Callers are told on the type, and read the bytes as plain
            // numbers, for which every bit pattern is valid.
            let map = unsafe { Mmap::map(&file) }
                .map_err(|source| CheckpointError::Io { path: path.clone(), source })?;
            let header = usize::try_from(record.header_len).ok().and_then(|end| map.get(..end));
            let same_header =
                header.is_some_and(|bytes| *blake3::hash(bytes).as_bytes() == record.header_hash);
            if map.len() as u64 != record.len || !same_header {
                return Err(CheckpointError::Changed { path });
            }
            maps.push(map);
        }
        Ok(MappedCheckpoint { checkpoint, maps })
    }

    /// What is stored where.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The data of a tensor: little endian, row-major, at any alignment. `None` if there is none of
    /// that name.
    pub fn tensor(&self, name: &str) -> Option<&[u8]> {
        self.checkpoint.tensor(name).and_then(|info| self.data(info))
    }

    /// The data of a tensor that was looked up before. `None` for one of another checkpoint whose
    /// place does not exist here.
    pub fn data(&self, info: &TensorInfo) -> Option<&[u8]> {
        let start = usize::try_from(info.offset).ok()?;
        let end = start.checked_add(usize::try_from(info.bytes).ok()?)?;
        self.file(info.file)?.get(start..end)
    }

    /// Says that a tensor's data is not needed soon: its memory no longer counts as this process's. Data
    /// that is read again all the same comes from the file again, as do neighbours that share a page.
    ///
    /// Nothing happens for a name that there is none of, and on systems without such advice.
    pub fn release(&self, name: &str) {
        let Some(info) = self.checkpoint.tensor(name) else { return };
        let Some(map) = self.maps.get(info.file.0 as usize) else { return };
        let (Ok(start), Ok(bytes)) = (usize::try_from(info.offset), usize::try_from(info.bytes)) else {
            return;
        };
        #[cfg(unix)]
        if bytes > 0 && start.checked_add(bytes).is_some_and(|end| end <= map.len()) {
            // SAFETY: the range lies inside a read-only mapping of a file, so that dropped pages come back
            // with the file's bytes, which are those that were there.
            // A refusal leaves the pages where they are, which is no harm.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, bytes) };
        }
        #[cfg(not(unix))]
        let _ = (map, start, bytes);
    }

    /// A whole file, header included. `None` for an id of another checkpoint.
    pub fn file(&self, file: FileId) -> Option<&[u8]> {
        self.maps.get(file.0 as usize).map(|map| &map[..])
    }
}
