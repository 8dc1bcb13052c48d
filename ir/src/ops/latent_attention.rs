//! Causal attention over a paged cache of latents.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work, attend, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// Attention whose keys and values are the cached latents themselves, shared by all heads, with a second part of keys
/// that carries the positions.
///
/// | value          | shape          | dtype             |                                                    |
/// |----------------|----------------|-------------------|----------------------------------------------------|
/// | `q`            | [T, N, R]      | any float         | queries brought into the space of latents          |
/// | `q_rope`       | [T, N, D]      | as `q`            | their rotated part                                 |
/// | `latent_cache` | [P, block, R]  | any float         | the new tokens' latents already written            |
/// | `rope_cache`   | [P, block, D]  | as `latent_cache` | the rotated part of keys, one for all heads        |
/// | `block_table`  | [B, M]         | i32               | pages of each sequence; those past its end ignored |
/// | `query_start`  | [B+1]          | i32               | where each sequence's new tokens start             |
/// | `context_len`  | \[B\]            | i32               | tokens of each sequence including the new          |
/// | -> `y`         | [T, N, R]      | as `q`            | latents, weighted                                  |
///
/// Scores are `(q·latent + q_rope·rope) * scale`; softmax in f32 over keys j ≤ i.
///
/// Errors: sizes that do not fit.
/// Source: DeepSeek-AI, 2024 (arXiv:2405.04434), section 2.1, with the up-projections absorbed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LatentAttention {
    /// Factor of the scores.
    pub scale: Float,
}

impl OpDef for LatentAttention {
    const NAME: &'static str = "latent_attention";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("q"),
        Operand::one("q_rope"),
        Operand::one("latent_cache"),
        Operand::one("rope_cache"),
        Operand::of("block_table", Domain::PagesOf(2)),
        Operand::of("query_start", Domain::QueryStart { tokens: 0 }),
        Operand::of("context_len", Domain::ContextLen),
    ];

    fn attrs(&self) -> Attrs {
        vec![("scale", Attr::Float(self.scale))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(LatentAttention { scale: attrs.float("scale")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (q, q_rope) = (operands.float(0)?, operands.of_dtype(1, operands.at(0).dtype)?);
        operands.rank(0, 3)?;
        operands.rank(1, 3)?;
        (0..2).try_for_each(|axis| operands.dim(1, axis, &q.shape[axis]))?;
        let latent = operands.float(2)?;
        operands.rank(2, 3)?;
        operands.dim(2, 2, &q.shape[2])?;
        operands.of_dtype(3, latent.dtype)?;
        operands.shape(3, &[latent.shape[0].clone(), latent.shape[1].clone(), q_rope.shape[2].clone()])?;
        attend::check_tables(&operands, 4)?;
        Ok(vec![q.clone()])
    }

    /// Reads the cached context `C` once and does work for `A` pairs of query and key (symbols of the step).
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let [q, q_rope, latent, ..] = operands else { return default_work(operands, results, Dim::ZERO) };
        let (width, rope) = (q.shape[2].clone(), q_rope.shape[2].clone());
        let context = TensorType::new(latent.dtype, [Dim::symbol("C"), width.clone() + rope.clone()]);
        let per_pair = width * Dim::constant(2) + rope;
        Work {
            read_bytes: q.bytes() + q_rope.bytes() + context.bytes(),
            written_bytes: results[0].bytes(),
            flops: Dim::symbol("A") * q.shape[1].clone() * per_pair * Dim::constant(2),
        }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [q, q_rope, latent, rope, block_table, query_start, context_len] = operands else {
            return Ok(Vec::new());
        };
        let (heads, width, rope_width) = (q.shape[1], q.shape[2], q_rope.shape[2]);
        let mut data = vec![0.0; shapes[0].iter().product()];
        for (at, sequence) in attend::sequences(q.shape[0], query_start, context_len)?.iter().enumerate() {
            if sequence.context < sequence.new {
                return Err(EvalError::Domain { operand: "context_len", value: sequence.context as i64 });
            }
            let slots =
                attend::slots(block_table, at, 0..sequence.context, (latent.shape[0], latent.shape[1]))?;
            for (i, token) in (sequence.first..sequence.first + sequence.new).enumerate() {
                let slots = &slots[..sequence.seen(i)];
                for row in token * heads..(token + 1) * heads {
                    let query = &q.floats()[row * width..][..width];
                    let query_rope = &q_rope.floats()[row * rope_width..][..rope_width];
                    let score = |slot: &usize| {
                        let key = &latent.floats()[slot * width..][..width];
                        let key_rope = &rope.floats()[slot * rope_width..][..rope_width];
                        (attend::dot(query, key) + attend::dot(query_rope, key_rope)) * self.scale.0
                    };
                    let scores: Vec<f64> = slots.iter().map(score).collect();
                    let value = |key: usize| &latent.floats()[slots[key] * width..][..width];
                    attend::weigh(&mut data[row * width..][..width], &scores, None, value);
                }
            }
        }
        Ok(vec![Tensor::float(q.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, cache, block) = (draw.float(), draw.float(), draw.dim());
        let (heads, width, rope) = (draw.dim(), draw.dim(), draw.dim());
        let store = |width: &Dim| TensorType::new(cache, [Dim::symbol("P"), block.clone(), width.clone()]);
        let query = |width: &Dim| TensorType::new(dtype, [Dim::symbol("T"), heads.clone(), width.clone()]);
        let mut operands = vec![query(&width), query(&rope), store(&width), store(&rope)];
        operands.extend(attend::tables());
        (LatentAttention { scale: draw.number() }, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        let tables = ["i32[B, M]", "i32[B + 1]", "i32[B]"];
        let with = |first: [&'static str; 4]| [first.as_slice(), &tables].concat();
        refuses(
            OpKind::LatentAttention,
            &[
                (
                    &with(["f32[T, 2, 8]", "f32[T, 3, 4]", "f32[P, 4, 8]", "f32[P, 4, 4]"]),
                    "scale=1.0",
                    "`q_rope` has size 3 along axis 1, expected 2",
                ),
                (
                    &with(["f32[T, 2, 8]", "f32[T, 2, 4]", "f32[P, 4, 7]", "f32[P, 4, 4]"]),
                    "scale=1.0",
                    "`latent_cache` has size 7 along axis 2, expected 8",
                ),
                (
                    &with(["f32[T, 2, 8]", "f32[T, 2, 4]", "f32[P, 4, 8]", "f32[P, 5, 4]"]),
                    "scale=1.0",
                    "`rope_cache` has size 5 along axis 1, expected 4",
                ),
                (
                    &with(["f32[T, 2, 8]", "bf16[T, 2, 4]", "f32[P, 4, 8]", "f32[P, 4, 4]"]),
                    "scale=1.0",
                    "`q_rope` is bf16, expected f32",
                ),
            ],
        );
    }
}
