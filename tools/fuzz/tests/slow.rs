//! Plans that are made to take long, or much memory, to check.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use mscc_fuzz::target;
use mscc_ir::Dim;
use mscc_ir::plan::{Function, Plan, container, validate};

/// The plan of a tiny model.
fn plan() -> Plan {
    let bytes = (target("plan_bytes").unwrap().seeds)().swap_remove(0);
    container::decode(&bytes).unwrap()
}

fn function(plan: &mut Plan) -> &mut Function {
    &mut plan.programs[0].variants[0].functions[1]
}

/// Reads a plan that no one would write; the answer, which must come soon for its size.
#[track_caller]
fn answer(what: &str, plan: &Plan) -> String {
    let bytes = container::encode(plan).unwrap();
    let start = Instant::now();
    let answer = container::decode(&bytes);
    let time = start.elapsed();
    // Far above what it takes without optimisation, on a busy machine.
    let limit = Duration::from_millis(500 + 20 * (bytes.len() as u64 >> 10));
    println!("{what}: {} KiB in {time:?}", bytes.len() >> 10);
    assert!(time < limit, "{what}: {time:?} for {} KiB", bytes.len() >> 10);
    answer.err().map(|error| error.to_string()).unwrap_or_default()
}

/// A sum of products of symbols.
fn sum(terms: usize, power: usize) -> Dim {
    const NAMES: [&str; 8] = ["T", "B", "L", "M", "S", "Q", "C", "Td"];
    let term = |k: usize| {
        let factors: Vec<&str> = (0..power).map(|n| NAMES[(k >> (3 * n)) % 8]).collect();
        format!("{}*{}", k + 2, factors.join("*"))
    };
    (0..terms).map(term).collect::<Vec<_>>().join(" + ").parse().unwrap()
}

#[test]
fn long_expressions_are_answered() {
    let max = Dim::max((0..60).map(|k| sum(16, 2) + Dim::constant(k)).collect::<Vec<_>>());
    for (what, axes) in
        [("sums", vec![sum(120, 3); 8]), ("maxima", vec![max.clone(); 8]), ("two", vec![max; 2])]
    {
        let mut plan = plan();
        let launch = &mut function(&mut plan).launches[0];
        let mut operand = launch.operands[0].clone();
        (operand.layout.shape, operand.layout.strides) = (axes.clone(), axes);
        launch.operands.extend(vec![operand; 20]);
        assert!(answer(what, &plan).contains("bad plan"), "{what}");
    }
}

#[test]
fn long_lists_are_answered() {
    let mut long = plan();
    let launch = function(&mut long).launches[0].clone();
    function(&mut long).launches = vec![launch; 1 << 12];
    answer("launches", &long);

    let mut many = plan();
    let symbols = (0..5000).map(|k| (format!("X{k}"), many.symbols[0].1));
    many.symbols = symbols.collect();
    assert!(answer("symbols", &many).contains("symbols: has 5000 entries"));

    let mut caches = plan();
    caches.caches = vec![caches.caches[0].clone(); 5000];
    assert!(answer("caches", &caches).contains("caches: has 5000 entries"));

    let mut taps = plan();
    let tap = function(&mut taps).taps[0].clone();
    function(&mut taps).taps = vec![tap; 5000];
    assert!(answer("taps", &taps).contains(".taps: has 5000 entries"));
}

#[test]
fn calls_are_counted_with_what_is_kept_for_each() {
    let mut plan = plan();
    let variant = &mut plan.programs[0].variants[0];
    variant.functions[0].launches.clear();
    variant.functions[0].taps.clear();
    variant.calls[0].1 = 0..1 << 18;
    assert!(validate(&plan).is_err(), "a weight for each call");
    let variant = &mut plan.programs[0].variants[0];
    variant.calls = vec![(0, 0..0); 1 << 19];
    assert!(answer("empty calls", &plan).contains("too many launches"));
}
