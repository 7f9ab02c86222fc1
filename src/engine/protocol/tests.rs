//! What is written is read again, and nothing else is.

use super::*;
use crate::engine::{Channels, Limits, OutputCpu, RoomSpec, RungSpec, SlateConfig};
use crate::media::{AudioCodec, AudioFormat, Grid, LanguageMix, Media, Ramps, Stretch, VideoCodec, VideoFormat};
use proptest::prelude::*;

fn body(frame: Frame) -> Bytes {
    let n = u32::from_le_bytes(frame.head[..4].try_into().expect("four bytes")) as usize;
    assert_eq!(n, frame.head.len() - 4 + frame.tail.len());
    check_length(n as u32).expect("within bounds");
    [&frame.head[4..], &frame.tail[..]].concat().into()
}

fn track() -> impl Strategy<Value = Track> {
    let config = proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let video = (0..3usize, config.clone(), any::<u32>(), any::<u32>(), any::<u32>(), 0..5u32, 0..3u16).prop_map(
        |(c, config, width, height, n, d, aspect)| {
            Media::Video(VideoFormat {
                codec: [VideoCodec::H264, VideoCodec::Hevc, VideoCodec::Av1][c],
                config,
                width,
                height,
                frame_rate: (d != 0).then_some((n, d)),
                sample_aspect: (aspect != 0).then_some((aspect, 7)),
            })
        },
    );
    let audio = (0..4usize, config, any::<u32>(), any::<u8>()).prop_map(|(c, config, sample_rate, channels)| {
        let codec = [AudioCodec::Aac, AudioCodec::Opus, AudioCodec::Mp3, AudioCodec::Ac3][c];
        Media::Audio(AudioFormat { codec, config, sample_rate, channels })
    });
    (any::<u16>(), prop_oneof![video, audio]).prop_map(|(id, media)| Track { id: TrackId(id), media })
}

fn sound() -> impl Strategy<Value = AudioSpec> {
    let source = (any::<u16>(), proptest::option::of(any::<[u8; 2]>()));
    (any::<u16>(), ".{0,9}", source, any::<u32>(), any::<bool>(), proptest::option::of(any::<u16>())).prop_map(
        |(id, name, (source, channels), bitrate, interpreted, realtime)| AudioSpec {
            id: TrackId(id),
            name,
            source,
            channels: channels.map(|[left, right]| Channels { left, right }),
            bitrate,
            interpreted,
            realtime: realtime.map(TrackId),
        },
    )
}

fn plan() -> impl Strategy<Value = TimedPlan> {
    let voices = || proptest::collection::vec(any::<u32>().prop_map(VoiceId), 0..5);
    let language = (any::<u16>(), voices(), prop_oneof![Just(f32::NEG_INFINITY), -60f32..=0.0])
        .prop_map(|(id, on_air, floor_level_db)| LanguageMix { output: TrackId(id), on_air, floor_level_db });
    (any::<[i64; 4]>(), proptest::collection::vec(language, 0..5), voices()).prop_map(|(t, languages, voices)| {
        let [attack, hold, release] = [1, 2, 3].map(|i: usize| Dur::from_flicks(t[i]));
        let plan = MixPlan { languages, voices, ramps: Ramps { attack, hold, release } };
        TimedPlan { at: Ts::from_flicks(t[0]), plan }
    })
}

fn content() -> impl Strategy<Value = Content> {
    let stretch = || {
        proptest::option::of(
            any::<[i64; 2]>()
                .prop_map(|[from, until]| Stretch { from: Ts::from_flicks(from), until: Ts::from_flicks(until) }),
        )
    };
    (stretch(), stretch(), stretch()).prop_map(|(black, frozen, silent)| Content { black, frozen, silent })
}

