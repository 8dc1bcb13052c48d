//! Matrix product.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, bad};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// `a · b + bias`, accumulated in f32 and rounded once.
///
/// | value   | shape                        | dtype     |                                   |
/// |---------|------------------------------|-----------|-----------------------------------|
/// | `a`     | [.., M, K]                   | any float | one axis will do if `b` has two   |
/// | `b`     | [K, N], [N, K] if `trans_b`  | any float | shared by all leading axes, or    |
/// |         | [.., K, N], [.., N, K]       |           | with `a`'s leading axes           |
/// | `bias?` | \[N\]                          | any float |                                   |
/// | -> `y`  | [.., M, N]                   | `dtype`   | by default as `a`                 |
///
/// Errors: `K` or the leading axes differ; `bias` is not `[N]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Matmul {
    /// Whether `b` is given as [N, K], as checkpoints store linear weights.
    pub trans_b: bool,
    /// Element type of the result, if it is not `a`'s.
    pub dtype: Option<DType>,
}

impl OpDef for Matmul {
    const NAME: &'static str = "matmul";
    const OPERANDS: &'static [Operand] = &[Operand::one("a"), Operand::one("b"), Operand::optional("bias")];

    fn attrs(&self) -> Attrs {
        let trans_b = self.trans_b.then_some(("trans_b", Attr::Bool(true)));
        trans_b.into_iter().chain(dtype_attr(self.dtype)).collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Matmul { trans_b: attrs.flag("trans_b")?, dtype: read_dtype(attrs)? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (a, b) = (operands.float(0)?, operands.float(1)?);
        operands.min_rank(1, 2)?;
        let rank = b.rank();
        let (k_axis, n_axis) = if self.trans_b { (rank - 1, rank - 2) } else { (rank - 2, rank - 1) };
        operands.min_rank(0, if rank == 2 { 1 } else { rank })?;
        operands.dim(1, k_axis, &a.last())?;
        if rank > 2 {
            operands.rank(0, rank)?;
            for axis in 0..rank - 2 {
                operands.dim(1, axis, &a.shape[axis])?;
            }
        }
        let width = b.shape[n_axis].clone();
        check_bias(&operands, &width)?;
        let mut shape = a.leading().to_vec();
        shape.push(width);
        let dtype = self.dtype.unwrap_or(a.dtype);
        operands.float_attribute(dtype)?;
        Ok(vec![TensorType::new(dtype, shape)])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, operands[0].last() * Dim::constant(2))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let dtype = self.dtype.unwrap_or(operands[0].dtype);
        Ok(vec![eval(&operands[0], &operands[1], operands.get(2), self.trans_b, dtype, &shapes[0])])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (leading, m, k, n) = (draw.shape(0, 2), draw.dim(), draw.dim(), draw.dim());
        let (trans_b, shared, other) = (draw.flip(), draw.flip(), draw.float());
        let a = [leading.as_slice(), &[m, k.clone()]].concat();
        let matrix = if trans_b { [n.clone(), k] } else { [k, n.clone()] };
        let b = [if shared { &[][..] } else { &leading }, &matrix].concat();
        let mut operands = vec![TensorType::new(draw.float(), a), TensorType::new(other, b)];
        operands.extend(draw.flip().then(|| TensorType::new(other, [n])));
        (Matmul { trans_b, dtype: draw.flip().then(|| draw.float()) }, operands)
    }
}

/// The attribute `dtype`, if it is not the default.
pub(super) fn dtype_attr(dtype: Option<DType>) -> Option<(&'static str, Attr)> {
    dtype.map(|dtype| ("dtype", Attr::Name(dtype.name().to_owned())))
}

/// Reads the attribute `dtype`: a float type, if given.
pub(super) fn read_dtype(attrs: &mut AttrReader<'_>) -> Result<Option<DType>, AttrError> {
    let Some(attr) = attrs.optional("dtype") else { return Ok(None) };
    let dtype: Option<DType> = match attr {
        Attr::Name(name) => name.parse().ok(),
        Attr::Bool(_) | Attr::Int(_) | Attr::Float(_) | Attr::Dims(_) | Attr::Floats(_) => None,
    };
    match dtype {
        Some(dtype) if dtype.is_float() => Ok(Some(dtype)),
        Some(_) | None => Err(bad("dtype", "a float dtype", attr)),
    }
}

/// Operand 2, if given, must be float and `[width]`.
pub(super) fn check_bias(operands: &Check<'_>, width: &Dim) -> Result<(), TypeError> {
    if operands.get(2).is_some() {
        operands.float(2)?;
        operands.shape(2, std::slice::from_ref(width))?;
    }
    Ok(())
}

/// The product by definition.
pub(super) fn eval(
    a: &Tensor,
    b: &Tensor,
    bias: Option<&Tensor>,
    trans_b: bool,
    dtype: DType,
    shape: &[usize],
) -> Tensor {
    let (k, n) = (a.last(), shape.last().copied().unwrap_or(1));
    let rows: usize = shape.iter().rev().skip(1).product();
    let batches: usize = b.shape.iter().rev().skip(2).product();
    let rows_per_batch = if b.shape.len() > 2 { rows.checked_div(batches).unwrap_or(0) } else { rows };
    let (left, right) = (a.floats(), b.floats());
    let mut data = Vec::with_capacity(rows * n);
    for row in 0..rows {
        let matrix = row.checked_div(rows_per_batch).unwrap_or(0) * k * n;
        for column in 0..n {
            let at = |i: usize| matrix + if trans_b { column * k + i } else { i * n + column };
            let product: f64 = (0..k).map(|i| left[row * k + i] * right[at(i)]).sum();
            data.push(product + bias.map_or(0.0, |bias| bias.floats()[column]));
        }
    }
    Tensor::float(dtype, shape, data)
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Matmul, &[
            (&["f32[T, 4]", "f32[3, 4]"], "", "`b` has size 3 along axis 0, expected 4"),
            (&["f32[T, 4]", "f32[4, 3]"], "trans_b=true", "`b` has size 3 along axis 1, expected 4"),
            (&["f32[4]", "f32[2, 4, 3]"], "", "`a` has 1 axes, expected at least 3"),
            (&["f32[T, 1, 4]", "f32[B, 4, 3]"], "", "`b` has size B along axis 0, expected T"),
            (&["f32[T, 4]", "f32[4]"], "", "`b` has 1 axes, expected at least 2"),
        ]);
    }
}
