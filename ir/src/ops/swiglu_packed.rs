//! SiLU of the first half times the second half.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::{self, Tensor};
use crate::{Dim, TensorType};

/// `silu(x[.., ..I]) * x[.., I..]`, rounded once.
///
/// | value  | shape    | dtype     |                                |
/// |--------|----------|-----------|--------------------------------|
/// | `x`    | [.., 2I] | any float | the gate before what it gates  |
/// | -> `y` | [.., I]  | as `x`    |                                |
///
/// Errors: no axis; the innermost is not certainly even.
/// Source: Shazeer, 2020 (arXiv:2002.05202); CANN operator list, aclnnSwiGlu.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SwigluPacked;

impl OpDef for SwigluPacked {
    const NAME: &'static str = "swiglu_packed";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(SwigluPacked)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        Ok(vec![first_half(&operands)?])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let flops = results[0].numel() * Dim::constant(5);
        Work { read_bytes: operands[0].bytes(), written_bytes: results[0].bytes(), flops }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let (x, half) = (&operands[0], shapes[0].last().copied().unwrap_or(0).max(1));
        let product = |row: &[f64]| -> Vec<f64> {
            let (gate, gated) = row.split_at(half);
            gate.iter().zip(gated).map(|(gate, x)| reference::silu(*gate) * x).collect()
        };
        let data = x.floats().chunks_exact(2 * half).flat_map(product).collect();
        Ok(vec![Tensor::float(x.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let mut shape = draw.shape(0, 2);
        shape.push(draw.dim() * Dim::constant(2));
        (SwigluPacked, vec![TensorType::new(draw.float(), shape)])
    }
}

/// The type of half of operand 0 along its innermost axis.
pub(super) fn first_half(operands: &Check<'_>) -> Result<TensorType, TypeError> {
    let x = operands.float(0)?;
    operands.min_rank(0, 1)?;
    let half = x.last().floor_div(2);
    operands.dim(0, x.rank() - 1, &(half.clone() * Dim::constant(2)))?;
    Ok(TensorType::new(x.dtype, x.leading().iter().cloned().chain([half]).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::SwigluPacked,
            &[
                (&["f32[T, 5]"], "", "`x` has size 5 along axis 1, expected 4"),
                (&["f32[2, T]"], "", "`x` has size T along axis 1, expected 2*floordiv(T, 2)"),
                (&["f32[]"], "", "`x` has 0 axes, expected at least 1"),
            ],
        );
    }
}
