//! The operators that a plan for an NPU calls, with the documented rules that its calls are held to.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use mscc_ir::kernels::ascend::{self, AclnnDecl, Family, Soc};
use mscc_ir::plan::Plan;
use mscc_report::figures::calls_of;
use serde_json::{Value, json};

/// A way of calling an operator.
struct Operator {
    decl: &'static AclnnDecl,
    /// Launches in a step, of each variant the most.
    launches: u64,
    /// Limits of sizes and attributes that hold on the device.
    limits: usize,
}

/// By name in plans; none for the host.
fn operators(plan: &Plan) -> Vec<Operator> {
    let Some(soc) = Soc::by_target(&plan.meta.target) else { return Vec::new() };
    let mut most: BTreeMap<&str, u64> = BTreeMap::new();
    for variant in plan.programs.iter().flat_map(|program| &program.variants) {
        let mut launches: BTreeMap<&str, u64> = BTreeMap::new();
        for (index, function) in variant.functions.iter().enumerate() {
            let calls = calls_of(variant, index);
            for launch in &function.launches {
                let count = launches.entry(&launch.kernel).or_default();
                *count = count.saturating_add(calls);
            }
        }
        for (kernel, count) in launches {
            let known = most.entry(kernel).or_default();
            *known = count.max(*known);
        }
    }
    let operator = |(kernel, launches): (&str, u64)| {
        let decl = ascend::decl(kernel)?;
        Some(Operator { decl, launches, limits: limits(decl, soc.family) })
    };
    most.into_iter().filter_map(operator).collect()
}

fn limits(decl: &AclnnDecl, family: Family) -> usize {
    decl.only.len() + decl.limits.iter().filter(|limit| limit.socs.has(family)).count()
}

/// A part of the summary; empty for a plan for the host.
pub fn write_operators(out: &mut String, plan: &Plan) -> fmt::Result {
    let operators = operators(plan);
    if operators.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\noperators: launches a step, limits that each is held to beside types and shapes, rules not checked"
    )?;
    for Operator { decl, launches, limits } in &operators {
        let (name, entry, unchecked) = (decl.name, decl.entry, decl.unchecked.len());
        writeln!(out, "  {name:<24} {entry:<36} {launches:>5} {limits:>3} {unchecked:>3}")?;
    }
    let is_bare = |operator: &&Operator| operator.limits == 0 && operator.decl.unchecked.is_empty();
    let bare: Vec<&str> = operators.iter().filter(is_bare).map(|operator| operator.decl.name).collect();
    if !bare.is_empty() {
        writeln!(out, "  warning: beside types and shapes, no rule is known of {}", bare.join(", "))?;
    }
    Ok(())
}

/// The same for scripts.
pub fn to_json(plan: &Plan) -> Value {
    let one = |Operator { decl, launches, limits }: &Operator| {
        json!({
            "kernel": decl.name,
            "entry": decl.entry,
            "fallback": decl.fallback,
            "launches_per_step": launches,
            "limits": limits,
            "unchecked": decl.unchecked,
        })
    };
    operators(plan).iter().map(one).collect()
}
