//! Passes over modules, each in its file.

pub mod normalise;
pub mod recut;
pub mod rebuild;
