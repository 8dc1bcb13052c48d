//! Kernels for the host CPU.
//!
//! A kernel is a struct of [`View`]s and attributes that implements [`Kernel`]; [`launch`] checks it, cuts it
//! into tasks and runs them on a [`Pool`] with the instructions of an [`Isa`].
//!
//! Numerics: everything between a load and a store is f32, and a result is rounded once, to nearest even.
//! Within one [`Isa`] the bits of a result element depend on its own inputs only: not on the other rows of
//! the launch, the number of threads, the chunking of a sequence or the block size of the cache.
#![allow(unsafe_code, reason = "kernels work on raw, already checked memory")]
#![allow(unsafe_op_in_unsafe_fn, reason = "an unsafe kernel function is unsafe from end to end")]

mod attention;
mod binary;
mod cache_read;
mod cache_write;
mod cast;
#[cfg(test)]
mod conformance;
mod copy;
mod dot;
mod element;
mod error;
mod gather;
mod grid;
mod grouped_matmul;
mod index_add;
mod integers;
mod isa;
mod kernel;
mod layer_norm;
mod map;
mod math;
mod matmul;
mod pick;
mod pool;
mod rms_norm;
mod rope;
mod row_scale;
mod simd;
mod softmax;
pub mod table;
#[cfg(test)]
mod testing;
mod topk;
mod unary;
mod view;

pub use attention::{Attention, LatentAttention, RaggedAttention};
pub use binary::{Binary, BinaryFunction};
pub use cache_read::CacheRead;
pub use cache_write::CacheWrite;
pub use cast::Cast;
pub use copy::Copy;
pub use error::KernelError;
pub use gather::Gather;
pub use grouped_matmul::GroupedMatmul;
pub use index_add::IndexAdd;
pub use integers::{Argsort, Bincount, FloorDiv};
pub use isa::Isa;
pub use kernel::{Kernel, Split, launch};
pub use layer_norm::LayerNorm;
pub use matmul::Matmul;
pub use pick::{KeepGroups, TakeAlong};
pub use pool::{Pool, Scratch, Task, TaskResult};
pub use rms_norm::{AddRmsNorm, RmsNorm};
pub use rope::{Rope, RopeTable};
pub use row_scale::{Renormalize, ScaleRows, Sum};
pub use softmax::Softmax;
pub use topk::Topk;
pub use unary::{Unary, UnaryFunction};
pub use view::{Dims, View};
