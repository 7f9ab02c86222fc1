//! The DASH manifest of windows.

use super::{Cut, Init, RenditionKind, Segment, Window};
use crate::media::{Dur, Media, Ts};
use crate::wire::m3u8::Suffix;
use crate::wire::mpd::{Manifest, Representation, Segments, Sound};
use crate::wire::{language, mp4};

/// The manifest of an event's windows at `now`; none while no segment is complete. `delay` is how long after its end on
/// the timeline a segment is complete: the programme delay and what encoding takes.
///
/// One period: where a format changed while live, it begins with the newest one, and what lies before is left out.
pub fn manifest(windows: &[&Window], now: Ts, delay: Dur, suffix: &Suffix) -> Option<String> {
    let ready: Vec<(&Window, &Init)> = windows.iter().filter_map(|w| Some((*w, w.init()?.as_ref()))).collect();
    // The segments of each window that the newest header applies to.
    let current = |window: &Window, init: &Init| {
        let version = init.version;
        window.listed().rev().take_while(|s| s.init == version).count()
    };
    let listed: Vec<(&Window, &Init, usize)> =
        ready.into_iter().map(|(w, i)| (w, i, current(w, i))).filter(|&(_, _, count)| count > 0).collect();
    let changed = |&(window, _, count): &(&Window, &Init, usize)| {
        let first = window.listed().nth(window.listed().len() - count)?;
        (window.listed().len() > count || first.discontinuity).then_some(first.start)
    };
    let period = listed.iter().filter_map(changed).max();
    // On the grid where there is one, so that its numbers stay exact: rounded up, since before there is the old format.
    let grid = listed.iter().find_map(|(w, _, _)| if let Cut::Grid(grid) = w.cut() { Some(grid) } else { None });
    let period = period.map_or(Ts::ZERO, |at| match grid {
        Some(grid) => grid.segment_start(grid.segment_number(at + grid.segment() - Dur::from_flicks(1))),
        None => at,
    });
    let mut manifest =
        Manifest { now, delay, period, depth: Dur::MAX, longest: Dur::ZERO, video: Vec::new(), audio: Vec::new() };
    for (window, init, count) in listed {
        let all = window.listed();
        let begin = all.len() - count;
        let segments: Vec<&Segment> = all.skip(begin).filter(|s| s.start >= period).collect();
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else { continue };
        manifest.depth = manifest.depth.min(last.end() - first.start);
        manifest.longest = segments.iter().map(|s| s.duration).max().unwrap_or(Dur::ZERO).max(manifest.longest);
        let addressed = match window.cut() {
            Cut::Grid(grid) => Segments::Grid { duration: grid.segment(), first: grid.segment_number(period) },
            Cut::Source(_) => Segments::Timeline {
                first: first.number,
                segments: segments.iter().map(|s| (s.start, s.duration)).collect(),
            },
        };
        let frame_rate = |rate: f64| ((rate * 1000.0).round().max(1.0) as u32, 1000);
        let mut stream = Representation {
            id: window.spec().name.clone(),
            codecs: init.codecs.clone(),
            bandwidth: window.peak_bitrate(),
            picture: None,
            sound: None,
            init: init.version,
            timescale: mp4::timescale(&init.track),
            segments: addressed,
        };
        match (&window.spec().kind, &init.track.media) {
            (RenditionKind::Video { frame_rate: declared, .. }, Media::Video(format)) => {
                let rate = format.frame_rate.filter(|&(n, d)| n > 0 && d > 0).unwrap_or_else(|| {
                    if declared.fract() == 0.0 { (*declared as u32, 1) } else { frame_rate(*declared) }
                });
                stream.picture = Some((format.width, format.height, rate));
                manifest.video.push(stream);
            }
            (RenditionKind::Audio { language, label, default }, Media::Audio(format)) => {
                stream.sound = Some((format.sample_rate, format.channels));
                let label = if label.is_empty() { language::autonym(language).into_owned() } else { label.clone() };
                let language = language::tag(language).into_owned();
                manifest.audio.push(Sound { language, label, main: *default, stream });
            }
            _ => {}
        }
    }
    (!manifest.video.is_empty() || !manifest.audio.is_empty()).then(|| manifest.write(suffix))
}
