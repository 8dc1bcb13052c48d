//! Rows times a factor each.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::TensorType;
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;

/// `y[.., j] = x[.., j] * factor[..]`
///
/// | value    | shape   | dtype     |                          |
/// |----------|---------|-----------|--------------------------|
/// | `x`      | [.., D] | any float |                          |
/// | `factor` | [..]    | any float | one for each row         |
/// | -> `y`   | [.., D] | as `x`    | computed in f32          |
///
/// Errors: not one factor for each row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScaleRows;

impl OpDef for ScaleRows {
    const NAME: &'static str = "scale_rows";
    const OPERANDS: &'static [Operand] = &[Operand::one("x"), Operand::one("factor")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(ScaleRows)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        operands.min_rank(0, 1)?;
        let x = operands.float(0)?;
        operands.float(1)?;
        operands.shape(1, x.leading())?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let (x, factors) = (&operands[0], operands[1].floats());
        let width = x.last().max(1);
        let data = x.floats().iter().enumerate().map(|(at, x)| x * factors[at / width]).collect();
        Ok(vec![Tensor::float(x.dtype, &x.shape, data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let x = TensorType::new(draw.float(), draw.shape(1, 3));
        let factor = TensorType::new(draw.float(), x.leading());
        (ScaleRows, vec![x, factor])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::ScaleRows, &[
            (&["f32[T, 4]", "f32[4]"], "", "`factor` has size 4 along axis 0, expected T"),
            (&["f32[]", "f32[]"], "", "`x` has 0 axes, expected at least 1"),
            (&["f32[T, 4]", "i32[T]"], "", "`factor` is i32, expected a float type"),
        ]);
    }
}
