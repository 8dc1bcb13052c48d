//! A compilation that is killed at any moment leaves the old plan or the new one, and disturbs no later one.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Model;

const OLD: &[&str] = &["compile", "model", "-o", "plan.bin", "--block-size", "16"];
const NEW: &[&str] = &["compile", "model", "-o", "plan.bin", "--block-size", "8"];

#[test]
fn killed_at_20_moments() {
    kill(20);
}

#[test]
#[ignore = "long: 200 moments"]
fn long_killed_at_200_moments() {
    kill(200);
}

fn kill(moments: u32) {
    let model = Model::new();
    let plan = |args: &[&str]| {
        let compiled = model.mscc(args);
        assert_eq!(compiled.code, 0, "{compiled:?}");
        fs::read(model.path("plan.bin")).unwrap()
    };
    let (old, new) = (plan(OLD), plan(NEW));
    assert_ne!(old, new);
    let spawn = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mscc"));
        command.args(NEW).current_dir(model.path("")).stderr(Stdio::null()).spawn().unwrap()
    };
    let mut durations: Vec<Duration> = (0..5)
        .map(|_| {
            let started = Instant::now();
            assert!(spawn().wait().unwrap().success());
            started.elapsed()
        })
        .collect();
    durations.sort();
    let duration = durations[2];

    let (mut seed, mut kept, mut replaced) = (1u64, 0, 0);
    for moment in 0..moments {
        fs::write(model.path("plan.bin"), &old).unwrap();
        // Moments lie evenly over the duration and a little past it, each somewhere in its part.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let part = (f64::from(moment) + (seed >> 40) as f64 / f64::from(1 << 24)) / f64::from(moments);
        let mut child = spawn();
        std::thread::sleep(duration.mul_f64(1.1 * part));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = fs::read(model.path("plan.bin")).unwrap();
        match (found == old, found == new) {
            (true, false) => kept += 1,
            (false, true) => replaced += 1,
            (_, _) => {
                panic!("killed at {part:.3} of {duration:?}: the plan is neither the old nor the new one")
            }
        }
        let run = model.mscc(&["run", "plan.bin", "--prompt-ids", "1", "--max-tokens", "1"]);
        assert_eq!(run.code, 0, "{run:?}");
    }
    println!("killed {moments} times within {duration:?}: {kept} old plans, {replaced} new ones");
    assert_eq!(plan(NEW), new);
    let names: Vec<_> =
        fs::read_dir(model.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "what killed ones left is cleared by the next: {names:?}");
}
