//! Runtime of mscc.
#![cfg_attr(test, allow(clippy::unwrap_used))]
pub mod device;
