//! Runtime of mscc: loads a plan, binds its weights and runs steps of any batch and length.
//!
//! It knows nothing of how plans are made, and takes a plan for what any file is: input from outside. Tokens go in
//! and logits come out of a [`Model`].
//!
//! Read first: [`Model`], [`step::batch::StepBatch`], [`device::Device`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod device;
pub mod engine;
pub mod error;
pub mod load;
mod model;
pub mod sample;
pub mod step;

#[cfg(feature = "text")]
pub use engine::text::{Llm, LlmError};
pub use error::RuntimeError;
pub use model::{LoadOptions, MemoryReport, Model};
