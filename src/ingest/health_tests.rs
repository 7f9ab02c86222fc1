use super::*;
use crate::media::timeline::TrackStats;
use crate::media::{AudioCodec, AudioFormat, VideoCodec, VideoFormat};
use crate::wire::bitstream::fixtures::{AVCC_1080P25, hex};
use bytes::Bytes;

struct Rig {
    health: Health,
    start: Ts,
    video: Arc<Track>,
    audio: Arc<Track>,
}

fn rig() -> Rig {
    let start = Ts::from_millis(1_700_000_000_000);
    let health = Health::new(Protocol::Rtmps, ([192, 0, 2, 7], 4000).into(), start);
    let video = VideoFormat {
        codec: VideoCodec::H264,
        config: hex(AVCC_1080P25),
        width: 1920,
        height: 1080,
        frame_rate: Some((50, 1)),
        sample_aspect: None,
    };
    let audio = AudioFormat {
        codec: AudioCodec::Aac,
        config: Bytes::from_static(&[0x11, 0x90]),
        sample_rate: 48_000,
        channels: 2,
    };
    let video = Arc::new(Track { id: TrackId::VIDEO, media: Media::Video(video) });
    let audio = Arc::new(Track { id: TrackId::audio(0), media: Media::Audio(audio) });
    health.track(&video, start);
    health.track(&audio, start);
    Rig { health, start, video, audio }
}

impl Rig {
    fn packet(&self, track: &Arc<Track>, at: Dur, key: bool, bytes: usize) {
        let dts = Ts::ZERO + at;
        self.health.packet(&Packet {
            track: track.clone(),
            epoch: 0,
            dts,
            pts: dts + if track.is_video() { Dur::from_millis(40) } else { Dur::ZERO },
            duration: Dur::ZERO,
            key,
            decode_only: false,
            arrival: self.start + at,
            data: Bytes::from(vec![0; bytes]),
        });
    }

    /// `seconds` of 25 fps with 10 000 bytes a picture and a key frame every `gop` pictures; sound of 100 bytes each 20 ms.
    fn run(&self, seconds: i64, gop: i64, sound: bool) -> InputHealth {
        for i in 0..seconds * 25 {
            self.packet(&self.video, Dur::from_millis(i * 40), i % gop == 0, 10_000);
            for half in [0, 20].iter().filter(|_| sound) {
                self.packet(&self.audio, Dur::from_millis(i * 40 + half), false, 100);
            }
        }
        self.health.snapshot(self.start + Dur::from_secs(seconds))
    }
}

#[test]
fn rates_and_formats_are_measured() {
    let r = rig();
    assert_eq!(r.health.snapshot(r.start).state, InputState::Connected);
    let h = r.run(10, 50, true);
    let video = h.video.clone().unwrap();
    assert_eq!((video.width, video.height, video.fps, video.nominal_fps), (1920, 1080, Some(25.0), Some(50.0)));
    assert_eq!((video.codecs.as_deref(), video.gop_seconds, video.b_frames), (Some("avc1.640028"), Some(2.0), true));
    assert!((1_960_000..=2_040_000).contains(&video.bitrate), "{}", video.bitrate);
    let audio = &h.audio[0];
    assert_eq!((audio.track, audio.sample_rate, audio.channels), (0, 48_000, 2));
    assert!((39_000..=41_000).contains(&audio.bitrate), "{}", audio.bitrate);
    assert_eq!(h.bitrate, video.bitrate + audio.bitrate);
    assert_eq!((h.state, h.bytes), (InputState::Live, 250 * 10_000 + 500 * 100));
    assert_eq!(h.warnings, ["25 fps arrive where 50 are announced: lower the encoder's load or its rate"]);
}

#[test]
fn long_gops_and_missing_sound_are_named() {
    let h = rig().run(20, 200, false);
    assert_eq!(h.video.unwrap().gop_seconds, Some(8.0));
    assert!(h.warnings.contains(&"keyframe every 8 s: set 2 s".to_owned()), "{:?}", h.warnings);
    assert!(h.warnings.contains(&"no sound: add an audio source in the encoder".to_owned()));
    // Before the second key frame has come at all.
    let h = rig().run(6, 10_000, true);
    assert!(h.warnings.iter().any(|w| w.starts_with("keyframe every 6 s")), "{:?}", h.warnings);
}

#[test]
fn a_stall_is_seen_and_its_bitrate_falls() {
    let r = rig();
    let live = r.run(10, 50, true);
    let h = r.health.snapshot(r.start + Dur::from_secs(17));
    assert_eq!(h.state, InputState::Stalled);
    assert!(h.bitrate < live.bitrate / 2, "{} after {}", h.bitrate, live.bitrate);
    assert!(
        h.warnings.contains(&"nothing has come for 7 s: check the encoder and its network".to_owned()),
        "{:?}",
        h.warnings
    );
}

#[test]
fn skew_drift_and_jumps_are_named() {
    let r = rig();
    r.run(4, 50, true);
    let track = |id, behind, drift_ppm| TrackStats {
        track: id,
        drift_ppm,
        behind: Dur::from_millis(behind),
        last_dts: Ts::ZERO,
        last_arrival: Ts::ZERO,
    };
    let tracks = vec![track(TrackId::VIDEO, 0, Some(-420.0)), track(TrackId::audio(0), 830, None)];
    r.health.timeline(Stats { jumps: 2, tracks, ..Stats::default() });
    let h = r.health.snapshot(r.start + Dur::from_secs(4));
    assert_eq!((h.av_skew_seconds, h.timeline.drift_ppm, h.timeline.jumps), (Some(0.83), Some(-420.0), 2));
    for words in [
        "sound arrives 0.8 s after the picture that it belongs to",
        "the encoder's clock runs 420 ppm too fast",
        "the encoder's clock has jumped 2 times",
    ] {
        assert!(h.warnings.iter().any(|w| w == words), "{words}: {:?}", h.warnings);
    }
}

#[test]
fn reported_problems_go_away_again() {
    let r = rig();
    r.health.warn("audio tag", "audio codec 11 is not supported".into(), r.start);
    r.health.warn("audio tag", "audio codec 12 is not supported".into(), r.start);
    let warnings = |after: i64| r.health.snapshot(r.start + Dur::from_secs(after)).warnings;
    assert_eq!(warnings(1), ["audio codec 12 is not supported"]);
    assert!(!warnings(61).contains(&"audio codec 12 is not supported".to_owned()));
}

#[test]
fn the_names_are_those_of_the_api() {
    let r = rig();
    let json = serde_json::to_value(r.run(3, 50, true)).unwrap();
    assert_eq!(json["state"], "live");
    assert_eq!(json["protocol"], "rtmps");
    assert_eq!(json["connected_since"], "2023-11-14T22:13:20Z");
    assert_eq!(json["video"]["codec"], "h264");
    assert_eq!(json["audio"][0]["codec"], "aac");
    for key in ["bitrate", "warnings", "peer", "av_skew_seconds", "timeline"] {
        assert!(json.get(key).is_some(), "{key}");
    }
    let offline = serde_json::to_value(InputHealth::offline()).unwrap();
    assert_eq!((&offline["state"], &offline["protocol"]), (&"offline".into(), &serde_json::Value::Null));
}
