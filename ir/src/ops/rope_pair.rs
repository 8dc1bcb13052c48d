//! Rotary embedding of queries and keys in one pass.

use super::{Check, Draw, EvalError, OpDef, Operand, Rope, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// Rotates queries and keys as [`Rope`] does.
///
/// | value  | shape     | dtype     |                                                |
/// |--------|-----------|-----------|------------------------------------------------|
/// | `q`    | [T, N, D] | any float | queries                                        |
/// | `k`    | [T, K, E] | as `q`    | keys                                           |
/// | `cos`  | [T, R/2]  | f32       | as `rope_table` gives them; R ≤ D, R ≤ E, the  |
/// | `sin`  | [T, R/2]  | f32       | rest of each head stays as it is               |
/// | -> `q` | [T, N, D] | as `q`    |                                                |
/// | -> `k` | [T, K, E] | as `k`    |                                                |
///
/// Errors: the tables differ or R > D or R > E.
/// Source: CANN operator list, aclnnApplyRotaryPosEmbV2.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RopePair {
    /// Whether neighbours are paired.
    pub interleaved: bool,
}

impl OpDef for RopePair {
    const NAME: &'static str = "rope_pair";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("q"), Operand::one("k"), Operand::one("cos"), Operand::one("sin")];
    const RESULTS: &'static [&'static str] = &["q", "k"];

    fn attrs(&self) -> Attrs {
        self.interleaved.then_some(("interleaved", Attr::Bool(true))).into_iter().collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(RopePair { interleaved: attrs.flag("interleaved")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (q, k) = (operands.float(0)?, operands.at(1));
        operands.of_dtype(1, q.dtype)?;
        let rope = Rope { interleaved: self.interleaved };
        for x in [q, k] {
            let types = [x.clone(), operands.at(2).clone(), operands.at(3).clone()];
            rope.infer(Check::new(Self::NAME, Rope::OPERANDS, &types)?)?;
        }
        Ok(vec![q.clone(), k.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let flops = (operands[0].numel() + operands[1].numel()) * Dim::constant(3);
        Work { flops, ..default_work(operands, results, Dim::ZERO) }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [q, k, cos, sin] = operands else { return Ok(Vec::new()) };
        let rope = Rope { interleaved: self.interleaved };
        let mut both = Vec::with_capacity(2);
        for (x, shape) in [q, k].into_iter().zip(shapes) {
            both.extend(rope.eval(&[x.clone(), cos.clone(), sin.clone()], std::slice::from_ref(shape))?);
        }
        Ok(both)
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, tokens, half) = (draw.float(), draw.dim(), draw.below(4));
        let table = TensorType::new(DType::F32, [tokens.clone(), Dim::from(half)]);
        let mut x = || {
            let width = Dim::from(2 * half + draw.below(3));
            TensorType::new(dtype, [tokens.clone(), draw.dim(), width])
        };
        let (q, k) = (x(), x());
        (RopePair { interleaved: draw.flip() }, vec![q, k, table.clone(), table])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::RopePair,
            &[
                (
                    &["f32[T, 2, 6]", "f32[T, 2, 5]", "f32[T, 3]", "f32[T, 3]"],
                    "",
                    "`cos` has size 3 along axis 1, expected 2",
                ),
                (&["f32[T, 2, 6]", "f16[T, 2, 6]", "f32[T, 3]", "f32[T, 3]"], "", "`k` is f16, expected f32"),
                (
                    &["f32[T, 2, 6]", "f32[B, 2, 6]", "f32[T, 3]", "f32[T, 3]"],
                    "",
                    "`cos` has size T along axis 0, expected B",
                ),
            ],
        );
    }
}
