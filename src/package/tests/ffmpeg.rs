//! What ffmpeg encodes goes in, what ffprobe and ffmpeg read comes out.

use super::*;
use crate::media::grid::AAC_FRAME_DUR;
use crate::wire::mp4;
use mp4_atom::{Any, DecodeMaybe, Encode};
use std::path::{Path, PathBuf};
use std::process::Command;

fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program} must be installed: {e}"));
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && errors.trim().is_empty(), "{program} {args:?}: {errors}");
    String::from_utf8(out.stdout).expect("text")
}

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Dir {
        Dir(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, chunks: &[&[u8]]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, chunks.concat()).expect("written");
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Encodes a test picture or tone with ffmpeg, as a fragmented file of one sample per fragment; gives its packets with
/// the first decoding time at `start`.
fn encode(dir: &Dir, source: &str, options: &str, start: Ts) -> (PathBuf, Vec<Packet>) {
    let path = dir.path("source.mp4");
    let mut args = vec!["-hide_banner", "-loglevel", "error", "-y", "-f", "lavfi", "-i", source];
    args.extend(options.split_whitespace());
    args.extend(["-movflags", "frag_every_frame+empty_moov+default_base_moof", text(&path)]);
    run("ffmpeg", &args);
    let data = std::fs::read(&path).expect("what ffmpeg wrote");
    let mut cursor = std::io::Cursor::new(&data[..]);
    let mut head = Vec::new();
    let timescale = loop {
        match Any::decode_maybe(&mut cursor).expect("a box").expect("a moov") {
            Any::Moov(moov) => {
                let timescale = moov.trak[0].mdia.mdhd.timescale;
                moov.encode(&mut head).expect("encodes");
                break timescale;
            }
            _ => continue,
        }
    };
    let mut track = mp4::read_init(&head).expect("a track");
    if let Media::Audio(format) = &mut track.media {
        format.sample_rate = timescale;
    }
    let track = Arc::new(track);
    let at = |ticks: i64| start + Dur::from_scale(ticks, timescale);
    let packets = samples(&data)
        .into_iter()
        .map(|s| Packet {
            dts: at(s.dts as i64),
            key: s.sync && track.is_video(),
            data: s.data.into(),
            ..packet(&track, at(s.dts as i64 + s.cts), Dur::from_scale(s.duration.into(), timescale), false)
        })
        .collect();
    (path, packets)
}

fn header(outputs: &[Output]) -> &[u8] {
    let of = |o: &Output| matches!(o, Output::Init(_));
    match outputs.iter().find(|o| of(o)) {
        Some(Output::Init(init)) => &init.data,
        _ => panic!("no header"),
    }
}

/// Bytes of the complete segments and what follows them.
fn joined(outputs: &[Output]) -> Vec<u8> {
    parts(outputs).iter().flat_map(|p| p.data.to_vec()).collect()
}

/// Checksums of all packets as ffmpeg demuxes them.
fn packet_sums(path: &Path) -> Vec<String> {
    let out =
        run("ffmpeg", &["-hide_banner", "-loglevel", "error", "-i", text(path), "-c", "copy", "-f", "framemd5", "-"]);
    let sums: Vec<_> = out
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.rsplit(',').next())
        .map(|s| s.trim().to_owned())
        .collect();
    assert!(!sums.is_empty());
    sums
}

/// Decodes everything; any complaint of ffmpeg fails the test. Gives the number of frames.
fn decode(path: &Path) -> usize {
    let args = ["-hide_banner", "-loglevel", "warning", "-xerror", "-i", text(path), "-f", "framemd5", "-"];
    run("ffmpeg", &args).lines().filter(|l| !l.starts_with('#')).count()
}

fn probe(path: &Path, entries: &str) -> Vec<String> {
    let args = ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", text(path)];
    run("ffprobe", &args).lines().map(|l| l.trim_end_matches(',').to_owned()).filter(|l| !l.is_empty()).collect()
}

fn passthrough(packets: &[Packet], spec: RenditionSpec) -> Vec<Output> {
    let targets = SourceTargets::for_rate(Some((25, 1)));
    let mut packager = if packets[0].track.is_video() {
        SourcePackager::new(targets, Some((spec, Resume::default())), Vec::new())
    } else {
        SourcePackager::new(targets, None, vec![(spec, TrackId::audio(0), Resume::default())])
    };
    let mut out = Vec::new();
    packets.iter().for_each(|p| packager.push(p, &mut out).expect("packaged"));
    out.extend(packager.finish());
    out.into_iter().map(|(_, o)| o).collect()
}

