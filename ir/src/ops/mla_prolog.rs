//! All of latent attention before the attention itself, in one pass.

use super::{
    Check, Domain, Draw, Effect, EvalError, InterleaveRope, KvRmsNormRopeCache, OpDef, Operand,
    TransposeBatchMatmul, TypeError, Work, matmul,
};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{self, Tensor};
use crate::{DType, Dim, TensorType};

/// Queries brought into the space of latents, their rotated part, and the caches with the new tokens' latents and
/// rotated keys.
///
/// | value             | shape             | dtype     |                                                    |
/// |-------------------|-------------------|-----------|----------------------------------------------------|
/// | `latent_cache`    | [P, block, R]     | any float | pages                                              |
/// | `rope_cache`      | [P, block, E]     | as `latent_cache` | pages                                      |
/// | `x`               | [T, H]            | as `latent_cache` | hidden states                              |
/// | `q_down`          | [Q, H]            | any float | to the queries' latents                            |
/// | `q_norm`          | \[Q\]               | any float | of their norm                                      |
/// | `q_up`            | [N * (D + E), Q]  | any float | to the heads' queries, and their part to be rotated |
/// | `k_up`            | [N, D, R]         | any float | from latents to the heads' keys, turned about      |
/// | `kv_down`         | [R + E, H]        | any float | to latents and the keys' part to be rotated        |
/// | `kv_norm`         | \[R\]               | any float | of the latents' norm                               |
/// | `cos`, `sin`      | [T, E]            | as `x`    | a value for every element rotated                  |
/// | `slot_mapping`    | \[T\]               | i32, i64  | page * block + offset; negative: not kept          |
/// | -> `latent_cache` | [P, block, R]     | as `latent_cache` | the same memory                            |
/// | -> `rope_cache`   | [P, block, E]     | as `latent_cache` | the same memory                            |
/// | -> `q`            | [T, N, R]         | as `x`    | as [`TransposeBatchMatmul`] gives it               |
/// | -> `q_rope`       | [T, N, E]         | as `x`    | as [`InterleaveRope`] gives it                     |
///
/// The caches are written as by [`KvRmsNormRopeCache`].
///
/// Errors: sizes that do not fit; an eps negative.
/// Source: CANN operator list, aclnnMlaPrologV2WeightNz; DeepSeek-AI, 2024 (arXiv:2405.04434), section 2.1.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MlaProlog {
    /// Added to the mean square of queries' latents.
    pub q_eps: Float,
    /// Added to the mean square of latents.
    pub kv_eps: Float,
}

