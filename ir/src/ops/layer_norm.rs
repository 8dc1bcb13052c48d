//! Normalisation by mean and variance.

use super::matmul::{dtype_attr, read_dtype};
use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{self, Tensor};
use crate::{DType, Dim, TensorType};

/// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` over the innermost axis.
///
/// | value     | shape   | dtype     |                      |
/// |-----------|---------|-----------|----------------------|
/// | `x`       | [.., D] | any float |                      |
/// | `weight?` | \[D\]     | any float |                      |
/// | `bias?`   | \[D\]     | any float |                      |
/// | -> `y`    | [.., D] | `dtype`   | by default as `x`; statistics in f32 |
///
/// Errors: `weight` or `bias` is not `[D]`; `eps` negative.
/// Source: Ba et al., 2016 (arXiv:1607.06450).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: Float,
    /// Element type of `y`, if it is not `x`'s.
    pub dtype: Option<DType>,
}

impl OpDef for LayerNorm {
    const NAME: &'static str = "layer_norm";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("x"), Operand::optional("weight"), Operand::optional("bias")];

    fn attrs(&self) -> Attrs {
        [("eps", Attr::Float(self.eps))].into_iter().chain(dtype_attr(self.dtype)).collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(LayerNorm { eps: attrs.float("eps")?, dtype: read_dtype(attrs)? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 1)?;
        for index in 1..operands.len() {
            operands.float(index)?;
            operands.shape(index, &[x.last()])?;
        }
        if self.eps.0 < 0.0 {
            return Err(operands.attribute("eps", "is negative"));
        }
        Ok(vec![TensorType::new(self.dtype.unwrap_or(x.dtype), x.shape.clone())])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(8))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![reference::layer_norm(
            &operands[0],
            operands.get(1),
            operands.get(2),
            self.eps.0,
            self.dtype,
        )])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let x = TensorType::new(draw.float(), draw.shape(1, 3));
        let mut operands = vec![x.clone()];
        for _ in 0..draw.below(3) {
            operands.push(TensorType::new(draw.float(), [x.last()]));
        }
        (LayerNorm { eps: Float(1e-5), dtype: draw.flip().then(|| draw.float()) }, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::LayerNorm,
            &[
                (&["f32[T, 4]", "f32[T]"], "eps=1.0", "`weight` has size T along axis 0, expected 4"),
                (&["f32[T, 4]", "f32[4]", "f32[3]"], "eps=1.0", "`bias` has size 3 along axis 0, expected 4"),
                (&["f32[T, 4]"], "eps=-1.0", "`eps`: is negative"),
            ],
        );
    }
}
