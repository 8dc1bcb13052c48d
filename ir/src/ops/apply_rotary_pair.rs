//! Rotary embedding of queries and keys in one pass.

use super::{ApplyRotary, Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// Rotates queries and keys as [`ApplyRotary`] does.
///
/// | value        | shape     | dtype     |                                                 |
/// |--------------|-----------|-----------|-------------------------------------------------|
/// | `q`          | [T, N, D] | any float | queries                                         |
/// | `k`          | [T, K, D] | as `q`    | keys                                            |
/// | `cos`, `sin` | [T, D]    | as `q`    | a value for every element of a head             |
/// | -> `q`       | [T, N, D] | as `q`    |                                                 |
/// | -> `k`       | [T, K, D] | as `q`    |                                                 |
///
/// Errors: the tables are not those of `q` and `k`; D is odd.
/// Source: CANN operator list, aclnnApplyRotaryPosEmbV2.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplyRotaryPair {
    /// Whether neighbours are paired.
    pub interleaved: bool,
}

impl OpDef for ApplyRotaryPair {
    const NAME: &'static str = "apply_rotary_pair";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("q"), Operand::one("k"), Operand::one("cos"), Operand::one("sin")];
    const RESULTS: &'static [&'static str] = &["q", "k"];

    fn attrs(&self) -> Attrs {
        self.interleaved.then_some(("interleaved", Attr::Bool(true))).into_iter().collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(ApplyRotaryPair { interleaved: attrs.flag("interleaved")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let [q, k, cos, sin] = [0, 1, 2, 3].map(|index| operands.at(index));
        let rotary = ApplyRotary { interleaved: self.interleaved };
        for x in [q, k] {
            let types = [x.clone(), cos.clone(), sin.clone()];
            rotary.infer(Check::new(Self::NAME, ApplyRotary::OPERANDS, &types)?)?;
        }
        Ok(vec![q.clone(), k.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let flops = (operands[0].numel() + operands[1].numel()) * Dim::constant(3);
        Work { flops, ..default_work(operands, results, Dim::ZERO) }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [q, k, cos, sin] = operands else { return Ok(Vec::new()) };
        let rotary = ApplyRotary { interleaved: self.interleaved };
        let mut both = Vec::with_capacity(2);
        for (x, shape) in [q, k].into_iter().zip(shapes) {
            both.extend(rotary.eval(&[x.clone(), cos.clone(), sin.clone()], std::slice::from_ref(shape))?);
        }
        Ok(both)
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, tokens, width) = (draw.float(), draw.dim(), Dim::from(2 * draw.below(4)));
        let table = TensorType::new(dtype, [tokens.clone(), width.clone()]);
        let mut x = || TensorType::new(dtype, [tokens.clone(), draw.dim(), width.clone()]);
        let (q, k) = (x(), x());
        (ApplyRotaryPair { interleaved: draw.flip() }, vec![q, k, table.clone(), table])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        let table = "f16[T, 6]";
        refuses(
            OpKind::ApplyRotaryPair,
            &[
                (
                    &["f16[T, 2, 6]", "f16[T, 2, 8]", table, table],
                    "",
                    "`cos` has size 6 along axis 1, expected 8",
                ),
                (&["f16[T, 2, 6]", "f32[T, 2, 6]", table, table], "", "`cos` is f16, expected f32"),
                (
                    &["f16[B, 2, 6]", "f16[T, 2, 6]", table, table],
                    "",
                    "`cos` has size T along axis 0, expected B",
                ),
            ],
        );
    }
}
