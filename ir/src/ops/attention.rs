//! Causal attention over a paged cache.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work, attend};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// Each new token attends to its sequence's cached tokens up to itself.
///
/// | value         | shape             | dtype     |                                                    |
/// |---------------|-------------------|-----------|----------------------------------------------------|
/// | `q`           | [T, N, D]         | any float | new tokens of all sequences, one after the other   |
/// | `k_cache`     | [P, block, K, D]  | any float | the new tokens' keys already written               |
/// | `v_cache`     | [P, block, K, Dv] | as `k_cache` |                                                 |
/// | `block_table` | [B, M]            | i32       | pages of each sequence; those that no query sees are ignored |
/// | `query_start` | [B+1]             | i32       | where each sequence's new tokens start             |
/// | `context_len` | \[B\]               | i32       | tokens of each sequence including the new          |
/// | `sinks?`      | \[N\]               | any float | a score of each head that takes part and has no value |
/// | -> `y`        | [T, N, Dv]        | as `q`    |                                                    |
///
/// Scores are `q·k * scale`, with `soft_cap` c then `c * tanh(score / c)`; softmax in f32 over keys j ≤ i, and
/// with `window` w only i - j < w. Query head h reads key head `h / (N / K)`.
///
/// Errors: sizes that do not fit; N no multiple of K.
/// Source: Vaswani et al., 2017; Kwon et al., 2023 (arXiv:2309.06180) for the paged cache; Xiao et al., 2023
/// (arXiv:2309.17453) for sinks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attention {
    /// Factor of the scores.
    pub scale: Float,
    /// How many keys a query sees at most, itself included.
    pub window: Option<u32>,
    /// Bound of the scores.
    pub soft_cap: Option<Float>,
}

