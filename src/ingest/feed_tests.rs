use super::super::{Protocol, Stop};
use super::*;
use crate::hub::{self, Start, Subscriber};
use crate::wire::bitstream::fixtures::{AV1C_480P, AVCC_1080P25, AVCC_INTERLACED_444, HVCC_480P24_SCALING, hex};
use proptest::prelude::*;

const IDR: &[u8] = &[0x65, 0x88, 1, 2];
const SLICE: &[u8] = &[0x41, 0x9a, 3];

struct Rig {
    feed: Feed,
    reader: Subscriber,
    health: Arc<Health>,
    now: Ts,
}

impl Rig {
    fn new() -> Rig {
        let (publisher, stream) = hub::stream(hub::Limits::default());
        let reader = stream.subscribe(Start::Live);
        let now = Ts::from_millis(1_700_000_000_000);
        let health = Arc::new(Health::new(Protocol::Rtmp, ([192, 0, 2, 1], 5000).into(), now));
        let session =
            Session { event: "e".into(), input: InputName::Main, publisher, health: health.clone(), stop: Stop::new() };
        Rig { feed: Feed::new(session), reader, health, now }
    }

    fn with_avc() -> Rig {
        let mut rig = Rig::new();
        rig.feed.video_config(VideoCodec::H264, hex(AVCC_1080P25), rig.now);
        rig
    }

    /// An access unit 40 ms after the one before.
    fn video(&mut self, codec: VideoCodec, key: bool, data: impl Into<Bytes>) -> Option<Packet> {
        self.now += Dur::from_millis(40);
        let raw = RawTime::rtmp(self.now.as_millis() as u32, 0);
        self.feed.video(codec, raw, Dur::ZERO, key, data.into(), self.now);
        self.next()
    }

    fn audio(&mut self, codec: AudioCodec, data: &'static [u8]) -> Option<Packet> {
        self.now += Dur::from_millis(20);
        let raw = RawTime::rtmp(self.now.as_millis() as u32, 0);
        self.feed.audio(0, codec, raw, Dur::ZERO, Bytes::from_static(data), self.now);
        self.next()
    }

    fn next(&mut self) -> Option<Packet> {
        self.reader.try_recv().unwrap()
    }

    fn warned(&self, words: &str) -> bool {
        self.health.snapshot(self.now).warnings.iter().any(|w| w.contains(words))
    }
}

fn lengths(units: &[&[u8]]) -> Bytes {
    nal::to_length_prefixed(units.iter().copied())
}

#[test]
fn a_clean_picture_is_passed_on_without_a_copy() {
    let mut rig = Rig::with_avc();
    let data = lengths(&[IDR]);
    let packet = rig.video(VideoCodec::H264, true, data.clone()).unwrap();
    assert_eq!(packet.data.as_ptr(), data.as_ptr());
    assert!(packet.key);
    let format = packet.track.video().unwrap();
    assert_eq!((format.width, format.height, format.frame_rate), (1920, 1080, Some((25, 1))));
    assert_eq!(format.config, hex(AVCC_1080P25));
}

#[test]
fn delimiters_filler_and_known_parameter_sets_are_taken_out() {
    let mut rig = Rig::with_avc();
    let config = AvcConfig::parse(&hex(AVCC_1080P25)).unwrap();
    let data = lengths(&[&[9, 0x10], &config.sps[0], &config.pps[0], &[6, 5, 1, 0, 0x80], IDR, &[12, 0xff, 0x80]]);
    let first = rig.video(VideoCodec::H264, true, data).unwrap();
    assert_eq!(first.data, lengths(&[&[6, 5, 1, 0, 0x80], IDR]));
    let second = rig.video(VideoCodec::H264, false, lengths(&[SLICE])).unwrap();
    assert!(Arc::ptr_eq(&first.track, &second.track));
    assert!(rig.video(VideoCodec::H264, false, lengths(&[&[9, 0x10]])).is_none(), "no picture, no packet");
}

