//! Fusion: every function through the e-graph stage, once.

use mscc_ir::module::Module;
use mscc_patterns::Rule;

use crate::cost::Target as _;
use crate::egraph::{Report, extract, saturate};
use crate::target::Target;

/// Replaces every function by the cheapest form that the rules give, at the symbols' likely sizes.
pub fn fuse(module: &Module, rules: &[Rule], target: &Target) -> (Module, Vec<Report>) {
    let mut fused = module.clone();
    let mut reports = Vec::with_capacity(module.functions.len());
    for function in &mut fused.functions {
        let saturated = saturate(function, &module.symbols, rules, target);
        let extraction = extract(&saturated, target.cost_model(), &|_| None);
        *function = extraction.graph;
        reports.push(extraction.report);
    }
    (fused, reports)
}
