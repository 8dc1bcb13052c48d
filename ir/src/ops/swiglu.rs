//! SiLU of the gate times the up projection.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// `silu(gate) * up`, rounded once.
///
/// | value  | shape   | dtype     |
/// |--------|---------|-----------|
/// | `gate` | [.., I] | any float |
/// | `up`   | [.., I] | as `gate` |
/// | -> `y` | [.., I] | as `gate` |
///
/// Source: Shazeer, 2020 (arXiv:2002.05202).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Swiglu;

impl OpDef for Swiglu {
    const NAME: &'static str = "swiglu";
    const OPERANDS: &'static [Operand] = &[Operand::one("gate"), Operand::one("up")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Swiglu)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        operands.float(0)?;
        operands.same_type(1, 0)?;
        Ok(vec![operands.at(0).clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(5))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [gate, up] = operands else { return Ok(Vec::new()) };
        Ok(vec![reference::binary(gate, up, &shapes[0], |gate, up| reference::silu(gate) * up)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let gate = TensorType::new(draw.float(), draw.shape(0, 3));
        (Swiglu, vec![gate.clone(), gate])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Swiglu, &[
            (&["f32[T, 4]", "f32[4]"], "", "`up` has 1 axes, expected 2"),
            (&["f32[T, 4]", "f16[T, 4]"], "", "`up` is f16, expected f32"),
        ]);
    }
}
