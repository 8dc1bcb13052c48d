//! The rectifier.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// `max(x, 0)`, element by element.
///
/// | value  | shape | dtype     |
/// |--------|-------|-----------|
/// | `x`    | [..]  | any float |
/// | -> `y` | [..]  | as `x`    |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Relu;

impl OpDef for Relu {
    const NAME: &'static str = "relu";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Relu)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        Ok(vec![operands.float(0)?.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(1))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![reference::unary(&operands[0], |x| x.max(0.0))])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Relu, vec![TensorType::new(draw.float(), draw.shape(0, 3))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Relu, &[
            (&["bool[T]"], "", "`x` is bool, expected a float type"),
        ]);
    }
}
