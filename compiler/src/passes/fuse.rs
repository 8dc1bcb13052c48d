//! Fusion: every function through the e-graph stage, once.

use mscc_ir::Symbol;
use mscc_ir::module::Module;
use mscc_patterns::Rule;

use crate::cost::Target as _;
use crate::egraph::{Report, Saturated, extract, saturate};
use crate::target::Target;

/// The functions of a module with all forms that rules give them.
pub struct Saturation<'a> {
    module: &'a Module,
    target: &'a Target,
    functions: Vec<Saturated>,
}

impl<'a> Saturation<'a> {
    /// Applies `rules` wherever they hold and `target` can run what they make.
    pub fn new(module: &'a Module, rules: &[Rule], target: &'a Target) -> Self {
        let all = module.functions.iter();
        let functions = all.map(|function| saturate(function, &module.symbols, rules, target)).collect();
        Saturation { module, target, functions }
    }

    /// The module with every function in the form that costs least at these sizes; symbols without one take their
    /// likely value.
    pub fn cheapest(&self, sizes: &dyn Fn(&Symbol) -> Option<i64>) -> (Module, Vec<Report>) {
        let mut fused = self.module.clone();
        let mut reports = Vec::with_capacity(self.functions.len());
        for (function, saturated) in fused.functions.iter_mut().zip(&self.functions) {
            let extraction = extract(saturated, self.target.cost_model(), sizes);
            *function = extraction.graph;
            reports.push(extraction.report);
        }
        (fused, reports)
    }
}
