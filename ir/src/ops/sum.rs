//! Sums over the innermost axis.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::TensorType;
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;

/// `y[..] = Σ x[.., j]`
///
/// | value  | shape   | dtype     |                    |
/// |--------|---------|-----------|--------------------|
/// | `x`    | [.., D] | any float |                    |
/// | -> `y` | [..]    | as `x`    | accumulated in f32 |
///
/// Errors: no axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sum;

impl OpDef for Sum {
    const NAME: &'static str = "sum";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Sum)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        operands.min_rank(0, 1)?;
        let x = operands.float(0)?;
        Ok(vec![TensorType::new(x.dtype, x.leading())])
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let x = &operands[0];
        let width = x.last();
        let rows: usize = shapes[0].iter().product();
        let data = (0..rows).map(|row| x.floats()[row * width..(row + 1) * width].iter().sum()).collect();
        Ok(vec![Tensor::float(x.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Sum, vec![TensorType::new(draw.float(), draw.shape(1, 3))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Sum, &[
            (&["i32[T]"], "", "`x` is i32, expected a float type"),
            (&["f32[]"], "", "`x` has 0 axes, expected at least 1"),
        ]);
    }
}
