//! CMAF headers.
#![no_main]

use boothcast::wire::mp4;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(track) = mp4::read_init(data) {
        let _ = mp4::init(&track, "en", 1);
    }
});
