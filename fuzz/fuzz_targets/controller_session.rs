//! See `spanwire_fuzz::controller_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanwire_fuzz::controller_session(data));
