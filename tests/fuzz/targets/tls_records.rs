//! See `weirgate_dataplane::fuzz`; run by `scripts/fuzz`.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| weirgate_dataplane::fuzz::tls_records(data));
