//! Rotary embedding of neighbours, the result by halves.

use super::{ApplyRotary, Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// Puts the first of all neighbours before the second, then rotates pairs of elements j and j + D/2 as [`ApplyRotary`]
/// does.
///
/// | value        | shape     | dtype     |                                                      |
/// |--------------|-----------|-----------|------------------------------------------------------|
/// | `x`          | [T, N, D] | any float | queries or keys, D even                              |
/// | `cos`, `sin` | [T, D]    | as `x`    | a value for every element of the result              |
/// | -> `y`       | [T, N, D] | as `x`    |                                                      |
///
/// Errors: the tables are not those of `x`; D is odd.
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
        ApplyRotary { interleaved: false }.infer(operands)
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(3))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, cos, sin] = operands else { return Ok(Vec::new()) };
        ApplyRotary { interleaved: false }.eval(&[halves(x), cos.clone(), sin.clone()], shapes)
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, tokens, width) = (draw.float(), draw.dim(), Dim::from(2 * draw.below(4)));
        let table = TensorType::new(dtype, [tokens.clone(), width.clone()]);
        (InterleaveRope, vec![TensorType::new(dtype, [tokens, draw.dim(), width]), table.clone(), table])
    }
}

/// The first of all neighbours along the innermost axis before the second.
fn halves(x: &Tensor) -> Tensor {
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
                    &["f32[T, 2, 8]", "f32[T, 4]", "f32[T, 4]"],
                    "",
                    "`cos` has size 4 along axis 1, expected 8",
                ),
                (&["f32[T, 2, 7]", "f32[T, 7]", "f32[T, 7]"], "", "`x` has size 7 along axis 2, expected 6"),
                (&["f32[T, 2, 6]", "f16[T, 6]", "f16[T, 6]"], "", "`cos` is f16, expected f32"),
            ],
        );
    }
}
