use super::*;
use proptest::prelude::*;

fn video_units(tag: &[u8]) -> Result<Vec<VideoUnit>, Error> {
    let mut found = Vec::new();
    video(Bytes::copy_from_slice(tag), |u| found.push(u)).map(|()| found)
}

fn audio_units(tag: &[u8]) -> Result<Vec<AudioUnit>, Error> {
    let mut found = Vec::new();
    audio(Bytes::copy_from_slice(tag), |u| found.push(u)).map(|()| found)
}

fn frame(key: bool, composition: i32, data: &'static [u8]) -> VideoBody {
    VideoBody::Frame { key, composition, data: Bytes::from_static(data) }
}

fn unit(track: u8, nanos: u32, codec: VideoCodec, body: VideoBody) -> VideoUnit {
    VideoUnit { track, nanos, codec, body }
}

#[test]
fn legacy_avc_with_signed_composition() {
    assert_eq!(
        video_units(&[0x17, 0, 0, 0, 0, 1, 2]).unwrap(),
        [unit(0, 0, VideoCodec::H264, VideoBody::Config(Bytes::from_static(&[1, 2])))]
    );
    assert_eq!(video_units(&[0x27, 1, 0, 0, 80, 9]).unwrap(), [unit(0, 0, VideoCodec::H264, frame(false, 80, &[9]))]);
    assert_eq!(
        video_units(&[0x17, 1, 0xff, 0xff, 0xd8, 9]).unwrap(),
        [unit(0, 0, VideoCodec::H264, frame(true, -40, &[9]))]
    );
    assert_eq!(video_units(&[0x1c, 1, 0, 0, 0, 9]).unwrap()[0].codec, VideoCodec::Hevc);
    assert_eq!(video_units(&[0x17, 2, 0, 0, 0]).unwrap()[0].body, VideoBody::End);
    assert_eq!(video_units(&[0x57, 0]).unwrap(), []);
    assert_eq!(video_units(&[0x12, 0]), Err(Error::Codec { media: "video", id: 2 }));
    assert_eq!(video_units(&[0x17, 1, 0, 0]), Err(Error::Short("video")));
    assert_eq!(video_units(&[]), Err(Error::Short("video")));
}

#[test]
fn enhanced_video_packets() {
    let tag = |kind: u8, four_cc: &[u8; 4], rest: &[u8]| [&[0x90 | kind], &four_cc[..], rest].concat();
    assert_eq!(
        video_units(&tag(0, b"hvc1", &[1])).unwrap(),
        [unit(0, 0, VideoCodec::Hevc, VideoBody::Config(Bytes::from_static(&[1])))]
    );
    assert_eq!(
        video_units(&tag(1, b"hvc1", &[0, 0, 40, 7])).unwrap(),
        [unit(0, 0, VideoCodec::Hevc, frame(true, 40, &[7]))]
    );
    assert_eq!(video_units(&tag(3, b"avc1", &[7])).unwrap(), [unit(0, 0, VideoCodec::H264, frame(true, 0, &[7]))]);
    assert_eq!(video_units(&tag(1, b"av01", &[7])).unwrap(), [unit(0, 0, VideoCodec::Av1, frame(true, 0, &[7]))]);
    assert_eq!(video_units(&tag(4, b"hvc1", &[2, 0])).unwrap(), []);
    assert_eq!(video_units(&tag(1, b"vp09", &[7])), Err(Error::FourCc { media: "video", four_cc: *b"vp09" }));
    assert_eq!(video_units(&[0xd1, 0]).unwrap(), []);
    assert_eq!(video_units(&tag(9, b"hvc1", &[])), Err(Error::PacketType { media: "video", value: 9 }));
}

#[test]
fn nanoseconds_come_from_mod_ex() {
    // ModEx with 3 bytes of data, type 0, followed by CodedFramesX.
    let tag = [&[0x97, 2, 0x01, 0x00, 0x00, 0x03], &b"hvc1"[..], &[7]].concat();
    assert_eq!(video_units(&tag).unwrap(), [unit(0, 65_536, VideoCodec::Hevc, frame(true, 0, &[7]))]);
    // An unknown extension with a long size first, then the offset.
    let mut tag = vec![0x97, 255, 1, 43];
    tag.extend([0; 300]);
    tag.extend([0x17, 2, 0, 0, 9, 0x03]);
    tag.extend(b"hvc1\x07");
    assert_eq!(video_units(&tag).unwrap()[0].nanos, 9);
    assert_eq!(video_units(&[0x97, 255, 1]), Err(Error::Short("video")));
    let tag = [&[0x97, 2, 0, 0, 5, 0x01], &b"Opus"[..], &[7]].concat();
    assert_eq!(audio_units(&tag).unwrap()[0].nanos, 5);
}

