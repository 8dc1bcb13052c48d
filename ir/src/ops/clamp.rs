//! Bounds from both sides.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// `min(max(x, least), greatest)`, element by element; NaN stays.
///
/// | value  | shape | dtype     |
/// |--------|-------|-----------|
/// | `x`    | [..]  | any float |
/// | -> `y` | [..]  | as `x`    |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Clamp {
    /// The lower bound.
    pub least: Float,
    /// The upper bound.
    pub greatest: Float,
}

impl OpDef for Clamp {
    const NAME: &'static str = "clamp";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        vec![("least", Attr::Float(self.least)), ("greatest", Attr::Float(self.greatest))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Clamp { least: attrs.float("least")?, greatest: attrs.float("greatest")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        if self.least.0 > self.greatest.0 {
            return Err(operands.attribute("least", "is above `greatest`"));
        }
        Ok(vec![operands.float(0)?.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(2))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![reference::unary(&operands[0], |x| if x.is_nan() { x } else { x.max(self.least.0).min(self.greatest.0) })])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Clamp { least: Float(-draw.number().0), greatest: draw.number() }, vec![TensorType::new(draw.float(), draw.shape(0, 3))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Clamp, &[
            (&["bool[T]"], "least=-1, greatest=1", "`x` is bool, expected a float type"),
            (&["f32[T]"], "least=2, greatest=1", "`least`: is above `greatest`"),
        ]);
    }
}
