//! Safetensors checkpoints as Hugging Face lays them out: one file, or shards with an index.
//!
//! Opening a checkpoint reads headers only, so that it costs the same for a model of 671B parameters
//! as for a small one; every rule of the format is checked there. Weight data is read by whoever maps
//! the files afterwards. Nothing here knows what a tensor means, converts elements or fetches files.
//!
//! Read first: [`Checkpoint`] (what is stored where), [`MappedCheckpoint`] (the bytes) and
//! [`HeaderBuilder`] (for tools that write such files).
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod checkpoint;
mod dtype;
mod error;
mod header;
mod index;
mod mapped;
mod other_format;

pub use checkpoint::{Checkpoint, FileId, FileRecord, TensorInfo};
pub use dtype::DType;
pub use error::{CheckpointError, HeaderError, IndexError};
pub use header::{Header, HeaderBuilder, HeaderBytes, HeaderTensor, MAX_HEADER_BYTES, MAX_TENSORS};
pub use mapped::MappedCheckpoint;

/// Name of the single weight file.
pub const SINGLE_FILE: &str = "model.safetensors";
/// Name of the index that lists the shards.
pub const INDEX_FILE: &str = "model.safetensors.index.json";
