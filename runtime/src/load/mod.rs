//! From files to what a step needs.

mod piece;
pub mod plan;
pub(crate) mod recipe;
pub mod weights;
