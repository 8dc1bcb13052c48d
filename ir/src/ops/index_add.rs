//! Rows summed by where they belong.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, default_work, Work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// `y[r] = Σ x[m]` over the m with `index[m] = r`, in order of m; accumulated in f32 and rounded once.
///
/// | value   | shape      | dtype     |               |
/// |---------|------------|-----------|---------------|
/// | `x`     | [M, ..S]   | any float |               |
/// | `index` | \[M\]        | i32       | `0 <= v < rows` |
/// | -> `y`  | [rows, ..S] | as `x`   | zero where nothing belongs |
///
/// Errors: not one index for each row.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IndexAdd {
    /// Size of the result's axis 0.
    pub rows: Dim,
}

impl OpDef for IndexAdd {
    const NAME: &'static str = "index_add";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("x"), Operand::of("index", Domain::ResultRows)];

    fn attrs(&self) -> Attrs {
        vec![("rows", Attr::Dims(vec![self.rows.clone()]))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(IndexAdd { rows: attrs.dim("rows")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 1)?;
        operands.of_dtype(1, DType::I32)?;
        operands.shape(1, &x.shape[..1])?;
        let mut shape = x.shape.clone();
        shape[0] = self.rows.clone();
        Ok(vec![TensorType::new(x.dtype, shape)])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        Work { flops: operands[0].numel(), ..default_work(operands, results, Dim::ZERO) }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, index] = operands else { return Ok(Vec::new()) };
        let (row, rows) = (x.row(), shapes[0][0]);
        let mut data = vec![0.0; rows * row];
        for (at, target) in index.ints().iter().enumerate() {
            let Some(target) = usize::try_from(*target).ok().filter(|target| *target < rows) else {
                return Err(EvalError::Domain { operand: "index", value: *target });
            };
            let sums = &mut data[target * row..(target + 1) * row];
            sums.iter_mut().zip(&x.floats()[at * row..]).for_each(|(sum, x)| *sum += x);
        }
        Ok(vec![Tensor::float(x.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let x = draw.shape(1, 3);
        let index = TensorType::new(DType::I32, [x[0].clone()]);
        (IndexAdd { rows: draw.dim() }, vec![TensorType::new(draw.float(), x), index])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::IndexAdd, &[
            (&["f32[T, 4]", "i32[4]"], "rows=[B]", "`index` has size 4 along axis 0, expected T"),
            (&["f32[T, 4]", "i64[T]"], "rows=[B]", "`index` is i64, expected i32"),
            (&["f32[]", "i32[]"], "rows=[B]", "`x` has 0 axes, expected at least 1"),
            (&["f32[T]", "i32[T]"], "rows=[B, T]", "attribute `rows`: expected a list of one dim"),
        ]);
    }
}
