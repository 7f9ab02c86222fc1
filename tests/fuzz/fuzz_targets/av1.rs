//! AV1 OBUs and configuration records.
#![no_main]

use boothcast::wire::bitstream::av1::{Av1Config, SequenceHeader, strip};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = SequenceHeader::parse(data);
    let data = Bytes::copy_from_slice(data);
    if let Ok(kept) = strip(data.clone()) {
        assert_eq!(strip(kept.clone()), Ok(kept));
    }
    if let Ok(config) = Av1Config::parse(&data) {
        assert_eq!(Av1Config::parse(&config.build()), Ok(config));
    }
});
