//! The same elements under another shape.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
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

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        // `[T, 6, 4]` or something empty, with its factors regrouped.
        let shapes: &[&[&str]] = match draw.below(4) {
            0 => &[&["T", "0"], &["0"], &["0", "5"], &["3", "0", "B"], &["0", "T", "0"]],
            1 => &[&[], &["1"], &["1", "1"]],
            _ => &[
                &["T", "6", "4"],
                &["24*T"],
                &["T", "24"],
                &["6*T", "4"],
                &["1", "T", "2", "12"],
                &["T", "1", "6", "4", "1"],
                &["T", "3", "8"],
                &["2*T", "3", "4"],
                &["4", "T", "6"],
            ],
        };
        let mut shape = || -> Vec<Dim> {
            draw.pick(shapes).iter().map(|dim| dim.parse().expect("these are dims")).collect()
        };
        let (from, to) = (shape(), shape());
        (Reshape { shape: to }, vec![TensorType::new(draw.any(), from)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Reshape, &[
            (&["f32[T, 4]"], "shape=[T, 5]", "5*T elements do not fit 4*T"),
            (&["f32[T]"], "shape=[4611686018427387904, T, T]", "do not fit"),
        ]);
    }
}
