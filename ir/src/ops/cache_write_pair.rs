//! New keys and values into the paged cache, in one pass.

use super::{CacheWrite, Check, Domain, Draw, Effect, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{AttrError, AttrReader};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// Writes each token's row into its slot of two caches and gives the new caches.
///
/// | value          | shape           | dtype        |                                           |
/// |----------------|-----------------|--------------|-------------------------------------------|
/// | `k_cache`      | [P, block, ..S] | any float    | pages                                     |
/// | `v_cache`      | [P, block, ..R] | as `k_cache` | pages                                     |
/// | `k`            | [T, ..S]        | as `k_cache` |                                           |
/// | `v`            | [T, ..R]        | as `k_cache` |                                           |
/// | `slot_mapping` | \[T\]             | i32          | page * block + offset; negative: not kept |
/// | -> `k_cache`   | [P, block, ..S] | as `k_cache` | the same memory                           |
/// | -> `v_cache`   | [P, block, ..R] | as `k_cache` | the same memory                           |
///
/// Errors: the rows do not fit the caches; these have other pages or blocks.
/// Source: CANN operator list, aclnnScatterPaKvCache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheWritePair;

impl OpDef for CacheWritePair {
    const NAME: &'static str = "cache_write_pair";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("k_cache"),
        Operand::one("v_cache"),
        Operand::one("k"),
        Operand::one("v"),
        Operand::of("slot_mapping", Domain::SlotsOf(0)),
    ];
    const RESULTS: &'static [&'static str] = &["k_cache", "v_cache"];
    const EFFECT: Effect = Effect::Writes;

    fn from_attrs(_: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(CacheWritePair)
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (k, v) = (operands.float(0)?, operands.float(1)?);
        operands.of_dtype(1, k.dtype)?;
        operands.min_rank(0, 3)?;
        operands.min_rank(1, 3)?;
        (0..2).try_for_each(|axis| operands.dim(1, axis, &k.shape[axis]))?;
        let slots = operands.of_dtype(4, DType::I32)?;
        operands.rank(4, 1)?;
        for (index, cache) in [(2, k), (3, v)] {
            operands.of_dtype(index, cache.dtype)?;
            let rows: Vec<Dim> = slots.shape.iter().chain(&cache.shape[2..]).cloned().collect();
            operands.shape(index, &rows)?;
        }
        Ok(vec![k.clone(), v.clone()])
    }

    /// Touches only the rows written.
    fn work(&self, operands: &[TensorType], _: &[TensorType]) -> Work {
        let written_bytes = operands[2].bytes() + operands[3].bytes();
        Work { read_bytes: written_bytes.clone() + operands[4].bytes(), written_bytes, flops: Dim::ZERO }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [k_cache, v_cache, k, v, slots] = operands else { return Ok(Vec::new()) };
        let mut both = Vec::with_capacity(2);
        for (cache, rows) in [(k_cache, k), (v_cache, v)] {
            both.extend(CacheWrite.eval(&[cache.clone(), rows.clone(), slots.clone()], shapes)?);
        }
        Ok(both)
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, k, v) = (draw.float(), draw.shape(1, 2), draw.shape(1, 2));
        let (pages, block, tokens) = (Dim::symbol("P"), draw.dim(), Dim::symbol("T"));
        let cache = |row: &[Dim]| TensorType::new(dtype, [&[pages.clone(), block.clone()], row].concat());
        let rows = |row: &[Dim]| TensorType::new(dtype, [std::slice::from_ref(&tokens), row].concat());
        let slot_mapping = TensorType::new(DType::I32, [tokens.clone()]);
        (CacheWritePair, vec![cache(&k), cache(&v), rows(&k), rows(&v), slot_mapping])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        let caches = ["f32[P, 4, 2]", "f32[P, 4, 3]"];
        let with = |rest: [&'static str; 3]| [caches.as_slice(), &rest].concat();
        refuses(
            OpKind::CacheWritePair,
            &[
                (&with(["f32[T, 2]", "f32[T, 2]", "i32[T]"]), "", "`v` has size 2 along axis 1, expected 3"),
                (&with(["f32[T, 3]", "f32[T, 3]", "i32[T]"]), "", "`k` has size 3 along axis 1, expected 2"),
                (&with(["f32[T, 2]", "f32[T, 3]", "i64[T]"]), "", "`slot_mapping` is i64, expected i32"),
                (
                    &["f32[P, 4, 2]", "f32[P, 5, 2]", "f32[T, 2]", "f32[T, 2]", "i32[T]"],
                    "",
                    "`v_cache` has size 5 along axis 1, expected 4",
                ),
            ],
        );
    }
}
