//! Rotary embedding of neighbours, the result by halves.

use super::{Check, Draw, EvalError, OpDef, Operand, Rope, TypeError, Work, default_work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// Rotates pairs of neighbours, as [`Rope`] does with `interleaved`, and puts the first of all pairs before the second.
///
/// | value  | shape     | dtype     |                            |
/// |--------|-----------|-----------|----------------------------|
/// | `x`    | [T, N, D] | any float | queries or keys            |
/// | `cos`  | [T, D/2]  | f32       | as `rope_table` gives them |
/// | `sin`  | [T, D/2]  | f32       |                            |
/// | -> `y` | [T, N, D] | as `x`    |                            |
///
/// Errors: the tables differ or are not of D/2.
/// Source: CANN operator list, aclnnInterleaveRope; HF `modeling_deepseek_v3.py`, `apply_rotary_pos_emb_interleave`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterleaveRope;

impl OpDef for InterleaveRope {
    const NAME: &'static str = "interleave_rope";
    const OPERANDS: &'static [Operand] = &[Operand::one("x"), Operand::one("cos"), Operand::one("sin")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(InterleaveRope)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (x, cos) = (operands.float(0)?, operands.of_dtype(1, DType::F32)?);
        operands.rank(0, 3)?;
        operands.rank(1, 2)?;
        operands.dim(1, 0, &x.shape[0])?;
        operands.same_type(2, 1)?;
        if cos.shape[1].clone() * Dim::constant(2) != x.shape[2] {
            operands.dim(1, 1, &x.shape[2].floor_div(2))?;
            return Err(operands.attribute("x", format!("is {} wide, which is odd", x.shape[2])));
        }
        Ok(vec![x.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(3))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let rotated = Rope { interleaved: true }.eval(operands, shapes)?;
        Ok(rotated.iter().map(halves).collect())
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, tokens, half) = (draw.float(), draw.dim(), draw.below(4));
        let table = TensorType::new(DType::F32, [tokens.clone(), Dim::from(half)]);
        let x = TensorType::new(dtype, [tokens, draw.dim(), Dim::from(2 * half)]);
        (InterleaveRope, vec![x, table.clone(), table])
    }
}

/// The first of all neighbours along the innermost axis before the second.
pub(super) fn halves(x: &Tensor) -> Tensor {
    let (width, half) = (x.last().max(1), x.last() / 2);
    x.pick(&x.shape, |at| {
        let (row, column) = (at / width * width, at % width);
        row + if column < half { 2 * column } else { 2 * (column - half) + 1 }
    })
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::InterleaveRope,
            &[
                (
                    &["f32[T, 2, 8]", "f32[T, 3]", "f32[T, 3]"],
                    "",
                    "`cos` has size 3 along axis 1, expected 4",
                ),
                (&["f32[T, 2, 7]", "f32[T, 3]", "f32[T, 3]"], "", "is 7 wide, which is odd"),
                (&["f32[T, 2, 6]", "f16[T, 3]", "f16[T, 3]"], "", "`cos` is f16, expected f32"),
                (
                    &["f32[T, 2, 6]", "f32[T, 3]", "f32[T, 2]"],
                    "",
                    "`sin` has size 2 along axis 1, expected 3",
                ),
            ],
        );
    }
}
