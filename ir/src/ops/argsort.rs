//! The order of integers.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;
use crate::{DType, TensorType};

/// The permutation that puts `keys` in ascending order, equal ones as they stand.
///
/// | value    | shape | dtype |                                  |
/// |----------|-------|-------|----------------------------------|
/// | `keys`   | \[M\]   | i32   |                                  |
/// | -> `y`   | \[M\]   | i32   | `keys[y[0]] <= keys[y[1]] <= …`  |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Argsort;

impl OpDef for Argsort {
    const NAME: &'static str = "argsort";
    const OPERANDS: &'static [Operand] = &[Operand::one("keys")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Argsort)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let keys = operands.of_dtype(0, DType::I32)?;
        operands.rank(0, 1)?;
        Ok(vec![keys.clone()])
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let keys = operands[0].ints();
        let mut order: Vec<i64> = (0..keys.len() as i64).collect();
        order.sort_by_key(|at| keys[*at as usize]);
        Ok(vec![Tensor::int(DType::I32, &shapes[0], order)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Argsort, vec![TensorType::new(DType::I32, [draw.dim()])])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Argsort, &[
            (&["f32[T]"], "", "`keys` is f32, expected i32"),
            (&["i32[T, 2]"], "", "`keys` has 2 axes, expected 1"),
        ]);
    }
}
