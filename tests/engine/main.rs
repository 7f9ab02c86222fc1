//! The engine with its real child process, real time and real codecs; sources are made by the ffmpeg command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod mixing;
#[path = "../support/starved.rs"]
mod starved;

use ac_ffmpeg::format::{demuxer::Demuxer, io::IO};
use boothcast::engine::protocol::{FromEngine, InPacket, Report};
use boothcast::engine::worker::av::{PictureDecoder, SoundDecoder};
use boothcast::engine::worker::transcode;
use boothcast::engine::{
    AudioSpec, Channels, Engine, EngineConfig, Limits, Output, RungSpec, SlateConfig, State, Status,
};
use boothcast::hub;
use boothcast::media::grid::AAC_FRAME_DUR;
use boothcast::media::{
    AudioCodec, AudioFormat, Clock, Dur, Grid, Media, Packet, SystemClock, Track, TrackId, Ts, VideoCodec, VideoFormat,
};
use boothcast::task::Group;
use bytes::Bytes;
use starved::Starved;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

// ---- sources ----

/// A file's access units, on a timeline that begins near 0.
#[derive(Clone)]
struct Source {
    packets: Vec<Packet>,
    length: Dur,
}

/// A white picture and a beep of 1 kHz during the first 80 ms of each second.
const FLASH: &str = "testsrc2=size=640x360:rate=25,drawbox=enable='lt(mod(t,1),0.079)':color=white:t=fill";
const BEEP: &str = "aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.08)|0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.08)':s=48000";
const X264: &[&str] = &["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-bf", "2", "-pix_fmt", "yuv420p"];
const AAC: &[&str] = &["-c:a", "aac", "-b:a", "128k"];

/// Runs ffmpeg on these lavfi inputs and reads what it made.
fn make(inputs: &[&str], codecs: &[&[&str]], seconds: u32) -> Source {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("source.mp4");
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-loglevel", "error", "-y"]);
    for input in inputs {
        command.args(["-f", "lavfi", "-i", input]);
    }
    for i in 0..inputs.len() {
        command.args(["-map", &i.to_string()]);
    }
    command.args(codecs.concat()).args(["-strict", "-2", "-t", &seconds.to_string()]).arg(&file);
    let out = command.output().expect("ffmpeg is installed");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    read(&file)
}

fn read(file: &Path) -> Source {
    let io = IO::from_seekable_read_stream(std::fs::File::open(file).unwrap());
    let mut demuxer = Demuxer::builder().build(io).unwrap().find_stream_info(None).map_err(|(_, e)| e).unwrap();
    let mut audio = 0;
    let mut tracks = Vec::new();
    for stream in demuxer.streams() {
        let parameters = stream.codec_parameters();
        let name = parameters.decoder_name().unwrap();
        if let Some(v) = parameters.as_video_codec_parameters() {
            let codec = match name {
                "h264" => VideoCodec::H264,
                "hevc" => VideoCodec::Hevc,
                _ => VideoCodec::Av1,
            };
            let config = Bytes::copy_from_slice(v.extradata().unwrap());
            let (width, height) = (v.width() as u32, v.height() as u32);
            let media =
                Media::Video(VideoFormat { codec, config, width, height, frame_rate: None, sample_aspect: None });
            tracks.push(Arc::new(Track { id: TrackId::VIDEO, media }));
        } else if let Some(a) = parameters.as_audio_codec_parameters() {
            let codec = match name {
                "aac" => AudioCodec::Aac,
                n if n.contains("opus") => AudioCodec::Opus,
                n if n.starts_with("mp3") => AudioCodec::Mp3,
                "ac3" => AudioCodec::Ac3,
                other => panic!("{other}"),
            };
            let config = match codec {
                AudioCodec::Aac | AudioCodec::Opus => Bytes::copy_from_slice(a.extradata().unwrap()),
                _ => Bytes::new(),
            };
            let media = Media::Audio(AudioFormat { codec, config, sample_rate: a.sample_rate(), channels: 2 });
            tracks.push(Arc::new(Track { id: TrackId::audio(audio), media }));
            audio += 1;
        }
    }
    let mut packets = Vec::new();
    let mut length = Dur::ZERO;
    while let Some(p) = demuxer.take().unwrap() {
        let track = tracks[p.stream_index()].clone();
        let time = |t: ac_ffmpeg::time::Timestamp| {
            let base = t.time_base();
            Ts::ZERO + Dur::from_scale(t.timestamp() * i64::from(base.num()), base.den() as u32)
        };
        let (pts, dts) = (time(p.pts()), time(p.dts()));
        if track.is_video() {
            length = length.max(pts - Ts::ZERO + Dur::from_millis(40));
        }
        packets.push(Packet {
            key: p.is_key() && track.is_video(),
            track,
            epoch: 1,
            dts,
            pts,
            duration: Dur::ZERO,
            decode_only: false,
            arrival: Ts::ZERO,
            data: Bytes::copy_from_slice(p.data()),
        });
    }
    packets.sort_by_key(|p| p.dts);
    Source { packets, length }
}

