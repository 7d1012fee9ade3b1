//! See `properties::urls`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::properties::urls(data));
