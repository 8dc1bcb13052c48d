//! A product with a constant.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// `x * by`, element by element.
///
/// | value  | shape | dtype     |
/// |--------|-------|-----------|
/// | `x`    | [..]  | any float |
/// | -> `y` | [..]  | as `x`    |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scale {
    /// The factor.
    pub by: Float,
}

impl OpDef for Scale {
    const NAME: &'static str = "scale";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        vec![("by", Attr::Float(self.by))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Scale { by: attrs.float("by")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        Ok(vec![operands.float(0)?.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(1))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![reference::unary(&operands[0], |x| x * self.by.0)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Scale { by: draw.number() }, vec![TensorType::new(draw.float(), draw.shape(0, 3))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Scale, &[
            (&["bool[T]"], "by=2.0", "`x` is bool, expected a float type"),
            (&["f32[T]"], "by=word", "attribute `by`"),
        ]);
    }
}
