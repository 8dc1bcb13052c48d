//! Matrix products of many heads between tensors that lie by token.

use super::matmul::{self, dtype_attr, read_dtype};
use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// `y[m, b] = a[m, b] · b[b]`, accumulated in f32 and rounded once.
///
/// | value  | shape                            | dtype     |                     |
/// |--------|----------------------------------|-----------|---------------------|
/// | `a`    | [M, B, K], [B, M, K] if `by_batch` | any float |                   |
/// | `b`    | [B, K, N], [B, N, K] if `trans_b`  | any float |                   |
/// | -> `y` | [M, B, N]                        | `dtype`   | by default as `a`   |
///
/// Errors: `B` or `K` differ.
/// Source: CANN operator list, aclnnTransposeBatchMatMul.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransposeBatchMatmul {
    /// Whether `a` is given as [B, M, K].
    pub by_batch: bool,
    /// Whether `b` is given as [B, N, K].
    pub trans_b: bool,
    /// Element type of the result, if it is not `a`'s.
    pub dtype: Option<DType>,
}

impl OpDef for TransposeBatchMatmul {
    const NAME: &'static str = "transpose_batch_matmul";
    const OPERANDS: &'static [Operand] = &[Operand::one("a"), Operand::one("b")];

    fn attrs(&self) -> Attrs {
        let flags = [("by_batch", self.by_batch), ("trans_b", self.trans_b)];
        let flags = flags.into_iter().filter(|(_, flag)| *flag).map(|(name, _)| (name, Attr::Bool(true)));
        flags.chain(dtype_attr(self.dtype)).collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        let (by_batch, trans_b) = (attrs.flag("by_batch")?, attrs.flag("trans_b")?);
        Ok(TransposeBatchMatmul { by_batch, trans_b, dtype: read_dtype(attrs)? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (a, b) = (operands.float(0)?, operands.float(1)?);
        operands.rank(0, 3)?;
        operands.rank(1, 3)?;
        let (rows, batch) = if self.by_batch { (1, 0) } else { (0, 1) };
        let (k_axis, n_axis) = if self.trans_b { (2, 1) } else { (1, 2) };
        operands.dim(1, 0, &a.shape[batch])?;
        operands.dim(1, k_axis, &a.shape[2])?;
        let dtype = self.dtype.unwrap_or(a.dtype);
        operands.float_attribute(dtype)?;
        Ok(vec![TensorType::new(dtype, [a.shape[rows].clone(), b.shape[0].clone(), b.shape[n_axis].clone()])])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, operands[0].last() * Dim::constant(2))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [a, b] = operands else { return Ok(Vec::new()) };
        let [rows, batches, width] = shapes[0][..] else { return Ok(Vec::new()) };
        let k = a.last();
        let by_batch = |x: &Tensor, (first, second, inner): (usize, usize, usize)| {
            x.pick(&[second, first, inner], |at| {
                let (outer, at) = (at / inner, at % inner);
                (outer % first * second + outer / first) * inner + at
            })
        };
        let a = if self.by_batch { a.clone() } else { by_batch(a, (rows, batches, k)) };
        let dtype = self.dtype.unwrap_or(a.dtype);
        let product = matmul::eval(&a, b, None, self.trans_b, dtype, &[batches, rows, width]);
        Ok(vec![by_batch(&product, (batches, rows, width))])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (m, batch, k, n) = (draw.dim(), draw.dim(), draw.dim(), draw.dim());
        let (by_batch, trans_b, other) = (draw.flip(), draw.flip(), draw.float());
        let a = if by_batch { [batch.clone(), m, k.clone()] } else { [m, batch.clone(), k.clone()] };
        let b = if trans_b { [batch, n, k] } else { [batch, k, n] };
        let dtype = draw.flip().then(|| draw.float());
        let op = TransposeBatchMatmul { by_batch, trans_b, dtype };
        (op, vec![TensorType::new(draw.float(), a), TensorType::new(other, b)])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::TransposeBatchMatmul,
            &[
                (&["f32[T, 2, 4]", "f32[3, 4, 5]"], "", "`b` has size 3 along axis 0, expected 2"),
                (
                    &["f32[2, T, 4]", "f32[3, 4, 5]"],
                    "by_batch=true",
                    "`b` has size 3 along axis 0, expected 2",
                ),
                (
                    &["f32[T, 2, 4]", "f32[2, 4, 5]"],
                    "trans_b=true",
                    "`b` has size 5 along axis 2, expected 4",
                ),
                (&["f32[T, 4]", "f32[2, 4, 5]"], "", "`a` has 2 axes, expected 3"),
            ],
        );
    }
}
