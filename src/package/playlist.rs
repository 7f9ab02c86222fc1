//! Playlists and manifests of windows.

use super::{Cut, Init, RenditionKind, Segment, Window};
use crate::media::grid::AAC_FRAME_DUR;
use crate::media::{Dur, Media, VideoCodec, VideoFormat};
use crate::wire::bitstream::{h264::AvcConfig, hevc::HevcConfig};
use crate::wire::language;
use crate::wire::m3u8::{
    Header, IFrames, MediaPlaylist, Multivariant, PartLine, Rendition, RenditionType, Report, SegmentLine, Steering,
    Suffix, Variant,
};

/// EXT-X-PART stands for this many target durations at the end of a playlist (RFC 8216bis §6.2.2).
const PARTS_FOR: i64 = 3;
/// CAN-SKIP-UNTIL in target durations, the least that is allowed (§4.4.3.8).
const SKIP_BOUNDARY: i64 = 6;
/// PART-HOLD-BACK in part targets (§4.4.3.8).
const PART_HOLD_BACK: i64 = 3;

/// The largest PART-TARGET of all renditions, for [`media`].
pub fn part_target<'a>(windows: impl IntoIterator<Item = &'a Window>) -> Dur {
    windows.into_iter().map(|w| w.cut().part_target()).max().unwrap_or(Dur::ZERO)
}

/// The state of a window for the playlists of the others.
pub fn report(window: &Window) -> Option<Report> {
    let (segment, part) = window.last()?;
    Some(Report { rendition: window.spec().name.clone(), segment, part })
}

fn line(segment: &Segment) -> SegmentLine {
    SegmentLine {
        number: segment.number,
        start: segment.start,
        duration: segment.duration,
        discontinuity: segment.discontinuity,
        gap: segment.gap,
        init: segment.init,
    }
}

/// How long a part that is missing would have been.
fn nominal(window: &Window, index: u32) -> Dur {
    match (window.cut(), &window.spec().kind) {
        (Cut::Grid(grid), RenditionKind::Video { .. }) => grid.part(),
        (Cut::Grid(grid), RenditionKind::Audio { .. }) => {
            AAC_FRAME_DUR * i64::from(grid.aac_part_start(index + 1).saturating_sub(grid.aac_part_start(index)))
        }
        (Cut::Source(targets), _) => targets.part,
    }
}

/// The media playlist of a rendition; none while there is nothing to list. `reports` are those of all other renditions,
/// `part_target` the largest of all. With `skip` it is a delta update (`_HLS_skip=YES`).
pub fn media(window: &Window, reports: &[Report], part_target: Dur, suffix: &Suffix, skip: bool) -> Option<String> {
    media_from(window, 0, reports, part_target, suffix, skip)
}

/// As [`media`], of the segments from number `from` on: for those who may not see what was before.
pub fn media_from(
    window: &Window,
    from: u64,
    reports: &[Report],
    part_target: Dur,
    suffix: &Suffix,
    skip: bool,
) -> Option<String> {
    if !window.is_ready() {
        return None;
    }
    let target = Dur::from_secs(i64::from(window.target_duration()));
    let live = !window.is_ended();
    let listed = window.listed_from(from);
    let open = window.open().filter(|segment| segment.number >= from);
    let first = listed.clone().next().or(open)?;
    let header = Header {
        target_duration: window.target_duration(),
        media_sequence: first.number,
        discontinuity_sequence: first.timeline.saturating_sub(u64::from(first.discontinuity)),
        independent: matches!(window.cut(), Cut::Grid(_)),
        parts: live.then(|| (window.cut().part_target(), part_target.max(window.cut().part_target()) * PART_HOLD_BACK)),
        can_block: live,
        can_skip_until: live.then_some(target * SKIP_BOUNDARY),
    };
    let last_end = listed.clone().next_back().map(Segment::end);
    // Distances are measured from the end of the last complete segment (§6.2.5.1), parts from the very end.
    let skipped = match last_end.filter(|_| skip && live) {
        Some(end) => listed.clone().take_while(|s| s.end() < end - target * SKIP_BOUNDARY).count(),
        None => 0,
    };
    let mut playlist = MediaPlaylist::new(&header, suffix, listed.len() - skipped);
    if skipped > 0 {
        playlist.skip(skipped);
    }
    let parts_from = open.map(Segment::end).or(last_end).map(|end| end - target * PARTS_FOR).filter(|_| live);
    for segment in listed.skip(skipped) {
        let line = line(segment);
        playlist.segment(&line);
        if parts_from.is_some_and(|from| segment.end() > from) {
            let places = match window.cut() {
                Cut::Grid(grid) => grid.parts_per_segment(),
                Cut::Source(_) => segment.parts.last().map_or(0, |part| part.index + 1),
            };
            parts(window, segment, places, &mut playlist);
        }
        playlist.end_segment(&line);
    }
    if let Some(segment) = open.filter(|_| live) {
        playlist.segment(&line(segment));
        parts(window, segment, segment.parts.last().map_or(0, |part| part.index + 1), &mut playlist);
    }
    if let Some((number, part)) = window.next_part() {
        playlist.hint(number, part);
    }
    if live {
        reports.iter().filter(|report| report.rendition != window.spec().name).for_each(|r| playlist.report(r));
    }
    Some(playlist.finish(!live))
}

