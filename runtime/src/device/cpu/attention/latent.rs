//! Attention over the paged cache of latents.

use super::super::error::KernelError;
use super::super::isa::Isa;
use super::super::kernel::{Check, Kernel, Split};
use super::super::pool::{Scratch, TaskResult};
use super::super::view::View;
use super::attend::Attend;
use super::keys::{Keys, Order, Rows};

/// As [`Attention`](super::Attention), with one key of two parts for all heads, whose first part is the value as well.
///
/// | value          | shape         | dtype                                           |
/// |----------------|---------------|-------------------------------------------------|
/// | `q`            | [T, N, R]     | f32, bf16, f16; R contiguous                    |
/// | `q_rope`       | [T, N, D]     | as `q`; D contiguous                            |
/// | `latent_cache` | [P, block, R] | f32, bf16, f16; R contiguous                    |
/// | `rope_cache`   | [P, block, D] | as `latent_cache`; D contiguous                 |
/// | `block_table`  | [B, M]        | i32; rows contiguous; only pages in sight are read |
/// | `query_start`  | [B+1]         | i32; gapless                                    |
/// | `context_len`  | `[B]`           | i32; gapless                                    |
/// | -> `y`         | [T, N, R]     | as `q`; R contiguous                            |
///
/// A score is one sum, over R and then over D. Heads are shared out among threads where sequences are few; that changes
/// no bit.
///
/// Errors: those of [`Attention`](super::Attention).
pub struct LatentAttention<'a> {
    /// Queries in the space of latents.
    pub q: &'a View,
    /// Their rotated part.
    pub q_rope: &'a View,
    /// Pages of latents.
    pub latent_cache: &'a View,
    /// Pages of rotated keys.
    pub rope_cache: &'a View,
    /// Pages of each sequence.
    pub block_table: &'a View,
    /// Where each sequence's new tokens start.
    pub query_start: &'a View,
    /// Tokens of each sequence, the new included.
    pub context_len: &'a View,
    /// Factor of the scores.
    pub scale: f32,
    /// Result.
    pub y: &'a View,
}

impl LatentAttention<'_> {
    fn attend(&self) -> Attend<'_> {
        Attend {
            kernel: "latent_attention",
            q: self.q,
            q_rope: Some(self.q_rope),
            keys: Keys {
                heads: 1,
                k: Rows::paged(self.latent_cache),
                k_rope: Some(Rows::paged(self.rope_cache)),
                v: None,
                order: Order::Paged(self.block_table),
            },
            query_start: self.query_start,
            context_len: self.context_len,
            sinks: None,
            scale: self.scale,
            window: None,
            soft_cap: None,
            y: self.y,
        }
    }
}

impl Kernel for LatentAttention<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("latent_attention");
        let LatentAttention { q, q_rope, latent_cache, rope_cache, .. } = *self;
        let fits =
            latent_cache.rank() == 3 && latent_cache.dims()[1] > 0 && latent_cache.last_dim() == q.last_dim();
        check.shape("latent_cache", latent_cache, fits, "[P, block, R]")?;
        let fits = q_rope.rank() == 3 && q.rank() == 3 && q_rope.dims()[..2] == q.dims()[..2];
        check.shape("q_rope", q_rope, fits, "[T, N, D]")?;
        let [pages, block] = [0, 1].map(|axis| latent_cache.dims()[axis]);
        check.dims("rope_cache", rope_cache, &[pages, block, q_rope.dims()[2]], "[P, block, D]")?;
        let named =
            [("q", q), ("q_rope", q_rope), ("latent_cache", latent_cache), ("rope_cache", rope_cache)];
        self.attend().check(&named)
    }

    fn split(&self, threads: usize) -> Split {
        self.attend().split(threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        self.attend().run(isa, split, task, scratch)
    }
}
