//! Change of element type.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, bad};
use crate::reference::Tensor;
use crate::{DType, TensorType};

/// The same values as another float type, rounded to nearest, ties to even; or as the other type of indices.
///
/// | value  | shape | dtype               |                                        |
/// |--------|-------|---------------------|----------------------------------------|
/// | `x`    | [..]  | any float, i32, i64 | integers that `dtype` holds            |
/// | -> `y` | [..]  | `dtype`             | a float of a float, i32 or i64 of those |
///
/// Errors: a float of an integer, an integer of a float.
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
        let dtype: DType = name.parse().map_err(|_| bad("dtype", EXPECTED, &Attr::Name(name.to_owned())))?;
        if !dtype.is_float() && !is_index(dtype) {
            return Err(bad("dtype", EXPECTED, &Attr::Name(name.to_owned())));
        }
        Ok(Cast { dtype })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = if is_index(self.dtype) { operands.index(0)? } else { operands.float(0)? };
        if !self.dtype.is_float() && !is_index(self.dtype) {
            return Err(operands.attribute("dtype", format!("{} is no float type, i32 or i64", self.dtype)));
        }
        Ok(vec![x.with_dtype(self.dtype)])
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let x = &operands[0];
        if self.dtype == DType::I32
            && let Some(value) = x.ints().iter().find(|value| i32::try_from(**value).is_err())
        {
            return Err(EvalError::Domain { operand: "x", value: *value });
        }
        Ok(vec![Tensor { dtype: self.dtype, ..x.clone() }])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let mut index = || if draw.flip() { DType::I32 } else { DType::I64 };
        let (to, from) = (index(), index());
        if draw.below(8) == 0 {
            return (Cast { dtype: to }, vec![TensorType::new(from, draw.shape(0, 3))]);
        }
        (Cast { dtype: draw.float() }, vec![TensorType::new(draw.float(), draw.shape(0, 3))])
    }
}

const EXPECTED: &str = "a float dtype, i32 or i64";

/// Whether indices and sizes are of this type.
fn is_index(dtype: DType) -> bool {
    matches!(dtype, DType::I32 | DType::I64)
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::Cast,
            &[
                (&["i8[T]"], "dtype=f32", "`x` is i8, expected a float type"),
                (&["i32[T]"], "dtype=f32", "`x` is i32, expected a float type"),
                (&["f32[T]"], "dtype=i32", "`x` is f32, expected i32 or i64"),
                (&["f32[T]"], "dtype=i8", "`dtype`: expected a float dtype, i32 or i64, found `i8`"),
            ],
        );
    }
}