#[test]
fn other_framings_end_as_four_byte_lengths() {
    let mut record = hex(AVCC_1080P25).to_vec();
    record[4] = 0xfd;
    let mut rig = Rig::new();
    rig.feed.video_config(VideoCodec::H264, record.into(), rig.now);
    let packet = rig.video(VideoCodec::H264, true, Bytes::from_static(&[0, 4, 0x65, 0x88, 1, 2])).unwrap();
    assert_eq!(packet.data, lengths(&[IDR]));
    assert_eq!(packet.track.video().unwrap().config, hex(AVCC_1080P25));
    let mut rig = Rig::with_avc();
    let packet = rig.video(VideoCodec::H264, true, nal::to_annex_b([IDR, IDR].into_iter())).unwrap();
    assert_eq!(packet.data, lengths(&[IDR, IDR]));
}

#[test]
fn the_bitstream_says_what_a_key_frame_is() {
    let mut rig = Rig::with_avc();
    assert!(rig.video(VideoCodec::H264, true, lengths(&[SLICE])).is_none(), "flagged, but no IDR");
    assert!(rig.video(VideoCodec::H264, false, lengths(&[IDR])).unwrap().key, "not flagged, but IDR");
    assert!(!rig.video(VideoCodec::H264, true, lengths(&[SLICE])).unwrap().key);
    let recovery: &[u8] = &[6, 6, 1, 0xc4, 0x80];
    assert!(rig.video(VideoCodec::H264, true, lengths(&[recovery, SLICE])).unwrap().key);
    assert!(!rig.video(VideoCodec::H264, false, lengths(&[recovery, SLICE])).unwrap().key);
}

#[test]
fn a_new_configuration_is_a_new_track_that_begins_with_a_key_frame() {
    let mut rig = Rig::with_avc();
    let first = rig.video(VideoCodec::H264, true, lengths(&[IDR])).unwrap();
    rig.feed.video_config(VideoCodec::H264, hex(AVCC_1080P25), rig.now);
    assert!(Arc::ptr_eq(&first.track, &rig.video(VideoCodec::H264, false, lengths(&[SLICE])).unwrap().track));
    rig.feed.video_config(VideoCodec::H264, hex(AVCC_INTERLACED_444), rig.now);
    assert!(rig.video(VideoCodec::H264, false, lengths(&[SLICE])).is_none());
    let second = rig.video(VideoCodec::H264, true, lengths(&[IDR])).unwrap();
    assert_eq!(second.track.video().unwrap().width, 640);
    assert!(rig.warned("interlaced") && rig.warned("colour format"));
    // HEVC on the same connection.
    rig.feed.video_config(VideoCodec::Hevc, hex(HVCC_480P24_SCALING), rig.now);
    assert!(rig.video(VideoCodec::H264, true, lengths(&[IDR])).is_none());
    let third = rig.video(VideoCodec::Hevc, true, lengths(&[&[0x26, 1, 7]])).unwrap();
    assert_eq!((third.track.video().unwrap().codec, third.key), (VideoCodec::Hevc, true));
}

#[test]
fn parameter_sets_that_change_in_the_stream_are_followed() {
    let mut rig = Rig::with_avc();
    rig.video(VideoCodec::H264, true, lengths(&[IDR])).unwrap();
    let other = AvcConfig::parse(&hex(AVCC_INTERLACED_444)).unwrap();
    let packet = rig.video(VideoCodec::H264, true, lengths(&[&other.sps[0], &other.pps[0], IDR])).unwrap();
    assert_eq!(packet.track.video().unwrap().config, hex(AVCC_INTERLACED_444));
    // Without any record at all, too.
    let mut rig = Rig::new();
    let packet = rig.video(VideoCodec::H264, true, lengths(&[&other.sps[0], &other.pps[0], IDR])).unwrap();
    assert_eq!(packet.track.video().unwrap().width, 640);
    // A record of 2-byte lengths stays so when sets change in the stream.
    let mut record = hex(AVCC_1080P25).to_vec();
    record[4] = 0xfd;
    let mut rig = Rig::new();
    rig.feed.video_config(VideoCodec::H264, record.into(), rig.now);
    let mut unit = Vec::new();
    for nal in [&other.sps[0][..], &other.pps[0], IDR] {
        unit.extend((nal.len() as u16).to_be_bytes());
        unit.extend(nal);
    }
    assert_eq!(rig.video(VideoCodec::H264, true, unit).unwrap().data, lengths(&[IDR]));
    let packet = rig.video(VideoCodec::H264, false, Bytes::from_static(&[0, 3, 0x41, 0x9a, 3])).unwrap();
    assert_eq!(packet.data, lengths(&[SLICE]));
}

