//! A linear layer as model authors write it.

use super::{Check, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{AttrError, AttrReader};
use crate::ops::matmul;
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// `x · weightᵀ + bias`.
///
/// | value    | shape   | dtype     |                        |
/// |----------|---------|-----------|------------------------|
/// | `x`      | [.., K] | any float |                        |
/// | `weight` | [N, K]  | any float |                        |
/// | `bias?`  | [N]     | any float |                        |
/// | -> `y`   | [.., N] | as `x`    | accumulated in f32     |
///
/// Exists in traces only: normalisation turns it into `matmul` and `add`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Linear;

impl OpDef for Linear {
    const NAME: &'static str = "linear";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("x"), Operand::one("weight"), Operand::optional("bias")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Linear)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 1)?;
        let weight = operands.float(1)?;
        operands.rank(1, 2)?;
        operands.dim(1, 1, &x.last())?;
        let width = weight.shape[0].clone();
        matmul::check_bias(&operands, &width)?;
        let mut shape = x.leading().to_vec();
        shape.push(width);
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        super::default_work(operands, results, operands[0].last() * Dim::constant(2))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![matmul::eval(&operands[0], &operands[1], operands.get(2), true, &shapes[0])])
    }
}
