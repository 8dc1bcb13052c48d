//! Zeros behind the elements of the innermost axis.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// `x` with zeros behind each row, up to `size`.
///
/// | value  | shape       | dtype     |
/// |--------|-------------|-----------|
/// | `x`    | [.., W]     | any float |
/// | -> `y` | [.., size]  | as `x`    |
///
/// Errors: W is no number, or above `size`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pad {
    /// The innermost axis of the result.
    pub size: u32,
}

impl OpDef for Pad {
    const NAME: &'static str = "pad";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        vec![("size", Attr::Int(i64::from(self.size)))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Pad { size: attrs.size("size")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 1)?;
        if self.size == 0 || x.last().as_const().is_none_or(|width| width > i64::from(self.size)) {
            return Err(operands.attribute("size", format!("is {}, the rows are {} wide", self.size, x.last())));
        }
        let mut shape = x.leading().to_vec();
        shape.push(Dim::from(self.size));
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x] = operands else { return Ok(Vec::new()) };
        let (width, size) = (x.last(), self.size as usize);
        let mut data = vec![0.0; shapes[0].iter().product()];
        if width > 0 {
            for (y, x) in data.chunks_mut(size).zip(x.floats().chunks(width)) {
                y[..width].copy_from_slice(x);
            }
        }
        Ok(vec![Tensor::float(x.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (mut shape, width) = (draw.shape(0, 2), draw.below(6));
        shape.push(Dim::from(width));
        (Pad { size: (width + draw.below(4)).max(1) as u32 }, vec![TensorType::new(draw.float(), shape)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Pad, &[
            (&["f16[T, 6]"], "size=5", "`size`: is 5, the rows are 6 wide"),
            (&["f16[T, B]"], "size=5", "`size`: is 5, the rows are B wide"),
        ]);
    }
}
