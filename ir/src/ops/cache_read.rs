//! Rows out of the paged cache.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work, attend};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// The cached rows of all sequences, one sequence after the other.
///
/// | value         | shape           | dtype      |                                              |
/// |---------------|-----------------|------------|----------------------------------------------|
/// | `cache`       | [P, block, ..S] | any float  | pages                                        |
/// | `block_table` | [B, M]          | i32        | pages of each sequence                       |
/// | `context_len` | \[B\]             | i32        | tokens of each sequence; `rows` together     |
/// | -> `y`        | [rows, ..S]     | as `cache` | zero past the last sequence, if there is more |
///
/// Errors: the number of sequences differs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheRead {
    /// Size of the result's axis 0: `C` of the step.
    pub rows: Dim,
}

impl OpDef for CacheRead {
    const NAME: &'static str = "cache_read";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("cache"),
        Operand::of("block_table", Domain::PagesOf(0)),
        Operand::of("context_len", Domain::SizesOfResult),
    ];

    fn attrs(&self) -> Attrs {
        vec![("rows", Attr::Dims(vec![self.rows.clone()]))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(CacheRead { rows: attrs.dim("rows")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let cache = operands.float(0)?;
        operands.min_rank(0, 2)?;
        let table = operands.of_dtype(1, DType::I32)?;
        operands.rank(1, 2)?;
        operands.of_dtype(2, DType::I32)?;
        operands.shape(2, &table.shape[..1])?;
        let mut shape = vec![self.rows.clone()];
        shape.extend_from_slice(&cache.shape[2..]);
        Ok(vec![TensorType::new(cache.dtype, shape)])
    }

    /// Touches only the rows read.
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let written_bytes = results[0].bytes();
        let tables = operands[1].bytes() + operands[2].bytes();
        Work { read_bytes: written_bytes.clone() + tables, written_bytes, flops: Dim::ZERO }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [cache, block_table, context_len] = operands else { return Ok(Vec::new()) };
        let row: usize = cache.shape[2..].iter().product();
        let mut data = Vec::with_capacity(shapes[0][0] * row);
        for (sequence, context) in context_len.ints().iter().enumerate() {
            let bad = EvalError::Domain { operand: "context_len", value: *context };
            let left = shapes[0][0] - data.len().checked_div(row).unwrap_or(0);
            let context = usize::try_from(*context).ok().filter(|context| *context <= left).ok_or(bad)?;
            for slot in attend::slots(block_table, sequence, 0..context, (cache.shape[0], cache.shape[1]))? {
                data.extend_from_slice(&cache.floats()[slot * row..][..row]);
            }
        }
        data.resize(shapes[0][0] * row, 0.0);
        Ok(vec![Tensor::float(cache.dtype, &shapes[0], data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (sequences, row) = (Dim::symbol("B"), draw.shape(0, 2));
        let cache: Vec<Dim> = [Dim::symbol("P"), draw.dim()].into_iter().chain(row).collect();
        let operands = vec![
            TensorType::new(draw.float(), cache),
            TensorType::new(DType::I32, [sequences.clone(), Dim::symbol("M")]),
            TensorType::new(DType::I32, [sequences]),
        ];
        (CacheRead { rows: Dim::symbol("C") }, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::CacheRead,
            &[
                (
                    &["f32[P, 4, 2]", "i32[B, M]", "i32[T]"],
                    "rows=[C]",
                    "`context_len` has size T along axis 0, expected B",
                ),
                (&["f32[P, 4, 2]", "i64[B, M]", "i32[B]"], "rows=[C]", "`block_table` is i64, expected i32"),
                (&["f32[P]", "i32[B, M]", "i32[B]"], "rows=[C]", "`cache` has 1 axes, expected at least 2"),
            ],
        );
    }
}
