//! Rows divided by a number each.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::TensorType;
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;

/// `y[.., j] = x[.., j] / divisor[..]`
///
/// | value     | shape   | dtype     |                  |
/// |-----------|---------|-----------|------------------|
/// | `x`       | [.., D] | any float |                  |
/// | `divisor` | [..]    | as `x`    | one for each row |
/// | -> `y`    | [.., D] | as `x`    |                  |
///
/// Errors: not one divisor for each row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DivRows;

impl OpDef for DivRows {
    const NAME: &'static str = "div_rows";
    const OPERANDS: &'static [Operand] = &[Operand::one("x"), Operand::one("divisor")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(DivRows)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 1)?;
        operands.of_dtype(1, x.dtype)?;
        operands.shape(1, x.leading())?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let (x, divisors) = (&operands[0], operands[1].floats());
        let width = x.last().max(1);
        let data = x.floats().iter().enumerate().map(|(at, x)| x / divisors[at / width]).collect();
        Ok(vec![Tensor::float(x.dtype, &x.shape, data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let x = TensorType::new(draw.float(), draw.shape(1, 3));
        let divisor = TensorType::new(x.dtype, x.leading());
        (DivRows, vec![x, divisor])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::DivRows,
            &[
                (&["f32[T, 4]", "f32[4]"], "", "`divisor` has size 4 along axis 0, expected T"),
                (&["f32[]", "f32[]"], "", "`x` has 0 axes, expected at least 1"),
                (&["f32[T, 4]", "f16[T]"], "", "`divisor` is f16, expected f32"),
            ],
        );
    }
}
