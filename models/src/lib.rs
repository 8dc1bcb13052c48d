//! Model families as data: what a Hugging Face directory holds, and what the model in it computes.
//!
//! A family is a YAML file in `families/`, which fills the slots of a decoder with the blocks of
//! [`blocks`]; [`trace()`] makes a module of a config and its family. No family is named in code.
//!
//! Read first: [`hf::ModelDir`] (the files), [`hf::HfConfig`] (the config in one spelling) and
//! [`spec`] (what a family says).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod blocks;
pub mod families;
pub mod hf;
mod keys;
pub mod spec;
pub mod trace;

pub use keys::{Ignored, LackingKey, UnknownKey, UnreadKeys};
pub use spec::Family;
pub use trace::{
    SourceWeight, TraceError, TraceOptions, Traced, Warning, source_weights, trace, trace_family,
};
