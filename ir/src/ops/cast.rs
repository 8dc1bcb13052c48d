//! Change of element type.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, bad};
use crate::reference::Tensor;
use crate::{DType, TensorType};

/// The same values as another float type, rounded to nearest, ties to even.
///
/// | value  | shape | dtype     |
/// |--------|-------|-----------|
/// | `x`    | [..]  | any float |
/// | -> `y` | [..]  | `dtype`   |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cast {
    /// The element type of the result.
    pub dtype: DType,
}

impl OpDef for Cast {
    const NAME: &'static str = "cast";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        vec![("dtype", Attr::Name(self.dtype.name().to_owned()))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        let name = attrs.name("dtype")?;
        let dtype: DType =
            name.parse().map_err(|_| bad("dtype", "a float dtype", &Attr::Name(name.to_owned())))?;
        if !dtype.is_float() {
            return Err(bad("dtype", "a float dtype", &Attr::Name(name.to_owned())));
        }
        Ok(Cast { dtype })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        operands.float_attribute(self.dtype)?;
        Ok(vec![operands.float(0)?.with_dtype(self.dtype)])
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![Tensor { dtype: self.dtype, ..operands[0].clone() }])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Cast { dtype: draw.float() }, vec![TensorType::new(draw.float(), draw.shape(0, 3))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Cast, &[
            (&["i8[T]"], "dtype=f32", "`x` is i8, expected a float type"),
            (&["f32[T]"], "dtype=i8", "`dtype`: expected a float dtype, found `i8`"),
        ]);
    }
}
