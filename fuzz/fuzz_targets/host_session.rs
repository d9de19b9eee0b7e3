//! See `spanwire_fuzz::host_session`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanwire_fuzz::host_session(data));