impl Source {
    fn at(&self, start: Ts) -> Vec<Packet> {
        let by = start - Ts::ZERO;
        self.packets
            .iter()
            .map(|p| Packet { pts: p.pts + by, dts: p.dts + by, arrival: p.dts + by, ..p.clone() })
            .collect()
    }
}

// ---- the engine under test ----

fn grid() -> Grid {
    Grid::new(25).unwrap()
}

fn config(clock: &SystemClock) -> EngineConfig {
    EngineConfig {
        event: "test".into(),
        grid: grid(),
        clock_anchor: clock.anchor(),
        delay: Dur::from_millis(750),
        video: vec![
            RungSpec::new(TrackId(0), "360p", 640, 360, 800_000),
            RungSpec::new(TrackId(1), "240p", 426, 240, 400_000),
        ],
        audio: vec![AudioSpec::new(TrackId(10), "floor", 0, 128_000), AudioSpec::new(TrackId(11), "de", 1, 96_000)],
        room: None,
        stems: false,
        slate: SlateConfig { after: Dur::from_secs(2), ..SlateConfig::default() },
        limits: Limits::default(),
        preview: true,
        program: Some(env!("CARGO_BIN_EXE_boothcast").into()),
    }
}

struct Run {
    clock: SystemClock,
    engine: Engine,
    publisher: Option<hub::Publisher>,
    out: mpsc::Receiver<Output>,
    got: BTreeMap<u16, Vec<Packet>>,
    stems: Vec<Packet>,
    voices: Vec<mixing::Speaker>,
    group: Group,
}

impl Run {
    fn start(edit: impl FnOnce(&mut EngineConfig)) -> Run {
        let clock = SystemClock::new();
        let mut config = config(&clock);
        edit(&mut config);
        let (publisher, stream) = hub::stream(hub::Limits::default());
        let (tx, out) = mpsc::channel(64);
        let group = Group::new();
        let engine = Engine::start(config, stream, tx, Arc::new(clock), &group);
        let (got, stems, voices) = (BTreeMap::new(), Vec::new(), Vec::new());
        Run { clock, engine, publisher: Some(publisher), out, got, stems, voices, group }
    }

    fn collect(&mut self, output: Option<Output>) {
        match output.expect("the engine runs") {
            Output::Packet(packet) => self.got.entry(packet.track.id.0).or_default().push(packet),
            Output::Stem { packet, .. } => self.stems.push(packet),
        }
    }

    /// Publishes in real time and takes output meanwhile.
    async fn play(&mut self, packets: Vec<Packet>) {
        for mut packet in packets {
            self.until(packet.dts).await;
            packet.arrival = self.clock.now();
            self.publisher.as_ref().unwrap().publish(packet);
        }
    }

    async fn until(&mut self, at: Ts) {
        loop {
            let voice = self.voices.iter().map(|v| v.due()).min().unwrap_or(Ts::MAX);
            tokio::select! {
                biased;
                () = tokio::time::sleep((at.min(voice) - self.clock.now()).to_std()) => {
                    if voice >= at {
                        return;
                    }
                    let now = self.clock.now();
                    self.voices.iter_mut().filter(|v| v.due() <= now).for_each(|v| v.speak(&self.engine, now));
                }
                output = self.out.recv() => self.collect(output),
            }
        }
    }

    async fn wait(&mut self, time: Dur) {
        self.until(self.clock.now() + time).await;
    }

    /// The status as soon as it is as it should be, within ten seconds: a busy machine takes its time.
    async fn until_status(&mut self, right: impl Fn(&Status) -> bool) -> Status {
        let end = self.clock.now() + Dur::from_secs(10);
        loop {
            let status = self.engine.status().borrow().clone();
            if right(&status) {
                return status;
            }
            assert!(self.clock.now() < end, "{status:?}");
            self.wait(Dur::from_millis(100)).await;
        }
    }

