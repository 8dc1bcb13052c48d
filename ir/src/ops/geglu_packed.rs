//! GELU of the first half times the second half.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// `gelu(x[.., ..I]) * x[.., I..]`, rounded once; the approximation of [`Gelu`](super::Gelu) with `tanh`.
///
/// | value  | shape    | dtype     |                                |
/// |--------|----------|-----------|--------------------------------|
/// | `x`    | [.., 2I] | any float | the gate before what it gates  |
/// | -> `y` | [.., I]  | as `x`    |                                |
///
/// Errors: no axis; the innermost is not certainly even.
/// Source: Shazeer, 2020 (arXiv:2002.05202); CANN operator list, aclnnGeGluV3.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GegluPacked {
    /// Whether it is the approximation.
    pub tanh: bool,
}

impl OpDef for GegluPacked {
    const NAME: &'static str = "geglu_packed";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        self.tanh.then_some(("tanh", Attr::Bool(true))).into_iter().collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(GegluPacked { tanh: attrs.flag("tanh")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        Ok(vec![super::swiglu_packed::first_half(&operands)?])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let flops = results[0].numel() * Dim::constant(9);
        Work { read_bytes: operands[0].bytes(), written_bytes: results[0].bytes(), flops }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let (x, half) = (&operands[0], shapes[0].last().copied().unwrap_or(0).max(1));
        let gelu = if self.tanh { reference::gelu_tanh } else { reference::gelu };
        let product = |row: &[f64]| -> Vec<f64> {
            let (gate, gated) = row.split_at(half);
            gate.iter().zip(gated).map(|(gate, x)| gelu(*gate) * x).collect()
        };
        let data = x.floats().chunks_exact(2 * half).flat_map(product).collect();
        Ok(vec![Tensor::float(x.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let mut shape = draw.shape(0, 2);
        shape.push(draw.dim() * Dim::constant(2));
        (GegluPacked { tanh: draw.flip() }, vec![TensorType::new(draw.float(), shape)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::GegluPacked,
            &[
                (&["f32[T, 5]"], "", "`x` has size 5 along axis 1, expected 4"),
                (&["f32[2, T]"], "", "`x` has size T along axis 1, expected 2*floordiv(T, 2)"),
                (&["f32[]"], "", "`x` has 0 axes, expected at least 1"),
            ],
        );
    }
}
