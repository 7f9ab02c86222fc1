//! H.264 parameter sets, configuration records and NAL framing.
#![no_main]

use boothcast::wire::bitstream::{h264, nal};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = (h264::Sps::parse(data), h264::is_recovery_point(data));
    let _ = (nal::length_prefixed(data, 4).count(), nal::annex_b(data).count());
    if let Ok(config) = h264::AvcConfig::parse(&Bytes::copy_from_slice(data)) {
        let built = h264::AvcConfig::parse(&config.build()).expect("what we build can be read");
        assert_eq!((built.sps, built.pps), (config.sps, config.pps));
    }
});