impl OpDef for Attention {
    const NAME: &'static str = "attention";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("q"),
        Operand::one("k_cache"),
        Operand::one("v_cache"),
        Operand::of("block_table", Domain::PagesOf(1)),
        Operand::of("query_start", Domain::QueryStart { tokens: 0 }),
        Operand::of("context_len", Domain::ContextLen),
        Operand::optional("sinks"),
    ];

    fn attrs(&self) -> Attrs {
        let mut attrs = vec![("scale", Attr::Float(self.scale))];
        attrs.extend(self.window.map(|window| ("window", Attr::Int(i64::from(window)))));
        attrs.extend(self.soft_cap.map(|cap| ("soft_cap", Attr::Float(cap))));
        attrs
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Attention {
            scale: attrs.float("scale")?,
            window: attrs.optional_size("window")?,
            soft_cap: attrs.optional_float("soft_cap")?,
        })
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
        attend::check_tables(&operands, 3)?;
        if operands.get(6).is_some() {
            operands.float(6)?;
            operands.shape(6, &q.shape[1..2])?;
        }
        if self.window == Some(0) {
            return Err(operands.attribute("window", "is 0"));
        }
        if self.soft_cap.is_some_and(|cap| cap.0 <= 0.0) {
            return Err(operands.attribute("soft_cap", "is not positive"));
        }
        let shape = vec![q.shape[0].clone(), q.shape[1].clone(), v.shape[3].clone()];
        Ok(vec![TensorType::new(q.dtype, shape)])
    }

    /// Reads the cached context `C` once and does work for `A` pairs of query and key (symbols of the step).
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let [q, k, v, ..] = operands else { return super::default_work(operands, results, Dim::ZERO) };
        let width = k.shape[3].clone() + v.shape[3].clone();
        let context = TensorType::new(k.dtype, vec![Dim::symbol("C"), k.shape[2].clone(), width.clone()]);
        Work {
            read_bytes: q.bytes() + context.bytes(),
            written_bytes: results[0].bytes(),
            flops: Dim::symbol("A") * q.shape[1].clone() * width * Dim::constant(2),
        }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [q, k, v, block_table, query_start, context_len, ..] = operands else { return Ok(Vec::new()) };
        let (heads, width, out_width) = (q.shape[1], q.shape[2], v.shape[3]);
        let kv_heads = k.shape[2];
        let sinks = operands.get(6).map(Tensor::floats);
        let mut data = vec![0.0; shapes[0].iter().product()];
        for (at, sequence) in attend::sequences(q.shape[0], query_start, context_len)?.iter().enumerate() {
            if sequence.context < sequence.new {
                return Err(EvalError::Domain { operand: "context_len", value: sequence.context as i64 });
            }
            let oldest = |seen: usize| self.window.map_or(0, |window| seen.saturating_sub(window as usize));
            let first = oldest(sequence.seen(0));
            let slots = attend::slots(block_table, at, first..sequence.context, (k.shape[0], k.shape[1]))?;
            for (i, token) in (sequence.first..sequence.first + sequence.new).enumerate() {
                let seen = sequence.seen(i);
                let slots = &slots[oldest(seen) - first..seen - first];
                for head in 0..heads {
                    let kv_head = head / (heads / kv_heads);
                    let query = &q.floats()[(token * heads + head) * width..][..width];
                    let score = |slot: &usize| {
                        let key = &k.floats()[(slot * kv_heads + kv_head) * width..][..width];
                        let score = attend::dot(query, key) * self.scale.0;
                        self.soft_cap.map_or(score, |cap| cap.0 * (score / cap.0).tanh())
                    };
                    let scores: Vec<f64> = slots.iter().map(score).collect();
                    let y = &mut data[(token * heads + head) * out_width..][..out_width];
                    attend::weigh(y, &scores, sinks.map(|sinks| sinks[head]), |key| {
                        &v.floats()[(slots[key] * kv_heads + kv_head) * out_width..][..out_width]
                    });
                }
            }
        }
        Ok(vec![Tensor::float(q.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (q, cache) = (draw.float(), draw.float());
        let (pages, block, kv_heads) = (Dim::symbol("P"), draw.dim(), Dim::from(1 + draw.below(3)));
        let tokens = Dim::symbol("T");
        let (width, out_width, groups) = (draw.dim(), draw.dim(), draw.below(4));
        let store = |width: &Dim| {
            let shape = [pages.clone(), block.clone(), kv_heads.clone(), width.clone()];
            TensorType::new(cache, shape)
        };
        let heads = kv_heads.clone() * Dim::from(groups);
        let mut operands = vec![
            TensorType::new(q, [tokens, heads.clone(), width.clone()]),
            store(&width),
            store(&out_width),
        ];
        operands.extend(attend::tables());
        operands.extend(draw.flip().then(|| TensorType::new(draw.float(), [heads])));
        let window = draw.flip().then(|| 1 + draw.below(4) as u32);
        let soft_cap = draw.flip().then(|| draw.number());
        (Attention { scale: draw.number(), window, soft_cap }, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::Attention,
            &[
                (
                    &[
                        "f32[T, 3, 8]",
                        "f32[P, 4, 2, 8]",
                        "f32[P, 4, 2, 8]",
                        "i32[B, M]",
                        "i32[B + 1]",
                        "i32[B]",
                    ],
                    "scale=1.0",
                    "`q` has size 3 along axis 1, expected 2",
                ),
                (
                    &[
                        "f32[T, 2, 8]",
                        "f32[P, 4, B, 8]",
                        "f32[P, 4, B, 8]",
                        "i32[B, M]",
                        "i32[B + 1]",
                        "i32[B]",
                    ],
                    "scale=1.0",
                    "`q` has size 2 along axis 1, expected B",
                ),
                (
                    &["f32[T, 0, 8]", "f32[P, 4, 0, 8]", "f32[P, 4, 0, 8]", "f32[3]", "i32[B + 1]", "i32[B]"],
                    "scale=1.0",
                    "`block_table` is f32, expected i32",
                ),
                (
                    &["f32[T, B, 8]", "f32[P, 4, B, 8]", "f32[P, 4, B, 8]", "i32[B]", "i32[B + 1]", "i32[B]"],
                    "scale=1.0",
                    "`block_table` has 1 axes, expected 2",
                ),
                (
                    &[
                        "f32[T, 2, 8]",
                        "f32[P, 4, 2, 8]",
                        "f32[P, 5, 2, 8]",
                        "i32[B, M]",
                        "i32[B + 1]",
                        "i32[B]",
                    ],
                    "scale=1.0",
                    "`v_cache` has size 5 along axis 1, expected 4",
                ),
                (
                    &["f32[T, 2, 8]", "f32[P, 4, 2, 8]", "f32[P, 4, 2, 8]", "i32[B, M]", "i32[B]", "i32[B]"],
                    "scale=1.0",
                    "`query_start` has size B along axis 0, expected B + 1",
                ),
                (
                    &[
                        "f32[T, 2, 8]",
                        "f32[P, 4, 2, 8]",
                        "f32[P, 4, 2, 8]",
                        "i32[B, M]",
                        "i32[B + 1]",
                        "i32[B]",
                        "f32[3]",
                    ],
                    "scale=1.0",
                    "`sinks` has size 3 along axis 0, expected 2",
                ),
                (
                    &[
                        "f32[T, 2, 8]",
                        "f32[P, 4, 2, 8]",
                        "f32[P, 4, 2, 8]",
                        "i32[B, M]",
                        "i32[B + 1]",
                        "i32[B]",
                    ],
                    "scale=1.0, soft_cap=0",
                    "`soft_cap`: is not positive",
                ),
            ],
        );
    }
}
