//! Damaged plans are refused.
#![allow(clippy::unwrap_used)]

use mscc_ir::plan::container;
use mscc_tests::{Fixture, compile_model};

fn plan() -> Vec<u8> {
    let compiled = compile_model(&Fixture::open("qwen3_f32").dir, "float32", |_| {});
    container::encode(&compiled.plan).unwrap()
}

#[test]
fn every_truncation_is_refused() {
    let bytes = plan();
    for len in 0..bytes.len() {
        assert!(container::decode(&bytes[..len]).is_err(), "{len} of {} bytes were taken", bytes.len());
    }
    assert!(
        container::decode(&[bytes.as_slice(), &[0]].concat()).is_err(),
        "a byte behind the end was taken"
    );
}

#[test]
fn every_flipped_byte_is_refused() {
    let mut bytes = plan();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[at] ^= flip;
            assert!(container::decode(&bytes).is_err(), "byte {at} flipped by {flip:#x} was taken");
            bytes[at] ^= flip;
        }
    }
    assert!(container::decode(&bytes).is_ok());
}

#[test]
fn errors_say_what_to_do() {
    let error = |bytes: &[u8]| container::decode(bytes).unwrap_err().to_string();
    assert!(error(b"\x7fELF").contains("no mscc plan"));
    let mut bytes = plan();
    bytes[8] = 99;
    assert!(error(&bytes).contains("format version 99") && error(&bytes).contains("compile the model again"));
}
