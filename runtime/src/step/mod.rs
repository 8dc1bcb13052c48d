//! A step: from a batch to logits, in three stages.
//!
//! [`shape`] computes sizes and offsets, `resolve` places every operand inside its buffer, `tile` binds kernels and
//! cuts their work; all three only when sizes have changed. `launch` runs the kernels.

pub mod batch;
pub(crate) mod buffers;
#[cfg(feature = "jit")]
pub mod jit;
pub(crate) mod launch;
pub(crate) mod resolve;
pub mod shape;
pub(crate) mod sizes;
pub(crate) mod tile;
