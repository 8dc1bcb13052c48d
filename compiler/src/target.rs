//! The devices that plans can be for.

use mscc_ir::TensorType;
use mscc_ir::kernels::{self, KernelDecl};
use mscc_ir::ops::{Op, OpKind};

use crate::cost::{self, CostModel};

/// A device: its kernels and what they cost.
pub struct Target {
    /// Its name in plans.
    pub name: &'static str,
    /// The kernel for an op.
    pub kernel_for: fn(OpKind) -> Option<&'static KernelDecl>,
    cost: CostModel,
}

impl Target {
    /// Names of all targets.
    pub const NAMES: [&'static str; 1] = ["cpu"];

    /// The host CPU.
    pub fn cpu() -> Self {
        Target { name: "cpu", kernel_for: kernels::cpu::kernel_for, cost: CostModel::cpu() }
    }

    /// The target of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        (name == "cpu").then(Target::cpu)
    }
}

impl cost::Target for Target {
    fn supports(&self, op: &Op, operands: &[TensorType]) -> bool {
        op.kind().is_view() || (self.kernel_for)(op.kind()).is_some_and(|kernel| kernel.takes(operands))
    }

    fn cost_model(&self) -> &CostModel {
        &self.cost
    }
}
