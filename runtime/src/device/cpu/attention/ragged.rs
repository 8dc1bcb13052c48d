//! Attention over packed keys and values.

use super::super::error::KernelError;
use super::super::isa::Isa;
use super::super::kernel::{Check, Kernel, Split};
use super::super::pool::{Scratch, TaskResult};
use super::super::view::View;
use super::attend::Attend;
use super::keys::{Keys, Order, Rows};

/// As [`Attention`](super::Attention), with keys and values that lie one sequence after the other, and a second part of
/// keys that all heads share.
///
/// | value         | shape      | dtype                        |
/// |---------------|------------|------------------------------|
/// | `q`           | [T, N, D]  | f32, bf16, f16; D contiguous |
/// | `q_rope`      | [T, N, Dr] | as `q`; Dr contiguous        |
/// | `k`           | [C, N, D]  | f32, bf16, f16; D contiguous |
/// | `k_rope`      | [C, Dr]    | as `k`; Dr contiguous        |
/// | `v`           | [C, N, Dv] | as `k`; Dv contiguous        |
/// | `query_start` | [B+1]      | i32; gapless                 |
/// | `context_len` | `[B]`        | i32; gapless                 |
/// | -> `y`        | [T, N, Dv] | as `q`; Dv contiguous        |
///
/// A score is one sum, over D and then over Dr. A query before the first key gives zeros.
///
/// Errors: [`KernelError::Index`] for contexts that are more than C together, or query starts that do not rise from 0 to
/// at most T.
pub struct RaggedAttention<'a> {
    /// Queries.
    pub q: &'a View,
    /// Their rotated part.
    pub q_rope: &'a View,
    /// Keys of all sequences.
    pub k: &'a View,
    /// Their rotated part, of all heads.
    pub k_rope: &'a View,
    /// Values.
    pub v: &'a View,
    /// Where each sequence's new tokens start.
    pub query_start: &'a View,
    /// Tokens of each sequence, the new included.
    pub context_len: &'a View,
    /// Factor of the scores.
    pub scale: f32,
    /// Result.
    pub y: &'a View,
}

impl RaggedAttention<'_> {
    fn attend(&self) -> Attend<'_> {
        Attend {
            kernel: "ragged_attention",
            q: self.q,
            q_rope: Some(self.q_rope),
            keys: Keys {
                heads: self.k.dims()[1],
                k: Rows::packed(self.k),
                k_rope: Some(Rows::packed(self.k_rope)),
                v: Some(Rows::packed(self.v)),
                order: Order::Packed,
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

impl Kernel for RaggedAttention<'_> {
    fn check(&self) -> Result<(), KernelError> {
        let check = Check("ragged_attention");
        let RaggedAttention { q, q_rope, k, k_rope, v, .. } = *self;
        let fits = k.rank() == 3 && q.rank() == 3 && k.dims()[1..] == q.dims()[1..];
        check.shape("k", k, fits, "[C, N, D]")?;
        let fits = q_rope.rank() == 3 && q_rope.dims()[..2] == q.dims()[..2];
        check.shape("q_rope", q_rope, fits, "[T, N, Dr]")?;
        check.dims("k_rope", k_rope, &[k.dims()[0], q_rope.dims()[2]], "[C, Dr]")?;
        check.shape("v", v, v.rank() == 3 && v.dims()[..2] == k.dims()[..2], "[C, N, Dv]")?;
        self.attend().check(&[("q", q), ("q_rope", q_rope), ("k", k), ("k_rope", k_rope), ("v", v)])
    }

    fn split(&self, threads: usize) -> Split {
        self.attend().split(threads)
    }

    unsafe fn run(&self, isa: Isa, split: Split, task: usize, scratch: &mut Scratch) -> TaskResult {
        self.attend().run(isa, split, task, scratch)
    }
}
