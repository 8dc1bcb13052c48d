//! From files to what a step needs.

pub mod plan;
pub(crate) mod recipe;
pub mod weights;
