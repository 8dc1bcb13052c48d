//! Element-wise sum.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::TensorType;
use crate::attr::{AttrError, AttrReader};
use crate::reference::{self, Tensor};

/// Adds element by element; the shape of one operand may be a suffix of the other's.
///
/// | value | shape | dtype |                                         |
/// |-------|-------|-------|-----------------------------------------|
/// | `a`   | [.., S] | any float |                                   |
/// | `b`   | \[S\]   | as `a`  | or the other way round                 |
/// | -> `y` | [.., S] | as `a` |                                      |
///
/// Errors: dtypes differ; neither shape is a suffix of the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Add;

impl OpDef for Add {
    const NAME: &'static str = "add";
    const OPERANDS: &'static [Operand] = &[Operand::one("a"), Operand::one("b")];
    const COMMUTATIVE: bool = true;

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Add)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let a = operands.float(0)?;
        operands.of_dtype(1, a.dtype)?;
        Ok(vec![TensorType::new(a.dtype, operands.broadcast()?)])
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![reference::binary(&operands[0], &operands[1], &shapes[0], |a, b| a + b)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Add, draw.broadcast())
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Add, &[
            (&["f32[T, 4]", "bf16[4]"], "", "`b` is bf16, expected f32"),
            (&["i32[T]", "i32[T]"], "", "`a` is i32, expected a float type"),
            (&["f32[T, 4]", "f32[T]"], "", "`b` has size T along axis 0, expected 4"),
            (&["f32[1]", "f32[T, 4]"], "", "`a` has size 1 along axis 0, expected 4"),
        ]);
    }
}
