//! The devices that plans can be for.

use mscc_ir::kernels::ascend::{self, AclnnDecl, Call, Family, Soc, Usage, Violation};
use mscc_ir::kernels::{self, KernelDecl};
use mscc_ir::ops::{Op, OpKind};
use mscc_ir::{DType, SymbolTable, TensorType};

use crate::cost::{self, CostModel};
use crate::passes::fit::fit;

/// A device: its kernels and what they cost.
pub struct Target {
    /// Its name in plans.
    pub name: &'static str,
    /// What it is.
    pub device: Device,
    /// What is known of the symbols in shapes: a kernel must be legal at all sizes.
    symbols: SymbolTable,
    cost: CostModel,
}

/// What runs a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Device {
    /// The host.
    Cpu,
    /// An Ascend NPU.
    Ascend(&'static Soc),
}

/// The kernel for an op at hand.
#[derive(Clone, Debug)]
pub enum Kernel {
    /// A kernel of the host.
    Cpu(&'static KernelDecl),
    /// A call of an aclnn operator.
    Ascend(&'static AclnnDecl, Call),
}

/// Why there is none: of each kernel for the op, by name, the rules that it would break.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoKernel(pub Vec<(&'static str, Vec<Violation>)>);

impl Target {
    /// The host CPU.
    pub fn cpu() -> Self {
        Target { name: "cpu", device: Device::Cpu, symbols: SymbolTable::default(), cost: CostModel::cpu() }
    }

    /// An Ascend NPU.
    pub fn ascend(soc: &'static Soc) -> Self {
        let symbols = SymbolTable::default();
        Target { name: soc.target, device: Device::Ascend(soc), symbols, cost: CostModel::ascend(soc) }
    }

    /// The target of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        if name == "cpu" { Some(Target::cpu()) } else { Soc::by_target(name).map(Target::ascend) }
    }

    /// Names of all targets.
    pub const NAMES: [&'static str; 7] =
        ["cpu", "ascend910b1", "ascend910b2", "ascend910b3", "ascend910b4", "ascend910_93", "ascend310p"];

    /// Bytes behind each value that kernels may touch. Source: `aclrtMalloc` in the CANN runtime's documents.
    pub fn spare_bytes(&self) -> i64 {
        match self.device {
            Device::Cpu => 0,
            Device::Ascend(_) => 32,
        }
    }

    /// Whether kernels take bf16.
    pub fn knows_bf16(&self) -> bool {
        !matches!(self.device, Device::Ascend(soc) if soc.family == Family::P310)
    }

    /// In what type it computes unless told otherwise.
    pub fn compute_dtype(&self) -> DType {
        if self.knows_bf16() { DType::BF16 } else { DType::F16 }
    }

    /// In what type weights lie on the device unless told otherwise; `None` for that of the checkpoint.
    pub fn weight_dtype(&self) -> Option<DType> {
        (!self.knows_bf16()).then_some(DType::F16)
    }

    /// In what type layers add up: the CPU's kernels read and write f32 beside any narrower type, aclnn operators take
    /// one type for all operands.
    pub fn residual_dtype(&self) -> Option<DType> {
        match self.device {
            Device::Cpu => Some(DType::F32),
            Device::Ascend(_) => None,
        }
    }

    /// New tokens of a step unless told otherwise: attention for 310P takes a batch of 256 at most.
    pub fn max_num_batched_tokens(&self) -> u32 {
        match self.device {
            Device::Ascend(soc) if soc.family == Family::P310 => 256,
            Device::Cpu | Device::Ascend(_) => 2048,
        }
    }

    /// Tokens in a page of a cache unless told otherwise; attention operators for prefill want a multiple of 128.
    pub fn block_size(&self) -> u32 {
        match self.device {
            Device::Cpu => 16,
            Device::Ascend(_) => 128,
        }
    }

    /// The target for shapes over these symbols.
    pub fn with_symbols(&self, symbols: &SymbolTable) -> Self {
        Target { name: self.name, device: self.device, symbols: symbols.clone(), cost: self.cost.clone() }
    }

    /// The preferred kernel for an op on operands of these types.
    ///
    /// Errors: what stands against each that there is.
    pub fn kernel(
        &self,
        op: &Op,
        operands: &[TensorType],
        results: &[TensorType],
    ) -> Result<Kernel, NoKernel> {
        match self.device {
            Device::Cpu => kernels::cpu::kernel_for(op.kind())
                .filter(|kernel| kernel.takes(operands))
                .map(Kernel::Cpu)
                .ok_or_else(NoKernel::default),
            Device::Ascend(soc) => {
                let usage = Usage { op, operands, results, symbols: &self.symbols, family: soc.family };
                let mut refused = NoKernel::default();
                for decl in ascend::decls_for(op.kind()) {
                    match decl.bind(usage) {
                        Ok(call) => return Ok(Kernel::Ascend(decl, call)),
                        Err(violations) => refused.0.push((decl.name, violations)),
                    }
                }
                if let Some((_, reason)) = ascend::WITHOUT_CALL.iter().find(|(kind, _)| *kind == op.kind()) {
                    let found =
                        format!("nothing that has an operator took it in{}", wholes(op.kind(), soc.family));
                    refused.0.push((op.kind().name(), vec![Violation { rule: (*reason).to_owned(), found }]));
                }
                Err(refused)
            }
        }
    }
}

/// Of the operators that compute what an op is part of, what they ask for on a device.
fn wholes(part: OpKind, family: Family) -> String {
    let Some(whole) = ascend::part_of(part) else { return String::new() };
    let runs = |decl: &&AclnnDecl| decl.parsed.rows.iter().any(|(socs, _)| socs.has(family));
    let mut text = String::new();
    for decl in ascend::decls_for(whole).filter(runs) {
        let limits = decl.limits.iter().filter(|limit| limit.socs.has(family));
        let limits = limits.map(|limit| limit.rule.to_owned());
        let rules: Vec<String> = limits.chain(decl.only.iter().map(|only| only.rule())).collect();
        let rules = if rules.is_empty() { "other types or shapes".to_owned() } else { rules.join(", ") };
        text.push_str(&format!("; {} (`{}`) wants {rules}", decl.entry, decl.name));
    }
    if text.is_empty() { format!("; `{}` has no operator on {}", whole.name(), family.name()) } else { text }
}

impl Kernel {
    /// Its name in plans.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::Cpu(decl) => decl.name,
            Kernel::Ascend(decl, _) => decl.name,
        }
    }
}

