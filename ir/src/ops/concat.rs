//! Several values joined along an axis.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::{Data, Tensor};
use crate::tensor_type::resolve_axis;
use crate::{Dim, TensorType};

/// Joins the parts along `axis`, in order.
///
/// | value    | shape                | dtype       |
/// |----------|----------------------|-------------|
/// | `parts…` | [.., Sᵢ, ..]         | any, equal  |
/// | -> `y`   | [.., Σ Sᵢ, ..]       | as `parts`  |
///
/// Errors: no such axis; dtypes or other sizes differ.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Concat {
    /// The axis joined; negative counts from the end.
    pub axis: i64,
}

impl OpDef for Concat {
    const NAME: &'static str = "concat";
    const OPERANDS: &'static [Operand] = &[Operand::many("parts")];

    fn attrs(&self) -> Attrs {
        vec![("axis", Attr::Int(self.axis))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Concat { axis: attrs.int("axis")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let first = operands.at(0);
        let axis = resolve_axis(self.axis, first.rank())
            .ok_or_else(|| operands.attribute("axis", format!("the parts have {} axes", first.rank())))?;
        let mut shape = first.shape.clone();
        for index in 1..operands.len() {
            operands.of_dtype(index, first.dtype)?;
            operands.rank(index, first.rank())?;
            for other in (0..first.rank()).filter(|other| *other != axis) {
                operands.dim(index, other, &first.shape[other])?;
            }
            shape[axis] = shape[axis].clone() + operands.at(index).shape[axis].clone();
        }
        Ok(vec![TensorType::new(first.dtype, shape)])
    }

    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> super::Work {
        super::default_work(operands, results, Dim::ZERO)
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let axis = resolve_axis(self.axis, shapes[0].len()).unwrap_or(0);
        let outer: usize = shapes[0][..axis].iter().product();
        let widths: Vec<usize> = operands.iter().map(|part| part.shape[axis..].iter().product()).collect();
        let data = match &operands[0].data {
            Data::Float(_) => Data::Float(join(operands, outer, &widths, Tensor::floats)),
            Data::Int(_) => Data::Int(join(operands, outer, &widths, Tensor::ints)),
        };
        Ok(vec![Tensor { dtype: operands[0].dtype, shape: shapes[0].clone(), data }])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let (dtype, shape) = (draw.any(), draw.shape(1, 3));
        let axis = draw.below(shape.len());
        let parts = (0..1 + draw.below(3)).map(|_| {
            let mut part = shape.clone();
            part[axis] = draw.dim();
            TensorType::new(dtype, part)
        });
        let parts = parts.collect();
        (Concat { axis: draw.axis(axis, shape.len()) }, parts)
    }
}

fn join<T: Copy>(parts: &[Tensor], outer: usize, widths: &[usize], of: impl Fn(&Tensor) -> &[T]) -> Vec<T> {
    let mut joined = Vec::new();
    for row in 0..outer {
        for (part, width) in parts.iter().zip(widths) {
            joined.extend_from_slice(&of(part)[row * width..(row + 1) * width]);
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(OpKind::Concat, &[
            (&["f32[T]", "f32[T]"], "axis=1", "the parts have 1 axes"),
            (&["f32[T, 2]", "f32[B, 2]"], "axis=1", "size B along axis 0, expected T"),
            (&["f32[T]", "f16[T]"], "axis=0", "is f16, expected f32"),
            (&["i8[9223372036854775807]", "i8[1]"], "axis=0", "overflows"),
        ]);
    }
}
