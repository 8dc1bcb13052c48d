//! The same target as `cargo xtask fuzz rule_text`, guided by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mscc_fuzz::targets::rule_text(input);
});