/// The parts of a segment, with those that are missing; none when it has none in memory.
fn parts(window: &Window, segment: &Segment, places: u32, playlist: &mut MediaPlaylist<'_>) {
    if segment.parts.is_empty() {
        return;
    }
    let mut there = segment.parts.iter().peekable();
    for index in 0..places {
        let line = match there.next_if(|part| part.index == index) {
            Some(part) => PartLine { index, duration: part.duration, independent: part.independent, gap: false },
            None => PartLine { index, duration: nominal(window, index), independent: false, gap: true },
        };
        playlist.part(segment.number, &line);
    }
}

/// The playlist of a picture's key frames; none while no segment is complete, and for sound.
pub fn iframes(window: &Window, suffix: &Suffix) -> Option<String> {
    iframes_from(window, 0, suffix)
}

/// As [`iframes`], of the segments from number `from` on.
pub fn iframes_from(window: &Window, from: u64, suffix: &Suffix) -> Option<String> {
    if matches!(window.spec().kind, RenditionKind::Audio { .. }) {
        return None;
    }
    let first = window.listed_from(from).next()?;
    let before = first.timeline.saturating_sub(u64::from(first.discontinuity));
    let mut playlist = IFrames::new(window.target_duration(), first.number, before, suffix);
    for segment in window.listed_from(from) {
        playlist.frame(&line(segment), segment.iframe.map(|i| (i.length, i.offset)));
    }
    Some(playlist.finish(window.is_ended()))
}

/// Bits per second of the key frames alone: the highest over a segment, and the mean.
fn iframe_bitrates(window: &Window) -> (u64, u64) {
    let (mut peak, mut bytes, mut time) = (0f64, 0u64, Dur::ZERO);
    for segment in window.listed().filter(|s| !s.gap && s.duration > Dur::ZERO) {
        let length = segment.iframe.map_or(0, |i| i.length);
        peak = peak.max(length as f64 * 8.0 / segment.duration.as_secs_f64());
        bytes += length;
        time += segment.duration;
    }
    // Not above the peak by rounding.
    let mean = if time > Dur::ZERO { (bytes as f64 * 8.0 / time.as_secs_f64()).min(peak) } else { 0.0 };
    (peak.ceil() as u64, mean.ceil() as u64)
}

/// VIDEO-RANGE: the transfer function that the parameter sets state (§4.4.6.2).
fn video_range(format: &VideoFormat) -> &'static str {
    let transfer = match format.codec {
        VideoCodec::H264 => AvcConfig::parse(&format.config).and_then(|c| c.sps()).ok().and_then(|s| s.colour),
        VideoCodec::Hevc => HevcConfig::parse(&format.config).and_then(|c| c.sps()).ok().and_then(|s| s.colour),
        VideoCodec::Av1 => None,
    };
    match transfer.map(|colour| colour.transfer) {
        Some(16) => "PQ",
        Some(18) => "HLG",
        _ => "SDR",
    }
}

