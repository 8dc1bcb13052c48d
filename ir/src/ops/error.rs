//! What can be wrong with an op's operands.

use crate::{DType, Dim};

/// Why operands do not fit an op.
///
/// What to do: mend the graph or rule where the op stands; docs/ir.md has the ops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TypeError {
    /// Too few or too many operands.
    #[error("`{op}`: expected operands ({expected}), found {got}")]
    Arity {
        /// The op.
        op: &'static str,
        /// Names of the operands it takes.
        expected: String,
        /// How many were given.
        got: usize,
    },
    /// An element type that the operand does not take.
    #[error("`{op}`: operand `{operand}` is {got}, expected {expected}")]
    DType {
        /// The op.
        op: &'static str,
        /// The operand.
        operand: &'static str,
        /// What it takes.
        expected: String,
        /// What was given.
        got: DType,
    },
    /// A wrong number of axes.
    #[error("`{op}`: operand `{operand}` has {got} axes, expected {expected}")]
    Rank {
        /// The op.
        op: &'static str,
        /// The operand.
        operand: &'static str,
        /// How many it takes.
        expected: String,
        /// How many were given.
        got: usize,
    },
    /// A size that differs from what the other operands or attributes imply.
    #[error("`{op}`: operand `{operand}` has size {got} along axis {axis}, expected {expected}")]
    DimMismatch {
        /// The op.
        op: &'static str,
        /// The operand.
        operand: &'static str,
        /// Its axis.
        axis: usize,
        /// The size implied.
        expected: Dim,
        /// The size found.
        got: Dim,
    },
    /// An attribute that does not fit the operands.
    #[error("`{op}`: attribute `{attribute}`: {reason}")]
    Attribute {
        /// The op.
        op: &'static str,
        /// The attribute.
        attribute: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An operand or result whose size or number of axes is too large.
    #[error("`{op}`: the size of an operand or a result overflows")]
    Overflow {
        /// The op.
        op: &'static str,
    },
}

/// Why the reference implementation could not compute a result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// An operand holds a value outside its domain.
    #[error("operand `{operand}` holds {value}, which is outside its domain")]
    Domain {
        /// The operand.
        operand: &'static str,
        /// The value.
        value: i64,
    },
    /// The result would be too large to compute here.
    #[error("a tensor of {0} elements is too large for the reference interpreter")]
    TooLarge(u128),
    /// A dim without a value.
    #[error(transparent)]
    Dim(#[from] crate::dim::DimError),
    /// A value that is not there.
    #[error("no value given for `{0}`")]
    Missing(String),
    /// A given tensor of another type than declared.
    #[error("`{name}`: expected {expected}, found {found}")]
    Mismatch {
        /// The value.
        name: String,
        /// Its declared type.
        expected: String,
        /// The tensor given.
        found: String,
    },
}
