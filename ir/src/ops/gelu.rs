//! The GELU activation.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// `x * Φ(x)` with the normal distribution Φ, element by element; with `tanh` the approximation
/// `x / 2 * (1 + tanh(√(2/π) * (x + 0.044715 x³)))`.
///
/// | value  | shape | dtype     |
/// |--------|-------|-----------|
/// | `x`    | [..]  | any float |
/// | -> `y` | [..]  | as `x`    |
///
/// Source: Hendrycks and Gimpel, 2016 (arXiv:1606.08415).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gelu {
    /// Whether it is the approximation.
    pub tanh: bool,
}

impl OpDef for Gelu {
    const NAME: &'static str = "gelu";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        self.tanh.then_some(("tanh", Attr::Bool(true))).into_iter().collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Gelu { tanh: attrs.flag("tanh")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        Ok(vec![operands.float(0)?.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(8))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let function = if self.tanh { reference::gelu_tanh } else { reference::gelu };
        Ok(vec![reference::unary(&operands[0], function)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        (Gelu { tanh: draw.flip() }, vec![TensorType::new(draw.float(), draw.shape(0, 3))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Gelu, &[
            (&["bool[T]"], "", "`x` is bool, expected a float type"),
            (&["f32[T]"], "tanh=1", "attribute `tanh`: expected true or false"),
        ]);
    }
}
