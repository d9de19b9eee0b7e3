//! See `spanwire_fuzz::kubernetes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanwire_fuzz::kubernetes(data));
