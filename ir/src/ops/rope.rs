//! Rotary position embedding.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// Rotates pairs of elements of each head by the angle of the token's position.
///
/// | value  | shape     | dtype     |                                                    |
/// |--------|-----------|-----------|----------------------------------------------------|
/// | `x`    | [T, N, D] | any float | queries or keys                                    |
/// | `cos`  | [T, R/2]  | f32       | as `rope_table` gives them; R ≤ D, the rest of     |
/// | `sin`  | [T, R/2]  | f32       | each head stays as it is                           |
/// | -> `y` | [T, N, D] | as `x`    |                                                    |
///
/// Element j pairs with j + R/2; with `interleaved`, 2j with 2j + 1. `(a, b)` becomes
/// `(a cos - b sin, b cos + a sin)`.
///
/// Errors: the tables differ or R > D.
/// Source: Su et al., 2021 (arXiv:2104.09864); HF `modeling_llama.py`, `apply_rotary_pos_emb`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rope {
    /// Whether neighbours are paired.
    pub interleaved: bool,
}

impl OpDef for Rope {
    const NAME: &'static str = "rope";
    const OPERANDS: &'static [Operand] = &[Operand::one("x"), Operand::one("cos"), Operand::one("sin")];

    fn attrs(&self) -> Attrs {
        if self.interleaved { vec![("interleaved", Attr::Bool(true))] } else { Vec::new() }
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Rope { interleaved: attrs.flag("interleaved")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.rank(0, 3)?;
        let cos = operands.of_dtype(1, DType::F32)?;
        operands.rank(1, 2)?;
        operands.dim(1, 0, &x.shape[0])?;
        operands.same_type(2, 1)?;
        let fits = match (cos.shape[1].as_const(), x.shape[2].as_const()) {
            (Some(half), Some(width)) => half.checked_mul(2).is_some_and(|rotary| rotary <= width),
            _ => cos.shape[1].clone() * Dim::constant(2) == x.shape[2],
        };
        if !fits {
            let (axis, expected) = (1, x.shape[2].floor_div(2));
            return operands.dim(1, axis, &expected).map(|()| vec![x.clone()]);
        }
        Ok(vec![x.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(3))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, cos, sin] = operands else { return Ok(Vec::new()) };
        let (heads, width, half) = (x.shape[1], x.shape[2], cos.shape[1]);
        let mut data = x.floats().to_vec();
        for (index, head) in data.chunks_mut(width.max(1)).enumerate() {
            let token = index / heads;
            for pair in 0..half {
                let (i, j) = if self.interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + half) };
                let (c, s) = (cos.floats()[token * half + pair], sin.floats()[token * half + pair]);
                (head[i], head[j]) = (head[i] * c - head[j] * s, head[j] * c + head[i] * s);
            }
        }
        Ok(vec![Tensor::float(x.dtype, &x.shape, data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, tokens, half) = (draw.float(), draw.dim(), draw.below(4));
        let table = TensorType::new(DType::F32, [tokens.clone(), Dim::from(half)]);
        let x = [tokens, draw.dim(), Dim::from(2 * half + draw.below(3))];
        (Rope { interleaved: draw.flip() }, vec![TensorType::new(dtype, x), table.clone(), table])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Rope, &[
            (&["f32[T, 2, 5]", "f32[T, 3]", "f32[T, 3]"], "", "`cos` has size 3 along axis 1, expected 2"),
            (&["f32[T, 2, 6]", "f32[T, 3]", "f32[T, 2]"], "", "`sin` has size 2 along axis 1, expected 3"),
            (&["f32[T, 2, 6]", "f16[T, 3]", "f16[T, 3]"], "", "`cos` is f16, expected f32"),
            (&["f32[T, 2, B]", "f32[T, 3]", "f32[T, 3]"], "", "expected floordiv(B, 2)"),
        ]);
    }
}
