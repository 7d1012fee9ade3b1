//! See `properties::tokens`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::properties::tokens(data));
