#![cfg_attr(test, allow(clippy::unwrap_used))]
//! IR of mscc.
pub mod dim;
pub mod dtype;
pub use dim::{Dim, Symbol, SymbolInfo, SymbolTable};
pub use dtype::DType;