    /// A start for a source: soon, on a slot.
    fn soon(&self) -> Ts {
        grid().frame_start(grid().frame_number(self.clock.now()) + 3)
    }

    async fn end(self) -> BTreeMap<u16, Vec<Packet>> {
        self.engine.stop().await;
        assert!(self.group.close(Duration::from_secs(1)).await);
        self.got
    }
}

/// Every slot once, exact timestamps; returns the slots whose key frames are not at a segment's start.
fn check_slots(got: &BTreeMap<u16, Vec<Packet>>) -> usize {
    let mut extra = 0;
    for (id, packets) in got {
        for (i, p) in packets.iter().enumerate() {
            let number = if p.track.is_video() { grid().frame_number(p.pts) } else { grid().aac_number(p.pts) };
            let start = if p.track.is_video() { grid().frame_start(number) } else { grid().aac_start(number) };
            assert_eq!((p.pts, p.dts), (start, start), "track {id}");
            if i > 0 {
                assert_eq!(
                    p.pts,
                    packets[i - 1].pts + packets[i - 1].duration,
                    "track {id}: a hole or a repeat at {i}"
                );
            }
            if p.track.is_video() {
                let starts = number % i64::from(grid().frames_per_segment()) == 0;
                assert!(!starts || p.key, "track {id}: no key frame at a segment's start");
                extra += usize::from(p.key && !starts);
            } else {
                assert!(!p.key);
            }
        }
    }
    extra
}

// ---- looking at the output ----

/// Mean luma and time of each decoded picture.
fn pictures(packets: &[Packet]) -> Vec<(Ts, f64)> {
    let mut decoder = PictureDecoder::new(packets[0].track.video().unwrap(), 1).unwrap();
    let mut out = Vec::new();
    for p in packets {
        decoder.push(&InPacket::from(p)).expect("decodable");
        while let Some(picture) = decoder.take().expect("decodable") {
            let planes = picture.shown.frame.planes();
            let (w, h) = (picture.shown.frame.width(), picture.shown.frame.height());
            let sum: u64 =
                (0..h).map(|y| planes[0].line(y).unwrap()[..w].iter().map(|&v| u64::from(v)).sum::<u64>()).sum();
            out.push((picture.pts, sum as f64 / (w * h) as f64));
        }
    }
    out
}

/// Left channel, and the time of its first sample.
fn sound(packets: &[Packet]) -> (Ts, Vec<f32>) {
    let mut decoder = SoundDecoder::new(packets[0].track.audio().unwrap()).unwrap();
    let mut pcm = Vec::new();
    for p in packets {
        for s in decoder.push(&InPacket::from(p)).expect("decodable") {
            assert_eq!(s.rate, 48_000);
            pcm.extend(s.stereo.iter().step_by(2));
        }
    }
    (packets[0].pts, pcm)
}

/// Times at which something rises above half of its range after having been low for 200 ms.
fn onsets(samples: impl Iterator<Item = (f64, bool)>) -> Vec<f64> {
    let (mut last_high, mut out) = (f64::NEG_INFINITY, Vec::new());
    for (t, high) in samples {
        if high {
            if t - last_high > 0.2 {
                out.push(t);
            }
            last_high = t;
        }
    }
    out
}

/// Asserts that flashes and beeps begin within 20 ms of each other; returns how many.
fn check_sync(video: &[Packet], audio: &[Packet]) -> usize {
    let pictures = pictures(video);
    let zero = pictures[0].0;
    let flashes = onsets(pictures.iter().map(|&(t, y)| ((t - zero).as_secs_f64(), y > 200.0)));
    let (start, pcm) = sound(audio);
    let offset = (start - zero).as_secs_f64();
    let beeps = onsets(pcm.iter().enumerate().map(|(i, s)| (offset + i as f64 / 48_000.0, s.abs() > 0.1)));
    println!("flashes {flashes:.3?}, beeps {beeps:.3?}");
    let mut pairs = 0;
    for flash in &flashes {
        let near = beeps.iter().map(|b| b - flash).min_by(|a, b| a.abs().total_cmp(&b.abs()));
        if let Some(off) = near.filter(|off| off.abs() < 0.4) {
            assert!(off.abs() <= 0.020, "flash at {flash:.3} s, beep {:.1} ms later", off * 1000.0);
            pairs += 1;
        }
    }
    pairs
}

