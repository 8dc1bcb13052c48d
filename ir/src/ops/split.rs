//! One value cut into several along an axis.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::tensor_type::resolve_axis;
use crate::view::ViewLayout;
use crate::{Dim, TensorType};

/// Cuts `x` along `axis` into parts of the given sizes.
///
/// | value     | shape                      | dtype  |
/// |-----------|----------------------------|--------|
/// | `x`       | [.., Σ sizes, ..]          | any    |
/// | -> `y.i`  | [.., sizes\[i\], ..]     | as `x` |
///
/// Errors: no such axis; the sizes do not certainly add up.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Split {
    /// The axis cut; negative counts from the end.
    pub axis: i64,
    /// Sizes of the parts along the axis.
    pub sizes: Vec<Dim>,
}

impl OpDef for Split {
    const NAME: &'static str = "split";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];
    const RESULTS: &'static [&'static str] = &[];
    const IS_VIEW: bool = true;

    fn attrs(&self) -> Attrs {
        vec![("axis", Attr::Int(self.axis)), ("sizes", Attr::Dims(self.sizes.clone()))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Split { axis: attrs.int("axis")?, sizes: attrs.dims("sizes")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.at(0);
        let axis = resolve_axis(self.axis, x.rank())
            .ok_or_else(|| operands.attribute("axis", format!("`x` has {} axes", x.rank())))?;
        if self.sizes.is_empty() {
            return Err(operands.attribute("sizes", "is empty"));
        }
        let sum = self.sizes.iter().fold(Dim::ZERO, |sum, size| sum + size.clone());
        if sum != x.shape[axis] {
            let reason = format!("the parts add up to {sum}, `x` has {} along axis {axis}", x.shape[axis]);
            return Err(operands.attribute("sizes", reason));
        }
        let part = |size: &Dim| {
            let mut shape = x.shape.clone();
            shape[axis] = size.clone();
            TensorType::new(x.dtype, shape)
        };
        Ok(self.sizes.iter().map(part).collect())
    }

    fn views(&self, operand: &ViewLayout, _: &[TensorType]) -> Option<Vec<ViewLayout>> {
        let axis = resolve_axis(self.axis, operand.shape.len())?;
        let mut start = Dim::ZERO;
        let mut parts = Vec::with_capacity(self.sizes.len());
        for size in &self.sizes {
            parts.push(operand.slice(axis, &start, size));
            start = start + size.clone();
        }
        Some(parts)
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let x = &operands[0];
        let axis = resolve_axis(self.axis, x.shape.len()).unwrap_or(0);
        let inner: usize = x.shape[axis + 1..].iter().product();
        let whole = x.shape[axis] * inner;
        let mut start = 0;
        let mut parts = Vec::with_capacity(shapes.len());
        for shape in shapes {
            let width = shape[axis] * inner;
            parts.push(x.pick(shape, |at| at / width * whole + start + at % width));
            start += width;
        }
        Ok(parts)
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let mut shape = draw.shape(1, 3);
        let axis = draw.below(shape.len());
        let sizes: Vec<Dim> = (0..1 + draw.below(3)).map(|_| draw.dim()).collect();
        shape[axis] = sizes.iter().fold(Dim::ZERO, |sum, size| sum + size.clone());
        let split = Split { axis: draw.axis(axis, shape.len()), sizes };
        (split, vec![TensorType::new(draw.any(), shape)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Split, &[
            (&["f32[T, 4]"], "axis=2, sizes=[4]", "`x` has 2 axes"),
            (&["f32[T, 4]"], "axis=-9223372036854775808, sizes=[4]", "`x` has 2 axes"),
            (&["f32[T, 4]"], "axis=1, sizes=[]", "`sizes`: is empty"),
            (&["f32[T, 4]"], "axis=1, sizes=[1, 2]", "the parts add up to 3"),
        ]);
    }
}
