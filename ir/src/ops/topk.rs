//! The greatest elements.

use super::{Check, Draw, EvalError, OpDef, Operand, TypeError, Work};
use crate::attr::{Attr, AttrError, AttrReader, Attrs};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// The `k` greatest along the innermost axis, greatest first, equals by their place; NaN is greatest.
///
/// | value        | shape   | dtype     |                       |
/// |--------------|---------|-----------|-----------------------|
/// | `x`          | [.., D] | any float |                       |
/// | -> `values`  | [.., k] | as `x`    |                       |
/// | -> `indices` | [.., k] | i32       | where they stood      |
///
/// Errors: `k` is not certainly at most D.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topk {
    /// How many.
    pub k: u32,
}

impl OpDef for Topk {
    const NAME: &'static str = "topk";
    const OPERANDS: &'static [Operand] = &[Operand::one("x")];
    const RESULTS: &'static [&'static str] = &["values", "indices"];

    fn attrs(&self) -> Attrs {
        vec![("k", Attr::Int(i64::from(self.k)))]
    }

    fn from_attrs(attrs: &mut AttrReader<'_>) -> Result<Self, AttrError> {
        Ok(Topk { k: attrs.size("k")? })
    }

    fn infer(&self, operands: Check<'_>) -> Result<Vec<TensorType>, TypeError> {
        let x = operands.float(0)?;
        operands.min_rank(0, 1)?;
        if x.last().as_const().is_none_or(|width| width < i64::from(self.k)) {
            return Err(operands.attribute("k", format!("is {}, `x` is {} wide", self.k, x.last())));
        }
        let shape: Vec<Dim> = x.leading().iter().cloned().chain([Dim::from(self.k)]).collect();
        Ok(vec![TensorType::new(x.dtype, shape.as_slice()), TensorType::new(DType::I32, shape)])
    }

    /// Comparisons count as operations: each element meets the least of those kept.
    fn work(&self, operands: &[TensorType], results: &[TensorType]) -> Work {
        Work {
            read_bytes: operands[0].bytes(),
            written_bytes: results[0].bytes() + results[1].bytes(),
            flops: operands[0].numel(),
        }
    }

    fn eval(&self, operands: &[Tensor], shapes: &[Vec<usize>]) -> Result<Vec<Tensor>, EvalError> {
        let (x, k) = (&operands[0], self.k as usize);
        let (mut values, mut indices) = (Vec::new(), Vec::new());
        for row in x.floats().chunks(x.last().max(1)) {
            for at in greatest(row, k) {
                values.push(row[at]);
                indices.push(at as i64);
            }
        }
        Ok(vec![Tensor::float(x.dtype, &shapes[0], values), Tensor::int(DType::I32, &shapes[1], indices)])
    }

    fn example(draw: &mut Draw) -> (Self, Vec<TensorType>) {
        let k = 1 + draw.below(4);
        let mut shape = draw.shape(0, 2);
        shape.push(Dim::from(k + draw.below(7)));
        (Topk { k: k as u32 }, vec![TensorType::new(draw.float(), shape)])
    }
}

/// Where the `k` greatest stand, greatest first, equals by their place; NaN is greatest.
pub(super) fn greatest(row: &[f64], k: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..row.len()).collect();
    places.sort_by(|a, b| order(row[*b], row[*a]));
    places.truncate(k);
    places
}

/// Numbers by size, zeros of either sign equal and NaN above all.
fn order(a: f64, b: f64) -> std::cmp::Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use crate::ops::OpKind;
    use crate::ops::tests::refuses;

    #[test]
    fn what_does_not_fit_is_refused() {
        refuses(
            OpKind::Topk,
            &[
                (&["f32[T, 4]"], "k=5", "`k`: is 5, `x` is 4 wide"),
                (&["f32[4, T]"], "k=1", "`k`: is 1, `x` is T wide"),
                (&["f32[4]"], "k=0", "attribute `k`: expected an integer from 1"),
                (&["i32[4]"], "k=1", "`x` is i32, expected a float type"),
            ],
        );
    }
}
