//! Elements picked by index, row by row.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// `y[.., j] = x[.., indices[.., j]]`
///
/// | value     | shape   | dtype  |              |
/// |-----------|---------|--------|--------------|
/// | `x`       | [.., D] | any    |              |
/// | `indices` | [.., K] | i32    | `0 <= v < D` |
/// | -> `y`    | [.., K] | as `x` |              |
///
/// Errors: the leading axes differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TakeAlong;

impl OpDef for TakeAlong {
    const NAME: &'static str = "take_along";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("x"), Operand::of("indices", Domain::IndexOf { operand: 0, axis_from_end: 1 })];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(TakeAlong)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (x, indices) = (operands.at(0), operands.of_dtype(1, DType::I32)?);
        operands.min_rank(0, 1)?;
        operands.rank(1, x.rank())?;
        (0..x.rank() - 1).try_for_each(|axis| operands.dim(1, axis, &x.shape[axis]))?;
        Ok(vec![TensorType::new(x.dtype, indices.shape.as_slice())])
    }

    /// Reads only the elements picked.
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let written_bytes = results[0].bytes();
        Work { read_bytes: written_bytes.clone() + operands[1].bytes(), written_bytes, flops: Dim::ZERO }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, indices] = operands else { return Ok(Vec::new()) };
        let (width, count) = (x.last(), indices.last());
        if let Some(value) = indices.ints().iter().find(|at| !usize::try_from(**at).is_ok_and(|at| at < width))
        {
            return Err(EvalError::Domain { operand: "indices", value: *value });
        }
        Ok(vec![x.pick(&shapes[0], |at| at / count * width + indices.ints()[at] as usize)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let leading = draw.shape(0, 2);
        let x = [leading.as_slice(), &[draw.dim()]].concat();
        let indices = [leading.as_slice(), &[draw.dim()]].concat();
        (TakeAlong, vec![TensorType::new(draw.any(), x), TensorType::new(DType::I32, indices)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::TakeAlong, &[
            (&["f32[T, 4]", "i32[B, 2]"], "", "`indices` has size B along axis 0, expected T"),
            (&["f32[T, 4]", "i32[T]"], "", "`indices` has 1 axes, expected 2"),
            (&["f32[T, 4]", "i64[T, 2]"], "", "`indices` is i64, expected i32"),
            (&["f32[]", "i32[]"], "", "`x` has 0 axes, expected at least 1"),
        ]);
    }
}