#[test]
fn h264_with_b_frames_comes_out_as_it_went_in() {
    let dir = Dir::new();
    let options = "-t 9 -c:v libx264 -preset veryfast -bf 3 -b_strategy 0 -g 50 -sc_threshold 0 -pix_fmt yuv420p";
    let (source, packets) = encode(&dir, "testsrc2=s=320x180:r=25", options, NOW);
    assert!(packets.iter().any(|p| p.pts - p.dts > Dur::from_millis(80)), "B-frames");
    let out = passthrough(&packets, video_spec("source"));
    assert_eq!(ends(&out).len(), 4, "a segment per GOP of 2 s");
    let file = dir.write("out.mp4", &[header(&out), &joined(&out)]);
    assert_eq!(packet_sums(&file), packet_sums(&source));
    assert_eq!(decode(&file), 225);
    // Exact times, by a foreign reader.
    let want: Vec<_> =
        packets.iter().map(|p| format!("{},{}", p.pts.to_scale(90_000), p.dts.to_scale(90_000))).collect();
    assert_eq!(probe(&file, "packet=pts,dts"), want);
    assert_eq!(probe(&file, "stream=codec_tag_string,width,height"), ["avc1,320,180"]);
    // The last sample's flag tells that each segment begins with a key frame and stands alone.
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for o in &out {
        match o {
            Output::SegmentStart { .. } => segments.push(Vec::new()),
            Output::Part(part) => segments.last_mut().expect("in a segment").extend(&part.data),
            _ => {}
        }
    }
    for (i, segment) in segments.iter().enumerate() {
        assert_eq!(&segment[4..8], b"styp");
        let file = dir.write("segment.mp4", &[header(&out), segment]);
        assert_eq!(decode(&file), if i < 4 { 50 } else { 25 });
    }
    // A byte range of the I-frame playlist is a picture.
    for o in &out {
        if let Output::SegmentEnd { iframe: Some(iframe), .. } = o {
            let segment = &segments[0];
            let range = &segment[iframe.offset as usize..(iframe.offset + iframe.length) as usize];
            let file = dir.write("iframe.mp4", &[header(&out), range]);
            let args =
                ["-hide_banner", "-loglevel", "fatal", "-i", text(&file), "-frames:v", "1", "-f", "framemd5", "-"];
            assert_eq!(run("ffmpeg", &args).lines().filter(|l| !l.starts_with('#')).count(), 1);
            break;
        }
    }
}

#[test]
fn the_grid_is_what_ffprobe_reads() {
    let dir = Dir::new();
    let grid = grid25();
    let first = grid.frame_number(grid.segment_start(grid.segment_number(NOW)));
    let start = grid.frame_start(first);
    let options = "-t 5.76 -c:v libx264 -preset superfast -tune zerolatency -g 48 -sc_threshold 0 -pix_fmt yuv420p";
    let (source, packets) = encode(&dir, "testsrc2=s=320x180:r=25", options, start);
    let mut packager = Packager::new(video_spec("180p"), grid, Resume::default());
    let out = package(&mut packager, packets);
    assert_eq!((ends(&out), parts(&out).len()), (vec![grid.segment(); 3], 18));
    let file = dir.write("out.mp4", &[header(&out), &joined(&out)]);
    assert_eq!(packet_sums(&file), packet_sums(&source));
    assert_eq!(decode(&file), 144);
    let want: Vec<_> = (first..first + 144).map(|n| format!("{},3600", n * 3600)).collect();
    assert_eq!(probe(&file, "packet=pts,duration"), want);
    // Any part decodes after those before it in its segment; each segment by itself.
    let one: Vec<_> = parts(&out)[6..8].iter().map(|p| &p.data[..]).collect();
    let file = dir.write("parts.mp4", &[&[header(&out)][..], &one].concat());
    assert_eq!(decode(&file), 16);
}

