//! What a plan is expected to take: the roofline of its target, launch by launch.

use mscc_ir::kernels::ascend::{self, TensorOf};
use mscc_ir::plan::{Function, Launch, Operand, Plan, Variant};
use mscc_ir::{Symbol, TensorType, step};

use crate::cost::{OpCost, Target as _};
use crate::target::{Device, Target};

/// A step as it is typical in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypicalStep {
    /// What it is called.
    pub name: &'static str,
    /// Sequences in it.
    pub sequences: i64,
    /// New tokens of each.
    pub new_tokens: i64,
    /// Tokens of each, the new included.
    pub context: i64,
}

/// Eight sequences that decode, and one long prompt.
pub const TYPICAL_STEPS: [TypicalStep; 2] = [
    TypicalStep { name: "decode", sequences: 8, new_tokens: 1, context: 4096 },
    TypicalStep { name: "prefill", sequences: 1, new_tokens: 2048, context: 2048 },
];

/// What a step is expected to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prediction {
    /// The step, cut to the plan's limits.
    pub step: TypicalStep,
    /// The variant that runs it.
    pub variant: String,
    /// Of each function of the variant, in order.
    pub functions: Vec<FunctionCost>,
}

/// What one call of a function is expected to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionCost {
    /// The function.
    pub name: String,
    /// How often it is called in a step.
    pub calls: u64,
    /// Its launches.
    pub launches: u64,
    /// Time, picoseconds.
    pub ps: u64,
    /// Of that, in launches that memory bounds, that arithmetic bounds, and for launching.
    pub bounds: Bounds,
}

/// Time by what bounds it, picoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Launches that wait for memory.
    pub memory: u64,
    /// Launches that wait for arithmetic.
    pub compute: u64,
    /// What launching takes.
    pub launch: u64,
}

impl Bounds {
    /// What takes most.
    pub fn name(self) -> &'static str {
        let most = self.memory.max(self.compute).max(self.launch);
        match most {
            most if most == self.memory => "memory",
            most if most == self.compute => "compute",
            _ => "launches",
        }
    }
}

impl Prediction {
    /// Time of the whole step, picoseconds.
    pub fn ps(&self) -> u64 {
        self.functions.iter().map(|function| function.calls.saturating_mul(function.ps)).sum()
    }

    /// Launches of the whole step.
    pub fn launches(&self) -> u64 {
        self.functions.iter().map(|function| function.calls.saturating_mul(function.launches)).sum()
    }
}

impl TypicalStep {
    /// The step within a plan's limits.
    fn within(self, plan: &Plan) -> TypicalStep {
        let limits = &plan.meta.limits;
        let context = self.context.min(limits.max_model_len.into()).max(1);
        let new_tokens = self.new_tokens.min(context).min(limits.max_num_batched_tokens.into()).max(1);
        let tokens = i64::from(limits.max_num_batched_tokens) / new_tokens;
        let sequences = self.sequences.min(limits.max_num_seqs.into()).min(tokens).max(1);
        TypicalStep { sequences, new_tokens, context, ..self }
    }

    /// Sizes of the step.
    pub(crate) fn size(&self, symbol: &Symbol, plan: &Plan) -> Option<i64> {
        let tokens = self.sequences * self.new_tokens;
        let decoding = if self.new_tokens == 1 { self.sequences } else { 0 };
        let block = plan.caches.iter().map(|group| group.block_size).min().unwrap_or(1);
        Some(match symbol.name() {
            step::TOKENS => tokens,
            step::SEQUENCES | step::LOGITS => self.sequences,
            step::DECODE_TOKENS | step::DECODE_SEQUENCES => decoding,
            step::CONTEXT => self.sequences * self.context,
            step::MAX_CONTEXT => self.context,
            step::MAX_NEW => self.new_tokens,
            // Attention is causal: a new token sees half of the new ones on average.
            step::PAIRS => tokens * (self.context - self.new_tokens) + tokens * (self.new_tokens + 1) / 2,
            step::TABLE_WIDTH => step::bucketed_pages(u32::try_from(self.context).ok()?, block),
            other => plan.symbols.iter().find(|(name, _)| name == other)?.1.likely,
        })
    }
}

