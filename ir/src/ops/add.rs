//! Element-wise sum.

use super::{Check, EvalError, OpDef, Operand, TypeError};
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
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
}