fn start() -> impl Strategy<Value = Start> {
    let rung = (any::<u16>(), "[a-z0-9]{0,9}", 0..=MAX_DIMENSION, any::<u32>(), any::<bool>()).prop_map(
        |(id, name, width, bitrate, profile)| {
            let mut r = RungSpec::new(TrackId(id), &name, width, width / 2, bitrate);
            r.profile = profile.then(|| "main".to_owned());
            r
        },
    );
    let sound = sound();
    let slate = (any::<[u8; 3]>(), ".{0,40}", proptest::option::of(any::<[u8; 30]>()), any::<i64>()).prop_map(
        |(colour, text, picture, after)| SlateConfig {
            colour,
            text,
            picture: picture.map(|p| Bytes::copy_from_slice(&p)),
            after: Dur::from_flicks(after),
        },
    );
    let lists = (
        proptest::collection::vec(rung, 0..6),
        proptest::collection::vec(sound, 0..6),
        proptest::collection::vec((any::<u16>().prop_map(TrackId), any::<i64>()), 0..9),
    );
    (0..5usize, any::<[i64; 3]>(), any::<u64>(), lists, slate, any::<[bool; 4]>()).prop_map(
        |(fps, [anchor, delay, hang], memory, (video, audio, resume), slate, [preview, paced, room, stems])| Start {
            config: EngineConfig {
                event: String::new(),
                grid: Grid::new(crate::media::grid::FRAME_RATES[fps]).expect("listed"),
                clock_anchor: Dur::from_flicks(anchor),
                delay: Dur::from_flicks(delay),
                video,
                audio,
                room: room.then(|| RoomSpec::new(TrackId(7), TrackId(8))),
                stems,
                slate,
                limits: Limits { memory, hang: Dur::from_flicks(hang) },
                preview,
                program: None,
            },
            resume,
            paced,
        },
    )
}

