//! What fusion saves in typical steps of a plan: the same costs for its graphs before and after.

use mscc_ir::plan::fusion::Cost;
use mscc_ir::plan::{Function, Plan};
use mscc_ir::{Graph, Symbol, TensorType};

use crate::cost::{CostModel, OpCost, Target as _};
use crate::predict::{TYPICAL_STEPS, TypicalStep, calls_of, variant_for};
use crate::target::Target;

/// What fusion saves in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Savings {
    /// The step, cut to the plan's limits.
    pub step: TypicalStep,
    /// The variant that runs it.
    pub variant: String,
    /// Of each function of the variant that is called, in order.
    pub functions: Vec<FunctionSavings>,
}

/// What fusion saves in one call of a function.
///
/// Before, every op but views is a launch, whether or not the target has a kernel for it. After, copies that operators
/// ask for are not among the launches: `inspect` counts those, too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSavings {
    /// The function.
    pub name: String,
    /// How often it is called in the step.
    pub calls: u64,
    /// As its author wrote it.
    pub before: Cost,
    /// In the form chosen.
    pub after: Cost,
}

impl Savings {
    /// Cost of the whole step before and after.
    pub fn total(&self) -> (Cost, Cost) {
        let mut total = (Cost::default(), Cost::default());
        for function in &self.functions {
            let calls = i64::try_from(function.calls).unwrap_or(i64::MAX);
            add(&mut total.0, function.before, calls);
            add(&mut total.1, function.after, calls);
        }
        total
    }
}

fn add(total: &mut Cost, cost: Cost, times: i64) {
    total.ps = total.ps.saturating_add(cost.ps.saturating_mul(times));
    total.launches = total.launches.saturating_add(cost.launches.saturating_mul(times));
    total.bytes = total.bytes.saturating_add(cost.bytes.saturating_mul(times));
}

/// What fusion saves in typical steps; nothing for a plan without graphs or for a target that this compiler does not know.
pub fn savings(plan: &Plan) -> Vec<Savings> {
    let Some(target) = Target::by_name(&plan.meta.target) else { return Vec::new() };
    let of_step = |step: TypicalStep| {
        let (step, variant) = variant_for(plan, step)?;
        let sizes = |symbol: &Symbol| step.size(symbol, plan);
        let of_function = |(index, function): (usize, &Function)| {
            let listing = function.listing.as_ref()?;
            let calls = calls_of(variant, index);
            let cost = |graph| graph_cost(graph, target.cost_model(), &sizes);
            let (before, after) = (cost(&listing.source), cost(&listing.fused));
            (calls > 0).then(|| FunctionSavings { name: function.name.clone(), calls, before, after })
        };
        let functions = variant.functions.iter().enumerate().filter_map(of_function).collect();
        Some(Savings { step, variant: variant.name.clone(), functions })
    };
    TYPICAL_STEPS.into_iter().filter_map(of_step).collect()
}

/// Cost of what a graph computes in a step; an op that cannot be worked out counts as a launch and no more.
fn graph_cost(graph: &Graph, model: &CostModel, sizes: &dyn Fn(&Symbol) -> Option<i64>) -> Cost {
    let weight_only = graph.weight_only();
    let mut total = Cost::default();
    for (_, node) in graph.nodes().filter(|(id, _)| !weight_only[id.index()]) {
        let Some(op) = node.op() else { continue };
        let operands: Vec<TensorType> = node.operands.iter().map(|value| graph.ty(*value).clone()).collect();
        let results: Vec<TensorType> = node.results.iter().map(|result| result.ty.clone()).collect();
        let cost = model.op_cost(op, &operands, &results, sizes);
        let cost = cost.unwrap_or(OpCost { ps: model.launch_ps, launches: 1, bytes: 0 });
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let cost =
            Cost { ps: signed(cost.ps), launches: i64::from(cost.launches), bytes: signed(cost.bytes) };
        add(&mut total, cost, 1);
    }
    total
}
