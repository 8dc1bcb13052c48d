//! plan.bin as a file: what is cut off, changed or claimed in it.
#![allow(clippy::unwrap_used)]

use mscc_fuzz::{Random, plan_bytes, seal, target};
use mscc_ir::plan::container::{ContainerError, decode};

fn plan() -> Vec<u8> {
    // A compiled plan; the first are written by hand.
    (target("plan_bytes").unwrap().seeds)().pop().unwrap()
}

#[track_caller]
fn refused(bytes: &[u8], what: impl Fn() -> String) {
    match decode(bytes) {
        Err(ContainerError::Magic | ContainerError::Version { .. } | ContainerError::Damaged(_)) => {}
        Err(error) => panic!("{}: seen only behind the hashes: {error}", what()),
        Ok(_) => panic!("{}: taken", what()),
    }
}

#[test]
fn every_truncation_is_refused() {
    let plan = plan();
    assert!(decode(&plan).is_ok());
    (0..plan.len()).for_each(|len| refused(&plan[..len], || format!("cut to {len} bytes")));
    let longer = [&plan[..], &[0]].concat();
    refused(&longer, || "a byte more".to_owned());
}

#[test]
fn every_flipped_byte_is_refused() {
    flip(|at| vec![1 << (at % 8), 0xff]);
}

#[test]
#[ignore = "long"]
fn long_every_flipped_bit_is_refused() {
    let mut random = Random::new(1);
    let flips = flip(|_| (0..8).map(|bit| 1 << bit).chain([0xff, 1 + random.below(255) as u8]).collect());
    println!("{flips} flips refused");
}

fn flip(mut masks: impl FnMut(usize) -> Vec<u8>) -> usize {
    let mut plan = plan();
    let mut count = 0;
    for at in 0..plan.len() {
        for mask in masks(at) {
            plan[at] ^= mask;
            refused(&plan, || format!("byte {at} ^ {mask:#x}"));
            plan[at] ^= mask;
            count += 1;
        }
    }
    count
}

#[test]
fn hostile_lengths_take_no_memory() {
    claim(13);
}

#[test]
#[ignore = "long"]
fn long_hostile_lengths_take_no_memory() {
    claim(1);
}

/// Puts huge numbers, as bincode writes them, at every `step`th place of the bodies, under right hashes.
fn claim(step: usize) {
    let plan = plan();
    let mut huge: Vec<Vec<u8>> = vec![vec![0xfb, 0xff, 0xff], vec![0xfc, 0xff, 0xff, 0xff, 0x7f]];
    huge.extend(
        [u64::MAX, 1 << 62, 1 << 40, 1 << 33].map(|value| [&[0xfd][..], &value.to_le_bytes()].concat()),
    );
    let bodies = 16 + 5 * 64 + 32;
    for (turn, at) in (bodies..plan.len()).step_by(step).enumerate() {
        let number = &huge[turn % huge.len()];
        let mut bytes = plan.clone();
        let end = (at + number.len()).min(bytes.len());
        bytes.splice(at..end, number.iter().copied());
        match decode(&seal(&bytes)) {
            Ok(_) | Err(ContainerError::Section { .. } | ContainerError::Invalid(_)) => {}
            Err(error) => panic!("byte {at}: the hashes are right: {error}"),
        }
    }
    if let Some(peak) = mscc_fuzz::campaign::peak_bytes() {
        assert!(peak < 1 << 30, "{peak} bytes");
    }
}

#[test]
fn sealed_plans_run_or_are_shown() {
    for seed in (target("plan_bytes").unwrap().seeds)() {
        let expected = if decode(&seed).unwrap().meta.target == "cpu" { "run" } else { "shown" };
        let outcome = plan_bytes(&seed);
        assert!(outcome.starts_with(expected), "{outcome}");
    }
}