fn rms(pcm: &[f32]) -> f64 {
    (pcm.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>() / pcm.len().max(1) as f64).sqrt()
}

fn hertz(pcm: &[f32]) -> f64 {
    let rising = pcm.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
    rising as f64 / (pcm.len() as f64 / 48_000.0)
}

// ---- as fast as possible, in process ----

struct Made {
    got: BTreeMap<u16, Vec<Packet>>,
    report: Report,
}

fn run_unpaced(config: EngineConfig, packets: Vec<Packet>) -> Made {
    let mut tracks: BTreeMap<u16, Arc<Track>> = BTreeMap::new();
    let mut made = Made { got: BTreeMap::new(), report: Report::default() };
    let grid = config.grid;
    boothcast::engine::worker::av::set_log(|_| {});
    transcode(config, packets, |message| match message {
        FromEngine::Track(track) => {
            tracks.insert(track.id.0, track);
        }
        FromEngine::Packet { track, number, key, data } => {
            let track = tracks[&track.0].clone();
            let (at, duration) = match track.is_video() {
                true => (grid.frame_start(number), grid.frame()),
                false => (grid.aac_start(number), AAC_FRAME_DUR),
            };
            made.got.entry(track.id.0).or_default().push(Packet {
                track,
                epoch: 0,
                dts: at,
                pts: at,
                duration,
                key,
                decode_only: false,
                arrival: at,
                data,
            });
        }
        FromEngine::Report(report) => made.report = *report,
        _ => {}
    })
    .expect("encoders open");
    made
}

fn base() -> Ts {
    grid().segment_start(930_000_000)
}

#[test]
fn a_file_becomes_a_ladder_on_the_grid_with_sound_where_the_picture_is() {
    let source = make(&[FLASH, BEEP], &[X264, AAC], 8);
    let made = run_unpaced(config(&SystemClock::new()), source.at(base() + Dur::from_millis(7)));
    assert_eq!(check_slots(&made.got), 0);
    assert_eq!(made.report.overload, 0);
    assert_eq!(made.report.corrupt, 0);
    assert!(made.report.dropped + made.report.repeated <= 2, "{:?}", made.report);
    for rung in [0, 1] {
        let n = made.got[&rung].len();
        assert!((199..=201).contains(&n), "{n} frames of 200");
        for language in [10, 11] {
            assert!(check_sync(&made.got[&rung], &made.got[&language]) >= 6);
        }
    }
    // A contribution without a second sound track: the language carries the floor.
    let (floor, language) = (sound(&made.got[&10]).1, sound(&made.got[&11]).1);
    assert!((rms(&floor) / rms(&language) - 1.0).abs() < 0.05);
    let format = made.got[&0][0].track.video().unwrap();
    assert_eq!((format.width, format.height, format.config[1]), (640, 360, 77), "Main below 720 lines");
    // The declared bitrate holds.
    let bytes: usize = made.got[&0].iter().map(|p| p.data.len()).sum();
    assert!(bytes as f64 * 8.0 / 8.0 < 800_000.0 * 1.15, "{bytes} bytes in 8 s");
}

#[test]
fn every_codec_of_sound_keeps_pitch_and_level() {
    let tone = "sine=frequency=440:sample_rate=44100,volume=4,pan=stereo|c0=c0|c1=c0";
    let tone48 = "sine=frequency=440:sample_rate=48000,volume=4,pan=stereo|c0=c0|c1=c0";
    let tone5 = "sine=frequency=440:sample_rate=48000,volume=4,pan=5.1|c0=c0|c1=c0|c2=0*c0|c3=0*c0|c4=0*c0|c5=0*c0";
    let picture = "color=black:size=64x64:rate=25";
    let stereo = 0.5 / std::f64::consts::SQRT_2;
    // Front left alone of 5.1 is scaled by 1 / (1 + 2 · 0.7071).
    let surround = stereo / (1.0 + std::f64::consts::SQRT_2);
    let cases: [(&str, &[&str], f64); 6] = [
        (tone, &["-c:a", "aac", "-b:a", "192k"], stereo),
        (tone, &["-c:a", "libmp3lame", "-b:a", "192k"], stereo),
        (tone48, &["-c:a", "libopus", "-b:a", "128k"], stereo),
        (tone48, &["-c:a", "ac3", "-b:a", "256k"], stereo),
        (tone5, &["-c:a", "aac", "-b:a", "384k"], surround),
        (tone5, &["-c:a", "ac3", "-b:a", "448k"], surround),
    ];
    for (input, codec, level) in cases {
        let source = make(&[picture, input], &[X264, codec], 4);
        let mut config = config(&SystemClock::new());
        config.video.truncate(1);
        let made = run_unpaced(config, source.at(base()));
        check_slots(&made.got);
        let (_, pcm) = sound(&made.got[&10]);
        let middle = &pcm[48_000..3 * 48_000];
        assert!((hertz(middle) - 440.0).abs() < 1.0, "{codec:?}: {} Hz", hertz(middle));
        let off = 20.0 * (rms(middle) / level).log10();
        assert!(off.abs() < 0.7, "{codec:?}: {off:.2} dB");
    }
}

