//! See `spanwire_fuzz::ovn_dump`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanwire_fuzz::ovn_dump(data));
