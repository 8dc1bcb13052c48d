//! Fusion: every function through the e-graph stage, once.

use mscc_ir::Symbol;
use mscc_ir::module::Module;
use mscc_patterns::Rule;

use crate::cost::Target as _;
use crate::egraph::{Report, Rewrites, Saturated, extract, saturate_within};
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
        Saturation::until(module, rules, target, None)
    }

    /// The same, but no rewrites after the first `stop_after`, in the order of functions and rules.
    pub fn until(module: &'a Module, rules: &[Rule], target: &'a Target, stop_after: Option<u32>) -> Self {
        let mut rewrites = Rewrites { made: 0, stop_after };
        let all = module.functions.iter();
        let functions =
            all.map(|function| saturate_within(function, &module.symbols, rules, target, &mut rewrites));
        Saturation { module, target, functions: functions.collect() }
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
