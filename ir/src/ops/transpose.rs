//! Axes in another order.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, bad};
use crate::reference::Tensor;
use crate::view::ViewLayout;
use crate::{Dim, TensorType};

/// Axis `i` of the result is axis `permutation[i]` of `x`.
///
/// | value  | shape                     | dtype  |
/// |--------|---------------------------|--------|
/// | `x`    | [..]                      | any    |
/// | -> `y` | `x.shape` in that order   | as `x` |
///
/// Errors: `permutation` is none of `x`'s axes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Transpose {
    /// The axis of `x` for each axis of the result.
    pub permutation: Vec<u32>,
}

impl Transpose {
    fn axes(&self) -> Vec<usize> {
        self.permutation.iter().map(|axis| *axis as usize).collect()
    }
}

impl OpDef for Transpose {
    const NAME: &'static str = "transpose";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];
    const IS_VIEW: bool = true;

    fn attrs(&self) -> Attrs {
        vec![("permutation", Attr::Dims(self.permutation.iter().map(|axis| Dim::from(*axis)).collect()))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        let axes = attrs.ints("permutation")?;
        let permutation: Result<Vec<u32>, _> = axes.iter().map(|axis| u32::try_from(*axis)).collect();
        let given = || Attr::Dims(axes.iter().map(|axis| Dim::constant(*axis)).collect());
        Ok(Transpose {
            permutation: permutation.map_err(|_| bad("permutation", "axes from 0 on", &given()))?,
        })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.at(0);
        let mut sorted = self.axes();
        sorted.sort_unstable();
        if sorted != (0..x.rank()).collect::<Vec<_>>() {
            let reason = format!("does not name each of the {} axes of `x` once", x.rank());
            return Err(operands.attribute("permutation", reason));
        }
        let shape: Vec<Dim> = self.axes().iter().map(|axis| x.shape[*axis].clone()).collect();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn views(&self, operand: &ViewLayout, _: &[TensorType]) -> Option<Vec<ViewLayout>> {
        Some(vec![operand.permute(&self.axes())])
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let (x, axes) = (&operands[0], self.axes());
        let stride = |axis: usize| x.shape[axis + 1..].iter().product::<usize>();
        let strides: Vec<usize> = axes.iter().map(|axis| stride(*axis)).collect();
        Ok(vec![x.pick(&shapes[0], |at| {
            let mut rest = at;
            let mut index = 0;
            for (size, stride) in shapes[0].iter().zip(&strides).rev() {
                index += rest % size * stride;
                rest /= size;
            }
            index
        })])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let shape = draw.shape(0, 4);
        let mut permutation: Vec<u32> = (0..shape.len() as u32).collect();
        for at in 0..permutation.len() {
            permutation.swap(at, at + draw.below(shape.len() - at));
        }
        (Transpose { permutation }, vec![TensorType::new(draw.any(), shape)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Transpose, &[
            (&["f32[T, 4]"], "permutation=[0]", "each of the 2 axes"),
            (&["f32[T, 4]"], "permutation=[0, 0]", "each of the 2 axes"),
            (&["f32[T, 4]"], "permutation=[0, 4294967296]", "axes from 0 on"),
            (&["f32[T, 4]"], "permutation=[0, T]", "expected a list of integers"),
        ]);
    }
}