/// Ways of computing an op of which a message tells what stands against them.
const TOLD: usize = 3;

impl std::fmt::Display for NoKernel {
    /// The ways against which least stands, one for all of which the same is to be said.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // For another device, or for another use of the op.
        let is_elsewhere = |violation: &Violation| {
            violation.rule.starts_with("runs on ") || violation.rule.starts_with("needs ")
        };
        let mut ways: Vec<&(&str, Vec<Violation>)> = self.0.iter().collect();
        ways.sort_by_key(|(_, violations)| (violations.iter().any(is_elsewhere), violations.len()));
        let mut told: Vec<&(&str, Vec<Violation>)> = Vec::new();
        for way in ways {
            let (name, violations) = way;
            let is_known = told.iter().any(|(other, known)| other == name || known == violations);
            let is_apart = !told.is_empty() && violations.iter().any(is_elsewhere);
            if !is_known && !is_apart && told.len() < TOLD {
                told.push(way);
            }
        }
        for (name, violations) in told {
            let entry = ascend::decl(name).map_or(String::new(), |decl| format!("{} ", decl.entry));
            // A cast can mend types alone.
            let is_type = |violation: &Violation| violation.rule.starts_with("element types of ");
            let others = violations.iter().filter(|violation| !is_type(violation)).count();
            let told = violations.iter().filter(|violation| others == 0 || !is_type(violation));
            let rules: Vec<String> = told.map(Violation::to_string).collect();
            write!(f, "\n  {entry}(`{name}`): {}", rules.join("; "))?;
        }
        Ok(())
    }
}

impl cost::Target for Target {
    fn supports(&self, op: &Op, operands: &[TensorType]) -> bool {
        op.kind().is_view()
            || op.infer(operands).is_ok_and(|results| self.kernel(op, operands, &results).is_ok())
            || fit(self, op, operands).is_ok()
    }

    fn cost_model(&self) -> &CostModel {
        &self.cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_for_other_devices_and_uses_are_told_only_where_there_is_no_other() {
        let way = |name: &'static str, rules: &[&str]| {
            let broken = |rule: &&str| Violation { rule: (*rule).to_owned(), found: "not".into() };
            (name, rules.iter().map(broken).collect::<Vec<_>>())
        };
        let text = |ways: &[(&'static str, Vec<Violation>)]| NoKernel(ways.to_vec()).to_string();
        let (wide, sinks) =
            (way("attention", &["D <= 512", "B <= 8"]), way("attention_sinks", &["needs `x`"]));
        let entry = "aclnnFusedInferAttentionScoreV4";
        assert_eq!(
            text(&[sinks.clone(), wide]),
            format!("\n  {entry} (`attention`): D <= 512: not; B <= 8: not")
        );
        assert_eq!(text(&[sinks]), format!("\n  {entry} (`attention_sinks`): needs `x`: not"));
    }

    #[test]
    fn all_devices_are_targets() {
        assert!(
            Target::NAMES.iter().all(|name| Target::by_name(name).is_some_and(|target| target.name == *name))
        );
        assert!(ascend::SOCS.iter().all(|soc| Target::NAMES.contains(&soc.target)));
    }
}
