//! The IR of mscc: what compiler and runtime both know.
//!
//! A [`Module`] holds one [`Graph`] per kind of layer and the program that calls them; a graph holds nodes in SSA
//! form over [`Dim`]s that are symbolic, so that one plan serves any batch and length. Every [`ops::Op`] is defined
//! once, in its file under `ops/`. Kernel declarations and plan types live here too, because both sides of
//! `plan.bin` read them.
//!
//! This crate runs nothing but the reference interpreter, reads no files and knows no model.
//!
//! Read first: [`Dim`], [`Graph`], [`Module`].
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod attr;
pub mod dim;
pub mod dtype;
pub mod graph;
pub mod kernels;
pub mod module;
pub mod ops;
pub mod plan;
pub mod reference;
pub mod step;
pub mod stored;
pub mod template;
pub mod tensor_type;
pub mod text;
pub mod topology;
pub mod verify;
pub mod view;

pub use dim::{Dim, Symbol, SymbolInfo, SymbolTable};
pub use dtype::DType;
pub use graph::{Graph, Leaf, NodeId, NodeKind, Sink, Value};
pub use module::Module;
pub use stored::Stored;
pub use template::Template;
pub use tensor_type::TensorType;
