//! Compiler of mscc: from a traced model to a plan.
//!
//! [`compile()`] is the whole way: trace, passes (normalise, cut anew, fuse by equality saturation), lowering with a
//! symbolic memory plan. Nothing here reads weight data or runs kernels, and egg stays inside [`egraph`].
//!
//! Read first: [`compile()`], [`passes::Pass`], [`lower::lower`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod advice;
mod compile;
pub mod cost;
pub mod dialects;
pub mod egraph;
pub mod files;
pub mod forms;
pub mod lower;
pub mod memory;
pub mod model_yaml;
pub mod options;
pub mod passes;
pub mod predict;
pub mod rules;
pub mod savings;
pub mod target;

pub use advice::OTHER_TOKENIZERS;
pub use compile::{CompileError, Compiled, TOKENIZER_FILE, compile, left_out, rewrites};
pub use model_yaml::{ModelYaml, ModelYamlError};
pub use options::{
    MAX_BLOCK_SIZE, MAX_MODEL_LEN, MAX_NUM_BATCHED_TOKENS, OptionError, OptionPlace, Options, Resolved,
};
pub use target::Target;
