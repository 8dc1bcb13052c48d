//! Rows picked by index.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// `y[i..] = table[indices[i..]]`: embedding lookup, choice of rows.
///
/// | value     | shape    | dtype    |                     |
/// |-----------|----------|----------|---------------------|
/// | `table`   | [V, ..S] | any      |                     |
/// | `indices` | [..I]    | i32, i64 | `0 <= v < V`        |
/// | -> `y`    | [..I, ..S] | as `table` |                 |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gather;

impl OpDef for Gather {
    const NAME: &'static str = "gather";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("table"), Operand::of("indices", Domain::RowsOf(0))];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Gather)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        operands.min_rank(0, 1)?;
        let (table, indices) = (operands.at(0), operands.index(1)?);
        let shape: Vec<Dim> = indices.shape.iter().chain(&table.shape[1..]).cloned().collect();
        Ok(vec![TensorType::new(table.dtype, shape)])
    }

    /// Reads only the rows picked.
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let written_bytes = results[0].bytes();
        Work { read_bytes: written_bytes.clone() + operands[1].bytes(), written_bytes, flops: Dim::ZERO }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [table, indices] = operands else { return Ok(Vec::new()) };
        let (row, rows) = (table.row(), table.shape[0]);
        for value in indices.ints() {
            if !usize::try_from(*value).is_ok_and(|index| index < rows) {
                return Err(EvalError::Domain { operand: "indices", value: *value });
            }
        }
        Ok(vec![table.pick(&shapes[0], |at| indices.ints()[at / row] as usize * row + at % row)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let index = if draw.flip() { DType::I32 } else { DType::I64 };
        let table = TensorType::new(draw.any(), draw.shape(1, 3));
        (Gather, vec![table, TensorType::new(index, draw.shape(0, 2))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Gather, &[
            (&["f32[]", "i32[T]"], "", "`table` has 0 axes"),
            (&["f32[5]", "f32[T]"], "", "`indices` is f32, expected i32 or i64"),
            (&["i8[1, 4611686018427387904]", "i32[2]"], "", "overflows"),
        ]);
    }
}