/// What the plan's target is expected to take for typical steps; nothing for a target that this compiler does not know.
pub fn predict(plan: &Plan) -> Vec<Prediction> {
    let Some(target) = Target::by_name(&plan.meta.target) else { return Vec::new() };
    let predict = |step: TypicalStep| {
        let (step, variant) = variant_for(plan, step)?;
        let sizes = |symbol: &Symbol| step.size(symbol, plan);
        let cost = |(index, function): (usize, &Function)| {
            function_cost(function, calls_of(variant, index), &target, &sizes)
        };
        let functions = variant.functions.iter().enumerate().map(cost).collect();
        Some(Prediction { step, variant: variant.name.clone(), functions })
    };
    TYPICAL_STEPS.into_iter().filter_map(predict).collect()
}

/// A step cut to the plan's limits, and the variant that runs it.
pub(crate) fn variant_for(plan: &Plan, step: TypicalStep) -> Option<(TypicalStep, &Variant)> {
    let step = step.within(plan);
    let sizes = |symbol: &Symbol| step.size(symbol, plan);
    let runs =
        |variant: &&Variant| variant.guard.iter().all(|condition| condition.holds(&sizes).unwrap_or(false));
    Some((step, plan.program("main")?.variants.iter().find(runs)?))
}

/// How often a function is called in a step.
pub(crate) fn calls_of(variant: &Variant, function: usize) -> u64 {
    let calls = variant.calls.iter().filter(|(called, _)| *called as usize == function);
    calls.map(|(_, layers)| u64::from(layers.end.saturating_sub(layers.start))).sum()
}

fn function_cost(
    function: &Function,
    calls: u64,
    target: &Target,
    sizes: &dyn Fn(&Symbol) -> Option<i64>,
) -> FunctionCost {
    let model = target.cost_model();
    let mut cost = FunctionCost {
        name: function.name.clone(),
        calls,
        launches: function.launches.len() as u64,
        ps: 0,
        bounds: Bounds::default(),
    };
    for launch in &function.launches {
        let OpCost { ps, bytes, .. } = launch_cost(launch, target, sizes);
        let moving = u64::try_from(model.moving_ps(bytes)).unwrap_or(u64::MAX);
        let work = ps.saturating_sub(model.launch_ps);
        let bound = if moving >= work { &mut cost.bounds.memory } else { &mut cost.bounds.compute };
        *bound = bound.saturating_add(work);
        cost.bounds.launch = cost.bounds.launch.saturating_add(model.launch_ps);
        cost.ps = cost.ps.saturating_add(ps);
    }
    cost
}

/// What one launch is expected to take; one that cannot be worked out counts as a launch and no more.
///
/// What counts is the op's: not the tables and the results that a call has beside it.
pub fn launch_cost(launch: &Launch, target: &Target, sizes: &dyn Fn(&Symbol) -> Option<i64>) -> OpCost {
    let model = target.cost_model();
    let given: Vec<TensorType> = launch.operands.iter().map(Operand::ty).collect();
    let operands = match (target.device, ascend::decl(&launch.kernel)) {
        (Device::Ascend(_), Some(decl)) => {
            let own = given.len().saturating_sub(decl.num_constants());
            decl.op_types(TensorOf::Operand, &given[..own])
        }
        (Device::Ascend(_) | Device::Cpu, _) => given,
    };
    let results = launch.op.infer(&operands);
    let cost = results.ok().and_then(|results| model.op_cost(&launch.op, &operands, &results, sizes).ok());
    cost.unwrap_or(OpCost { ps: model.launch_ps, launches: 1, bytes: 0 })
}