#[test]
fn av1_is_described_by_its_own_sequence_header() {
    let mut rig = Rig::new();
    let record = hex(AV1C_480P);
    let frame = [&[0x12, 0][..], &record[4..], &[0x32, 1, 9]].concat();
    let packet = rig.video(VideoCodec::Av1, true, frame).unwrap();
    assert_eq!(packet.data[..], [&record[4..], &[0x32, 1, 9]].concat());
    assert_eq!(packet.track.video().unwrap().config, record);
    rig.feed.video_config(VideoCodec::Av1, record, rig.now);
    let next = rig.video(VideoCodec::Av1, false, Bytes::from_static(&[0x12, 0, 0x32, 1, 9])).unwrap();
    assert!(Arc::ptr_eq(&packet.track, &next.track));
}

#[test]
fn broken_units_and_headers_are_left_out_and_named() {
    let mut rig = Rig::new();
    assert!(rig.video(VideoCodec::H264, true, lengths(&[IDR])).is_none());
    assert!(rig.warned("without their header"));
    rig.feed.video_config(VideoCodec::H264, Bytes::from_static(&[1, 2, 3]), rig.now);
    assert!(rig.warned("picture's header cannot be read"));
    let mut rig = Rig::with_avc();
    assert!(rig.video(VideoCodec::H264, true, Bytes::from_static(&[0, 0, 0, 9, 0x65])).is_none());
    assert!(rig.warned("picture cannot be read"));
    rig.feed.video_config(VideoCodec::H264, Bytes::from_static(&[1, 2, 3]), rig.now);
    assert!(rig.video(VideoCodec::H264, true, lengths(&[IDR])).is_some(), "the header before stays");
    assert_eq!(rig.health.snapshot(rig.now).timeline.dropped, 1);
    assert!(rig.video(VideoCodec::H264, true, vec![0; 1 << 20]).is_none(), "a quarter of a million empty units");
}

#[test]
fn aac_needs_its_header_and_keeps_the_last_good_one() {
    let mut rig = Rig::new();
    assert!(rig.audio(AudioCodec::Aac, &[1, 2]).is_none());
    assert!(rig.warned("without its header"));
    rig.feed.audio_config(0, AudioCodec::Aac, Bytes::from_static(&[0x11, 0x90]), rig.now);
    let packet = rig.audio(AudioCodec::Aac, &[1, 2]).unwrap();
    assert_eq!((packet.duration, packet.key), (Dur::from_scale(1024, 48_000), false));
    rig.feed.audio_config(0, AudioCodec::Aac, Bytes::from_static(&[0xff; 5]), rig.now);
    assert!(rig.warned("header of sound track 0 cannot be read"));
    let after = rig.audio(AudioCodec::Aac, &[1, 2]).unwrap();
    assert!(Arc::ptr_eq(&packet.track, &after.track));
    rig.feed.audio_config(0, AudioCodec::Aac, Bytes::from_static(&[0x12, 0x10]), rig.now);
    let changed = rig.audio(AudioCodec::Aac, &[1, 2]).unwrap();
    assert_eq!(changed.track.audio().unwrap().sample_rate, 44_100);
    // HE-AAC gives 2048 samples.
    rig.feed.audio_config(0, AudioCodec::Aac, Bytes::from_static(&[0x2b, 0x11, 0x88, 0]), rig.now);
    assert_eq!(rig.audio(AudioCodec::Aac, &[1]).unwrap().duration, Dur::from_scale(2048, 48_000));
    rig.feed.audio_config(40, AudioCodec::Aac, Bytes::from_static(&[0x11, 0x90]), rig.now);
    assert!(rig.warned("sound track 40 is left out"));
}

