//! A seeded sample of every target.
#![allow(clippy::unwrap_used)]

use mscc_fuzz::campaign::{Campaign, Report, run};
use mscc_fuzz::target;

#[track_caller]
fn sample(name: &str, runs: u64) -> Report {
    let campaign = Campaign { runs: Some(runs), threads: 2, ..Campaign::default() };
    let report = run(target(name).unwrap(), campaign).unwrap_or_else(|failure| {
        let file = std::env::temp_dir().join(format!("mscc-{name}-{}", failure.seed));
        std::fs::write(&file, &failure.input).unwrap();
        panic!(
            "{}\ninput in {}; cargo xtask fuzz {name} --seed {} --runs 1",
            failure.problem,
            file.display(),
            failure.seed
        )
    });
    println!("{name}: {report}");
    report
}

#[test]
fn chat_template() {
    sample("chat_template", 2_000);
}

#[test]
fn family_yaml() {
    sample("family_yaml", 1_000);
}

#[test]
fn hf_config() {
    let report = sample("hf_config", 1_000);
    assert!(report.outcomes["accepted"] > 50, "{report}");
}

#[test]
fn ir_text() {
    let report = sample("ir_text", 1_000);
    assert!(report.outcomes["accepted"] > 50, "{report}");
}

#[test]
fn model_yaml() {
    sample("model_yaml", 4_000);
}

#[test]
fn plan_bytes() {
    sample("plan_bytes", 2_000);
}

#[test]
fn plan_fields() {
    let report = sample("plan_fields", 6_000);
    assert!(report.outcomes["run"] > 300 && report.outcomes["refused: step"] > 100, "{report}");
}

#[test]
fn rule_text() {
    sample("rule_text", 2_000);
}

#[test]
fn safetensors_header() {
    sample("safetensors_header", 2_000);
}

#[test]
#[ignore = "long"]
fn long_fuzz_plans() {
    // Other inputs than those of the sample.
    let campaign = Campaign { seed: 1 << 40, runs: Some(5_000_000), ..Campaign::default() };
    match run(target("plan_fields").unwrap(), campaign) {
        Ok(report) => println!("plan_fields: {report}"),
        Err(failure) => panic!("input {}: {}", failure.seed, failure.problem),
    }
}

#[test]
#[ignore = "long"]
fn long_fuzz_texts() {
    for target in mscc_fuzz::TARGETS.iter().filter(|target| target.name != "plan_fields") {
        let time = Some(std::time::Duration::from_secs(60));
        match run(target, Campaign { seed: 1 << 40, time, ..Campaign::default() }) {
            Ok(report) => println!("{}: {report}", target.name),
            Err(failure) => panic!("{}: input {}: {}", target.name, failure.seed, failure.problem),
        }
    }
}
