//! A smooth bound.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// `cap * tanh(x / cap)`, element by element: nearly `x` where it is small, never beyond `cap`.
///
/// | value  | shape | dtype     |
/// |--------|-------|-----------|
/// | `x`    | [..]  | any float |
/// | -> `y` | [..]  | as `x`    |
///
/// Source: Bello et al., 2016 (arXiv:1611.09940).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SoftCap {
    /// The bound.
    pub cap: Float,
}

impl OpDef for SoftCap {
    const NAME: &'static str = "soft_cap";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        vec![("cap", Attr::Float(self.cap))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(SoftCap { cap: attrs.float("cap")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        if self.cap.0 <= 0.0 {
            return Err(operands.attribute("cap", "is not positive"));
        }
        Ok(vec![operands.float(0)?.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(6))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![reference::unary(&operands[0], |x| self.cap.0 * (x / self.cap.0).tanh())])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (SoftCap { cap: draw.number() }, vec![TensorType::new(draw.float(), draw.shape(0, 3))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::SoftCap, &[
            (&["bool[T]"], "cap=2.0", "`x` is bool, expected a float type"),
            (&["f32[T]"], "cap=0", "`cap`: is not positive"),
        ]);
    }
}
