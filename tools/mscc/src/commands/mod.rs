//! The subcommands, one file each.

pub mod chat;
pub mod compile;
pub mod completions;
pub mod eval;
pub mod explain;
pub mod inspect;
pub mod logits;
pub mod man;
pub mod models;
pub mod opt;
pub mod run;
