//! Runtime of mscc.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod device;
pub mod error;
pub mod sample;
pub mod step;

pub use error::RuntimeError;