#[test]
fn sound_comes_out_as_it_went_in() {
    for (rate, options, tag) in [
        (48_000, "-t 6 -c:a aac -b:a 128k -ac 2 -ar 48000", "mp4a"),
        (44_100, "-t 6 -c:a aac -b:a 96k -ac 1 -ar 44100", "mp4a"),
        (48_000, "-t 6 -c:a libopus -b:a 96k -ac 2 -ar 48000", "Opus"),
        (48_000, "-t 6 -c:a libopus -b:a 256k -ac 6 -ar 48000", "Opus"),
    ] {
        let dir = Dir::new();
        let (source, packets) = encode(&dir, "sine=440:r=48000", options, NOW);
        let out = passthrough(&packets, sound_spec("floor", "de", true));
        let file = dir.write("out.mp4", &[header(&out), &joined(&out)]);
        assert_eq!(packet_sums(&file), packet_sums(&source), "{options}");
        assert!(decode(&file) >= packets.len() - 1, "{options}");
        let base = packets[0].pts.to_scale(rate);
        let samples = |p: &Packet| (p.pts - packets[0].pts).to_scale(rate);
        let want: Vec<_> = packets.iter().map(|p| (base + samples(p)).to_string()).collect();
        assert_eq!(probe(&file, "packet=pts"), want, "{options}");
        assert_eq!(probe(&file, "stream=codec_tag_string:stream_tags=language"), [format!("{tag},deu")]);
        let channels = packets[0].track.audio().map(|a| a.channels.to_string());
        assert_eq!(probe(&file, "stream=channels,sample_rate"), [format!("{rate},{}", channels.expect("sound"))]);
    }
}

#[test]
fn aac_on_the_grid_decodes_without_a_seam() {
    let dir = Dir::new();
    let grid = grid25();
    let start = grid.segment_start(grid.segment_number(NOW));
    let options = "-t 4 -c:a aac -b:a 128k -ac 2 -ar 48000";
    let (_, packets) = encode(&dir, "sine=440:r=48000", options, start);
    // The engine's frames sit on the grid whatever ffmpeg's priming says.
    let first = grid.aac_number(start);
    let packets: Vec<_> = packets
        .into_iter()
        .zip(first..)
        .map(|(p, k)| Packet { pts: grid.aac_start(k), dts: grid.aac_start(k), duration: AAC_FRAME_DUR, ..p })
        .collect();
    let mut packager = Packager::new(sound_spec("de", "de", true), grid, Resume::default());
    let out = package(&mut packager, packets);
    assert_eq!(ends(&out), vec![grid.segment(); 2]);
    let whole: Vec<_> = parts(&out).iter().take(12).map(|p| &p.data[..]).collect();
    let file = dir.write("out.mp4", &[&[header(&out)][..], &whole].concat());
    assert_eq!(decode(&file), 180);
    let want: Vec<_> = (first..first + 180).map(|k| format!("{},1024", k * 1024)).collect();
    assert_eq!(probe(&file, "packet=pts,duration"), want);
}

#[test]
fn other_codecs_are_declared_right() {
    for (source, options, tag) in [
        (
            "testsrc2=s=320x180:r=25",
            "-t 2 -c:v libx265 -x265-params log-level=none -tag:v hvc1 -g 50 -preset ultrafast",
            "hvc1",
        ),
        ("testsrc2=s=320x180:r=25", "-t 1 -c:v libaom-av1 -cpu-used 8 -g 25 -b:v 200k -row-mt 1", "av01"),
    ] {
        let dir = Dir::new();
        let (source, packets) = encode(&dir, source, options, NOW);
        let out = passthrough(&packets, video_spec("source"));
        let file = dir.write("out.mp4", &[header(&out), &joined(&out)]);
        assert_eq!(packet_sums(&file), packet_sums(&source), "{tag}");
        assert_eq!(decode(&file), packets.len(), "{tag}");
        assert_eq!(probe(&file, "stream=codec_tag_string,width,height"), [format!("{tag},320,180")]);
        // What is stored comes back as it was.
        let stored = Init::restore(3, Bytes::copy_from_slice(header(&out))).expect("ours");
        let codecs = out.iter().find_map(|o| if let Output::Init(i) = o { Some(i.codecs.clone()) } else { None });
        assert_eq!(Some(&stored.codecs), codecs.as_ref());
        assert_eq!(mp4::init(&stored.track, "", video_spec("source").bitrate).expect("encodes"), header(&out));
    }
}
