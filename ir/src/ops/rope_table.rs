//! Cosines and sines of the tokens' rotary angles.

use super::{Check, Domain, Draw, EvalError, OpDef, Operand, TypeError, Work, default_work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs, Float};
use crate::reference::{Tensor, round_to};
use crate::{DType, Dim, TensorType};

/// `cos` and `sin` of `position * frequency`, both times `scale`.
///
/// | value         | shape    | dtype |                                      |
/// |---------------|----------|-------|--------------------------------------|
/// | `positions`   | \[T\]      | i32   | not negative                         |
/// | `frequencies` | [R/2]    | f32   | radians a position                   |
/// | -> `cos`, `sin` | [T, R/2] | f32 | of the angle rounded to f32          |
///
/// The angle is the product rounded to f32, as in the reference.
/// Source: HF `modeling_rope_utils.py`; `scale` is its attention factor.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RopeTable {
    /// Factor of both results.
    pub scale: Float,
}

impl OpDef for RopeTable {
    const NAME: &'static str = "rope_table";
    const OPERANDS: &'static [Operand] =
        &[Operand::of("positions", Domain::Positions), Operand::one("frequencies")];
    const RESULTS: &'static [&'static str] = &["cos", "sin"];

    fn attrs(&self) -> Attrs {
        if self.scale == Float(1.0) { Vec::new() } else { vec![("scale", Attr::Float(self.scale))] }
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(RopeTable { scale: attrs.optional_float("scale")?.unwrap_or(Float(1.0)) })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let positions = operands.of_dtype(0, DType::I32)?;
        operands.rank(0, 1)?;
        let frequencies = operands.of_dtype(1, DType::F32)?;
        operands.rank(1, 1)?;
        let shape = vec![positions.shape[0].clone(), frequencies.shape[0].clone()];
        let table = TensorType::new(DType::F32, shape);
        Ok(vec![table.clone(), table])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        default_work(operands, results, Dim::constant(20))
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let [positions, frequencies] = operands else { return Ok(Vec::new()) };
        let table = |of: fn(f64) -> f64| {
            let angles = positions.ints().iter().flat_map(|position| {
                frequencies.floats().iter().map(|f| round_to(*position as f64 * f, DType::F32))
            });
            Tensor::float(DType::F32, &shapes[0], angles.map(|angle| of(angle) * self.scale.0).collect())
        };
        Ok(vec![table(f64::cos), table(f64::sin)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let positions = TensorType::new(DType::I32, [draw.dim()]);
        let scale = if draw.flip() { Float(1.0) } else { draw.number() };
        (RopeTable { scale }, vec![positions, TensorType::new(DType::F32, [draw.dim()])])
    }
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::RopeTable, &[
            (&["i64[T]", "f32[4]"], "", "`positions` is i64, expected i32"),
            (&["i32[T, 1]", "f32[4]"], "", "`positions` has 2 axes, expected 1"),
        ]);
    }
}
