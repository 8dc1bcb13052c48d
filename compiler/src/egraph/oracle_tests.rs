//! What the search finds, held against what integer programming proves, on the layers of real models.

use std::path::{Path, PathBuf};

use mscc_ir::ops::OpKind;
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

/// A layer kind of a model, with what to choose from at the sizes of a step.
struct Kind<'a> {
    name: String,
    function: &'a Graph,
    space: &'a space::Space,
}

/// Forms within this of the cheapest do where experts are chosen or attention has two forms; elsewhere none but the
/// cheapest.
const TOLERANCE: f64 = 1e-2;
/// What may be lost where a sum of picoseconds is made in floating point.
const ROUNDING: f64 = 1e-9;

#[test]
fn the_search_finds_the_cheapest_of_every_layer_kind() {
    let rules = builtin().unwrap();
    let (mut steps, mut choices, mut short) = (0, 0, Vec::new());
    for path in data("configs").into_iter().chain(data("fixtures")) {
        for target in TARGETS {
            let Some((module, device)) = before_fusion(&path, target) else { continue };
            for function in &module.functions {
                let saturated = saturate(function, &module.symbols, &rules, &device);
                let space = saturated.space.as_ref().expect("the rules are sound");
                for at in STEPS {
                    let model = path.file_stem().unwrap().to_string_lossy();
                    let name = format!("{model} for {target}, @{}, {}", function.name, at.0);
                    let symbols = &saturated.symbols;
                    let likely =
                        |symbol: &Symbol| sizes(symbol, at).or_else(|| Some(symbols.get(symbol)?.likely));
                    let mut pricer = Pricer::new(space, device.cost_model(), &likely, &mut Vec::new());
                    choices += check(&Kind { name, function, space }, &mut pricer, &mut short);
                    steps += 1;
                }
            }
        }
    }
    println!("{steps} layer kinds at sizes of a step, {choices} independent choices");
    assert!(steps >= 1000, "{steps} layer kinds at sizes of a step");
    // Layer kinds for which the form chosen was not proved to be the cheapest.
    insta::assert_snapshot!(short.join("\n"), @"");
}

/// Holds the form chosen against the cheapest; gives how many choices there were that do not depend on each other.
fn check(kind: &Kind<'_>, pricer: &mut Pricer<'_>, short: &mut Vec<String>) -> usize {
    let found = select::cheapest(kind.space, pricer).unwrap();
    let optimum = oracle::optimum(kind.space, pricer, &found);
    let (ps, best) = (pricer.price(&found).unwrap().ps, optimum.price.ps);
    let least = (optimum.bound_ps * (1.0 - ROUNDING)).floor() as u128;
    for seed in 0..3 {
        let random = pricer.price(&select::random(kind.space, seed).unwrap()).unwrap();
        assert!(random.ps >= least, "{}: {} ps is below the bound", kind.name, random.ps);
    }
    assert!(best >= least, "{}: {best} ps is below the bound of {least}", kind.name);
    if ps > best || optimum.unsolved > 0 {
        assert!(!is_dense(kind.function), "{}: {ps} ps instead of {best}", kind.name);
        assert!(ps as f64 <= optimum.bound_ps * (1.0 + TOLERANCE), "{}: {ps} ps, bound {least}", kind.name);
        let unsolved = format!("{} of {} choices unsolved", optimum.unsolved, optimum.components);
        short.push(format!("{}: {ps} ps, best {best}, bound {least}, {unsolved}", kind.name));
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
