//! Causal attention over keys and values that lie one sequence after the other.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work, attend, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// Each new token attends to the keys of its sequence up to itself; a second part of keys, shared by all heads, carries
/// the positions.
///
/// | value         | shape      | dtype     |                                               |
/// |---------------|------------|-----------|-----------------------------------------------|
/// | `q`           | [T, N, D]  | any float | new tokens of all sequences                   |
/// | `q_rope`      | [T, N, Dr] | as `q`    | their rotated part                            |
/// | `k`           | [C, N, D]  | any float | all tokens of all sequences                   |
/// | `k_rope`      | [C, Dr]    | as `k`    | the rotated part of keys, one for all heads,  |
/// |               | [C, N, Dr] |           | or spelled out for each                       |
/// | `v`           | [C, N, Dv] | as `k`    |                                               |
/// | `query_start` | [B+1]      | i32       | where each sequence's new tokens start        |
/// | `context_len` | \[B\]        | i32       | tokens of each sequence; at most C together   |
/// | -> `y`        | [T, N, Dv] | as `q`    |                                               |
///
/// Scores are `(q·k + q_rope·k_rope) * scale`; softmax in f32 over keys j ≤ i; zero where there is none.
///
/// Errors: sizes that do not fit.
/// Source: DeepSeek-AI, 2024 (arXiv:2405.04434), section 2.1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RaggedAttention {
    /// Factor of the scores.
    pub scale: Float,
}

impl OpDef for RaggedAttention {
    const NAME: &'static str = "ragged_attention";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("q"),
        Operand::one("q_rope"),
        Operand::one("k"),
        Operand::one("k_rope"),
        Operand::one("v"),
        Operand::of("query_start", Domain::QueryStart { tokens: 0 }),
        Operand::of("context_len", Domain::SizesOf { operand: 2 }),
    ];

    fn attrs(&self) -> Attrs {
        vec![("scale", Attr::Float(self.scale))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(RaggedAttention { scale: attrs.float("scale")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (q, q_rope) = (operands.float(0)?, operands.of_dtype(1, operands.at(0).dtype)?);
        operands.rank(0, 3)?;
        operands.rank(1, 3)?;
        (0..2).try_for_each(|axis| operands.dim(1, axis, &q.shape[axis]))?;
        let k = operands.float(2)?;
        operands.rank(2, 3)?;
        (1..3).try_for_each(|axis| operands.dim(2, axis, &q.shape[axis]))?;
        operands.of_dtype(3, k.dtype)?;
        let (rows, heads, width) = (k.shape[0].clone(), q.shape[1].clone(), q_rope.shape[2].clone());
        if operands.at(3).rank() == 3 {
            operands.shape(3, &[rows, heads, width])?;
        } else {
            operands.shape(3, &[rows, width])?;
        }
        let v = operands.of_dtype(4, k.dtype)?;
        operands.rank(4, 3)?;
        (0..2).try_for_each(|axis| operands.dim(4, axis, &k.shape[axis]))?;
        operands.of_dtype(5, DType::I32)?;
        operands.rank(5, 1)?;
        let context_len = operands.of_dtype(6, DType::I32)?;
        operands.rank(6, 1)?;
        operands.dim(5, 0, &(context_len.shape[0].clone() + Dim::ONE))?;
        let shape = [q.shape[0].clone(), q.shape[1].clone(), v.shape[2].clone()];
        Ok(vec![TensorType::new(q.dtype, shape)])
    }

    /// Does work for `A` pairs of query and key (a symbol of the step).
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let [q, q_rope, _, _, v, ..] = operands else { return default_work(operands, results, Dim::ZERO) };
        let per_pair = q.shape[2].clone() + q_rope.shape[2].clone() + v.shape[2].clone();
        let flops = Dim::symbol("A") * q.shape[1].clone() * per_pair * Dim::constant(2);
        Work { flops, ..default_work(operands, results, Dim::ZERO) }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [q, q_rope, k, k_rope, v, query_start, context_len] = operands else { return Ok(Vec::new()) };
        let (heads, width, rope_width, out_width) = (q.shape[1], q.shape[2], q_rope.shape[2], v.shape[2]);
        let mut data = vec![0.0; shapes[0].iter().product()];
        let mut start = 0;
        for sequence in attend::sequences(q.shape[0], query_start, context_len)? {
            if sequence.context > k.shape[0] - start {
                return Err(EvalError::Domain { operand: "context_len", value: sequence.context as i64 });
            }
            for (i, token) in (sequence.first..sequence.first + sequence.new).enumerate() {
                for head in 0..heads {
                    let row = token * heads + head;
                    let query = &q.floats()[row * width..][..width];
                    let query_rope = &q_rope.floats()[row * rope_width..][..rope_width];
                    let score = |key: usize| {
                        let nope = &k.floats()[(key * heads + head) * width..][..width];
                        let row = if k_rope.shape.len() == 3 { key * heads + head } else { key };
                        let rope = &k_rope.floats()[row * rope_width..][..rope_width];
                        (attend::dot(query, nope) + attend::dot(query_rope, rope)) * self.scale.0
                    };
                    let scores: Vec<f64> = (start..start + sequence.seen(i)).map(score).collect();
                    let value = |key: usize| &v.floats()[((start + key) * heads + head) * out_width..][..out_width];
                    attend::weigh(&mut data[row * out_width..][..out_width], &scores, None, value);
                }
            }
            start += sequence.context;
        }
        Ok(vec![Tensor::float(q.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, cached, heads) = (draw.float(), draw.float(), draw.dim());
        let (width, rope, out_width) = (draw.dim(), draw.dim(), draw.dim());
        let (tokens, context, sequences) = (Dim::symbol("T"), Dim::symbol("C"), Dim::symbol("B"));
        let of = |dtype, rows: &Dim, width: &Dim| {
            TensorType::new(dtype, [rows.clone(), heads.clone(), width.clone()])
        };
        let operands = vec![
            of(dtype, &tokens, &width),
            of(dtype, &tokens, &rope),
            of(cached, &context, &width),
            TensorType::new(cached, [context.clone(), rope.clone()]),
            of(cached, &context, &out_width),
            TensorType::new(DType::I32, [sequences.clone() + Dim::ONE]),
            TensorType::new(DType::I32, [sequences]),
        ];
        (RaggedAttention { scale: draw.number() }, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        let tables = ["i32[B + 1]", "i32[B]"];
        let with = |first: [&'static str; 5]| [first.as_slice(), &tables].concat();
        refuses(OpKind::RaggedAttention, &[
            (
                &with(["f32[T, 2, 8]", "f32[B, 2, 4]", "f32[C, 2, 8]", "f32[C, 4]", "f32[C, 2, 3]"]),
                "scale=1.0",
                "`q_rope` has size B along axis 0, expected T",
            ),
            (
                &with(["f32[T, 2, 8]", "f32[T, 2, 4]", "f32[C, 1, 8]", "f32[C, 4]", "f32[C, 2, 3]"]),
                "scale=1.0",
                "`k` has size 1 along axis 1, expected 2",
            ),
            (
                &with(["f32[T, 2, 8]", "f32[T, 2, 4]", "f32[C, 2, 8]", "f32[C, 5]", "f32[C, 2, 3]"]),
                "scale=1.0",
                "`k_rope` has size 5 along axis 1, expected 4",
            ),
            (
                &with(["f32[T, 2, 8]", "f32[T, 2, 4]", "f32[C, 2, 8]", "f32[C, 4]", "f32[T, 2, 3]"]),
                "scale=1.0",
                "`v` has size T along axis 0, expected C",
            ),
        ]);
    }
}
