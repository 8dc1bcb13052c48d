//! Attention over a paged cache in which every token stands for itself.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work, attend};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// Each new token attends to the first tokens of its own row of the block table.
///
/// | value         | shape             | dtype     |                                                    |
/// |---------------|-------------------|-----------|----------------------------------------------------|
/// | `q`           | [T, N, D]         | any float | new tokens                                         |
/// | `k_cache`     | [P, block, K, D]  | any float | the new tokens' keys already written               |
/// | `v_cache`     | [P, block, K, Dv] | as `k_cache` |                                                 |
/// | `block_table` | [T, M]            | i32       | pages of each token's sequence; those past `seen` are ignored |
/// | `seen`        | \[T\]               | i32       | how many tokens of its sequence it sees, itself included |
/// | -> `y`        | [T, N, Dv]        | as `q`    | zero where nothing is seen                         |
///
/// Scores are `q·k * scale`; softmax in f32. Query head h reads key head `h / (N / K)`. It is
/// [`Attention`](super::Attention) with sequences of one new token, for operators that know no others.
///
/// Errors: sizes that do not fit; N no multiple of K.
/// Source: Kwon et al., 2023 (arXiv:2309.06180) for the paged cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenAttention {
    /// Factor of the scores.
    pub scale: Float,
}

impl OpDef for TokenAttention {
    const NAME: &'static str = "token_attention";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("q"),
        Operand::one("k_cache"),
        Operand::one("v_cache"),
        Operand::of("block_table", Domain::PagesOf(1)),
        Operand::of("seen", Domain::ContextLen),
    ];

    fn attrs(&self) -> Attrs {
        vec![("scale", Attr::Float(self.scale))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(TokenAttention { scale: attrs.float("scale")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (q, k, v) = (operands.float(0)?, operands.float(1)?, operands.of_dtype(2, operands.at(1).dtype)?);
        operands.rank(0, 3)?;
        operands.rank(1, 4)?;
        operands.rank(2, 4)?;
        operands.dim(1, 3, &q.shape[2])?;
        (0..3).try_for_each(|axis| operands.dim(2, axis, &k.shape[axis]))?;
        if k.shape[2].as_const().is_none_or(|heads| q.shape[1].exact_div(&Dim::constant(heads)).is_none()) {
            operands.dim(0, 1, &k.shape[2])?;
        }
        operands.of_dtype(3, DType::I32)?;
        operands.rank(3, 2)?;
        operands.dim(3, 0, &q.shape[0])?;
        operands.of_dtype(4, DType::I32)?;
        operands.shape(4, &q.shape[..1])?;
        Ok(vec![TensorType::new(q.dtype, [q.shape[0].clone(), q.shape[1].clone(), v.shape[3].clone()])])
    }

    /// Reads what each token sees on its own: does work for, and reads, `A` pairs of query and key (a symbol of the
    /// step).
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let [q, k, v, ..] = operands else { return super::default_work(operands, results, Dim::ZERO) };
        let width = k.shape[3].clone() + v.shape[3].clone();
        let seen = TensorType::new(k.dtype, vec![Dim::symbol("A"), k.shape[2].clone(), width.clone()]);
        Work {
            read_bytes: q.bytes() + seen.bytes(),
            written_bytes: results[0].bytes(),
            flops: Dim::symbol("A") * q.shape[1].clone() * width * Dim::constant(2),
        }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [q, k, v, block_table, seen] = operands else { return Ok(Vec::new()) };
        let (heads, width, out_width) = (q.shape[1], q.shape[2], v.shape[3]);
        let kv_heads = k.shape[2];
        let mut data = vec![0.0; shapes[0].iter().product()];
        for (token, seen) in seen.ints().iter().enumerate() {
            let count =
                usize::try_from(*seen).map_err(|_| EvalError::Domain { operand: "seen", value: *seen })?;
            let slots = attend::slots(block_table, token, 0..count, (k.shape[0], k.shape[1]))?;
            for head in 0..heads {
                let kv_head = head / (heads / kv_heads);
                let query = &q.floats()[(token * heads + head) * width..][..width];
                let row = |cache: &[f64], slot: usize, width: usize| {
                    (slot * kv_heads + kv_head) * width..cache.len()
                };
                let score = |slot: &usize| {
                    let key = &k.floats()[row(k.floats(), *slot, width)][..width];
                    attend::dot(query, key) * self.scale.0
                };
                let scores: Vec<f64> = slots.iter().map(score).collect();
                let y = &mut data[(token * heads + head) * out_width..][..out_width];
                attend::weigh(y, &scores, None, |key| {
                    &v.floats()[row(v.floats(), slots[key], out_width)][..out_width]
                });
            }
        }
        Ok(vec![Tensor::float(q.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (q, cache) = (draw.float(), draw.float());
        let (pages, block, kv_heads) = (Dim::symbol("P"), draw.dim(), Dim::from(1 + draw.below(3)));
        let (tokens, width, out_width, groups) = (Dim::symbol("T"), draw.dim(), draw.dim(), draw.below(4));
        let store = |width: &Dim| {
            let shape = [pages.clone(), block.clone(), kv_heads.clone(), width.clone()];
            TensorType::new(cache, shape)
        };
        let heads = kv_heads.clone() * Dim::from(groups);
        let operands = vec![
            TensorType::new(q, [tokens.clone(), heads, width.clone()]),
            store(&width),
            store(&out_width),
            TensorType::new(DType::I32, [tokens.clone(), Dim::symbol("M")]),
            TensorType::new(DType::I32, [tokens]),
        ];
        (TokenAttention { scale: draw.number() }, operands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::tests::refuses;
    use crate::ops::{Attention, OpKind};

    #[test]
    fn is_attention_with_one_new_token_each() {
        let floats = |shape: &[usize], seed: usize| {
            let count: usize = shape.iter().product();
            let data = (0..count).map(|at| ((at * 7 + seed) % 11) as f64 / 4.0 - 1.0).collect();
            Tensor::float(DType::F32, shape, data)
        };
        let ints = |shape: &[usize], data: &[i64]| Tensor::int(DType::I32, shape, data.to_vec());
        let (q, k, v) = (floats(&[3, 4, 2], 1), floats(&[4, 2, 2, 2], 2), floats(&[4, 2, 2, 3], 3));
        let scale = Float(0.7);
        // A sequence of two new tokens behind one old, and one of a single token.
        let attention = Attention { scale, window: None, soft_cap: None }.eval(
            &[
                q.clone(),
                k.clone(),
                v.clone(),
                ints(&[2, 2], &[3, 1, 0, 2]),
                ints(&[3], &[0, 2, 3]),
                ints(&[2], &[3, 1]),
            ],
            &[vec![3, 4, 3]],
        );
        let tokens = [q, k, v, ints(&[3, 2], &[3, 1, 3, 1, 0, 2]), ints(&[3], &[2, 3, 1])];
        let apart = TokenAttention { scale }.eval(&tokens, &[vec![3, 4, 3]]);
        assert_eq!(apart.unwrap()[0].floats(), attention.unwrap()[0].floats());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::TokenAttention,
            &[
                (
                    &["f32[T, 3, 8]", "f32[P, 4, 2, 8]", "f32[P, 4, 2, 8]", "i32[T, M]", "i32[T]"],
                    "scale=1.0",
                    "`q` has size 3 along axis 1, expected 2",
                ),
                (
                    &["f32[T, 2, 8]", "f32[P, 4, 2, 8]", "f32[P, 4, 2, 8]", "i32[B, M]", "i32[T]"],
                    "scale=1.0",
                    "`block_table` has size B along axis 0, expected T",
                ),
                (
                    &["f32[T, 2, 8]", "f32[P, 4, 2, 8]", "f32[P, 4, 2, 8]", "i32[T, M]", "i32[B]"],
                    "scale=1.0",
                    "`seen` has size B along axis 0, expected T",
                ),
            ],
        );
    }
}
