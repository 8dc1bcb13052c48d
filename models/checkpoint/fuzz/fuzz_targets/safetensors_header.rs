//! The same target as `cargo xtask fuzz safetensors_header`, guided by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    mscc_fuzz::targets::safetensors_header(input);
});
