//! See `spanwire_fuzz::host_update`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| spanwire_fuzz::host_update(data));
