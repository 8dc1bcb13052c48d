//! What the search finds, held against what integer programming proves, on the layers of real models.

use std::path::{Path, PathBuf};

use mscc_ir::ops::OpKind;
use mscc_ir::text::parse_module;
use mscc_ir::{Module, step};
use mscc_patterns::builtin;

use super::*;
use crate::cost::Target as _;
use crate::forms::in_guard;
use crate::lower::LowerError;
use crate::passes::{self, Pass};
use crate::{CompileError, Options, Target, compile};

const TARGETS: [&str; 2] = ["cpu", "ascend910b3"];
/// New tokens, sequences and cached tokens of a step.
const STEPS: [(&str, i64, i64, i64); 3] =
    [("decode", 1, 1, 4096), ("batch", 64, 64, 64 * 4096), ("prefill", 2048, 1, 2048)];

fn data(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(folder);
    let mut all: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

fn sizes(symbol: &Symbol, (_, tokens, sequences, context): (&str, i64, i64, i64)) -> Option<i64> {
    let decodes = tokens == sequences;
    match symbol.name() {
        step::TOKENS => Some(tokens),
        step::SEQUENCES | step::LOGITS => Some(sequences),
        step::CONTEXT => Some(context),
        step::MAX_CONTEXT => Some(context / sequences),
        step::MAX_NEW => Some(tokens / sequences),
        step::PAIRS => Some(tokens * (context / sequences)),
        step::DECODE_TOKENS | step::DECODE_SEQUENCES => Some(if decodes { tokens } else { 0 }),
        _ => None,
    }
}

/// Forms within this of the cheapest do where experts are chosen or attention has two forms; elsewhere none but the
/// cheapest.
const TOLERANCE: f64 = 1e-2;
/// What may be lost where a sum of picoseconds is made in floating point.
const ROUNDING: f64 = 1e-9;
/// A layer kind has so many times the nodes that it was given, at most, when all rules are through.
const MOST_GROWTH: usize = 4;

#[test]
fn the_search_finds_the_cheapest_of_every_layer_kind() {
    let (mut steps, mut choices, mut short) = (0, 0, Vec::new());
    each_layer_kind(|name, device, saturated| {
        for at in STEPS {
            let name = format!("{name}, {}", at.0);
            let symbols = &saturated.symbols;
            let likely = |symbol: &Symbol| sizes(symbol, at).or_else(|| Some(symbols.get(symbol)?.likely));
            let space = saturated.space.as_ref().expect("the rules are sound");
            let mut pricer = Pricer::new(space, device.cost_model(), &likely, &mut Vec::new());
            choices += check(&name, saturated, &mut pricer, &mut short);
            steps += 1;
        }
    });
    assert!(steps >= 1000 && choices >= 1000, "{steps} layer kinds at sizes of a step, {choices} choices");
    // Layer kinds for which the form chosen was not proved to be the cheapest.
    insta::assert_snapshot!(short.join("\n"), @"");
}

#[test]
fn rules_come_to_an_end_of_themselves() {
    each_layer_kind(|name, _, saturated| {
        assert!(saturated.diagnostics.is_empty(), "{name}: {:?}", saturated.diagnostics);
        let (given, last) = (saturated.graph.len(), saturated.growth.last().unwrap());
        assert!(last.nodes <= MOST_GROWTH * given, "{name}: {given} nodes became {}", last.nodes);
    });
}

/// All selections of a layer small enough for that are tried.
#[test]
fn the_oracle_finds_what_trying_all_finds() {
    let module = parse_module(SMALL).unwrap();
    for target in TARGETS.map(|name| Target::by_name(name).unwrap().with_symbols(&module.symbols)) {
        let saturated = saturate(&module.functions[0], &module.symbols, &builtin().unwrap(), &target);
        let space = saturated.space.as_ref().unwrap();
        for tokens in [1, 100, 10_000] {
            let sizes = |symbol: &Symbol| (symbol.name() == step::TOKENS).then_some(tokens);
            let mut pricer = Pricer::new(space, target.cost_model(), &sizes, &mut Vec::new());
            let found = select::cheapest(space, &mut pricer).unwrap();
            let optimum = oracle::optimum(space, &pricer, &found);
            let counts: Vec<u32> = space.classes.iter().map(|class| class.forms.len() as u32).collect();
            let number: u64 = counts.iter().map(|count| u64::from(*count)).product();
            assert!((8..=100_000).contains(&number), "{number} selections");
            let nth = |nth: u64| {
                let mut rest = nth;
                let digit = |count: &u32| {
                    let digit = rest % u64::from(*count);
                    rest /= u64::from(*count);
                    digit as u32
                };
                counts.iter().map(digit).collect::<Selection>()
            };
            let least = (0..number).filter_map(|at| pricer.price(&nth(at))).min().unwrap();
            assert_eq!(
                (optimum.price.ps, optimum.unsolved),
                (least.ps, 0),
                "{tokens} tokens, {}",
                target.name
            );
            assert_eq!(pricer.price(&found), Some(least), "{tokens} tokens, {}", target.name);
        }
    }
}

const SMALL: &str = r#"module small
symbol T in 1..100000 likely 64
func @layer {
  %x = state x : bf16[T, 64]
  %residual = state residual : bf16[T, 64]
  %norm.weight = weight "norm.weight" : bf16[64]
  %gate_proj.weight = weight "gate_proj.weight" : bf16[128, 64]
  %up_proj.weight = weight "up_proj.weight" : bf16[128, 64]
  %sum = add %residual, %x
  %norm = rms_norm %sum, %norm.weight {eps=1e-6}
  %gate_proj = matmul %norm, %gate_proj.weight {trans_b=true}
  %act = silu %gate_proj
  %up_proj = matmul %norm, %up_proj.weight {trans_b=true}
  %mul = mul %act, %up_proj
  state x = %mul
  state residual = %sum
}
"#;

/// Calls for each function of each model, with its name and all its forms.
fn each_layer_kind(mut visit: impl FnMut(&str, &Target, &Saturated)) {
    let rules = builtin().unwrap();
    for path in data("configs").into_iter().chain(data("fixtures")) {
        for name in TARGETS {
            let Some((module, target)) = before_fusion(&path, name) else { continue };
            for function in &module.functions {
                let model = path.file_stem().unwrap().to_string_lossy();
                let saturated = saturate(function, &module.symbols, &rules, &target);
                visit(&format!("{model} for {name}, @{}", function.name), &target, &saturated);
            }
        }
    }
}

/// Holds the form chosen against the cheapest; gives how many choices there were that do not depend on each other.
fn check(name: &str, saturated: &Saturated, pricer: &mut Pricer<'_>, short: &mut Vec<String>) -> usize {
    let space = saturated.space.as_ref().expect("the rules are sound");
    let found = select::cheapest(space, pricer).unwrap();
    let optimum = oracle::optimum(space, pricer, &found);
    let (ps, best) = (pricer.price(&found).unwrap().ps, optimum.price.ps);
    let least = (optimum.bound_ps * (1.0 - ROUNDING)).floor() as u128;
    for seed in 0..3 {
        let random = pricer.price(&select::random(space, seed).unwrap()).unwrap();
        assert!(random.ps >= least, "{}: {} ps is below the bound", name, random.ps);
    }
    assert!(best >= least, "{}: {best} ps is below the bound of {least}", name);
    if ps > best || optimum.unsolved > 0 {
        assert!(!is_dense(&saturated.graph), "{}: {ps} ps instead of {best}", name);
        assert!(ps as f64 <= optimum.bound_ps * (1.0 + TOLERANCE), "{}: {ps} ps, bound {least}", name);
        let unsolved = format!("{} of {} choices unsolved", optimum.unsolved, optimum.components);
        short.push(format!("{}: {ps} ps, best {best}, bound {least}, {unsolved}", name));
    }
    optimum.components
}

/// Whether it has neither experts nor cached latents.
fn is_dense(function: &Graph) -> bool {
    let mut kinds = function.nodes().filter_map(|(_, node)| Some(node.op()?.kind()));
    !kinds.any(|kind| matches!(kind, OpKind::Topk | OpKind::GroupedMatmul | OpKind::RaggedAttention))
}

/// The model as fusion is given it; none if the target does not run it.
fn before_fusion(path: &Path, target: &str) -> Option<(Module, Target)> {
    let options =
        Options { model: Some(path.to_owned()), target: Some(target.to_owned()), ..Options::default() };
    let traced = match compile(&options, true) {
        Ok(compiled) => compiled.traced,
        Err(CompileError::Lower(LowerError::NoKernel { .. })) => return None,
        Err(error) => panic!("{}: {error}", path.display()),
    };
    let target = Target::by_name(target).unwrap();
    let early = [Pass::Normalise, Pass::Recut, Pass::Suit, Pass::Normalise];
    let (module, _) = passes::run(&traced, &early, &[], &target).unwrap();
    let target = target.with_symbols(&in_guard(&module));
    Some((module, target))
}
