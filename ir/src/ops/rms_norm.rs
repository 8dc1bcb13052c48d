//! Normalisation by root mean square.

use super::matmul::{dtype_attr, read_dtype};
use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{self, Tensor};
use crate::{DType, Dim, TensorType};

/// `x / sqrt(mean(x²) + eps) * weight` over the innermost axis.
///
/// | value    | shape   | dtype     |                      |
/// |----------|---------|-----------|----------------------|
/// | `x`      | [.., D] | any float |                      |
/// | `weight` | \[D\]     | any float |                      |
/// | -> `y`   | [.., D] | `dtype`   | by default as `x`; statistics in f32 |
///
/// Errors: `weight` is not `[D]`; `eps` negative.
/// Source: Zhang and Sennrich, 2019 (arXiv:1910.07467).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: Float,
    /// Element type of `y`, if it is not `x`'s.
    pub dtype: Option<DType>,
}

impl OpDef for RmsNorm {
    const NAME: &'static str = "rms_norm";
    const OPERANDS: &'static [Operand] = &[Operand::one("x"), Operand::one("weight")];

    fn attrs(&self) -> Attrs {
        [("eps", Attr::Float(self.eps))].into_iter().chain(dtype_attr(self.dtype)).collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(RmsNorm { eps: attrs.float("eps")?, dtype: read_dtype(attrs)? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 1)?;
        operands.float(1)?;
        operands.shape(1, &[x.last()])?;
        if self.eps.0 < 0.0 {
            return Err(operands.attribute("eps", "is negative"));
        }
        Ok(vec![TensorType::new(self.dtype.unwrap_or(x.dtype), x.shape.clone())])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(4))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![reference::rms_norm(&operands[0], &operands[1], self.eps.0, self.dtype)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, x) = (draw.float(), draw.shape(1, 3));
        let weight = TensorType::new(draw.float(), [x[x.len() - 1].clone()]);
        (RmsNorm { eps: Float(1e-6), dtype: draw.flip().then(|| draw.float()) }, vec![TensorType::new(dtype, x), weight])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::RmsNorm, &[
            (&["f32[T, 4]", "f32[T]"], "eps=1.0", "`weight` has size T along axis 0, expected 4"),
            (&["f32[T, 4]", "f32[4]"], "eps=-1.0", "`eps`: is negative"),
        ]);
    }
}
