//! Kernel declarations: what lowering may launch on a target, and under which conditions.
//!
//! A kernel is declared here and implemented in the runtime's device; both sides read the declaration.

pub mod ascend;
pub mod cpu;

use crate::ops::OpKind;
use crate::{DType, TensorType};

/// A kernel: the op it computes and what it asks of its operands.
#[derive(Clone, Copy, Debug)]
pub struct KernelDecl {
    /// Name in plans, unique on the target.
    pub name: &'static str,
    /// The op it computes.
    pub op: OpKind,
    /// What it asks of each operand, the last standing for all further ones.
    pub operands: &'static [OperandDecl],
}

/// What a kernel asks of an operand.
#[derive(Clone, Copy, Debug)]
pub struct OperandDecl {
    /// Element types it takes.
    pub dtypes: &'static [DType],
    /// How the elements must lie.
    pub layout: Layout,
}

/// How elements must lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// Any strides.
    Strided,
    /// Neighbours along the innermost axis side by side, other strides free.
    DenseRows,
    /// Densely packed.
    Contiguous,
}

impl KernelDecl {
    /// What it asks of operand `index`.
    pub fn operand(&self, index: usize) -> Option<&'static OperandDecl> {
        self.operands.get(index).or(self.operands.last())
    }

    /// Whether it takes operands of these types; shapes are the op's matter.
    pub fn takes(&self, operands: &[TensorType]) -> bool {
        operands
            .iter()
            .enumerate()
            .all(|(index, ty)| self.operand(index).is_some_and(|decl| decl.dtypes.contains(&ty.dtype)))
    }
}
