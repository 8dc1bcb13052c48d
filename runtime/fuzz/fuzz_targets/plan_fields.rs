//! The same target as `cargo xtask fuzz plan_fields`, guided by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mscc_fuzz::plan_fields(input);
});
