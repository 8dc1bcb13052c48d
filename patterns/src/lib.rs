//! Rewrite rules of mscc: text in, rules with proofs out.
//!
//! No egg here: rules are engine-neutral data, and the compiler's e-graph stage is the one that applies them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod given;
pub mod guards;
mod print;
pub mod rule;
