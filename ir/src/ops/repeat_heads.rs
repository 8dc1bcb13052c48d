//! The same row for every head.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// Each row of `x`, once for each head.
///
/// | value  | shape         | dtype     |
/// |--------|---------------|-----------|
/// | `x`    | [T, D]        | any float |
/// | -> `y` | [T, heads, D] | as `x`    |
///
/// Errors: `x` is no matrix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepeatHeads {
    /// How many heads.
    pub heads: u32,
}

impl OpDef for RepeatHeads {
    const NAME: &'static str = "repeat_heads";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        vec![("heads", Attr::Int(i64::from(self.heads)))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(RepeatHeads { heads: attrs.size("heads")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.rank(0, 2)?;
        let shape = [x.shape[0].clone(), Dim::from(self.heads), x.shape[1].clone()];
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x] = operands else { return Ok(Vec::new()) };
        let width = x.last().max(1);
        let rows = x.floats().chunks(width);
        let data = rows.flat_map(|row| std::iter::repeat_n(row, self.heads as usize).flatten().copied());
        Ok(vec![Tensor::float(x.dtype, &shapes[0], data.collect())])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let x = [draw.dim(), Dim::from(draw.below(5))];
        (RepeatHeads { heads: 1 + draw.below(4) as u32 }, vec![TensorType::new(draw.float(), x)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::RepeatHeads, &[(&["f16[T, 2, 6]"], "heads=5", "`x` has 3 axes, expected 2")]);
    }
}
