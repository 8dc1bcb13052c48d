//! Model families as data: what a Hugging Face directory holds, and what the model in it computes.
//!
//! Read first: [`hf::ModelDir`] (the files), [`hf::HfConfig`] (the config in one spelling) and
//! [`hf::GenerationConfig`] (stop tokens, sampling defaults).
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod hf;
