//! From files to what a step needs.

pub mod plan;
pub mod recipe;
pub mod weights;
