//! How often each number occurs.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// `y[e]` is how many of `ids` are `e`.
///
/// | value  | shape  | dtype |                |
/// |--------|--------|-------|----------------|
/// | `ids`  | [..]   | i32   | `0 <= v < size` |
/// | -> `y` | \[size\] | i32   |                |
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bincount {
    /// One more than the greatest number there may be.
    pub size: u32,
}

impl OpDef for Bincount {
    const NAME: &'static str = "bincount";
    const OPERANDS: &'static [Operand] = &[Operand::of("ids", Domain::ResultRows)];

    fn attrs(&self) -> Attrs {
        vec![("size", Attr::Int(i64::from(self.size)))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Bincount { size: attrs.size("size")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        operands.of_dtype(0, DType::I32)?;
        Ok(vec![TensorType::new(DType::I32, [Dim::from(self.size)])])
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let mut counts = vec![0; self.size as usize];
        for id in operands[0].ints() {
            let count = usize::try_from(*id).ok().and_then(|id| counts.get_mut(id));
            *count.ok_or(EvalError::Domain { operand: "ids", value: *id })? += 1;
        }
        Ok(vec![Tensor::int(DType::I32, &shapes[0], counts)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Bincount { size: 1 + draw.below(7) as u32 }, vec![TensorType::new(DType::I32, draw.shape(0, 2))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Bincount, &[
            (&["i64[T]"], "size=4", "`ids` is i64, expected i32"),
            (&["i32[T]"], "size=0", "attribute `size`: expected an integer from 1"),
        ]);
    }
}
