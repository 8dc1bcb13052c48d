//! Attention, over the paged cache and over packed keys.

mod attend;
mod keys;
mod latent;
mod ragged;
mod sums;
mod task;

use self::attend::Attend;
use self::keys::{Keys, Order, Rows};
pub use self::latent::LatentAttention;
pub use self::ragged::RaggedAttention;
use super::error::KernelError;
use super::isa::Isa;
use super::kernel::{Check, Kernel, Split};
use super::pool::{Scratch, TaskResult};
use super::view::View;

/// Each new token attends to its sequence's cached tokens up to itself.
///
/// | value         | shape             | dtype                                           |
/// |---------------|-------------------|-------------------------------------------------|
/// | `q`           | [T, N, D]         | f32, bf16, f16; D contiguous                    |
/// | `k_cache`     | [P, block, K, D]  | f32, bf16, f16; D contiguous                    |
/// | `v_cache`     | [P, block, K, Dv] | as `k_cache`; Dv contiguous                     |
/// | `block_table` | [B, M]            | i32; rows contiguous; only pages in sight are read |
/// | `query_start` | [B+1]             | i32; gapless                                    |
/// | `context_len` | `[B]`               | i32; gapless                                    |
/// | `sinks`       | `[N]`, optional     | f32, bf16, f16; contiguous                      |
/// | -> `y`        | [T, N, Dv]        | as `q`; Dv contiguous                           |
///
/// Query t of sequence b stands at `context_len[b] - query_start[b + 1] + t`; it sees keys up to there, at
/// most `window` of them. Query head h reads key head `h / (N / K)`. Scores are f32, times `scale`, then
/// `cap * tanh(score / cap)` with a `soft_cap`.
///
/// Softmax is taken online over tiles of 64 keys that begin at multiples of 64 of the absolute position,
/// whatever the block size. Spans of 1024 keys, at multiples of 1024, are summed each on its own and then merged in
/// order, so that threads can share a long context: a row's bits depend on its own position only, not on the
/// chunking, on the pages, on other sequences or on threads.
///
/// Errors: [`KernelError::Index`] for a page beyond the cache, a context longer than its pages or shorter
/// than its new tokens, or query starts that do not rise from 0 to at most T.
/// Source: Milakov and Gimelshein, 2018 (arXiv:1805.02867) for the online softmax.
pub struct Attention<'a> {
    /// Queries.
    pub q: &'a View,
    /// Pages of keys.
    pub k_cache: &'a View,
    /// Pages of values.
    pub v_cache: &'a View,
    /// Pages of each sequence.
    pub block_table: &'a View,
    /// Where each sequence's new tokens start.
    pub query_start: &'a View,
    /// Tokens of each sequence, the new included.
    pub context_len: &'a View,
    /// A score of each head that takes part in the softmax and has no value.
    pub sinks: Option<&'a View>,
    /// Factor of the scores.
    pub scale: f32,
    /// How many keys a query sees at most, itself included.
    pub window: Option<usize>,
    /// Bound of the scores.
    pub soft_cap: Option<f32>,
    /// Result.
    pub y: &'a View,
}

impl Attention<'_> {
    fn attend(&self) -> Attend<'_> {
        Attend {
            kernel: "attention",
            q: self.q,
            q_rope: None,
            keys: Keys {
                heads: self.k_cache.dims()[2],
                k: Rows::paged(self.k_cache),
                k_rope: None,
                v: Some(Rows::paged(self.v_cache)),
                order: Order::Paged(self.block_table),
            },
            query_start: self.query_start,
            context_len: self.context_len,
            sinks: self.sinks,
            scale: self.scale,
            window: self.window,
            soft_cap: self.soft_cap,
            y: self.y,
        }
    }
}

impl Kernel for Attention<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("attention");
        let Attention { q, k_cache, v_cache, .. } = *self;
        let fits = k_cache.rank() == 4 && k_cache.dims()[1] > 0 && k_cache.last_dim() == q.last_dim();
        check.shape("k_cache", k_cache, fits, "[P, block, K, D]")?;
        let fits = v_cache.rank() == 4 && v_cache.dims()[..3] == k_cache.dims()[..3];
        check.shape("v_cache", v_cache, fits, "[P, block, K, Dv]")?;
        self.attend().check(&[("q", q), ("k_cache", k_cache), ("v_cache", v_cache)])
    }

    fn split(&self, threads: usize) -> Split {
        self.attend().split(threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        self.attend().run(isa, split, task, scratch)
    }
}

#[cfg(test)]
mod tests;
