//! The experts' results brought back to their tokens, in one pass.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// `y[t] = shared[t] + Σ_j weights[t, j] * rows[row_index[t * k + j]]`, accumulated in f32 and rounded once.
///
/// | value       | shape    | dtype     |                                               |
/// |-------------|----------|-----------|-----------------------------------------------|
/// | `rows`      | [T*k, H] | any float | results of experts, in their order            |
/// | `row_index` | \[T*k\]    | i32       | the row of each pair (t, j), pairs in order   |
/// | `weights`   | [T, k]   | any float |                                               |
/// | `shared?`   | [T, H]   | as `rows` | results of experts that all tokens share      |
/// | -> `y`      | [T, H]   | as `rows` |                                               |
///
/// Errors: sizes that do not fit.
/// Source: CANN operator list, aclnnMoeFinalizeRoutingV2.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MoeFinalizeRouting;

impl OpDef for MoeFinalizeRouting {
    const NAME: &'static str = "moe_finalize_routing";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("rows"),
        Operand::of("row_index", Domain::RowsOf(0)),
        Operand::one("weights"),
        Operand::optional("shared"),
    ];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(MoeFinalizeRouting)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (rows, weights) = (operands.float(0)?, operands.float(2)?);
        operands.rank(0, 2)?;
        operands.rank(2, 2)?;
        operands.dim(0, 0, &weights.numel())?;
        operands.of_dtype(1, DType::I32)?;
        operands.shape(1, &rows.shape[..1])?;
        let shape = [weights.shape[0].clone(), rows.shape[1].clone()];
        if operands.get(3).is_some() {
            operands.of_dtype(3, rows.dtype)?;
            operands.shape(3, &shape)?;
        }
        Ok(vec![TensorType::new(rows.dtype, shape)])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        Work { flops: operands[0].numel() * Dim::constant(2), ..default_work(operands, results, Dim::ZERO) }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [rows, row_index, weights, ..] = operands else { return Ok(Vec::new()) };
        let (width, chosen, count) = (shapes[0][1], weights.last().max(1), rows.shape[0]);
        let shared = operands.get(3).map(|shared| shared.floats().to_vec());
        let mut data = shared.unwrap_or_else(|| vec![0.0; shapes[0].iter().product()]);
        for (pair, (row, weight)) in row_index.ints().iter().zip(weights.floats()).enumerate() {
            let Some(row) = usize::try_from(*row).ok().filter(|row| *row < count) else {
                return Err(EvalError::Domain { operand: "row_index", value: *row });
            };
            let sums = &mut data[pair / chosen * width..][..width];
            sums.iter_mut().zip(&rows.floats()[row * width..]).for_each(|(sum, x)| *sum += x * weight);
        }
        Ok(vec![Tensor::float(rows.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, tokens, width, chosen) =
            (draw.float(), draw.dim(), draw.dim(), Dim::from(1 + draw.below(3)));
        let pairs = tokens.clone() * chosen.clone();
        let mut operands = vec![
            TensorType::new(dtype, [pairs.clone(), width.clone()]),
            TensorType::new(DType::I32, [pairs]),
            TensorType::new(draw.float(), [tokens.clone(), chosen]),
        ];
        operands.extend(draw.flip().then(|| TensorType::new(dtype, [tokens, width])));
        (MoeFinalizeRouting, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::MoeFinalizeRouting,
            &[
                (&["f32[T, 4]", "i32[T]", "f32[T, 2]"], "", "`rows` has size T along axis 0, expected 2*T"),
                (
                    &["f32[2*T, 4]", "i32[T]", "f32[T, 2]"],
                    "",
                    "`row_index` has size T along axis 0, expected 2*T",
                ),
                (&["f32[2*T, 4]", "i64[2*T]", "f32[T, 2]"], "", "`row_index` is i64, expected i32"),
                (
                    &["f32[2*T, 4]", "i32[2*T]", "f32[T, 2]", "f32[T, 3]"],
                    "",
                    "`shared` has size 3 along axis 1, expected 4",
                ),
            ],
        );
    }
}
