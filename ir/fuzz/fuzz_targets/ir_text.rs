//! The same target as `cargo xtask fuzz ir_text`, guided by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mscc_fuzz::targets::ir_text(input);
});
