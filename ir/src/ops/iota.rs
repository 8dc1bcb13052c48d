//! Consecutive numbers.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// 0, 1, 2 and so on: all positions of a table that is made once.
///
/// | value  | shape  | dtype |
/// |--------|--------|-------|
/// | -> `y` | \[size\] | i32   |
///
/// Errors: `size` is 0 or above 2^26, the longest context of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Iota {
    /// How many.
    pub size: u32,
}

impl OpDef for Iota {
    const NAME: &'static str = "iota";
    const OPERANDS: &'static [Operand] = &[];

    fn attrs(&self) -> Attrs {
        vec![("size", Attr::Int(i64::from(self.size)))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Iota { size: attrs.size("size")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        if self.size == 0 || self.size > 1 << 26 {
            return Err(operands.attribute("size", "is 0 or above 2^26"));
        }
        Ok(vec![TensorType::new(DType::I32, [Dim::from(self.size)])])
    }

    fn eval(&self, _: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![Tensor::int(DType::I32, &shapes[0], (0..i64::from(self.size)).collect())])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Iota { size: 1 + draw.below(9) as u32 }, Vec::new())
    }
}
