//! The same model gives the same plan, byte for byte: every time, in whatever order rules are loaded, and with other
//! compilations going on beside it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use mscc_compiler::forms::{LatentForm, forms};
use mscc_compiler::lower::lower;
use mscc_compiler::{Compiled, Options, Target, compile};
use mscc_ir::plan::{Function, Plan, container};
use mscc_ir::reference::Sampler;
use mscc_patterns::{Rule, builtin};
use mscc_tests::data;

const TARGETS: [&str; 2] = ["cpu", "ascend910b3"];
const THREADS: u64 = 4;

#[test]
fn a_hundred_plans_of_small_models() {
    let bards = ["bard-qwen3", "bard-deepseek-v3"].map(|name| data().join("models").join(name));
    bards.iter().for_each(|model| TARGETS.iter().for_each(|target| check(model, target, 25)));
}

#[test]
fn plans_of_a_large_mixture_of_experts() {
    TARGETS.iter().for_each(|target| check(&config("deepseek-v3-671b"), target, 4));
}

/// Layers of one kind are one function, so that what is done of each does not grow with the layers.
#[test]
fn ten_times_the_layers_are_the_same_functions() {
    let text = fs::read_to_string(config("deepseek-v3-671b")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for target in TARGETS {
        let compiled = |layers: u32| {
            let given = "\"num_hidden_layers\": 61";
            assert!(text.contains(given));
            let path = dir.path().join("config.json");
            fs::write(&path, text.replace(given, &format!("\"num_hidden_layers\": {layers}"))).unwrap();
            let options =
                Options { model: Some(path), target: Some(target.to_owned()), ..Options::default() };
            compile(&options, true).unwrap()
        };
        let (few, many) = (compiled(61), compiled(610));
        assert_eq!(few.fused.functions.len(), many.fused.functions.len());
        assert!(few.reports.iter().zip(&many.reports).all(|(few, many)| few.growth == many.growth));
        assert_eq!(few.fused.program.len(), many.fused.program.len());
    }
}

#[test]
#[ignore = "long: a hundred compilations of each config for each target"]
fn long_a_hundred_plans_of_every_config() {
    let mut configs: Vec<PathBuf> =
        data().join("configs").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    configs.sort();
    for model in configs {
        for target in TARGETS {
            check(&model, target, 100);
            println!("{}, {target}: 100 equal plans", model.file_stem().unwrap().to_string_lossy());
        }
    }
}

fn config(name: &str) -> PathBuf {
    data().join("configs").join(format!("{name}.json"))
}

/// Compiles `times` as a user does, and as often with shuffled rules, in several threads at once.
fn check(model: &Path, target: &str, times: u64) {
    let options =
        Options { model: Some(model.to_owned()), target: Some(target.to_owned()), ..Options::default() };
    let run = || compile(&options, true).unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    let first = run();
    let (bytes, launches) = (container::encode(&first.plan).unwrap(), launches(first.plan.clone()));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (bytes, launches, first) = (&bytes, &launches, &first);
            scope.spawn(move || {
                for seed in (0..times).filter(|seed| seed % THREADS == thread) {
                    let what = format!("{} for {target}, compilation {seed}", model.display());
                    assert!(container::encode(&run().plan).unwrap() == *bytes, "{what}");
                    assert!(shuffled(first, target, seed) == *launches, "{what}, rules shuffled");
                }
            });
        }
    });
}

/// The bytes of the plan with what is made of the traced model by rules in an order that the seed gives.
fn shuffled(compiled: &Compiled, target: &str, seed: u64) -> Vec<u8> {
    let target = Target::by_name(target).unwrap();
    let mut forms = forms(&compiled.traced, LatentForm::Auto, &shuffled_rules(seed), None, &target)
        .expect("rules are sound");
    let lowered = lower(&forms, &target).unwrap();
    let any = forms.pop().unwrap();
    assert!(any.module == compiled.fused && any.reports == compiled.reports, "rules shuffled by {seed}");
    let mut plan = compiled.plan.clone();
    (plan.inputs, plan.outputs, plan.weights.recipes) = (lowered.inputs, lowered.outputs, lowered.recipes);
    plan.programs[0].variants = lowered.variants;
    launches(plan)
}

fn shuffled_rules(seed: u64) -> Vec<Rule> {
    let mut rules = builtin().unwrap();
    let mut sampler = Sampler::new(seed);
    for end in (1..rules.len()).rev() {
        rules.swap(end, sampler.below(end as u64 + 1) as usize);
    }
    rules
}

/// The bytes of the plan without the graphs listed beside the launches.
fn launches(mut plan: Plan) -> Vec<u8> {
    let variants = plan.programs.iter_mut().flat_map(|program| &mut program.variants);
    let functions = variants.flat_map(|variant| &mut variant.functions);
    functions.for_each(|function: &mut Function| function.listing = None);
    container::encode(&plan).unwrap()
}
