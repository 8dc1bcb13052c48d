//! Weights that add up to one.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::Tensor;
use crate::{Dim, TensorType};

/// `x / max(Σ x + eps, least)` over the innermost axis: how routers make the chosen experts' weights add up to one.
///
/// | value  | shape   | dtype     |                  |
/// |--------|---------|-----------|------------------|
/// | `x`    | [.., D] | any float |                  |
/// | -> `y` | [.., D] | as `x`    | computed in f32  |
///
/// Errors: no axis; `eps` or `least` negative.
/// Source: HF `modeling_mixtral.py`; with `eps` 1e-20, `modeling_deepseek_v3.py`; with `least` 1e-12,
/// `modeling_ernie4_5_moe.py`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Renormalize {
    /// Added to the sum.
    pub eps: Float,
    /// The least that is divided by.
    pub least: Float,
}

impl OpDef for Renormalize {
    const NAME: &'static str = "renormalize";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];

    fn attrs(&self) -> Attrs {
        let attr = |name, value: Float| (value.0 != 0.0).then_some((name, Attr::Float(value)));
        attr("eps", self.eps).into_iter().chain(attr("least", self.least)).collect()
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        let mut number = |name| Ok::<_, AttrError>(attrs.optional_float(name)?.unwrap_or(Float(0.0)));
        Ok(Renormalize { eps: number("eps")?, least: number("least")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        operands.min_rank(0, 1)?;
        for (name, value) in [("eps", self.eps), ("least", self.least)] {
            if value.0 < 0.0 {
                return Err(operands.attribute(name, "is negative"));
            }
        }
        Ok(vec![operands.float(0)?.clone()])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(2))
    }

    fn eval(&self, operands: &[Tensor], _: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let x = &operands[0];
        let mut data = Vec::with_capacity(x.numel());
        for row in x.floats().chunks(x.last().max(1)) {
            let sum = (row.iter().sum::<f64>() + self.eps.0).max(self.least.0);
            data.extend(row.iter().map(|x| x / sum));
        }
        Ok(vec![Tensor::float(x.dtype, &x.shape, data)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let eps = if draw.flip() { Float(0.0) } else { Float(1e-20) };
        let least = if draw.flip() { Float(0.0) } else { Float(0.5) };
        (Renormalize { eps, least }, vec![TensorType::new(draw.float(), draw.shape(1, 3))])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Renormalize, &[
            (&["i32[T]"], "", "`x` is i32, expected a float type"),
            (&["f32[]"], "", "`x` has 0 axes, expected at least 1"),
            (&["f32[T]"], "eps=-1.0", "`eps`: is negative"),
        ]);
    }
}
