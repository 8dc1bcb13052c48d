//! Exponentials that add up to one.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// `e^x / Σ e^x` over the innermost axis, the greatest subtracted first.
///
/// | value  | shape   | dtype     |                  |
/// |--------|---------|-----------|------------------|
/// | `x`    | [.., D] | any float |                  |
/// | -> `y` | [.., D] | as `x`    | computed in f32  |
///
/// Errors: no axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Softmax;

impl OpDef for Softmax {
    const NAME: &'static str = "softmax";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Softmax)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        operands.min_rank(0, 1)?;
        Ok(vec![operands.float(0)?.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(5))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let x = &operands[0];
        let mut data = Vec::with_capacity(x.numel());
        for row in x.floats().chunks(x.last().max(1)) {
            data.extend(reference::softmax(row));
        }
        Ok(vec![Tensor::float(x.dtype, &x.shape, data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Softmax, vec![TensorType::new(draw.float(), draw.shape(1, 3))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::Softmax,
            &[
                (&["i32[T]"], "", "`x` is i32, expected a float type"),
                (&["f32[]"], "", "`x` has 0 axes, expected at least 1"),
            ],
        );
    }
}
