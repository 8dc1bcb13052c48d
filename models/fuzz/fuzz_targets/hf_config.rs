//! The same target as `cargo xtask fuzz hf_config`, guided by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mscc_fuzz::targets::hf_config(input);
});
