//! The same target as `cargo xtask fuzz chat_template`, guided by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mscc_fuzz::targets::chat_template(input);
});