#[test]
fn channels_of_a_track_become_renditions_of_their_own() {
    let tones = "aevalsrc='0.5*sin(2*PI*440*t)|0.5*sin(2*PI*660*t)':s=48000:c=stereo";
    let codecs: [&[&str]; 2] = [&["-c:a", "aac", "-b:a", "192k"], &["-c:a", "ac3", "-b:a", "256k"]];
    for codec in codecs {
        let source = make(&["color=black:size=64x64:rate=25", tones], &[X264, codec], 4);
        let mut config = config(&SystemClock::new());
        config.video.truncate(1);
        let of = |id: u16, channel| {
            let spec = AudioSpec::new(TrackId(id), "language", 0, 128_000);
            AudioSpec { channels: Some(Channels::mono(channel)), ..spec }
        };
        // The floor, a language, and one whose channel is not there, which carries the floor.
        config.audio = vec![of(10, 1), of(11, 0), of(12, 2)];
        let made = run_unpaced(config, source.at(base()));
        for (id, tone) in [(10, 660.0), (11, 440.0), (12, 660.0)] {
            let (_, pcm) = sound(&made.got[&id]);
            let middle = &pcm[48_000..3 * 48_000];
            assert!((hertz(middle) - tone).abs() < 1.0, "{codec:?}: {} Hz of {tone}", hertz(middle));
            let off = 20.0 * (rms(middle) * std::f64::consts::SQRT_2 / 0.5).log10();
            assert!(off.abs() < 0.7, "{codec:?}: {off:.2} dB");
        }
    }
}

#[test]
fn a_source_that_changes_codec_size_and_rate_is_shown_undistorted() {
    let wide = make(&["color=white:size=640x360:rate=25", BEEP], &[X264, AAC], 3);
    let tall = make(&["color=white:size=320x240:rate=30", BEEP], &[&["-c:v", "libx265", "-g", "30"], AAC], 3);
    let mut packets = wide.at(base());
    let next = tall.at(base() + wide.length);
    packets.extend(next.into_iter().map(|p| Packet { epoch: 2, ..p }));
    let made = run_unpaced(config(&SystemClock::new()), packets);
    assert_eq!(check_slots(&made.got), 0);
    let packets = &made.got[&0];
    assert!(packets.len() >= 145, "{} frames of 150", packets.len());
    let mut decoder = PictureDecoder::new(packets[0].track.video().unwrap(), 1).unwrap();
    for p in packets {
        decoder.push(&InPacket::from(p)).unwrap();
        while let Some(picture) = decoder.take().unwrap() {
            let planes = picture.shown.frame.planes();
            let line = planes[0].line(180).unwrap();
            let at = (picture.pts - base()).as_secs_f64();
            // 4:3 on 640 × 360 is 480 wide between bars of 80.
            let (edge, inside) = (line[40], line[90]);
            if at > 0.2 && at < 2.8 {
                assert!(edge > 220 && inside > 220, "{at}: {edge} {inside}");
            } else if at > 3.3 && at < 5.8 {
                assert!(edge < 30 && inside > 220, "{at}: {edge} {inside}");
            }
        }
    }
}

