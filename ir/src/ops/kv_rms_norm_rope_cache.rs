//! Latents normalised and rotary keys rotated on their way into the cache, in one pass.

use super::{
    CacheWritePair, Check, Domain, Draw, Effect, EvalError, InterleaveRope, OpDef, Operand, TypeError, Work,
};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{self, Tensor};
use crate::{DType, Dim, TensorType};

/// Writes the normalised latent and the rotated part of each token's keys into their caches and gives the new caches.
///
/// | value            | shape         | dtype     |                                                       |
/// |------------------|---------------|-----------|-------------------------------------------------------|
/// | `latent_cache`   | [P, block, R] | any float | pages                                                 |
/// | `rope_cache`     | [P, block, D] | as `latent_cache` | pages                                         |
/// | `kv`             | [T, R + D]    | as `latent_cache` | latent, then what is rotated                  |
/// | `weight`         | \[R\]           | any float | of the norm                                           |
/// | `cos`, `sin`     | [T, D]        | as `latent_cache` | a value for every element rotated             |
/// | `slot_mapping`   | \[T\]           | i32, i64  | page * block + offset; negative: not kept             |
/// | -> `latent_cache` | [P, block, R] | as `latent_cache` | the same memory                              |
/// | -> `rope_cache`  | [P, block, D] | as `latent_cache` | the same memory                               |
///
/// The norm is [`RmsNorm`](super::RmsNorm)'s, the rotation [`InterleaveRope`](super::InterleaveRope)'s.
///
/// Errors: sizes that do not fit; `eps` negative.
/// Source: CANN operator list, aclnnKvRmsNormRopeCache.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KvRmsNormRopeCache {
    /// Added to the mean square.
    pub eps: Float,
}

impl OpDef for KvRmsNormRopeCache {
    const NAME: &'static str = "kv_rms_norm_rope_cache";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("latent_cache"),
        Operand::one("rope_cache"),
        Operand::one("kv"),
        Operand::one("weight"),
        Operand::one("cos"),
        Operand::one("sin"),
        Operand::of("slot_mapping", Domain::SlotsOf(0)),
    ];
    const RESULTS: &'static [&'static str] = &["latent_cache", "rope_cache"];
    const EFFECT: Effect = Effect::Writes;

    fn attrs(&self) -> Attrs {
        vec![("eps", Attr::Float(self.eps))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(KvRmsNormRopeCache { eps: attrs.float("eps")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (latent, rope) = (operands.float(0)?, operands.float(1)?);
        operands.rank(0, 3)?;
        operands.rank(1, 3)?;
        operands.of_dtype(1, latent.dtype)?;
        (0..2).try_for_each(|axis| operands.dim(1, axis, &latent.shape[axis]))?;
        let (width, rotary) = (latent.last(), rope.last());
        let kv = operands.of_dtype(2, latent.dtype)?;
        operands.rank(2, 2)?;
        operands.dim(2, 1, &(width.clone() + rotary.clone()))?;
        operands.float(3)?;
        operands.shape(3, &[width])?;
        let halves = rotary.floor_div(2) * Dim::constant(2);
        operands.dim(1, 2, &halves)?;
        let table = [kv.shape[0].clone(), rotary];
        for index in 4..6 {
            operands.of_dtype(index, latent.dtype)?;
            operands.shape(index, &table)?;
        }
        operands.index(6)?;
        operands.shape(6, &kv.shape[..1])?;
        if self.eps.0 < 0.0 {
            return Err(operands.attribute("eps", "is negative"));
        }
        Ok(vec![latent.clone(), rope.clone()])
    }

    /// Touches only the rows written.
    fn work(&self, operands: &[TensorType], _: &[TensorType]) -> Work {
        let read_bytes = operands[2..].iter().fold(Dim::ZERO, |sum, ty| sum + ty.bytes());
        Work { read_bytes, written_bytes: operands[2].bytes(), flops: operands[2].numel() * Dim::constant(4) }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [latent_cache, rope_cache, kv, weight, cos, sin, slots] = operands else { return Ok(Vec::new()) };
        let (tokens, width, rotary) = (kv.shape[0], latent_cache.last(), rope_cache.last());
        let part = |first: usize, part: usize| {
            kv.pick(&[tokens, part], |at| at / part * (width + rotary) + first + at % part)
        };
        let latent = reference::rms_norm(&part(0, width), weight, self.eps.0, None);
        let shape = [tokens, 1, rotary];
        let rope = Tensor { shape: shape.to_vec(), ..part(width, rotary) };
        let rotated = InterleaveRope.eval(&[rope, cos.clone(), sin.clone()], &[shape.to_vec()])?;
        let mut operands = vec![latent_cache.clone(), rope_cache.clone(), latent];
        operands.extend(rotated.into_iter().map(|x| Tensor { shape: vec![tokens, rotary], ..x }));
        operands.push(slots.clone());
        CacheWritePair.eval(&operands, shapes)
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, width, rotary) = (draw.float(), draw.dim(), Dim::from(2 * draw.below(4)));
        let (pages, block, tokens) = (Dim::symbol("P"), draw.dim(), Dim::symbol("T"));
        let cache = |width: &Dim| TensorType::new(dtype, [pages.clone(), block.clone(), width.clone()]);
        let table = TensorType::new(dtype, [tokens.clone(), rotary.clone()]);
        let operands = vec![
            cache(&width),
            cache(&rotary),
            TensorType::new(dtype, [tokens.clone(), width.clone() + rotary]),
            TensorType::new(draw.float(), [width]),
            table.clone(),
            table,
            TensorType::new(DType::I32, [tokens]),
        ];
        (KvRmsNormRopeCache { eps: Float(1e-6) }, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        let with = |kv: &'static str, weight: &'static str, table: &'static str| {
            ["f32[P, 4, 6]", "f32[P, 4, 2]", kv, weight, table, table, "i32[T]"]
        };
        refuses(
            OpKind::KvRmsNormRopeCache,
            &[
                (
                    &with("f32[T, 6]", "f32[6]", "f32[T, 2]"),
                    "eps=1.0",
                    "`kv` has size 6 along axis 1, expected 8",
                ),
                (&with("f16[T, 8]", "f32[6]", "f32[T, 2]"), "eps=1.0", "`kv` is f16, expected f32"),
                (
                    &with("f32[T, 8]", "f32[8]", "f32[T, 2]"),
                    "eps=1.0",
                    "`weight` has size 8 along axis 0, expected 6",
                ),
                (
                    &with("f32[T, 8]", "f32[6]", "f32[T, 1]"),
                    "eps=1.0",
                    "`cos` has size 1 along axis 1, expected 2",
                ),
                (&with("f32[T, 8]", "f32[6]", "f32[T, 2]"), "eps=-1.0", "`eps`: is negative"),
            ],
        );
    }
}
