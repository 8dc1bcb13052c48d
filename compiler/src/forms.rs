//! Forms of a model: one for all steps, and others for steps of sizes at which those cost less.

use mscc_ir::dim::{DimExpr, Factor};
use mscc_ir::module::Module;
use mscc_ir::plan::Condition;
use mscc_ir::plan::fusion::{Outcome, Why};
use mscc_ir::{Dim, Symbol, SymbolInfo, SymbolTable, TensorType, step};
use mscc_patterns::Rule;
use mscc_patterns::rule::Phase;

use crate::cost::Target as _;
use crate::egraph::Report;
use crate::passes::fuse::Saturation;
use crate::passes::{self, BrokenPass, Pass, fit};
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

impl Form {
    /// What is known of symbols where it runs.
    pub fn symbols(&self) -> SymbolTable {
        let mut symbols = self.module.symbols.clone();
        self.guard.iter().for_each(|condition| condition.assume_in(&mut symbols));
        symbols
    }
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

/// New tokens of a step from which the form for many of them is taken. With fewer, what it saves is little beside the
/// reading of weights, and steps that are cut otherwise give the same bits.
const LEAST_TOKENS: i64 = 256;

/// Runs all passes. The last form runs all steps, those before it run what their guards let through.
///
/// With `stop_after`, each form has so many rewrites at most.
///
/// Another form is made only where a rule of phase `choose` found one that costs less at the sizes of a prefill; it runs
/// where it does no more arithmetic and there is much of it.
///
/// Errors: a pass that breaks a sound module.
pub fn forms(
    module: &Module,
    latent: LatentForm,
    rules: &[Rule],
    stop_after: Option<u32>,
    target: &Target,
) -> Result<Vec<Form>, BrokenPass> {
    let mut forms = fused(module, latent, rules, stop_after, target)?;
    let symbols: Vec<SymbolTable> = forms.iter().map(Form::symbols).collect();
    let modules = forms.iter_mut().map(|form| &mut form.module);
    let mut modules: Vec<(&mut Module, SymbolTable)> = modules.zip(symbols).collect();
    let fitted = fit::fit_all(&mut modules, target);
    for (form, functions) in forms.iter_mut().zip(fitted) {
        for (report, sources) in form.reports.iter_mut().zip(functions) {
            report.origins = sources.iter().map(|source| report.origins[source.index()].clone()).collect();
        }
    }
    forms.iter().try_for_each(|form| passes::check(Pass::Fit, &form.module))?;
    Ok(forms)
}

fn fused(
    module: &Module,
    latent: LatentForm,
    rules: &[Rule],
    stop_after: Option<u32>,
    target: &Target,
) -> Result<Vec<Form>, BrokenPass> {
    let choices = |rule: &&Rule| rule.phase != Phase::Choose || latent != LatentForm::Expanded;
    let rules: Vec<Rule> = rules.iter().filter(choices).cloned().collect();
    let (module, _) = passes::run(module, &[Pass::Normalise, Pass::Recut, Pass::Suit], &rules, target)?;
    let module = passes::normalise_all(&module);
    let (bounded, everywhere) =
        (target.with_symbols(&in_guard(&module)), target.with_symbols(&module.symbols));
    let saturation = Saturation::until(&module, &rules, &bounded, stop_after);
    let form = |name, sizes: &dyn Fn(&Symbol) -> Option<i64>| {
        let (module, reports) = saturation.cheapest(sizes);
        passes::check(Pass::Fuse, &module)?;
        Ok(Form { name, guard: Vec::new(), module, reports })
    };
    let mut any = form("any", &|_| None)?;
    if !runs(&any.module, &everywhere) {
        let (module, reports) =
            Saturation::until(&module, &rules, &everywhere, stop_after).cheapest(&|_| None);
        passes::check(Pass::Fuse, &module)?;
        any = Form { module, reports, ..any };
    }
    if latent != LatentForm::Auto || !any.reports.iter().any(|report| has_choice(report, &rules)) {
        return Ok(vec![any]);
    }
    let mut prefill = form("prefill", &|symbol| prefill_size(&module, symbol))?;
    match no_more_work(&prefill.module, &any.module) {
        Some(cheaper) if prefill.module != any.module => {
            let context = Dim::symbol(step::TOKENS) * Dim::constant(CONTEXT_PER_TOKEN);
            prefill.guard = vec![
                Condition::Le(Dim::constant(LEAST_TOKENS), Dim::symbol(step::TOKENS)),
                cheaper,
                Condition::Le(Dim::symbol(step::CONTEXT), context),
            ];
            Ok(vec![prefill, any])
        }
        Some(_) | None => Ok(vec![any]),
    }
}

/// Whether the target has a kernel for every op, or a way around.
fn runs(module: &Module, target: &Target) -> bool {
    module.functions.iter().all(|graph| {
        let weight_only = graph.weight_only();
        graph.nodes().all(|(id, node)| {
            let Some(op) = node.op().filter(|_| !weight_only[id.index()]) else { return true };
            let operands: Vec<TensorType> =
                node.operands.iter().map(|value| graph.ty(*value).clone()).collect();
            target.supports(op, &operands)
        })
    })
}

/// What is known of symbols where the guard of a form for many new tokens holds: kernels of either form are sought there,
/// and lowering holds each form against what its own guard says.
pub fn in_guard(module: &Module) -> SymbolTable {
    let mut symbols = module.symbols.clone();
    let max = |name: &str| module.symbols.get(&Symbol::new(name)).map(|info| info.max);
    if let (Some(tokens), Some(info)) = (max(step::TOKENS), symbols.get(&Symbol::new(step::CONTEXT)).copied())
    {
        let max = info.max.min(tokens.saturating_mul(CONTEXT_PER_TOKEN)).max(info.min);
        symbols.declare(step::CONTEXT, SymbolInfo { max, likely: info.likely.min(max), ..info });
    }
    symbols
}

/// Whether a rule that offers a choice found one.
fn has_choice(report: &Report, rules: &[Rule]) -> bool {
    let chooses = |name: &str| rules.iter().any(|rule| rule.name == name && rule.phase == Phase::Choose);
    let applied = |outcome: &Outcome| match outcome {
        Outcome::Fired(_) | Outcome::Needed | Outcome::NotChosen(Why::Dearer(_)) => true,
        Outcome::NotChosen(Why::NoKernel | Why::Unused | Why::Cyclic)
        | Outcome::Refused(_)
        | Outcome::NearMiss { .. } => false,
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

#[cfg(test)]
mod tests {
    use mscc_ir::text::parse_module;
    use mscc_patterns::builtin;

    use super::*;
    use crate::lower::lower;

    /// Attention over latents as it is traced: 4 heads of 16 + 8, values of 12, latents of 32.
    const MODULE: &str = r#"module m
symbol A in 1..1048576 likely 32768
symbol B in 1..8 likely 8
symbol C in 1..65536 likely 4096
symbol M in 1..64 likely 32
symbol P_latent in 1..4096 likely 256
symbol Q in 1..512 likely 64
symbol S in 1..8192 likely 512
symbol T in 1..512 likely 64
cache latent latent block 16 layers [0..1] { latent: f32[32], k_rope: f32[8] }
func @layer {
  %ids = input token_ids : i32[T]
  %q_of = weight "layers.{i}.q.weight" : f32[9, 4, 16]
  %q_rope_of = weight "layers.{i}.q_rope.weight" : f32[9, 4, 8]
  %q = gather %q_of, %ids
  %q_rope = gather %q_rope_of, %ids
  %latent = cache latent.latent : f32[P_latent, 16, 32]
  %rope = cache latent.k_rope : f32[P_latent, 16, 8]
  %table = input block_table.latent : i32[B, M]
  %query_start = input query_start : i32[B + 1]
  %context_len = input context_len : i32[B]
  %kv_b = weight "layers.{i}.kv_b.weight" : f32[112, 32]
  %latents = cache_read %latent, %table, %context_len {rows=[C]}
  %ropes = cache_read %rope, %table, %context_len {rows=[C]}
  %rows = linear %latents, %kv_b
  %heads = reshape %rows {shape=[C, 4, 28]}
  %k, %v = split %heads {axis=-1, sizes=[16, 12]}
  %y = ragged_attention %q, %q_rope, %k, %ropes, %v, %query_start, %context_len {scale=0.2}
  output y = %y
}
program { @layer [0..1] }
"#;

    fn of(text: &str, latent: LatentForm) -> Vec<Form> {
        forms(&parse_module(text).unwrap(), latent, &builtin().unwrap(), None, &Target::cpu()).unwrap()
    }

    fn attention(form: &Form) -> &'static str {
        let kinds = form.module.functions[0].nodes().filter_map(|(_, node)| Some(node.op()?.kind().name()));
        kinds.into_iter().find(|name| name.ends_with("attention")).unwrap()
    }

    #[test]
    fn prefill_expands_and_all_else_is_absorbed() {
        let forms = of(MODULE, LatentForm::Auto);
        let names: Vec<_> = forms.iter().map(|form| (form.name, attention(form))).collect();
        assert_eq!(names, [("prefill", "ragged_attention"), ("any", "latent_attention")]);
        // Making keys and values takes 2·4·(16+12)·32 of each cached latent, and absorbing as much of each new token;
        // a pair of tokens takes 2·4·(16+8+12) or 2·4·(32+8+32).
        let guard: Vec<String> = forms[0].guard.iter().map(Condition::to_string).collect();
        assert_eq!(guard, ["256 <= T", "224*C <= 9*A + 224*T", "C <= 8*T"]);
        assert!(forms[1].guard.is_empty());
    }

    #[test]
    fn variants_share_weights_and_guards_bound_their_arenas() {
        let lowered = lower(&of(MODULE, LatentForm::Auto), &Target::cpu()).unwrap();
        let names: Vec<_> =
            lowered.recipes.iter().filter_map(|recipe| Some(recipe.identity()?.as_str())).collect();
        assert_eq!(names, ["layers.{i}.q.weight", "layers.{i}.q_rope.weight", "layers.{i}.kv_b.weight"]);
        assert_eq!(lowered.recipes.len(), 3);
        let symbols = parse_module(MODULE).unwrap().symbols;
        let most = |at: usize| symbols.range(&lowered.variants[at].arena_bytes).unwrap().max;
        assert!(most(0) < 8 * 512 * 1000, "{}", lowered.variants[0].arena_bytes);
        assert!(most(1) < 512 * 2000, "{}", lowered.variants[1].arena_bytes);
    }

    #[test]
    fn one_form_where_it_is_asked_for_or_there_is_no_other() {
        for (latent, expected) in
            [(LatentForm::Absorbed, "latent_attention"), (LatentForm::Expanded, "ragged_attention")]
        {
            let forms = of(MODULE, latent);
            assert_eq!(
                forms.iter().map(|form| (form.name, attention(form))).collect::<Vec<_>>(),
                [("any", expected)]
            );
        }
        // Keys of another weight than that of the values.
        let keys = "  %w = weight \"layers.{i}.k.weight\" : f32[64, 32]
  %k_rows = linear %latents, %w
  %others = reshape %k_rows {shape=[C, 4, 16]}
  %y =";
        let other = MODULE.replace("  %y =", keys).replace("%q_rope, %k,", "%q_rope, %others,");
        assert_eq!(of(&other, LatentForm::Auto).len(), 1);
    }
}
