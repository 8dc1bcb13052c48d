//! The same target as `cargo xtask fuzz family_yaml`, guided by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mscc_fuzz::targets::family_yaml(input);
});
