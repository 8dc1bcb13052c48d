//! Element-wise sum of three values.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// `(x + r) + s`, element by element.
///
/// | value    | shape | dtype     |
/// |----------|-------|-----------|
/// | `x`      | [..]  | any float |
/// | `r`, `s` | [..]  | as `x`    |
/// | -> `y`   | [..]  | as `x`    |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct AddAdd;

impl OpDef for AddAdd {
    const NAME: &'static str = "add_add";
    const OPERANDS: &'static [Operand] = &[Operand::one("x"), Operand::one("r"), Operand::one("s")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(AddAdd)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        for other in [1, 2] {
            operands.of_dtype(other, x.dtype)?;
            operands.shape(other, &x.shape)?;
        }
        Ok(vec![x.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(2))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, r, s] = operands else { return Ok(Vec::new()) };
        let pairs = r.floats().iter().zip(s.floats());
        let data = x.floats().iter().zip(pairs).map(|(x, (r, s))| x + r + s).collect();
        Ok(vec![Tensor::float(x.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let x = TensorType::new(draw.float(), draw.shape(0, 3));
        (AddAdd, vec![x.clone(), x.clone(), x])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::AddAdd,
            &[
                (&["f32[T]", "f32[T]", "f16[T]"], "", "`s` is f16, expected f32"),
                (&["f32[T, 4]", "f32[4]", "f32[T, 4]"], "", "`r` has 1 axes, expected 2"),
            ],
        );
    }
}