fn frame_rate(window: &Window, format: &VideoFormat) -> Option<f64> {
    match window.spec().kind {
        RenditionKind::Video { source: true, .. } if format.frame_rate.is_some() => {
            format.frame_rate.filter(|&(_, d)| d > 0).map(|(n, d)| f64::from(n) / f64::from(d))
        }
        RenditionKind::Video { frame_rate, .. } => Some(frame_rate).filter(|&r| r > 0.0),
        RenditionKind::Audio { .. } => None,
    }
}

/// The multivariant playlist of an event's windows: pictures in the order given, sound as one group. A window that has
/// nothing to list yet is left out; none when all have nothing.
pub fn multivariant(windows: &[&Window], suffix: &Suffix) -> Option<String> {
    multivariant_steered(windows, None, suffix)
}

/// As [`multivariant`], with every variant and every group on each of several origins. What is said of a rendition holds
/// for all of them: they make it alike.
pub fn multivariant_steered(windows: &[&Window], steering: Option<&Steering>, suffix: &Suffix) -> Option<String> {
    let ready: Vec<(&Window, &Init)> =
        windows.iter().filter(|w| w.is_ready()).filter_map(|w| Some((*w, w.init()?.as_ref()))).collect();
    let sound: Vec<&(&Window, &Init)> =
        ready.iter().filter(|(w, _)| matches!(w.spec().kind, RenditionKind::Audio { .. })).collect();
    // Whatever language plays: the most that a picture may come with.
    let sound_peak = sound.iter().map(|(w, _)| w.peak_bitrate()).max().unwrap_or(0);
    let sound_average = sound.iter().map(|(w, _)| w.average_bitrate()).max().unwrap_or(0);
    let mut sound_codecs: Vec<&str> = sound.iter().map(|(_, init)| init.codecs.as_str()).collect();
    sound_codecs.sort_unstable();
    sound_codecs.dedup();

    let mut playlist = Multivariant { independent: true, steering: steering.cloned(), ..Multivariant::default() };
    for (window, init) in &sound {
        let RenditionKind::Audio { language, label, default } = &window.spec().kind else { continue };
        let name = if label.is_empty() { language::autonym(language).into_owned() } else { label.clone() };
        playlist.renditions.push(Rendition {
            kind: RenditionType::Audio,
            id: window.spec().name.clone(),
            name,
            language: language::tag(language).into_owned(),
            default: *default && !playlist.renditions.iter().any(|r| r.default),
            channels: init.track.audio().map(|a| a.channels),
        });
    }
    for (window, init) in &ready {
        let Media::Video(format) = &init.track.media else { continue };
        playlist.independent &= matches!(window.cut(), Cut::Grid(_));
        let codecs = std::iter::once(init.codecs.as_str()).chain(sound_codecs.iter().copied()).collect::<Vec<_>>();
        let (peak, mean) = iframe_bitrates(window);
        playlist.variants.push(Variant {
            id: window.spec().name.clone(),
            bandwidth: window.peak_bitrate() + sound_peak,
            average_bandwidth: (window.average_bitrate() + sound_average).min(window.peak_bitrate() + sound_peak),
            codecs: codecs.join(","),
            resolution: Some(format.shown()),
            frame_rate: frame_rate(window, format),
            range: video_range(format),
            iframes: (peak > 0).then(|| (peak, mean, init.codecs.clone())),
        });
    }
    // For those who listen only, and for a network that carries nothing else.
    let listener = sound.iter().find(|(w, _)| matches!(w.spec().kind, RenditionKind::Audio { default: true, .. }));
    if let Some((window, _)) = listener.or(sound.first()) {
        playlist.variants.push(Variant {
            id: window.spec().name.clone(),
            bandwidth: sound_peak,
            average_bandwidth: sound_average.min(sound_peak),
            codecs: sound_codecs.join(","),
            resolution: None,
            frame_rate: None,
            range: "SDR",
            iframes: None,
        });
    }
    (!playlist.variants.is_empty()).then(|| playlist.write(suffix))
}
