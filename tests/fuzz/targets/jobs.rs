//! See `properties::jobs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::properties::jobs(data));
