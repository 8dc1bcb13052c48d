//! Choice among groups.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError};
use crate::TensorType;
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::Tensor;
use crate::DType;

/// `y[.., g, j] = x[.., g, j]` where `g` is among `groups[..]`, else `fill`.
///
/// | value    | shape      | dtype     |                |
/// |----------|------------|-----------|----------------|
/// | `x`      | [.., G, S] | any float |                |
/// | `groups` | [.., K]    | i32       | `0 <= v < G`   |
/// | -> `y`   | [.., G, S] | as `x`    |                |
///
/// Errors: the leading axes differ.
/// Source: DeepSeek-AI, 2024 (arXiv:2405.04434), device-limited routing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeepGroups {
    /// What stands in the other groups.
    pub fill: Float,
}

impl OpDef for KeepGroups {
    const NAME: &'static str = "keep_groups";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("x"), Operand::of("groups", Domain::IndexOf { operand: 0, axis_from_end: 2 })];

    fn attrs(&self) -> Attrs {
        vec![("fill", Attr::Float(self.fill))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(KeepGroups { fill: attrs.float("fill")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 2)?;
        operands.of_dtype(1, DType::I32)?;
        operands.rank(1, x.rank() - 1)?;
        (0..x.rank() - 2).try_for_each(|axis| operands.dim(1, axis, &x.shape[axis]))?;
        Ok(vec![x.clone()])
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, groups] = operands else { return Ok(Vec::new()) };
        let [.., count, size] = x.shape.as_slice() else { return Ok(Vec::new()) };
        let row = count * size;
        let mut data = vec![self.fill.0; x.numel()];
        for (at, group) in groups.ints().iter().enumerate() {
            let Some(group) = usize::try_from(*group).ok().filter(|group| group < count) else {
                return Err(EvalError::Domain { operand: "groups", value: *group });
            };
            let first = at / groups.last() * row + group * size;
            data[first..first + size].copy_from_slice(&x.floats()[first..first + size]);
        }
        Ok(vec![Tensor::float(x.dtype, &x.shape, data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let leading = draw.shape(0, 2);
        let x = [leading.as_slice(), &[draw.dim(), draw.dim()]].concat();
        let groups = [leading.as_slice(), &[draw.dim()]].concat();
        let fill = if draw.flip() { Float(0.0) } else { Float(-448.0) };
        (KeepGroups { fill }, vec![TensorType::new(draw.float(), x), TensorType::new(DType::I32, groups)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::KeepGroups, &[
            (&["f32[T, 4, 2]", "i32[B, 2]"], "fill=0.0", "`groups` has size B along axis 0, expected T"),
            (&["f32[T, 4, 2]", "i32[T]"], "fill=0.0", "`groups` has 1 axes, expected 2"),
            (&["f32[4]", "i32[]"], "fill=0.0", "`x` has 1 axes, expected at least 2"),
            (&["f32[4, 2]", "f32[1]"], "fill=0.0", "`groups` is f32, expected i32"),
        ]);
    }
}
