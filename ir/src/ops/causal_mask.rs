//! What a query must not see.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// A mask with 1 where the key comes after the query.
///
/// | value  | shape        | dtype |                            |
/// |--------|--------------|-------|----------------------------|
/// | -> `y` | [size, size] | u8    | 1 above the diagonal, else 0 |
///
/// Errors: `size` is 0 or above 4096.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CausalMask {
    /// Queries and keys.
    pub size: u32,
}

/// Largest mask; operators want one of 2048.
const MAX_SIZE: u32 = 4096;

impl OpDef for CausalMask {
    const NAME: &'static str = "causal_mask";
    const OPERANDS: &'static [Operand] = &[];

    fn attrs(&self) -> Attrs {
        vec![("size", Attr::Int(i64::from(self.size)))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(CausalMask { size: attrs.size("size")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        if self.size == 0 || self.size > MAX_SIZE {
            return Err(operands.attribute("size", "is 0 or above 4096"));
        }
        Ok(vec![TensorType::new(DType::U8, vec![Dim::from(self.size); 2])])
    }

    fn eval(&self, _: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let size = self.size as usize;
        let hidden = (0..size).flat_map(|query| (0..size).map(move |key| i64::from(key > query)));
        Ok(vec![Tensor::int(DType::U8, &shapes[0], hidden.collect())])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (CausalMask { size: 1 + draw.below(9) as u32 }, Vec::new())
    }
}
