//! Rotary position embedding with tables that are spelled out.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// `x * cos + turned(x) * sin`, where the tables have a value for every element of a head.
///
/// | value  | shape     | dtype     |                                                              |
/// |--------|-----------|-----------|--------------------------------------------------------------|
/// | `x`    | [T, N, D] | any float | queries or keys, D even                                      |
/// | `cos`  | [T, D]    | as `x`    | the two elements of a pair have the same value, as a rule    |
/// | `sin`  | [T, D]    | as `x`    |                                                              |
/// | -> `y` | [T, N, D] | as `x`    |                                                              |
///
/// `turned` puts `-b, a` where a pair `a, b` was: elements j and j + D/2, with `interleaved` 2j and 2j + 1.
///
/// Errors: the tables are not those of `x`; D is odd.
/// Source: HF `modeling_llama.py`, `apply_rotary_pos_emb`; `aclnnRotaryPositionEmbedding`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ApplyRotary {
    /// Whether neighbours are paired.
    pub interleaved: bool,
}

impl OpDef for ApplyRotary {
    const NAME: &'static str = "apply_rotary";
    const OPERANDS: &'static [Operand] = &[Operand::one("x"), Operand::one("cos"), Operand::one("sin")];

    fn attrs(&self) -> Attrs {
        if self.interleaved { vec![("interleaved", Attr::Bool(true))] } else { Vec::new() }
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(ApplyRotary { interleaved: attrs.flag("interleaved")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.rank(0, 3)?;
        operands.of_dtype(1, x.dtype)?;
        let table = [x.shape[0].clone(), x.shape[2].clone()];
        operands.shape(1, &table)?;
        operands.same_type(2, 1)?;
        let width = x.shape[2].clone();
        if width.modulo(2) != Dim::ZERO {
            operands.dim(0, 2, &(width.floor_div(2) * Dim::constant(2)))?;
        }
        Ok(vec![x.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(3))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, cos, sin] = operands else { return Ok(Vec::new()) };
        let (heads, width) = (x.shape[1].max(1), x.shape[2]);
        let mut data = x.floats().to_vec();
        for (index, head) in data.chunks_mut(width.max(1)).enumerate() {
            let table = |of: &Tensor, j: usize| of.floats()[index / heads * width + j];
            for pair in 0..width / 2 {
                let (i, j) = if self.interleaved { (2 * pair, 2 * pair + 1) } else { (pair, pair + width / 2) };
                let (a, b) = (head[i], head[j]);
                head[i] = a * table(cos, i) - b * table(sin, i);
                head[j] = b * table(cos, j) + a * table(sin, j);
            }
        }
        Ok(vec![Tensor::float(x.dtype, &x.shape, data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, tokens, half) = (draw.float(), draw.dim(), draw.below(4));
        let table = TensorType::new(dtype, [tokens.clone(), Dim::from(2 * half)]);
        let x = TensorType::new(dtype, [tokens, draw.dim(), Dim::from(2 * half)]);
        (ApplyRotary { interleaved: draw.flip() }, vec![x, table.clone(), table])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::ApplyRotary, &[
            (&["f16[T, 2, 6]", "f16[T, 3]", "f16[T, 3]"], "", "`cos` has size 3 along axis 1, expected 6"),
            (&["f16[T, 2, 6]", "f32[T, 6]", "f32[T, 6]"], "", "`cos` is f32, expected f16"),
            (&["f16[T, 2, 5]", "f16[T, 5]", "f16[T, 5]"], "", "`x` has size 5 along axis 2, expected 4"),
        ]);
    }
}