impl OpDef for MlaProlog {
    const NAME: &'static str = "mla_prolog";
    const OPERANDS: &'static [Operand] = &[
        Operand::one("latent_cache"),
        Operand::one("rope_cache"),
        Operand::one("x"),
        Operand::one("q_down"),
        Operand::one("q_norm"),
        Operand::one("q_up"),
        Operand::one("k_up"),
        Operand::one("kv_down"),
        Operand::one("kv_norm"),
        Operand::one("cos"),
        Operand::one("sin"),
        Operand::of("slot_mapping", Domain::SlotsOf(0)),
    ];
    const RESULTS: &'static [&'static str] = &["latent_cache", "rope_cache", "q", "q_rope"];
    const EFFECT: Effect = Effect::Writes;
    const NUM_WRITTEN: usize = 2;

    fn attrs(&self) -> Attrs {
        vec![("q_eps", Attr::Float(self.q_eps)), ("kv_eps", Attr::Float(self.kv_eps))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(MlaProlog { q_eps: attrs.float("q_eps")?, kv_eps: attrs.float("kv_eps")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let (latent, rope) = (operands.float(0)?, operands.float(1)?);
        operands.rank(0, 3)?;
        operands.rank(1, 3)?;
        operands.of_dtype(1, latent.dtype)?;
        (0..2).try_for_each(|axis| operands.dim(1, axis, &latent.shape[axis]))?;
        let (width, rotary) = (latent.last(), rope.last());
        operands.dim(1, 2, &(rotary.floor_div(2) * Dim::constant(2)))?;
        let x = operands.of_dtype(2, latent.dtype)?;
        operands.rank(2, 2)?;
        (3..9).try_for_each(|index| operands.float(index).map(|_| ()))?;
        let q_down = operands.at(3);
        operands.rank(3, 2)?;
        operands.dim(3, 1, &x.last())?;
        operands.shape(4, &q_down.shape[..1])?;
        operands.rank(6, 3)?;
        let [heads, inner, _] = [0, 1, 2].map(|axis| operands.at(6).shape[axis].clone());
        operands.dim(6, 2, &width)?;
        operands.shape(5, &[heads.clone() * (inner + rotary.clone()), q_down.shape[0].clone()])?;
        operands.shape(7, &[width.clone() + rotary.clone(), x.last()])?;
        operands.shape(8, std::slice::from_ref(&width))?;
        let tokens = x.shape[0].clone();
        for index in 9..11 {
            operands.of_dtype(index, x.dtype)?;
            operands.shape(index, &[tokens.clone(), rotary.clone()])?;
        }
        operands.index(11)?;
        operands.shape(11, std::slice::from_ref(&tokens))?;
        for (name, eps) in [("q_eps", self.q_eps), ("kv_eps", self.kv_eps)] {
            if eps.0 < 0.0 {
                return Err(operands.attribute(name, "is negative"));
            }
        }
        let of_heads = |width: Dim| TensorType::new(x.dtype, [tokens.clone(), heads.clone(), width]);
        Ok(vec![latent.clone(), rope.clone(), of_heads(width), of_heads(rotary)])
    }

    /// Reads weights and tokens, writes queries and the rows of the caches.
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        let bytes = |types: &[TensorType]| types.iter().fold(Dim::ZERO, |sum, ty| sum + ty.bytes());
        let tokens = operands[2].shape[0].clone();
        let weights = [3, 5, 6, 7].iter().fold(Dim::ZERO, |sum, index| sum + operands[*index].numel());
        let rows = TensorType::new(operands[0].dtype, [tokens.clone(), operands[7].shape[0].clone()]);
        Work {
            read_bytes: bytes(&operands[2..]),
            written_bytes: bytes(&results[2..]) + rows.bytes(),
            flops: tokens * weights * Dim::constant(2),
        }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [latent, rope, x, q_down, q_norm, q_up, k_up, kv_down, kv_norm, cos, sin, slots] = operands
        else {
            return Ok(Vec::new());
        };
        let linear = |x: &Tensor, weight: &Tensor| {
            matmul::eval(x, weight, None, true, x.dtype, &[x.shape[0], weight.shape[0]])
        };
        let (tokens, heads) = (x.shape[0], k_up.shape[0]);
        let (inner, rotary) = (k_up.shape[1], rope.last());
        let normed = reference::rms_norm(&linear(x, q_down), q_norm, self.q_eps.0, None);
        let queries = linear(&normed, q_up);
        let part = |first: usize, width: usize| {
            let whole = inner + rotary;
            queries.pick(&[tokens, heads, width], |at| at / width * whole + first + at % width)
        };
        let absorbed = TransposeBatchMatmul { by_batch: false, trans_b: false, dtype: None };
        let q = absorbed.eval(&[part(0, inner), k_up.clone()], &shapes[2..3])?;
        let q_rope = InterleaveRope.eval(&[part(inner, rotary), cos.clone(), sin.clone()], &shapes[3..4])?;
        let write = KvRmsNormRopeCache { eps: self.kv_eps };
        let kv = [latent, rope, &linear(x, kv_down), kv_norm, cos, sin, slots].map(Tensor::clone);
        Ok(write.eval(&kv, &shapes[..2])?.into_iter().chain(q).chain(q_rope).collect())
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, rotary) = (draw.float(), Dim::from(2 * draw.below(4)));
        let [block, width, hidden, down, heads, inner] = [(); 6].map(|()| draw.dim());
        let (pages, tokens) = (Dim::symbol("P"), Dim::symbol("T"));
        let cache = |width: &Dim| TensorType::new(dtype, [pages.clone(), block.clone(), width.clone()]);
        let table = TensorType::new(dtype, [tokens.clone(), rotary.clone()]);
        let mut operands =
            vec![cache(&width), cache(&rotary), TensorType::new(dtype, [tokens.clone(), hidden.clone()])];
        let mut weight = |shape: &[&Dim]| {
            let shape: Vec<Dim> = shape.iter().map(|dim| (*dim).clone()).collect();
            operands.push(TensorType::new(draw.float(), shape));
        };
        weight(&[&down, &hidden]);
        weight(&[&down]);
        weight(&[&(heads.clone() * (inner.clone() + rotary.clone())), &down]);
        weight(&[&heads, &inner, &width]);
        weight(&[&(width.clone() + rotary), &hidden]);
        weight(&[&width]);
        operands.extend([table.clone(), table, TensorType::new(DType::I32, [tokens])]);
        (MlaProlog { q_eps: Float(1e-6), kv_eps: Float(1e-5) }, operands)
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        let with = |at: usize, ty: &'static str| {
            let mut operands = [
                "f32[P, 4, 6]",
                "f32[P, 4, 2]",
                "f32[T, 8]",
                "f32[5, 8]",
                "f32[5]",
                "f32[15, 5]",
                "f32[3, 3, 6]",
                "f32[8, 8]",
                "f32[6]",
                "f32[T, 2]",
                "f32[T, 2]",
                "i32[T]",
            ];
            operands[at] = ty;
            operands
        };
        let eps = "q_eps=1.0, kv_eps=1.0";
        refuses(
            OpKind::MlaProlog,
            &[
                (&with(1, "f32[P, 4, 3]"), eps, "`rope_cache` has size 3 along axis 2, expected 2"),
                (&with(2, "f16[T, 8]"), eps, "`x` is f16, expected f32"),
                (&with(3, "f32[5, 7]"), eps, "`q_down` has size 7 along axis 1, expected 8"),
                (&with(5, "f32[14, 5]"), eps, "`q_up` has size 14 along axis 0, expected 15"),
                (&with(6, "f32[3, 3, 5]"), eps, "`k_up` has size 5 along axis 2, expected 6"),
                (&with(7, "f32[6, 8]"), eps, "`kv_down` has size 6 along axis 0, expected 8"),
                (&with(10, "f32[T, 1]"), eps, "`sin` has size 1 along axis 1, expected 2"),
                (&with(0, "f32[P, 4, 6]"), "q_eps=1.0, kv_eps=-1.0", "`kv_eps`: is negative"),
            ],
        );
    }
}
