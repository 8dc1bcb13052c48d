//! Kernels of the host CPU.
//!
//! To add one: a line here, its code in `runtime/src/device/cpu/`, and a line in that folder's table. A test
//! proves that declarations and implementations match one to one.

use super::{KernelDecl, Layout, OperandDecl};
use crate::DType;
use crate::ops::OpKind;

const FLOATS: &[DType] = &[DType::F32, DType::F16, DType::BF16];
const WITH_F64: &[DType] = &[DType::F64, DType::F32, DType::F16, DType::BF16];
const ANY: &[DType] = &[DType::F64, DType::F32, DType::F16, DType::BF16, DType::I64, DType::I32];

const fn operand(dtypes: &'static [DType], layout: Layout) -> OperandDecl {
    OperandDecl { dtypes, layout }
}

const ROWS: OperandDecl = operand(FLOATS, Layout::DenseRows);
const STRIDED: OperandDecl = operand(FLOATS, Layout::Strided);
const PACKED: OperandDecl = operand(FLOATS, Layout::Contiguous);
const F32_PACKED: OperandDecl = operand(&[DType::F32], Layout::Contiguous);
const I32_PACKED: OperandDecl = operand(&[DType::I32], Layout::Contiguous);

/// All kernels of the CPU, by name.
pub const KERNELS: &[KernelDecl] = &[
    KernelDecl { name: "add", op: OpKind::Add, operands: &[STRIDED] },
    KernelDecl { name: "add_rms_norm", op: OpKind::AddRmsNorm, operands: &[ROWS, ROWS, PACKED] },
    KernelDecl { name: "argsort", op: OpKind::Argsort, operands: &[I32_PACKED] },
    KernelDecl {
        name: "attention",
        op: OpKind::Attention,
        operands: &[ROWS, PACKED, PACKED, I32_PACKED, I32_PACKED, I32_PACKED, PACKED],
    },
    KernelDecl { name: "bincount", op: OpKind::Bincount, operands: &[I32_PACKED] },
    KernelDecl { name: "cache_read", op: OpKind::CacheRead, operands: &[PACKED, I32_PACKED, I32_PACKED] },
    KernelDecl { name: "cache_write", op: OpKind::CacheWrite, operands: &[PACKED, ROWS, I32_PACKED] },
    KernelDecl { name: "cast", op: OpKind::Cast, operands: &[operand(WITH_F64, Layout::Strided)] },
    KernelDecl { name: "clamp", op: OpKind::Clamp, operands: &[STRIDED] },
    KernelDecl { name: "concat", op: OpKind::Concat, operands: &[operand(ANY, Layout::Strided)] },
    KernelDecl { name: "floor_div", op: OpKind::FloorDiv, operands: &[I32_PACKED] },
    KernelDecl {
        name: "gather",
        op: OpKind::Gather,
        operands: &[operand(ANY, Layout::Contiguous), operand(&[DType::I32, DType::I64], Layout::Contiguous)],
    },
    KernelDecl { name: "gelu", op: OpKind::Gelu, operands: &[STRIDED] },
    KernelDecl { name: "grouped_matmul", op: OpKind::GroupedMatmul, operands: &[ROWS, ROWS, I32_PACKED] },
    KernelDecl { name: "index_add", op: OpKind::IndexAdd, operands: &[PACKED, I32_PACKED] },
    KernelDecl { name: "keep_groups", op: OpKind::KeepGroups, operands: &[PACKED, I32_PACKED] },
    KernelDecl {
        name: "latent_attention",
        op: OpKind::LatentAttention,
        operands: &[ROWS, ROWS, PACKED, PACKED, I32_PACKED],
    },
    KernelDecl { name: "layer_norm", op: OpKind::LayerNorm, operands: &[ROWS, PACKED, PACKED] },
    KernelDecl { name: "matmul", op: OpKind::Matmul, operands: &[ROWS, ROWS, PACKED] },
    KernelDecl { name: "mul", op: OpKind::Mul, operands: &[STRIDED] },
    KernelDecl {
        name: "ragged_attention",
        op: OpKind::RaggedAttention,
        operands: &[ROWS, ROWS, ROWS, ROWS, ROWS, I32_PACKED],
    },
    KernelDecl { name: "relu", op: OpKind::Relu, operands: &[STRIDED] },
    KernelDecl { name: "renormalize", op: OpKind::Renormalize, operands: &[ROWS] },
    KernelDecl { name: "rms_norm", op: OpKind::RmsNorm, operands: &[ROWS, PACKED] },
    KernelDecl { name: "rope", op: OpKind::Rope, operands: &[ROWS, F32_PACKED, F32_PACKED] },
    KernelDecl { name: "rope_table", op: OpKind::RopeTable, operands: &[I32_PACKED, F32_PACKED] },
    KernelDecl { name: "scale", op: OpKind::Scale, operands: &[STRIDED] },
    KernelDecl { name: "scale_rows", op: OpKind::ScaleRows, operands: &[ROWS, STRIDED] },
    KernelDecl { name: "shift", op: OpKind::Shift, operands: &[STRIDED] },
    KernelDecl { name: "sigmoid", op: OpKind::Sigmoid, operands: &[STRIDED] },
    KernelDecl { name: "silu", op: OpKind::Silu, operands: &[STRIDED] },
    KernelDecl { name: "soft_cap", op: OpKind::SoftCap, operands: &[STRIDED] },
    KernelDecl { name: "softmax", op: OpKind::Softmax, operands: &[ROWS] },
    KernelDecl { name: "sum", op: OpKind::Sum, operands: &[ROWS] },
    KernelDecl { name: "swiglu", op: OpKind::Swiglu, operands: &[STRIDED] },
    KernelDecl {
        name: "take_along",
        op: OpKind::TakeAlong,
        operands: &[operand(ANY, Layout::DenseRows), operand(&[DType::I32], Layout::DenseRows)],
    },
    KernelDecl { name: "topk", op: OpKind::Topk, operands: &[ROWS] },
];

/// The kernel for an op.
pub fn kernel_for(op: OpKind) -> Option<&'static KernelDecl> {
    KERNELS.iter().find(|kernel| kernel.op == op)
}

/// The kernel of this name.
pub fn kernel(name: &str) -> Option<&'static KernelDecl> {
    KERNELS.iter().find(|kernel| kernel.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_by_unique_name() {
        assert!(KERNELS.windows(2).all(|pair| pair[0].name < pair[1].name));
    }
}
