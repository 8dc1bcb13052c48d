//! What the definitions of the attention ops share.

use std::ops::Range;

use super::{Check, EvalError, TypeError};
use crate::reference::Tensor;
use crate::{DType, Dim, TensorType};

/// A sequence of a step.
pub(super) struct Sequence {
    /// Its first new token among all.
    pub first: usize,
    /// How many new tokens it has.
    pub new: usize,
    /// How many tokens, the new ones included.
    pub context: usize,
}

impl Sequence {
    /// How many of its tokens new token `i` sees, itself included.
    pub fn seen(&self, i: usize) -> usize {
        (self.context + i + 1).saturating_sub(self.new)
    }
}

/// The sequences of a step of so many tokens.
///
/// Errors: starts that are not sorted or end beyond the tokens; a negative context.
pub(super) fn sequences(
    tokens: usize,
    query_start: &Tensor,
    context_len: &Tensor,
) -> Result<Vec<Sequence>, EvalError> {
    let starts = query_start.ints().windows(2).zip(context_len.ints());
    starts
        .map(|(starts, context)| {
            let (first, end) = (starts[0], starts[1]);
            if first < 0 || end < first || end as usize > tokens {
                return Err(EvalError::Domain { operand: "query_start", value: end });
            }
            let context = usize::try_from(*context)
                .map_err(|_| EvalError::Domain { operand: "context_len", value: *context })?;
            Ok(Sequence { first: first as usize, new: (end - first) as usize, context })
        })
        .collect()
}

/// The slots `page * block + offset` in which `keys` of a sequence are kept; no other page is looked up.
///
/// Errors: more than its row of the table holds; a page that there is not.
pub(super) fn slots(
    block_table: &Tensor,
    sequence: usize,
    keys: Range<usize>,
    (pages, block): (usize, usize),
) -> Result<Vec<usize>, EvalError> {
    if keys.end > block_table.row().saturating_mul(block) {
        return Err(EvalError::Domain { operand: "context_len", value: keys.end as i64 });
    }
    let row = &block_table.ints()[sequence * block_table.row()..];
    keys.map(|key| {
        let page = row[key / block];
        let page = usize::try_from(page).ok().filter(|page| *page < pages);
        let page = page.ok_or(EvalError::Domain { operand: "block_table", value: row[key / block] })?;
        Ok(page * block + key % block)
    })
    .collect()
}

/// Adds to `y` the values weighted by the softmax of their scores; a sink takes part and has no value.
pub(super) fn weigh<'a>(
    y: &mut [f64],
    scores: &[f64],
    sink: Option<f64>,
    value: impl Fn(usize) -> &'a [f64],
) {
    let greatest = scores.iter().copied().chain(sink).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().copied().chain(sink).map(|score| (score - greatest).exp()).sum();
    for (at, score) in scores.iter().enumerate() {
        let weight = (score - greatest).exp() / sum;
        y.iter_mut().zip(value(at)).for_each(|(y, value)| *y += weight * value);
    }
}

/// The product of two vectors of equal length.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Operands `index..index + 3` must be a block table, starts of queries and contexts of the same sequences.
pub(super) fn check_tables(operands: &Check<'_>, index: usize) -> Result<(), TypeError> {
    let table = operands.of_dtype(index, DType::I32)?;
    operands.rank(index, 2)?;
    let sequences = &table.shape[0];
    operands.of_dtype(index + 1, DType::I32)?;
    operands.shape(index + 1, &[sequences.clone() + Dim::ONE])?;
    operands.of_dtype(index + 2, DType::I32)?;
    operands.shape(index + 2, std::slice::from_ref(sequences))
}

/// The types of such operands, for examples.
pub(super) fn tables() -> [TensorType; 3] {
    let (sequences, ints) = (Dim::symbol("B"), |shape: &[Dim]| TensorType::new(DType::I32, shape));
    [ints(&[sequences.clone(), Dim::symbol("M")]), ints(&[sequences.clone() + Dim::ONE]), ints(&[sequences])]
}