#[test]
fn multitrack_in_its_three_layouts() {
    let one = [&[0x96, 0x03], &b"hvc1"[..], &[4, 7]].concat();
    assert_eq!(video_units(&one).unwrap(), [unit(4, 0, VideoCodec::Hevc, frame(true, 0, &[7]))]);
    let many = [&[0x95, 0x11], &b"Opus"[..], &[0, 0, 0, 2, 7, 8], &[1, 0, 0, 1, 9]].concat();
    let found = audio_units(&many).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!((found[1].track, &found[1].body), (1, &AudioBody::Frame(Bytes::from_static(&[9]))));
    let codecs =
        [&[0x95, 0x20], &b"mp4a"[..], &[0, 0, 0, 2, 0x11, 0x90], b"fLaC", &[1, 0, 0, 1, 9], b"ac-3", &[2, 0, 0, 0]]
            .concat();
    let mut found = Vec::new();
    let result = audio(codecs.into(), |u| found.push((u.track, u.codec)));
    assert_eq!(found, [(0, AudioCodec::Aac), (2, AudioCodec::Ac3)]);
    assert_eq!(result, Err(Error::FourCc { media: "audio", four_cc: *b"fLaC" }));
    let cut = [&[0x95, 0x11], &b"Opus"[..], &[0, 0, 0, 9, 7]].concat();
    assert_eq!(audio_units(&cut), Err(Error::Short("audio")));
    assert!(audio_units(&[0x95, 0x31]).is_err());
}

#[test]
fn legacy_audio() {
    let aac = audio_units(&[0xaf, 0, 0x11, 0x90]).unwrap();
    assert_eq!(aac[0].body, AudioBody::Config(Bytes::from_static(&[0x11, 0x90])));
    assert_eq!(audio_units(&[0xaf, 1, 5]).unwrap()[0].body, AudioBody::Frame(Bytes::from_static(&[5])));
    assert_eq!(audio_units(&[0x2f, 0xff, 0xfb]).unwrap()[0].codec, AudioCodec::Mp3);
    assert_eq!(audio_units(&[0xb2, 0]), Err(Error::Codec { media: "audio", id: 11 }));
    assert_eq!(audio_units(&[0xaf]), Err(Error::Short("audio")));
}

#[test]
fn metadata_is_read_as_far_as_it_makes_sense() {
    let value = Value::object([
        ("width", Value::Number(1280.0)),
        ("height", Value::Number(f64::NAN)),
        ("framerate", Value::string("29.97")),
        ("videodatarate", Value::Boolean(true)),
        ("encoder", Value::string(" obs\u{7}-output \n")),
    ]);
    let found = Metadata::read(&value);
    assert_eq!(found.width, Some(1280));
    assert_eq!((found.height, found.video_kbps), (None, None));
    assert_eq!(found.frame_rate, Some(29.97));
    assert_eq!(found.encoder.as_deref(), Some("obs-output"));
    assert_eq!(Metadata::read(&Value::Null), Metadata::default());
}

proptest! {
    #[test]
    fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..120)) {
        let _ = video_units(&data);
        let _ = audio_units(&data);
    }

    #[test]
    fn garbage_behind_enhanced_headers_never_panics(
        first in 0x80u8..=0xff, types in any::<u8>(), cc in 0usize..5, data in prop::collection::vec(0u8..8, 0..60),
    ) {
        let cc = [b"hvc1", b"av01", b"Opus", b"mp4a", b"avc1"][cc];
        let tag = [&[first, types], &cc[..], &data].concat();
        let _ = video_units(&tag);
        let _ = audio_units(&tag);
        let _ = audio_units(&[&[0x90 | first & 15, types], &cc[..], &data].concat());
    }
}
