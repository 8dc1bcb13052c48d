//! Whole quotients.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, TensorType};

/// `floor(x / by)`, element by element: which token a (token, expert) pair belongs to.
///
/// | value  | shape | dtype |
/// |--------|-------|-------|
/// | `x`    | [..]  | i32   |
/// | -> `y` | [..]  | i32   |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FloorDiv {
    /// The divisor.
    pub by: u32,
}

impl OpDef for FloorDiv {
    const NAME: &'static str = "floor_div";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        vec![("by", Attr::Int(i64::from(self.by)))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(FloorDiv { by: attrs.size("by")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        Ok(vec![operands.of_dtype(0, DType::I32)?.clone()])
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let data = operands[0].ints().iter().map(|x| x.div_euclid(i64::from(self.by))).collect();
        Ok(vec![Tensor::int(DType::I32, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (FloorDiv { by: 1 + draw.below(5) as u32 }, vec![TensorType::new(DType::I32, draw.shape(0, 2))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::FloorDiv, &[
            (&["f32[T]"], "by=2", "`x` is f32, expected i32"),
            (&["i32[T]"], "by=0", "attribute `by`: expected an integer from 1"),
        ]);
    }
}
