//! Forms of a model: one for all steps, and others for steps of sizes at which those cost less.

use mscc_ir::dim::{DimExpr, Factor};
use mscc_ir::module::Module;
use mscc_ir::plan::Condition;
use mscc_ir::{Dim, Symbol, TensorType, step};
use mscc_patterns::Rule;
use mscc_patterns::rule::Phase;

use crate::egraph::{Outcome, Report, Why};
use crate::passes::fuse::Saturation;
use crate::passes::{self, BrokenPass, Pass};
use crate::target::Target;

/// A model as it runs in steps whose sizes fit a guard.
#[derive(Clone, Debug)]
pub struct Form {
    /// Its name: `any` or `prefill`.
    pub name: &'static str,
    /// What must hold of a step; nothing for the form that runs all steps.
    pub guard: Vec<Condition>,
    /// The model after all passes.
    pub module: Module,
    /// What fusion did, for each function.
    pub reports: Vec<Report>,
}

/// How attention over cached latents is computed.
///
/// The forms are equal but for roundings: with one form for all steps, logits do not depend on how a prompt is cut into
/// steps, not by a bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatentForm {
    /// As costs least at the sizes of the step.
    #[default]
    Auto,
    /// Over the latents themselves.
    Absorbed,
    /// Over keys and values made of all cached latents in each step.
    Expanded,
}

impl LatentForm {
    /// All values.
    pub const ALL: [LatentForm; 3] = [LatentForm::Auto, LatentForm::Absorbed, LatentForm::Expanded];

    /// Its name in options.
    pub fn name(self) -> &'static str {
        match self {
            LatentForm::Auto => "auto",
            LatentForm::Absorbed => "absorbed",
            LatentForm::Expanded => "expanded",
        }
    }
}

/// Cached tokens for each new one up to which the form for many new tokens is taken. Keys and values made of them then
/// take about as much memory as queries and results in the space of latents do, of which it makes none.
const CONTEXT_PER_TOKEN: i64 = 8;

/// Runs all passes. The last form runs all steps, those before it run what their guards let through.
///
/// Another form is made only where a rule of phase `choose` found one that costs less at the sizes of a prefill; it runs
/// where it does no more arithmetic.
///
/// Errors: a pass that breaks a sound module.
pub fn forms(
    module: &Module,
    latent: LatentForm,
    rules: &[Rule],
    target: &Target,
) -> Result<Vec<Form>, BrokenPass> {
    let choices = |rule: &&Rule| rule.phase != Phase::Choose || latent != LatentForm::Expanded;
    let rules: Vec<Rule> = rules.iter().filter(choices).cloned().collect();
    let (module, _) = passes::run(module, &[Pass::Normalise, Pass::Recut], &rules, target)?;
    let module = passes::normalise_all(&module);
    let saturation = Saturation::new(&module, &rules, target);
    let form = |name, sizes: &dyn Fn(&Symbol) -> Option<i64>| {
        let (module, reports) = saturation.cheapest(sizes);
        passes::check(Pass::Fuse, &module)?;
        Ok(Form { name, guard: Vec::new(), module, reports })
    };
    let any = form("any", &|_| None)?;
    if latent != LatentForm::Auto || !any.reports.iter().any(|report| has_choice(report, &rules)) {
        return Ok(vec![any]);
    }
    let mut prefill = form("prefill", &|symbol| prefill_size(&module, symbol))?;
    match no_more_work(&prefill.module, &any.module) {
        Some(cheaper) if prefill.module != any.module => {
            let context = Dim::symbol(step::TOKENS) * Dim::constant(CONTEXT_PER_TOKEN);
            prefill.guard = vec![cheaper, Condition::Le(Dim::symbol(step::CONTEXT), context)];
            Ok(vec![prefill, any])
        }
        Some(_) | None => Ok(vec![any]),
    }
}

/// Whether a rule that offers a choice found one.
fn has_choice(report: &Report, rules: &[Rule]) -> bool {
    let chooses = |name: &str| rules.iter().any(|rule| rule.name == name && rule.phase == Phase::Choose);
    let applied = |outcome: &Outcome| match outcome {
        Outcome::Fired { .. } | Outcome::NotChosen(Why::Dearer(_)) => true,
        Outcome::NotChosen(Why::Unused | Why::Cyclic) | Outcome::Refused(_) | Outcome::NearMiss { .. } => {
            false
        }
    };
    let mut chosen = report.rules.iter().filter(|rule| chooses(&rule.rule));
    chosen.any(|rule| rule.events.iter().any(|event| applied(&event.outcome)))
}

/// The sizes of a step that takes in one long prompt.
fn prefill_size(module: &Module, symbol: &Symbol) -> Option<i64> {
    let most = |name: &str| Some(module.symbols.get(&Symbol::new(name))?.max);
    let tokens = most(step::TOKENS)?.min(most(step::MAX_CONTEXT).unwrap_or(i64::MAX));
    match symbol.name() {
        step::TOKENS | step::CONTEXT | step::MAX_CONTEXT | step::MAX_NEW => Some(tokens),
        step::PAIRS => tokens.checked_mul(tokens),
        step::SEQUENCES | step::LOGITS => Some(1),
        step::DECODE_TOKENS | step::DECODE_SEQUENCES => Some(0),
        _ => None,
    }
}

/// The condition that a step of `form` does no more arithmetic than one of `other`; `None` if it cannot be said.
fn no_more_work(form: &Module, other: &Module) -> Option<Condition> {
    let difference = flops(other) - flops(form);
    let DimExpr::Sum { terms, constant } = difference.expr() else { return None };
    let divisor = terms.iter().fold(constant.unsigned_abs(), |divisor, (coefficient, _)| {
        greatest_common_divisor(divisor, coefficient.unsigned_abs())
    });
    let divisor = i64::try_from(divisor).ok().filter(|divisor| *divisor > 0)?;
    let (mut less, mut more) = (Dim::ZERO, Dim::ZERO);
    let mut add = |coefficient: i64, product: Dim| {
        let side = if coefficient < 0 { &mut less } else { &mut more };
        *side = side.clone() + product * Dim::constant(coefficient.checked_abs()? / divisor);
        Some(())
    };
    add(constant, Dim::ONE)?;
    for (coefficient, factors) in terms {
        let product = factors.iter().map(|factor| match factor {
            Factor::Symbol(symbol) => Some(Dim::symbol(symbol.name())),
            Factor::FloorDiv(..) | Factor::Mod(..) | Factor::Min(_) | Factor::Max(_) => None,
        });
        let product = product.collect::<Option<Vec<Dim>>>()?;
        add(coefficient, Dim::product(&product))?;
    }
    Some(Condition::Le(less, more))
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Arithmetic of a step.
fn flops(module: &Module) -> Dim {
    let of_function = module.functions.iter().map(|function| {
        let weight_only = function.weight_only();
        let mut sum = Dim::ZERO;
        for (_, node) in function.nodes().filter(|(id, _)| !weight_only[id.index()]) {
            let Some(op) = node.op().filter(|op| !op.kind().is_view()) else { continue };
            let operands: Vec<TensorType> =
                node.operands.iter().map(|value| function.ty(*value).clone()).collect();
            let results: Vec<TensorType> = node.results.iter().map(|result| result.ty.clone()).collect();
            sum = sum + op.work(&operands, &results).flops;
        }
        sum
    });
    let of_function: Vec<Dim> = of_function.collect();
    let calls = module.program.iter().map(|call| {
        of_function[call.function].clone() * Dim::constant(i64::from(call.layers.end - call.layers.start))
    });
    calls.fold(Dim::ZERO, |sum, call| sum + call)
}