/// Mean luma of the middle of each decoded picture, where bars at the sides do not reach.
fn middles(packets: &[Packet]) -> Vec<(Ts, f64)> {
    let mut decoder = PictureDecoder::new(packets[0].track.video().unwrap(), 1).unwrap();
    let mut out = Vec::new();
    for p in packets {
        decoder.push(&InPacket::from(p)).expect("decodable");
        while let Some(picture) = decoder.take().expect("decodable") {
            let line = picture.shown.frame.planes()[0].line(180).unwrap()[300..340].to_vec();
            out.push((picture.pts, line.iter().map(|&v| f64::from(v)).sum::<f64>() / 40.0));
        }
    }
    out
}

/// An encoder that is set up anew without connecting again: the same epoch, other formats, no hole in time.
#[test]
fn formats_that_change_within_a_connection_go_on_in_the_same_renditions() {
    let tone = |rate: u32, layout: &str| {
        format!("sine=frequency=440:sample_rate={rate},volume=4,aformat=channel_layouts={layout}")
    };
    let white = |size: &str, rate: u32| format!("color=0xe0e0e0:size={size}:rate={rate}");
    let (x265, bf0): (&[&str], &[&str]) = (
        &["-c:v", "libx265", "-g", "30", "-x265-params", "log-level=error"],
        &["-c:v", "libx264", "-preset", "veryfast", "-g", "25", "-bf", "0", "-pix_fmt", "yuv420p"],
    );
    let stages: [(String, String, &[&str], &[&str]); 5] = [
        (white("640x360", 25), tone(48_000, "stereo"), X264, AAC),
        // Another size, another rate of pictures and of sound.
        (white("320x240", 50), tone(44_100, "stereo"), bf0, AAC),
        // Another codec of pictures, one channel.
        (white("640x360", 30), tone(44_100, "mono"), x265, AAC),
        // Another codec of sound, six channels.
        (white("640x360", 30), tone(48_000, "5.1"), bf0, &["-c:a", "ac3", "-b:a", "448k"]),
        (white("1280x720", 25), tone(48_000, "stereo"), X264, &["-c:a", "libopus", "-b:a", "128k"]),
    ];
    let (mut at, mut packets, mut cuts) = (base(), Vec::new(), Vec::new());
    for (picture, sound, video_codec, audio_codec) in stages {
        let source = make(&[&picture, &sound], &[video_codec, audio_codec], 2);
        packets.extend(source.at(at));
        at += Dur::from_secs(2);
        cuts.push(at);
    }
    let made = run_unpaced(config(&SystemClock::new()), packets);
    assert_eq!(check_slots(&made.got), 0, "every slot once, key frames at segment starts alone");
    for (id, packets) in &made.got {
        assert!(packets.windows(2).all(|w| Arc::ptr_eq(&w[0].track, &w[1].track)), "track {id} keeps its format");
    }
    assert_eq!((made.report.corrupt, made.report.overload), (0, 0), "{:?}", made.report);
    for rung in [0, 1] {
        let n = made.got[&rung].len();
        assert!((245..=251).contains(&n), "{n} frames of 250");
    }
    let shown = middles(&made.got[&0]);
    let dark = shown.iter().filter(|p| p.1 < 180.0).count();
    assert_eq!(dark, 0, "no slot without its picture: {shown:?}");
    let (start, pcm) = sound(&made.got[&10]);
    let place = |t: Ts| (((t - start).as_secs_f64() * 48_000.0).max(0.0) as usize).min(pcm.len());
    let mut from = base();
    for (stage, cut) in cuts.iter().enumerate() {
        let middle = &pcm[place(from + Dur::from_millis(300))..place(*cut - Dur::from_millis(300))];
        assert!((hertz(middle) - 440.0).abs() < 3.0, "stage {stage}: {} Hz", hertz(middle));
        assert!(rms(middle) > 0.1, "stage {stage}: {}", rms(middle));
        // Where the formats meet, at most what the codecs' own delays cost is missing.
        let seam = &pcm[place(*cut - Dur::from_millis(300))..place(*cut + Dur::from_millis(300))];
        let silent = seam.chunks(48).filter(|c| rms(c) < 0.01).count();
        println!("stage {stage}: {:.1} Hz, {:.3}, {silent} ms silent at its end", hertz(middle), rms(middle));
        assert!(stage == 4 || silent <= 100, "stage {stage}: {silent} ms are silent");
        from = *cut;
    }
}

// ---- in real time, in the child ----

