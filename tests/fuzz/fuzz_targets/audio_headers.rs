//! Headers of AAC, Opus, MP3 and AC-3.
#![no_main]

use boothcast::media;
use boothcast::wire::bitstream::{aac::AacConfig, ac3::Ac3Header, mp3::Mp3Header, opus};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(config) = AacConfig::parse(data) {
        assert!((1..=8).contains(&config.channels) && (960..=2048).contains(&config.samples()));
    }
    if let Ok(head) = opus::OpusHead::parse(data) {
        assert_eq!(opus::OpusHead::parse(&head.build()).as_ref(), Ok(&head));
    }
    assert!(media::opus::samples(data).is_none_or(|n| n <= 5760));
    let _ = (media::opus::recovers(data), Mp3Header::parse(data), Ac3Header::parse(data));
});