proptest! {
    #[test]
    fn starts_and_tracks_survive_the_wire(s in start(), t in track()) {
        match ToEngine::decode(body(ToEngine::Start(Box::new(s.clone())).encode())) {
            Ok(ToEngine::Start(got)) => prop_assert_eq!(*got, s),
            other => prop_assert!(false, "{:?}", other),
        }
        match ToEngine::decode(body(ToEngine::Track(t.clone()).encode())) {
            Ok(ToEngine::Track(got)) => prop_assert_eq!(&got, &t),
            other => prop_assert!(false, "{:?}", other),
        }
        match ToEngine::decode(body(ToEngine::SoundTrack(InputName::Backup, t.clone()).encode())) {
            Ok(ToEngine::SoundTrack(from, got)) => prop_assert_eq!((from, &got), (InputName::Backup, &t)),
            other => prop_assert!(false, "{:?}", other),
        }
        let out = FromEngine::Track(Arc::new(t));
        prop_assert_eq!(FromEngine::decode(body(out.encode())), Ok(out));
    }

    #[test]
    fn packets_and_reports_survive_the_wire(
        id: u16, n: i64, m: i64, key: bool, only: bool, counters: [u64; 4],
        data in proptest::collection::vec(any::<u8>(), 0..500),
        levels in proptest::collection::vec((any::<u16>(), -120f32..0.0, -120f32..0.0), 0..9),
        text in ".{0,100}",
        reports in proptest::collection::vec((any::<u32>(), -120f32..0.0), 0..9),
        content in content(),
    ) {
        let data = Bytes::from(data);
        let p = InPacket {
            track: TrackId(id), epoch: id.into(), dts: Ts::from_flicks(n), pts: Ts::from_flicks(m), key,
            decode_only: only, data: data.clone(),
        };
        match ToEngine::decode(body(ToEngine::Packet(p.clone()).encode())) {
            Ok(ToEngine::Packet(got)) => prop_assert_eq!(&got, &p),
            other => prop_assert!(false, "{:?}", other),
        }
        let input = InputName::ALL[usize::from(key)];
        match ToEngine::decode(body(ToEngine::Sound(input, p.clone()).encode())) {
            Ok(ToEngine::Sound(from, got)) => prop_assert_eq!((from, got), (input, p)),
            other => prop_assert!(false, "{:?}", other),
        }
        let data2 = data.clone();
        let [repeated, dropped, overload, corrupt] = counters;
        let levels = levels.into_iter().map(|(track, peak_db, rms_db)| Level { track, peak_db, rms_db }).collect();
        let report = Report {
            busy_ms: id.into(), busy_stage: text.clone(), video_input: key, audio_input: only, slate: key,
            content, repeated, dropped, overload, corrupt, levels,
            voices: reports.iter().map(|&(v, l)| (VoiceId(v), VoiceReport { level_db: l, peak_db: l, jitter_ms: 1.0,
                loss: 0.5, concealed: 0.1, recovered: 0.2, delay_ms: l })).collect(),
            outputs: reports.iter().map(|&(v, l)| OutputLevel { track: v as u16, peak_db: l, rms_db: l, floor_db: l,
                limited_db: l }).collect(),
            mix_cpu: MixCpu { floor: 0.5, voices: 1.5, outputs: reports.iter().map(|&(v, l)| OutputCpu {
                track: v as u16, mix: f64::from(l), encode: 2.0 }).collect() },
            mixes_late: n as u64, room_dropped: m as u64,
            sound_match: only.then(|| SoundMatch { apart: Dur::from_flicks(n), at: Ts::from_flicks(m), epochs: [id.into(), 7] }),
            sounds_dropped: n as u64,
        };
        for m in [
            FromEngine::Packet { track: TrackId(id), number: n, key, data: data.clone() },
            FromEngine::Report(Box::new(report)),
            FromEngine::Preview(data),
            FromEngine::Log { warn: key, text },
            FromEngine::Done,
            FromEngine::Room {
                track: TrackId(id), pts: Ts::from_flicks(n), duration: Dur::from_flicks(m), key, data: data2.clone(),
            },
            FromEngine::Stem {
                voice: VoiceId(id.into()), pts: Ts::from_flicks(n), duration: Dur::from_flicks(m), data: data2,
            },
        ] {
            prop_assert_eq!(FromEngine::decode(body(m.encode())), Ok(m));
        }
    }

    #[test]
    fn what_the_mixer_is_told_survives_the_wire(
        timed in plan(), specs in proptest::collection::vec(sound(), 0..5), n: i64, v: u32, video: bool,
        ids in proptest::option::of(proptest::collection::vec(any::<u16>().prop_map(TrackId), 0..9)),
        data in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let packet = VoicePacket {
            voice: VoiceId(v), sequence: n, rtp: !n, arrival: Ts::from_flicks(n), lead: Dur::from_flicks(n),
            data: data.into(),
        };
        match ToEngine::decode(body(ToEngine::Voice(packet.clone()).encode())) {
            Ok(ToEngine::Voice(got)) => prop_assert_eq!(got, packet),
            other => prop_assert!(false, "{:?}", other),
        }
        match ToEngine::decode(body(ToEngine::Plan(timed.clone()).encode())) {
            Ok(ToEngine::Plan(got)) => prop_assert_eq!(got, timed),
            other => prop_assert!(false, "{:?}", other),
        }
        let numbers = vec![(TrackId(3), n)];
        match ToEngine::decode(body(ToEngine::Audio { specs: specs.clone(), first: numbers.clone() }.encode())) {
            Ok(ToEngine::Audio { specs: got, first }) => prop_assert_eq!((got, first), (specs, numbers)),
            other => prop_assert!(false, "{:?}", other),
        }
        let rooms = Rooms { video, realtime: ids };
        match ToEngine::decode(body(ToEngine::Rooms(rooms.clone()).encode())) {
            Ok(ToEngine::Rooms(got)) => prop_assert_eq!(got, rooms),
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert!(matches!(ToEngine::decode(body(ToEngine::KeyFrame.encode())), Ok(ToEngine::KeyFrame)));
    }

    #[test]
    fn garbage_never_panics(mut data in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..15) {
        let _ = ToEngine::decode(data.clone().into());
        let _ = FromEngine::decode(data.clone().into());
        if let Some(first) = data.first_mut() {
            *first = kind;
        }
        let _ = ToEngine::decode(data.clone().into());
        let _ = FromEngine::decode(data.into());
    }

    #[test]
    fn a_cut_message_is_an_error(s in start(), cut in 1usize..40) {
        let whole = body(ToEngine::Start(Box::new(s)).encode());
        let n = whole.len().saturating_sub(cut);
        prop_assert!(ToEngine::decode(whole.slice(..n)).is_err());
    }
}

#[test]
fn sizes_are_capped_before_anything_is_allocated() {
    assert_eq!(check_length(0), Err(ProtocolError::Length(0)));
    assert!(check_length(u32::MAX).is_err());
    let mut w = Writer::new(5);
    w.bool(true).u32(u32::MAX);
    assert!(matches!(FromEngine::decode(body(w.end())), Err(ProtocolError::Size { what: "text", .. })));
    let data = Bytes::from(vec![0; MAX_VOICE + 1]);
    let voice = VoicePacket { voice: VoiceId(1), sequence: 0, rtp: 0, arrival: Ts::ZERO, lead: Dur::ZERO, data };
    let refused = ToEngine::decode(body(ToEngine::Voice(voice).encode()));
    assert!(matches!(refused, Err(ProtocolError::Size { what: "voice packet", .. })));
    let long = "é".repeat(MAX_TEXT);
    let log = FromEngine::Log { warn: false, text: long };
    assert!(
        matches!(FromEngine::decode(body(log.encode())), Ok(FromEngine::Log { text, .. }) if text.len() <= MAX_TEXT)
    );
}
