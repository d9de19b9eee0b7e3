//! See `spanwire_fuzz::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanwire_fuzz::state(data));
