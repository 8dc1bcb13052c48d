//! Residual add and normalisation in one pass.

use super::matmul::{dtype_attr, read_dtype};
use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{self, Tensor};
use crate::{DType, Dim, TensorType};

/// Adds the residual and normalises by root mean square, in one pass over memory.
///
/// | value    | shape   | dtype     |                                    |
/// |----------|---------|-----------|------------------------------------|
/// | `x`, `r` | [.., D] | any float | hidden states and residual         |
/// | `weight` | \[D\]     | any float |                                    |
/// | -> `y`   | [.., D] | `dtype`   | normalised `h`, by default as `x`; statistics in f32 |
/// | -> `h`   | [.., D] | as `x`    | `x + r`, rounded once              |
///
/// Errors: `r` is not of `x`'s type; `weight` is not `[D]`; `eps` negative.
/// Source: CANN operator list, aclnnAddRmsNorm.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddRmsNorm {
    /// Added to the mean square.
    pub eps: Float,
    /// Element type of `y`, if it is not `x`'s.
    pub dtype: Option<DType>,
}

impl OpDef for AddRmsNorm {
    const NAME: &'static str = "add_rms_norm";
    const OPERANDS: &'static [Operand] = &[Operand::one("x"), Operand::one("r"), Operand::one("weight")];
    const RESULTS: &'static [&'static str] = &["y", "h"];

    fn attrs(&self) -> Attrs {
        [("eps", Attr::Float(self.eps))].into_iter().chain(dtype_attr(self.dtype)).collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(AddRmsNorm { eps: attrs.float("eps")?, dtype: read_dtype(attrs)? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 1)?;
        operands.same_type(1, 0)?;
        operands.float(2)?;
        operands.shape(2, &[x.last()])?;
        if self.eps.0 < 0.0 {
            return Err(operands.attribute("eps", "is negative"));
        }
        Ok(vec![TensorType::new(self.dtype.unwrap_or(x.dtype), x.shape.clone()), x.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(5))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let h = reference::binary(&operands[0], &operands[1], &shapes[1], |x, r| x + r);
        Ok(vec![reference::rms_norm(&h, &operands[2], self.eps.0, self.dtype), h])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, x) = (draw.float(), draw.shape(1, 3));
        let weight = TensorType::new(draw.float(), [x[x.len() - 1].clone()]);
        let x = TensorType::new(dtype, x);
        (AddRmsNorm { eps: Float(1e-5), dtype: draw.flip().then(|| draw.float()) }, vec![x.clone(), x, weight])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::AddRmsNorm, &[
            (&["f32[T, 4]", "f32[B, 4]", "f32[4]"], "eps=1.0", "`r` has size B along axis 0, expected T"),
            (&["f32[T, 4]", "f16[T, 4]", "f32[4]"], "eps=1.0", "`r` is f16, expected f32"),
            (&["f32[]", "f32[]", "f32[1]"], "eps=1.0", "`x` has 0 axes, expected at least 1"),
        ]);
    }
}
