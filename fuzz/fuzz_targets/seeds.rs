//! Writes the seeds of all targets into the directory that `SPANWIRE_SEEDS` names; run it with
//! `-runs=0`. It is a target only because everything here is built with coverage counters, which
//! nothing but libFuzzer provides.
#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(
    init: {
        let directory = std::env::var_os("SPANWIRE_SEEDS").expect("SPANWIRE_SEEDS names a directory");
        spanwire_fuzz::seeds::write_all(Path::new(&directory)).expect("the seeds can be written");
    },
    |_data: &[u8]| {}
);