/// Pictures that wait for an encoder at most, at each of two stages.
const MAX_LATE: u64 = 2 * boothcast::engine::worker::PICTURES as u64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_output_keeps_every_slot_and_a_killed_child_leaves_no_hole() {
    let source = make(&[FLASH, BEEP], &[X264, AAC], 4);
    let mut run = Run::start(|_| {});
    let mut at = run.soon();
    run.play(source.at(at)).await;
    at += source.length;
    let pid = run.engine.status().borrow().pid.expect("running");
    assert_eq!(run.engine.status().borrow().state, State::Running);
    assert!(run.engine.status().borrow().video_input && !run.engine.status().borrow().slate);
    let levels = run.engine.status().borrow().levels.clone();
    assert_eq!(levels.len(), 1);
    assert!(run.engine.preview().is_some_and(|p| p.jpeg.starts_with(&[0xff, 0xd8]) && p.jpeg.len() < 60_000));

    // The child gave up what it does not need.
    let proc = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| proc.lines().find_map(|l| l.strip_prefix(name)).map(str::trim).unwrap_or_default();
    assert_eq!((field("Seccomp:"), field("NoNewPrivs:")), ("2", "1"));
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    let resident: u64 = field("VmRSS:").split_whitespace().next().unwrap().parse().unwrap();
    println!("engine process: {} MB resident", resident / 1024);
    assert!(resident < 200 << 10, "{resident} kB");

    let before = run.engine.status().borrow().clone();
    let starved = Starved::watch();
    let killed = run.clock.now();
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid as i32).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    // The encoder reconnects: another run of the input.
    run.play(source.at(at).into_iter().map(|p| Packet { epoch: 2, ..p }).collect()).await;
    run.wait(Dur::from_secs(2)).await;
    let status = run.until_status(|s| s.restarts > 0 && s.pid.is_some_and(|p| p != pid)).await;
    assert_eq!(status.restarts, 1, "{status:?}");
    // What the kill interrupted is made up for without dropping a picture. Afterwards the encoders' queues may hold
    // MAX_LATE; what a busy machine is too slow for, it is too slow for before the kill too, in two thirds of the time.
    let late = |s: &Status| s.frames_overload;
    let after = late(&status) - late(&before);
    println!(
        "repeated {}, overload {} and then {after}",
        status.frames_repeated - before.frames_repeated,
        late(&before)
    );
    assert!(after <= MAX_LATE + 2 * late(&before), "{status:?}");
    let got = run.end().await;
    let starved = Dur::from_std(starved.end());
    println!("the machine gave no time for {} ms", starved.as_millis());

    // One key frame at the restart in each rung; none but these outside segment starts.
    assert!(check_slots(&got) <= 2);
    for (id, packets) in &got {
        let seconds = (packets[packets.len() - 1].pts - packets[0].pts).as_secs_f64();
        assert!(seconds > 7.0, "track {id}: {seconds} s");
        let gap = packets
            .windows(2)
            .filter(|w| w[1].arrival > killed && w[0].arrival < killed + Dur::from_secs(2))
            .map(|w| w[1].arrival - w[0].arrival)
            .max()
            .unwrap();
        println!("track {id}: longest wait around the kill {} ms", gap.as_millis());
        assert!(gap <= Dur::from_secs(1) + starved, "track {id}: {gap} without output");
        let tracks = packets.windows(2).filter(|w| !Arc::ptr_eq(&w[0].track, &w[1].track)).count();
        assert_eq!(tracks, 0, "the format did not change");
    }
    assert!(check_sync(&got[&0], &got[&10]) >= 5);
    assert!(check_sync(&got[&1], &got[&11]) >= 5);
}

