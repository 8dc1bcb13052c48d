//! IR of mscc.
pub mod dtype;
pub use dtype::DType;
