//! Tokens sorted by expert, in one pass.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, bad};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// The rows of all pairs of a token and an expert of its, sorted by expert, equals in order of tokens.
///
/// | value            | shape    | dtype     |                                                     |
/// |------------------|----------|-----------|-----------------------------------------------------|
/// | `x`              | [T, H]   | any float |                                                     |
/// | `expert_ids`     | [T, k]   | i32       | `0 <= v < experts`                                  |
/// | -> `rows`        | [T*k, H] | as `x`    | `rows[row_index[t * k + j]] = x[t]`                 |
/// | -> `row_index`   | \[T*k\]    | i32       | the row of each pair (t, j), pairs in order         |
/// | -> `group_sizes` | \[experts\] | `dtype` | how many pairs each expert has                      |
///
/// Errors: not one row of `expert_ids` for each row of `x`.
/// Source: CANN operator list, aclnnMoeInitRoutingV2 (i32 sizes) and aclnnMoeInitRoutingV3 (i64 sizes), without dropping.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MoeInitRouting {
    /// How many experts there are.
    pub experts: u32,
    /// Element type of the sizes: i32 or i64.
    pub dtype: DType,
}

impl OpDef for MoeInitRouting {
    const NAME: &'static str = "moe_init_routing";
    const OPERANDS: &'static [Operand] =
        &[Operand::one("x"), Operand::of("expert_ids", Domain::RowsOfResult(2))];
    const RESULTS: &'static [&'static str] = &["rows", "row_index", "group_sizes"];

    fn attrs(&self) -> Attrs {
        vec![
            ("experts", Attr::Int(i64::from(self.experts))),
            ("dtype", Attr::Name(self.dtype.name().to_owned())),
        ]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        let experts = attrs.size("experts")?;
        match attrs.name("dtype")? {
            "i32" => Ok(MoeInitRouting { experts, dtype: DType::I32 }),
            "i64" => Ok(MoeInitRouting { experts, dtype: DType::I64 }),
            other => Err(bad("dtype", "i32 or i64", &Attr::Name(other.to_owned()))),
        }
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (x, ids) = (operands.float(0)?, operands.of_dtype(1, DType::I32)?);
        operands.rank(0, 2)?;
        operands.rank(1, 2)?;
        operands.dim(1, 0, &x.shape[0])?;
        if !matches!(self.dtype, DType::I32 | DType::I64) {
            return Err(operands.attribute("dtype", format!("{} is no type of sizes", self.dtype)));
        }
        if self.experts == 0 {
            return Err(operands.attribute("experts", "is 0"));
        }
        let pairs = ids.numel();
        Ok(vec![
            TensorType::new(x.dtype, [pairs.clone(), x.shape[1].clone()]),
            TensorType::new(DType::I32, [pairs]),
            TensorType::new(self.dtype, [Dim::from(self.experts)]),
        ])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let bytes = |types: &[TensorType]| types.iter().fold(Dim::ZERO, |sum, ty| sum + ty.bytes());
        Work { read_bytes: bytes(operands), written_bytes: bytes(results), flops: Dim::ZERO }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [x, ids] = operands else { return Ok(Vec::new()) };
        let (width, chosen) = (x.last(), ids.last().max(1));
        let mut sizes = vec![0; self.experts as usize];
        for id in ids.ints() {
            let size = usize::try_from(*id).ok().and_then(|id| sizes.get_mut(id));
            *size.ok_or(EvalError::Domain { operand: "expert_ids", value: *id })? += 1;
        }
        let mut pairs: Vec<usize> = (0..ids.numel()).collect();
        pairs.sort_by_key(|pair| ids.ints()[*pair]);
        let mut rows = Vec::with_capacity(pairs.len() * width);
        let mut row_index = vec![0; pairs.len()];
        for (row, pair) in pairs.into_iter().enumerate() {
            rows.extend_from_slice(&x.floats()[pair / chosen * width..][..width]);
            row_index[pair] = row as i64;
        }
        Ok(vec![
            Tensor::float(x.dtype, &shapes[0], rows),
            Tensor::int(DType::I32, &shapes[1], row_index),
            Tensor::int(self.dtype, &shapes[2], sizes),
        ])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let tokens = draw.dim();
        let x = TensorType::new(draw.float(), [tokens.clone(), draw.dim()]);
        let ids = TensorType::new(DType::I32, [tokens, Dim::from(1 + draw.below(3))]);
        let dtype = if draw.flip() { DType::I32 } else { DType::I64 };
        (MoeInitRouting { experts: 1 + draw.below(7) as u32, dtype }, vec![x, ids])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::MoeInitRouting,
            &[
                (
                    &["f32[T, 4]", "i32[B, 2]"],
                    "experts=8, dtype=i32",
                    "`expert_ids` has size B along axis 0, expected T",
                ),
                (&["f32[T, 4]", "i64[T, 2]"], "experts=8, dtype=i32", "`expert_ids` is i64, expected i32"),
                (&["f32[T, 4]", "i32[T]"], "experts=8, dtype=i32", "`expert_ids` has 1 axes, expected 2"),
                (
                    &["f32[T, 4]", "i32[T, 2]"],
                    "experts=8, dtype=u8",
                    "attribute `dtype`: expected i32 or i64",
                ),
            ],
        );
    }
}
