//! Residual add and normalisation by mean and variance, in one pass.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// Adds the residual and normalises by mean and variance, in one pass over memory.
///
/// | value    | shape   | dtype     |                                      |
/// |----------|---------|-----------|--------------------------------------|
/// | `x`, `r` | [.., D] | any float | hidden states and residual           |
/// | `weight` | \[D\]     | any float |                                      |
/// | `bias`   | \[D\]     | any float |                                      |
/// | -> `y`   | [.., D] | as `x`    | normalised `h`; statistics in f32    |
/// | -> `h`   | [.., D] | as `x`    | `x + r`, rounded once                |
///
/// Errors: `r` is not of `x`'s type; `weight` or `bias` is not `[D]`; `eps` negative.
/// Source: CANN operator list, aclnnAddLayerNorm.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddLayerNorm {
    /// Added to the variance.
    pub eps: Float,
}

impl OpDef for AddLayerNorm {
    const NAME: &'static str = "add_layer_norm";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("x"), Operand::one("r"), Operand::one("weight"), Operand::one("bias")];
    const RESULTS: &'static [&'static str] = &["y", "h"];

    fn attrs(&self) -> Attrs {
        vec![("eps", Attr::Float(self.eps))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(AddLayerNorm { eps: attrs.float("eps")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 1)?;
        operands.same_type(1, 0)?;
        for index in 2..4 {
            operands.float(index)?;
            operands.shape(index, &[x.last()])?;
        }
        if self.eps.0 < 0.0 {
            return Err(operands.attribute("eps", "is negative"));
        }
        Ok(vec![x.clone(), x.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(9))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, r, weight, bias] = operands else { return Ok(Vec::new()) };
        let h = reference::binary(x, r, &shapes[1], |x, r| x + r);
        Ok(vec![reference::layer_norm(&h, Some(weight), Some(bias), self.eps.0, None), h])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let x = TensorType::new(draw.float(), draw.shape(1, 3));
        let mut row = || TensorType::new(draw.float(), [x.last()]);
        let (weight, bias) = (row(), row());
        (AddLayerNorm { eps: Float(1e-5) }, vec![x.clone(), x, weight, bias])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        let row = "f32[4]";
        refuses(
            OpKind::AddLayerNorm,
            &[
                (&["f32[T, 4]", "f32[B, 4]", row, row], "eps=1.0", "`r` has size B along axis 0, expected T"),
                (&["f32[T, 4]", "f16[T, 4]", row, row], "eps=1.0", "`r` is f16, expected f32"),
                (
                    &["f32[T, 4]", "f32[T, 4]", row, "f32[3]"],
                    "eps=1.0",
                    "`bias` has size 3 along axis 0, expected 4",
                ),
                (&["f32[T, 4]", "f32[T, 4]", row, row], "eps=-1.0", "`eps`: is negative"),
            ],
        );
    }
}
