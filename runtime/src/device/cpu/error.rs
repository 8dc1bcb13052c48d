//! What a launch can answer instead of a result.

use mscc_ir::DType;

use super::view::Dims;

/// A launch that cannot be done or did not finish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    /// No implementation for this combination of element types.
    #[error("`{kernel}` has no implementation for dtypes {}", join(dtypes))]
    Dtypes {
        /// The kernel.
        kernel: &'static str,
        /// Element types of operands, then results.
        dtypes: Vec<DType>,
    },
    /// A size that does not fit the other sizes.
    #[error("`{kernel}`: `{value}` has dims {got:?}, expected {expected}")]
    Shape {
        /// The kernel.
        kernel: &'static str,
        /// The operand or result.
        value: &'static str,
        /// Its sizes.
        got: Dims,
        /// What they have to be, with symbolic dims.
        expected: &'static str,
    },
    /// Gaps where the kernel reads whole vectors or rows.
    #[error("`{kernel}`: the rows of `{value}` must be without gaps")]
    Layout {
        /// The kernel.
        kernel: &'static str,
        /// The operand or result.
        value: &'static str,
    },
    /// A number of operands or results that the kernel does not have.
    #[error("`{kernel}` got {operands} operands and {results} results")]
    Arity {
        /// The kernel.
        kernel: &'static str,
        /// Operands given.
        operands: usize,
        /// Results given.
        results: usize,
    },
    /// Attributes that the operands and results do not fit.
    #[error("`{kernel}`: operands or results do not fit {attribute}")]
    Attribute {
        /// The kernel.
        kernel: &'static str,
        /// The attribute.
        attribute: &'static str,
    },
    /// A result that has to be an operand's memory and is not.
    #[error("`{kernel}`: the result must be the memory of `{value}`")]
    NotInPlace {
        /// The kernel.
        kernel: &'static str,
        /// The operand.
        value: &'static str,
    },
    /// An index outside what it points into.
    #[error("`{kernel}`: `{value}`[{position}] is {got}, outside 0..{limit}")]
    Index {
        /// The kernel.
        kernel: &'static str,
        /// The operand that holds the index.
        value: &'static str,
        /// Where in it, flattened.
        position: usize,
        /// The index.
        got: i64,
        /// One past the largest allowed.
        limit: usize,
    },
    /// An op that has no CPU kernel.
    #[error("the CPU has no kernel for op `{op}`")]
    Unknown {
        /// The op's name.
        op: &'static str,
    },
    /// A task panicked: a bug of ours.
    #[error("a kernel task panicked: {message}")]
    Panicked {
        /// The panic's message.
        message: String,
    },
}

fn join(dtypes: &[DType]) -> String {
    dtypes.iter().map(|dtype| dtype.name()).collect::<Vec<_>>().join(", ")
}
