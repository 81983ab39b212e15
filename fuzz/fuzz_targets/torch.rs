//! See `tests/support/fuzz.rs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ballast_fuzz::bodies::torch(data);
});