#[test]
fn frames_that_describe_themselves() {
    let mut rig = Rig::new();
    let packet = rig.audio(AudioCodec::Mp3, &[0xff, 0xfb, 0x90, 0x64, 0]).unwrap();
    assert_eq!((packet.track.audio().unwrap().sample_rate, packet.duration), (44_100, Dur::from_scale(1152, 44_100)));
    let packet = rig.audio(AudioCodec::Mp3, &[0xff, 0xfb, 0x94, 0xc4, 0]).unwrap();
    assert_eq!((packet.track.audio().unwrap().sample_rate, packet.track.audio().unwrap().channels), (48_000, 1));
    assert!(rig.audio(AudioCodec::Mp3, &[0, 0, 0, 0]).is_none());
    let packet = rig.audio(AudioCodec::Ac3, &[0x0b, 0x77, 0x28, 0x19, 0x1e, 0x40, 0xeb, 0xf8]).unwrap();
    assert_eq!((packet.track.audio().unwrap().channels, packet.duration), (6, Dur::from_scale(1536, 48_000)));
    let packet = rig.audio(AudioCodec::Opus, &[0xfc, 1]).unwrap();
    assert_eq!((packet.track.audio().unwrap().channels, packet.duration), (2, Dur::from_millis(20)));
    rig.feed.audio_config(0, AudioCodec::Opus, opus::OpusHead::simple(2, 312).build(), rig.now);
    let packet = rig.audio(AudioCodec::Opus, &[0xfc, 1]).unwrap();
    assert_eq!(opus::OpusHead::parse(&packet.track.audio().unwrap().config).unwrap().pre_skip, 312);
}

#[test]
fn nanoseconds_are_added_after_unwrapping() {
    let mut rig = Rig::with_avc();
    let at = rig.now;
    let send = |rig: &mut Rig, ms: u32, ns: i64| {
        let fine = Dur::from_scale(ns, 1_000_000_000);
        rig.feed.video(VideoCodec::H264, RawTime::rtmp(ms, 80), fine, true, lengths(&[IDR]), at);
        rig.next().unwrap()
    };
    let (a, b) = (send(&mut rig, 33, 366_667), send(&mut rig, 66, 733_333));
    assert_eq!((b.dts - a.dts).to_scale(1_000_000), 33_367);
    assert_eq!(a.pts - a.dts, Dur::from_millis(80));
}

#[test]
fn frame_rates_are_what_is_meant() {
    assert_eq!(fraction(25.0), Some((25, 1)));
    assert_eq!(fraction(29.97), Some((30_000, 1001)));
    assert_eq!(fraction(23.976), Some((24_000, 1001)));
    assert_eq!(fraction(59.94), Some((60_000, 1001)));
    assert_eq!(fraction(12.5), Some((12_500, 1000)));
    assert_eq!(fraction(f64::NAN), None);
}

#[test]
fn the_end_of_a_feed_ends_its_stream_and_its_health() {
    let Rig { feed, mut reader, health, now } = Rig::with_avc();
    drop(feed);
    assert_eq!(reader.try_recv().unwrap_err(), hub::RecvError::Ended);
    assert_eq!(health.snapshot(now), super::super::InputHealth::offline());
}

proptest! {
    #[test]
    fn garbage_never_panics_and_packets_keep_their_promises(
        list in prop::collection::vec((0u8..6, any::<bool>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..60)), 0..40),
    ) {
        let mut rig = Rig::with_avc();
        rig.feed.audio_config(0, AudioCodec::Aac, Bytes::from_static(&[0x11, 0x90]), rig.now);
        for (kind, key, time, data) in list {
            let (raw, at) = (RawTime::rtmp(time, (time % 500) as i32 - 250), rig.now);
            let framed = lengths(&[&data]);
            match kind {
                0 => rig.feed.video(VideoCodec::H264, raw, Dur::ZERO, key, framed, at),
                1 => rig.feed.video(VideoCodec::Hevc, raw, Dur::ZERO, key, framed, at),
                2 => rig.feed.video(VideoCodec::Av1, raw, Dur::ZERO, key, data.into(), at),
                3 => rig.feed.video_config(VideoCodec::Hevc, data.into(), at),
                4 => rig.feed.audio(0, AudioCodec::Aac, raw, Dur::ZERO, data.into(), at),
                _ => rig.feed.audio_config(0, AudioCodec::Aac, data.into(), at),
            }
            while let Some(packet) = rig.next() {
                prop_assert!(packet.pts >= packet.dts && !packet.data.is_empty());
                prop_assert!(!packet.key || packet.track.is_video());
            }
        }
    }
}
