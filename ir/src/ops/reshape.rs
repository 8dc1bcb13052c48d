//! The same elements under another shape.

use super::{Check, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::view::ViewLayout;
use crate::{Dim, TensorType};

/// The same elements in the same order under another shape.
///
/// | value  | shape   | dtype  |
/// |--------|---------|--------|
/// | `x`    | [..]    | any    |
/// | -> `y` | `shape` | as `x` |
///
/// Errors: the numbers of elements are not certainly equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Reshape {
    /// The shape of the result.
    pub shape: Vec<Dim>,
}

impl OpDef for Reshape {
    const NAME: &'static str = "reshape";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];
    const IS_VIEW: bool = true;

    fn attrs(&self) -> Attrs {
        vec![("shape", Attr::Dims(self.shape.clone()))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Reshape { shape: attrs.dims("shape")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.at(0);
        let y = TensorType::new(x.dtype, self.shape.clone());
        if y.numel() != x.numel() || y.numel().is_invalid() {
            let reason = format!("{} elements do not fit {} of `x`", y.numel(), x.numel());
            return Err(operands.attribute("shape", reason));
        }
        Ok(vec![y])
    }

    fn views(&self, operand: &ViewLayout, results: &[TensorType]) -> Option<Vec<ViewLayout>> {
        Some(vec![operand.reshape(&results[0].shape)?])
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        Ok(vec![operands[0].pick(&shapes[0], |at| at)])
    }
}
