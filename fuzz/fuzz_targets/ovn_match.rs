//! See `spanwire_fuzz::ovn_match`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanwire_fuzz::ovn_match(data));
