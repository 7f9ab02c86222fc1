//! Stream ids of SRT callers.
#![no_main]

use boothcast::srt::StreamId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = StreamId::parse(text) {
        assert!(!error.to_string().is_empty());
    }
});
