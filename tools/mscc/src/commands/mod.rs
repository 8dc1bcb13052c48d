//! The subcommands, one file each.

pub mod compile;
pub mod completions;
pub mod eval;
pub mod inspect;
pub mod logits;
pub mod models;
pub mod opt;
pub mod run;
