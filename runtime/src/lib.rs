//! Runtime of mscc.
pub mod device;
