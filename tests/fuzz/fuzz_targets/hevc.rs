//! HEVC parameter sets and configuration records.
#![no_main]

use boothcast::wire::bitstream::hevc;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = hevc::Sps::parse(data);
    if let Ok(config) = hevc::HevcConfig::parse(&Bytes::copy_from_slice(data)) {
        let built = hevc::HevcConfig::parse(&config.build()).expect("what we build can be read");
        assert_eq!((built.vps, built.sps, built.pps), (config.vps, config.sps, config.pps));
    }
});
