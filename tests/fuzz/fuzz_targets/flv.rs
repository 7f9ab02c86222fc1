//! FLV tag bodies, legacy and enhanced.
#![no_main]

use boothcast::wire::flv;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let data = Bytes::copy_from_slice(data);
    let _ = flv::video(data.clone(), |unit| assert!(unit.nanos < 1_000_000));
    let _ = flv::audio(data, |unit| assert!(unit.nanos < 1_000_000));
});
