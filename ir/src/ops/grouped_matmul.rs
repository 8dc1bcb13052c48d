//! Matrix products of groups of rows, each with a matrix of its own.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::ops::matmul;
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// Rows of `x` in E consecutive groups, group e multiplied by matrix e; accumulated in f32 and rounded once.
///
/// | value         | shape                              | dtype     |                                |
/// |---------------|------------------------------------|-----------|--------------------------------|
/// | `x`           | [M, K]                             | any float | rows in order of group         |
/// | `weight`      | [E, K, N], [E, N, K] if `trans_b`  | any float |                                |
/// | `group_sizes` | \[E\]                                | i32, i64  | rows of each group; M together |
/// | -> `y`        | [M, N]                             | `dtype`   | by default as `x`              |
///
/// Errors: K or E differ.
/// Source: Gale et al., 2022 (arXiv:2211.15841): work in proportion to the routed tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupedMatmul {
    /// Whether the matrices are given as [N, K], as checkpoints store linear weights.
    pub trans_b: bool,
    /// Element type of the result, if it is not `x`'s.
    pub dtype: Option<DType>,
}

impl OpDef for GroupedMatmul {
    const NAME: &'static str = "grouped_matmul";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("x"),
        Operand::one("weight"),
        Operand::of("group_sizes", Domain::SizesOf { operand: 0 }),
    ];

    fn attrs(&self) -> Attrs {
        let trans_b = self.trans_b.then_some(("trans_b", Attr::Bool(true)));
        trans_b.into_iter().chain(matmul::dtype_attr(self.dtype)).collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(GroupedMatmul { trans_b: attrs.flag("trans_b")?, dtype: matmul::read_dtype(attrs)? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (x, weight) = (operands.float(0)?, operands.float(1)?);
        operands.rank(0, 2)?;
        operands.rank(1, 3)?;
        let (k_axis, n_axis) = if self.trans_b { (2, 1) } else { (1, 2) };
        operands.dim(1, k_axis, &x.shape[1])?;
        operands.index(2)?;
        operands.shape(2, &weight.shape[..1])?;
        let dtype = self.dtype.unwrap_or(x.dtype);
        operands.float_attribute(dtype)?;
        Ok(vec![TensorType::new(dtype, [x.shape[0].clone(), weight.shape[n_axis].clone()])])
    }

    /// No more matrices are read than there are rows.
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let (x, weight) = (&operands[0], &operands[1]);
        let matrix = TensorType::new(weight.dtype, &weight.shape[1..]).bytes();
        let read = Dim::min([weight.shape[0].clone(), x.shape[0].clone()]) * matrix;
        Work {
            read_bytes: x.bytes() + read + operands[2].bytes(),
            written_bytes: results[0].bytes(),
            flops: results[0].numel() * x.last() * Dim::constant(2),
        }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, weight, sizes] = operands else { return Ok(Vec::new()) };
        let (k, matrix) = (x.last(), weight.row());
        let dtype = self.dtype.unwrap_or(x.dtype);
        let mut first = 0;
        let mut data = Vec::with_capacity(shapes[0].iter().product());
        for (group, size) in sizes.ints().iter().enumerate() {
            let bad = EvalError::Domain { operand: "group_sizes", value: *size };
            let rows = usize::try_from(*size).ok().filter(|rows| *rows <= x.shape[0] - first).ok_or(bad)?;
            let rows_of_group = Tensor::float(x.dtype, &[rows, k], x.floats()[first * k..][..rows * k].to_vec());
            let matrix = weight.floats()[group * matrix..][..matrix].to_vec();
            let matrix = Tensor::float(weight.dtype, &weight.shape[1..], matrix);
            let shape = [rows, shapes[0][1]];
            let product = matmul::eval(&rows_of_group, &matrix, None, self.trans_b, dtype, &shape);
            data.extend_from_slice(product.floats());
            first += rows;
        }
        if first != x.shape[0] {
            return Err(EvalError::Domain { operand: "group_sizes", value: first as i64 });
        }
        Ok(vec![Tensor::float(dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (m, k, n, groups) = (draw.dim(), draw.dim(), draw.dim(), Dim::from(1 + draw.below(5)));
        let trans_b = draw.flip();
        let matrix = if trans_b { [n, k.clone()] } else { [k.clone(), n] };
        let weight = [std::slice::from_ref(&groups), &matrix].concat();
        let operands = vec![
            TensorType::new(draw.float(), [m, k]),
            TensorType::new(draw.float(), weight),
            TensorType::new(if draw.below(4) == 0 { DType::I64 } else { DType::I32 }, [groups]),
        ];
        (GroupedMatmul { trans_b, dtype: draw.flip().then(|| draw.float()) }, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::GroupedMatmul, &[
            (&["f32[T, 4]", "f32[2, 3, 4]", "i32[2]"], "", "`weight` has size 3 along axis 1, expected 4"),
            (
                &["f32[T, 4]", "f32[2, 4, 3]", "i32[2]"],
                "trans_b=true",
                "`weight` has size 3 along axis 2, expected 4",
            ),
            (&["f32[T, 4]", "f32[2, 4, 3]", "i32[3]"], "", "`group_sizes` has size 3 along axis 0, expected 2"),
            (&["f32[T, 4]", "f32[4, 3]", "i32[3]"], "", "`weight` has 2 axes, expected 3"),
            (&["f32[T, 4]", "f32[2, 4, 3]", "f32[2]"], "", "`group_sizes` is f32, expected i32 or i64"),
        ]);
    }
}
