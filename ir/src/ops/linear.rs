//! A linear layer as model authors write it.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{AttrError, AttrReader, Attrs};
use crate::ops::matmul;
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// `x · weightᵀ + bias`.
///
/// | value    | shape   | dtype     |                        |
/// |----------|---------|-----------|------------------------|
/// | `x`      | [.., K] | any float |                        |
/// | `weight` | [N, K]  | any float |                        |
/// | `bias?`  | \[N\]     | any float |                        |
/// | -> `y`   | [.., N] | `dtype`   | by default as `x`; accumulated in f32 |
///
/// Exists in traces only: normalisation turns it into `matmul` and `add`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Linear {
    /// Element type of the result, if it is not `x`'s.
    pub dtype: Option<DType>,
}

impl OpDef for Linear {
    const NAME: &'static str = "linear";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("x"), Operand::one("weight"), Operand::optional("bias")];

    fn attrs(&self) -> Attrs {
        matmul::dtype_attr(self.dtype).into_iter().collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Linear { dtype: matmul::read_dtype(attrs)? })
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
        let dtype = self.dtype.unwrap_or(x.dtype);
        operands.float_attribute(dtype)?;
        Ok(vec![TensorType::new(dtype, shape)])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        super::default_work(operands, results, operands[0].last() * Dim::constant(2))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let dtype = self.dtype.unwrap_or(operands[0].dtype);
        Ok(vec![matmul::eval(&operands[0], &operands[1], operands.get(2), true, dtype, &shapes[0])])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, x, width) = (draw.float(), draw.shape(1, 3), draw.dim());
        let weight = TensorType::new(draw.float(), [width.clone(), x[x.len() - 1].clone()]);
        let mut operands = vec![TensorType::new(dtype, x), weight];
        operands.extend(draw.flip().then(|| TensorType::new(dtype, [width])));
        (Linear { dtype: draw.flip().then(|| draw.float()) }, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Linear, &[
            (&["f32[T, 4]", "f32[3, 5]"], "", "`weight` has size 5 along axis 1, expected 4"),
            (&["f32[T, 4]", "f32[3, 4]", "f32[4]"], "", "`bias` has size 4 along axis 0, expected 3"),
            (&["f32[T, 4]", "i8[3, 4]"], "", "`weight` is i8"),
        ]);
    }
}
