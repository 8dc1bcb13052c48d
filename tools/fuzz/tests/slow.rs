//! Plans that are made to take long.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use mscc_fuzz::target;
use mscc_ir::Dim;
use mscc_ir::plan::{Plan, container, validate};

fn plan() -> Plan {
    let bytes = (target("plan_bytes").unwrap().seeds)().swap_remove(0);
    container::decode(&bytes).unwrap()
}

/// Loads a plan from its bytes; how long it takes, in milliseconds for each KiB of the file.
fn cost(what: &str, plan: &Plan) -> f64 {
    let bytes = container::encode(plan).unwrap();
    let start = Instant::now();
    let decoded = container::decode(&bytes);
    let time = start.elapsed();
    let cost = time.as_secs_f64() * 1e3 / (bytes.len() as f64 / 1024.0);
    println!(
        "{what}: {} KiB in {time:?}, {cost:.3} ms/KiB, {:?}",
        bytes.len() >> 10,
        decoded.err().map(|error| error.to_string().chars().take(100).collect::<String>())
    );
    cost
}

const NAMES: [&str; 8] = ["T", "B", "L", "M", "S", "Q", "C", "Td"];

#[test]
fn costs() {
    let base = plan();
    cost("plain", &base);
    let with = |dims: Vec<Dim>| {
        let mut plan = base.clone();
        let launch = &mut plan.programs[0].variants[0].functions[0].launches[0];
        let operand = launch.operands[0].clone();
        for _ in 0..100 {
            let mut operand = operand.clone();
            operand.layout.shape = dims.clone();
            operand.layout.strides = dims.clone();
            launch.operands.push(operand);
        }
        plan
    };
    // Sums of products of two symbols, and of three.
    let sum = |count: usize, power: usize| {
        let terms = (0..count).map(|k| {
            let factors: Vec<&str> = (0..power).map(|n| NAMES[(k >> (3 * n)) % 8]).collect();
            format!("{}*{}", k + 2, factors.join("*"))
        });
        let text = terms.collect::<Vec<_>>().join(" + ");
        text.parse::<Dim>().unwrap()
    };
    let start = Instant::now();
    let long = sum(120, 3);
    println!("parsed in {:?}: {} bytes", start.elapsed(), long.to_string().len());
    let start = Instant::now();
    let square = long.clone() * long.clone();
    println!("squared in {:?}: {}", start.elapsed(), square.is_invalid());
    cost("eight long axes", &with(vec![long.clone(); 8]));
    let max = Dim::max((0..60).map(|k| sum(16, 2) + Dim::constant(k)).collect::<Vec<_>>());
    println!("max {} bytes", max.to_string().len());
    cost("eight max", &with(vec![max.clone(); 8]));
    cost("one axis max", &with(vec![max.clone(), max.clone()]));
    let mut nested = Dim::symbol("T");
    for k in 0..14 {
        nested = Dim::max([(nested.clone() + sum(4, 2)).floor_div(k + 3), sum(8, 1)]);
    }
    println!("nested {} bytes", nested.to_string().len());
    cost("nested", &with(vec![nested; 3]));
    let mut plan = base.clone();
    for _ in 0..8 {
        let recipes = plan.weights.recipes.clone();
        plan.weights.recipes.extend(recipes);
    }
    cost("recipes", &plan);
    let mut plan = base.clone();
    plan.meta.warnings = vec!["x".into(); 1 << 20];
    cost("warnings", &plan);
    let mut plan = base.clone();
    let launch = plan.programs[0].variants[0].functions[1].launches[0].clone();
    plan.programs[0].variants[0].functions[1].launches = vec![launch; 1 << 13];
    cost("launches", &plan);
    let _ = validate(&plan);
}
