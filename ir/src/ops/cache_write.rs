//! New keys, values or latents into the paged cache.

use super::{Check, Domain, Draw, Effect, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::{Data, Tensor};
use crate::{DType, Dim, TensorType};

/// Writes each token's row into its slot of the cache and gives the new cache.
///
/// | value          | shape              | dtype      |                                           |
/// |----------------|--------------------|------------|-------------------------------------------|
/// | `cache`        | [P, block, ..S]    | any float  | pages                                     |
/// | `rows`         | [T, ..S]           | as `cache` |                                           |
/// | `slot_mapping` | \[T\]                | i32        | page * block + offset; negative: not kept |
/// | -> `cache`     | [P, block, ..S]    | as `cache` | the same memory                           |
///
/// Errors: the rows do not fit the cache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheWrite;

impl OpDef for CacheWrite {
    const NAME: &'static str = "cache_write";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("cache"),
        Operand::one("rows"),
        Operand::of("slot_mapping", Domain::SlotsOf(0)),
    ];
    const RESULTS: &'static [&'static str] = &["cache"];
    const EFFECT: Effect = Effect::Writes;

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(CacheWrite)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let cache = operands.float(0)?;
        operands.min_rank(0, 3)?;
        let slots = operands.of_dtype(2, DType::I32)?;
        operands.rank(2, 1)?;
        operands.of_dtype(1, cache.dtype)?;
        let mut rows = vec![slots.shape[0].clone()];
        rows.extend_from_slice(&cache.shape[2..]);
        operands.shape(1, &rows)?;
        Ok(vec![cache.clone()])
    }

    /// Touches only the rows written.
    fn work(&self, operands: &[TensorType], _: &[TensorType]) -> Work {
        let written_bytes = operands[1].bytes();
        Work { read_bytes: written_bytes.clone() + operands[2].bytes(), written_bytes, flops: Dim::ZERO }
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [cache, rows, slots] = operands else { return Ok(Vec::new()) };
        let (row, count) = (rows.row(), cache.shape[0] * cache.shape[1]);
        let mut data = cache.floats().to_vec();
        for (token, slot) in slots.ints().iter().enumerate().filter(|(_, slot)| **slot >= 0) {
            if *slot as usize >= count {
                return Err(EvalError::Domain { operand: "slot_mapping", value: *slot });
            }
            let at = *slot as usize * row;
            data[at..at + row].copy_from_slice(&rows.floats()[token * row..(token + 1) * row]);
        }
        Ok(vec![Tensor { data: Data::Float(data), ..cache.clone() }])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, row) = (draw.float(), draw.shape(1, 2));
        let (pages, block, tokens) = (Dim::symbol("P"), draw.dim(), Dim::symbol("T"));
        let cache: Vec<Dim> = [pages, block].into_iter().chain(row.iter().cloned()).collect();
        let rows: Vec<Dim> = std::iter::once(tokens.clone()).chain(row).collect();
        let slot_mapping = TensorType::new(DType::I32, [tokens]);
        (CacheWrite, vec![TensorType::new(dtype, cache), TensorType::new(dtype, rows), slot_mapping])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::CacheWrite, &[
            (&["f32[P, 4, 2]", "f32[T, 3]", "i32[T]"], "", "`rows` has size 3 along axis 1, expected 2"),
            (&["f32[P, 4, 2]", "f32[T, 2]", "i64[T]"], "", "`slot_mapping` is i64, expected i32"),
            (&["f32[P, 4]", "f32[T]", "i32[T]"], "", "`cache` has 2 axes, expected at least 3"),
        ]);
    }
}