/// What a decoder or an encoder cannot do in time is given up, so that the output stays near its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_beyond_the_machine_stays_near_live() {
    let source = make(&[FLASH, BEEP], &[X264, AAC], 4);
    let delay = Dur::from_millis(750);
    let mut run = Run::start(|config| {
        for (rung, height) in config.video.iter_mut().zip([1080, 720]) {
            let spec = RungSpec::new(rung.id, &rung.name, height * 16 / 9, height, 8_000_000);
            *rung = RungSpec { preset: "slower".to_owned(), ..spec };
        }
        // A key frame alone takes as long here as a hang may elsewhere.
        config.limits.hang = Dur::from_secs(5);
    });
    let mut at = run.soon();
    for epoch in 1..5 {
        run.play(source.at(at).into_iter().map(|p| Packet { epoch, ..p }).collect()).await;
        at += source.length;
    }
    let status = run.engine.status().borrow().clone();
    assert_eq!(status.restarts, 0, "{status:?}");
    assert!(status.frames_overload > 0, "no machine makes this in time: {status:?}");
    let got = run.end().await;
    for (id, packets) in &got {
        let late = packets.iter().map(|p| p.arrival - (p.pts + delay)).max().unwrap();
        println!("track {id}: {} access units, at most {} ms late", packets.len(), late.as_millis());
        // Five seconds, and the picture that is being encoded, which takes a busy machine seconds. Without a bound it
        // would be most of the sixteen seconds that were sent.
        assert!(late <= Dur::from_secs(8), "track {id}: {late} late");
    }
    assert!(
        got[&10].windows(2).all(|w| (w[1].pts - w[0].pts - AAC_FRAME_DUR).abs() <= Dur::from_flicks(1)),
        "sound goes on"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_input_there_is_the_slate_with_silence_and_input_comes_back() {
    let source = make(&[FLASH, BEEP], &[X264, AAC], 2);
    let mut run = Run::start(|c| c.slate.after = Dur::from_secs(1));
    run.wait(Dur::from_secs(3)).await;
    run.until_status(|s| s.slate && !s.video_input).await;
    let at = run.soon();
    run.play(source.at(at)).await;
    // The slate comes again a second and the programme delay from here: who looks late must not miss the source.
    run.until_status(|s| !s.slate).await;
    run.wait(Dur::from_millis(600 + 2800)).await;
    let status = run.until_status(|s| s.slate).await;
    assert_eq!(status.restarts, 0, "{status:?}");
    let got = run.end().await;
    assert_eq!(check_slots(&got), 0);
    let shown = pictures(&got[&0]);
    let dark = |from: Ts, to: Ts| shown.iter().filter(|p| p.0 >= from && p.0 < to).all(|p| p.1 < 60.0);
    assert!(dark(Ts::ZERO, at - Dur::from_millis(100)), "slate first");
    assert!(!dark(at, at + Dur::from_secs(2)), "then the source");
    assert!(dark(at + Dur::from_millis(3500), Ts::MAX), "then the slate again");
    let (start, pcm) = sound(&got[&10]);
    let place = |t: Ts| ((t - start).as_secs_f64() * 48_000.0) as usize;
    assert!(rms(&pcm[..place(at) - 4000]) < 1e-4);
    assert!(rms(&pcm[place(at)..place(at + Dur::from_secs(2))]) > 0.03);
    assert!(rms(&pcm[place(at + Dur::from_millis(2300))..]) < 1e-4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_does_not_end_the_run() {
    let source = make(&[FLASH, BEEP], &[X264, AAC], 3);
    let mut run = Run::start(|_| {});
    let at = run.soon();
    let mut packets = source.at(at);
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize
    };
    for p in &mut packets {
        let since = p.pts - at;
        if since > Dur::from_millis(600) && since < Dur::from_millis(1900) {
            let mut data = p.data.to_vec();
            match random() % 4 {
                0 => data.truncate(random() % data.len()),
                1 => data = (0..random() % 3000).map(|_| random() as u8).collect(),
                _ => {
                    for _ in 0..20 {
                        let i = random() % data.len();
                        data[i] = random() as u8;
                    }
                }
            }
            p.data = data.into();
        }
    }
    run.play(packets).await;
    run.play(source.at(at + source.length)).await;
    run.wait(Dur::from_secs(1)).await;
    let status = run.engine.status().borrow().clone();
    assert!(status.corrupt > 0, "{status:?}");
    assert_eq!(status.restarts, 0, "{status:?}");
    let got = run.end().await;
    assert_eq!(check_slots(&got), 0);
    let from = at + source.length;
    let after = |id: u16| got[&id].iter().filter(|p| p.pts >= from).cloned().collect::<Vec<_>>();
    let video: Vec<Packet> = after(0).into_iter().skip_while(|p| !p.key).collect();
    assert!(check_sync(&video, &after(10)) >= 1);
}

#[test]
fn the_engine_command_explains_itself_when_it_is_started_by_hand() {
    let out = Command::new(env!("CARGO_BIN_EXE_boothcast")).arg("engine").stdin(std::process::Stdio::null()).output();
    let out = out.unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("boothcast serve"));
}
