use super::*;
use crate::media::grid::AAC_FRAME_DUR;
use crate::wire::m3u8::{Pathway, Steering, Suffix};
use std::collections::BTreeMap;

#[path = "../../../tests/support/hls_rules.rs"]
#[allow(dead_code)]
mod rules;

/// Windows of an event with two rungs and two languages, `seconds` after its begin.
struct Event {
    grid: Grid,
    first: i64,
    now: i64,
    video: Vec<(Packager, Window)>,
    sound: Vec<(Packager, Window)>,
}

impl Event {
    fn new(fps: u32) -> Event {
        let grid = Grid::new(fps).expect("listed rate");
        let first = grid.frame_number(grid.segment_start(grid.segment_number(NOW)));
        let window = |spec: RenditionSpec| {
            let packager = Packager::new(spec.clone(), grid, Resume::default());
            (packager, Window::new(spec, Cut::Grid(grid), limits()))
        };
        let video = ["720p", "360p"].map(|name| window(video_spec(name))).into();
        let sound =
            [("floor", "original", true), ("de", "de", false)].map(|(n, l, d)| window(sound_spec(n, l, d))).into();
        Event { grid, first, now: first, video, sound }
    }

    /// Lets `frames` pass; pictures for which `keep` is false are lost.
    fn pass(&mut self, frames: i64, keep: impl Fn(i64) -> bool) {
        let picture = picture();
        let sound = sound_track(48_000);
        for _ in 0..frames {
            let (n, grid) = (self.now, self.grid);
            self.now += 1;
            if !keep(n - self.first) {
                continue;
            }
            let key = n % i64::from(grid.frames_per_segment()) == 0 || !keep(n - 1 - self.first);
            let one = packet(&picture, grid.frame_start(n), grid.frame(), key);
            let (from, to) = (grid.frame_start(n), grid.frame_start(n + 1));
            let aac = (grid.aac_number(from - Dur::from_flicks(1)) + 1..).take_while(|&k| grid.aac_start(k) < to);
            let aac: Vec<_> = aac.map(|k| packet(&sound, grid.aac_start(k), AAC_FRAME_DUR, false)).collect();
            for (packager, window) in &mut self.video {
                package(packager, [one.clone()]).into_iter().for_each(|o| settle(window, o));
            }
            for (packager, window) in &mut self.sound {
                package(packager, aac.clone()).into_iter().for_each(|o| settle(window, o));
            }
        }
    }

    fn windows(&self) -> Vec<&Window> {
        self.video.iter().chain(&self.sound).map(|(_, w)| w).collect()
    }

    fn media(&self, window: &Window, skip: bool) -> String {
        let reports: Vec<_> = self.windows().iter().filter_map(|w| playlist::report(w)).collect();
        let target = playlist::part_target(self.windows());
        playlist::media(window, &reports, target, &Suffix::none(), skip).expect("something to list")
    }
}

fn settle(window: &mut Window, output: Output) {
    if let Some(number) = window.apply(output).completed {
        window.stored(number);
    }
}

fn check(text: &str) -> rules::Media {
    let (media, broken) = rules::media(text);
    assert!(broken.is_empty(), "{}\n{text}", broken.iter().map(|v| v.to_string() + "\n").collect::<String>());
    foreign(text);
    media
}

/// A foreign reader takes every line for what it is meant to be.
fn foreign(text: &str) {
    use quick_m3u8::{HlsLine, Reader, config::ParsingOptionsBuilder};
    let mut reader = Reader::from_str(text, ParsingOptionsBuilder::new().with_parsing_for_all_tags().build());
    let mut lines = 0;
    while let Some(line) = reader.read_line().unwrap_or_else(|e| panic!("{e:?}\n{text}")) {
        assert!(!matches!(line, HlsLine::UnknownTag(_) | HlsLine::Comment(_)), "{line:?}");
        lines += 1;
    }
    assert_eq!(lines, text.lines().count());
}

#[test]
fn every_playlist_of_an_event_keeps_the_rules_at_every_instant() {
    for fps in crate::media::grid::FRAME_RATES {
        let mut event = Event::new(fps);
        let mut before: Vec<Option<rules::Media>> = vec![None; 4];
        let step = 13;
        for round in 0..i64::from(fps) * 50 / step {
            event.pass(step, |_| true);
            let mut all = BTreeMap::new();
            for (i, window) in event.windows().into_iter().enumerate().filter(|(_, w)| w.is_ready()) {
                let media = check(&event.media(window, false));
                if let Some(before) = &before[i] {
                    let broken = rules::reload(before, &media);
                    assert!(broken.is_empty(), "{broken:?}");
                }
                let delta = check(&event.media(window, true));
                let broken = rules::delta(&media, &delta);
                assert!(broken.is_empty(), "{broken:?}");
                if round * step > i64::from(fps) * 30 {
                    assert!(rules::settled(&media).is_empty());
                    assert!(delta.skipped.is_some());
                }
                before[i] = Some(media.clone());
                all.insert(format!("{}/media.m3u8", window.spec().name), media);
                if let Some(text) = playlist::iframes(window, &Suffix::none()) {
                    assert!(check(&text).iframes);
                }
            }
            if let Some(text) = playlist::multivariant(&event.windows(), &Suffix::none()).filter(|_| all.len() == 4) {
                let (multivariant, mut broken) = rules::multivariant(&text);
                foreign(&text);
                if event.windows().iter().all(|w| w.listed().len() > 0) {
                    broken.extend(rules::presentation(&multivariant, &all));
                } else {
                    // Key frames are listed with the first whole segment.
                    broken.retain(|v| v.rule != rules::TRICK_PLAY.id);
                }
                assert!(broken.is_empty(), "{broken:?}\n{text}");
            }
        }
        assert!(before.iter().all(Option::is_some));
    }
}

#[test]
fn gaps_are_listed_by_the_rules() {
    let mut event = Event::new(25);
    event.pass(48 * 4, |_| true);
    // A second is lost within a segment, then four segments.
    let lost = |n: i64| !((48 * 5 + 10..48 * 5 + 35).contains(&n) || (48 * 7 + 5..48 * 11 + 5).contains(&n));
    for _ in 0..48 * 13 {
        event.pass(1, lost);
        for window in event.windows() {
            check(&event.media(window, false));
        }
    }
    let media = check(&event.media(event.windows()[0], false));
    let gaps: Vec<_> = media.segments.iter().map(|s| u8::from(s.gap)).collect();
    // Where less than a part is missing the segment is there.
    assert_eq!(gaps[..14], [0, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0]);
    assert!(media.segments.iter().all(|s| !s.discontinuity));
}

#[test]
fn parts_that_are_missing_are_marked() {
    let mut event = Event::new(25);
    event.pass(48 * 4, |_| true);
    event.pass(48 + 20, |n| !(48 * 4 + 8..48 * 4 + 30).contains(&n));
    let text = event.media(event.windows()[0], false);
    let media = check(&text);
    let holed = &media.segments[4];
    assert!(holed.gap);
    assert_eq!(holed.parts.iter().map(|p| u8::from(p.gap)).collect::<Vec<_>>(), [0, 1, 1, 0, 0, 0]);
    assert_eq!(media.open.as_ref().map(|o| o.parts.len()), Some(2));
}

#[test]
fn an_event_that_ends_says_so_and_nothing_more_is_promised() {
    let mut event = Event::new(30);
    event.pass(64 * 8 + 20, |_| true);
    let before = check(&event.media(event.windows()[0], false));
    for (packager, window) in event.video.iter_mut().chain(&mut event.sound) {
        packager.finish().into_iter().for_each(|o| drop(window.apply(o)));
        assert!(window.end().completed.is_some());
    }
    let media = check(&event.media(event.windows()[0], false));
    assert!(media.ended && media.hints.is_empty() && media.part_target.is_none());
    assert_eq!(media.segments.len(), before.segments.len() + 1);
    let again = check(&event.media(event.windows()[0], true));
    assert!(rules::reload(&media, &again).is_empty());
}

#[test]
fn the_token_reaches_every_uri() {
    let mut event = Event::new(25);
    event.pass(48 * 30 + 20, |_| true);
    let suffix = Suffix::query("preview", "s3cr3t token");
    let window = event.windows()[0];
    let reports: Vec<_> = event.windows().iter().filter_map(|w| playlist::report(w)).collect();
    let texts = [
        playlist::media(window, &reports, Dur::ZERO, &suffix, false).expect("ready"),
        playlist::iframes(window, &suffix).expect("ready"),
        playlist::multivariant(&event.windows(), &suffix).expect("ready"),
    ];
    for text in texts {
        for line in text.lines() {
            let uris = line.matches(".m4s").count() + line.matches(".m3u8").count() + line.matches(".mp4").count();
            assert_eq!(line.matches("?preview=s3cr3t%20token").count(), uris, "{line}");
            assert!(line.starts_with('#') || uris == 1, "{line}");
        }
        foreign(&text);
    }
}

fn steering() -> Steering {
    let others = vec![
        Pathway::of("b", "https://b.example/live/ID-b/index.m3u8"),
        Pathway::of("c", "http://[::1]:8080/c/live/ID-c/index.m3u8"),
    ];
    Steering { server: "steering.json".to_owned(), own: "a".to_owned(), others }
}

#[test]
fn every_origin_has_every_rendition_and_the_own_one_comes_first() {
    let mut event = Event::new(25);
    event.pass(48 * 12 + 20, |_| true);
    let steering = steering();
    let text = playlist::multivariant_steered(&event.windows(), Some(&steering), &Suffix::none()).expect("ready");
    let (multivariant, broken) = rules::multivariant(&text);
    assert!(broken.is_empty(), "{broken:?}\n{text}");
    foreign(&text);
    assert_eq!(multivariant.pathways(), ["a", "b", "c"]);
    let alone = playlist::multivariant(&event.windows(), &Suffix::none()).expect("ready");
    let (alone, _) = rules::multivariant(&alone);
    let bases = ["", "https://b.example/live/ID-b/", "http://[::1]:8080/c/live/ID-c/"];
    for (id, base) in multivariant.pathways().iter().zip(bases) {
        let uris: Vec<String> = alone.uris().iter().map(|uri| format!("{base}{uri}")).collect();
        assert_eq!(multivariant.of_pathway(id).uris(), uris);
    }
    // A token is for the server that gave it.
    let suffix = Suffix::query("preview", "s3cr3t");
    let text = playlist::multivariant_steered(&event.windows(), Some(&steering), &suffix).expect("ready");
    for line in text.lines().filter(|line| line.contains(".m3u8") || line.contains(".json")) {
        assert_eq!(line.contains("s3cr3t"), !line.contains("//"), "{line}");
    }
}

#[test]
fn hostile_names_break_nothing() {
    let mut event = Event::new(25);
    event.pass(48 * 3, |_| true);
    let mut spec = sound_spec("de", "de", false);
    spec.kind = RenditionKind::Audio {
        language: "de".into(),
        label: "Deutsch\",URI=\"evil.m3u8\n#EXT-X-ENDLIST".into(),
        default: true,
    };
    spec.name = "../x y\"".into();
    let mut window = Window::new(spec, Cut::Grid(event.grid), limits());
    let mut packager = Packager::new(window.spec().clone(), event.grid, Resume::default());
    let track = sound_track(48_000);
    let first = event.grid.aac_number(event.grid.frame_start(event.first));
    let packets = (first..first + 90).map(|k| packet(&track, event.grid.aac_start(k), AAC_FRAME_DUR, false));
    package(&mut packager, packets).into_iter().for_each(|o| drop(window.apply(o)));
    let mut windows = event.windows();
    windows.push(&window);
    let text = playlist::multivariant(&windows, &Suffix::none()).expect("ready");
    let (multivariant, broken) = rules::multivariant(&text);
    assert!(broken.is_empty(), "{broken:?}");
    assert_eq!(multivariant.renditions.len(), 3);
    let hostile = &multivariant.renditions[2];
    assert_eq!(hostile["URI"], "..%2Fx%20y%22/media.m3u8");
    assert_eq!(hostile["NAME"], "Deutsch',URI='evil.m3u8 #EXT-X-ENDLIST");
    // The floor came first: one default.
    assert_eq!(hostile["DEFAULT"], "NO");
}

#[test]
fn bandwidth_covers_what_was_sent() {
    let mut event = Event::new(25);
    event.pass(48 * 12, |_| true);
    let text = playlist::multivariant(&event.windows(), &Suffix::none()).expect("ready");
    let (multivariant, _) = rules::multivariant(&text);
    let mut all = BTreeMap::new();
    for window in event.windows() {
        let media = check(&event.media(window, false));
        let sizes = window.listed().map(|s| (format!("{}.m4s", s.number), s.bytes)).collect();
        all.insert(format!("{}/media.m3u8", window.spec().name), (media, sizes));
    }
    assert!(rules::bandwidth(&multivariant, &all).is_empty());
    // The rule can fail: a variant that declares too little.
    let low = text.replace("BANDWIDTH=4640000,AVERAGE", "BANDWIDTH=1000,AVERAGE");
    assert_ne!(low, text);
    assert!(!rules::bandwidth(&rules::multivariant(&low).0, &all).is_empty());
}

#[test]
fn playlists_read_as_they_should() {
    let mut event = Event::new(25);
    event.pass(48 * 12 + 20, |_| true);
    insta::assert_snapshot!("media", event.media(event.windows()[0], false));
    insta::assert_snapshot!("media_sound", event.media(event.windows()[3], false));
    insta::assert_snapshot!("delta", event.media(event.windows()[0], true));
    insta::assert_snapshot!("iframes", playlist::iframes(event.windows()[0], &Suffix::none()).expect("ready"));
    let steered = playlist::multivariant_steered(&event.windows(), Some(&steering()), &Suffix::none());
    insta::assert_snapshot!("multivariant_steered", steered.expect("ready"));
    insta::assert_snapshot!("multivariant", playlist::multivariant(&event.windows(), &Suffix::none()).expect("ready"));
}

#[test]
fn every_rule_can_fail() {
    let mut event = Event::new(25);
    event.pass(48 * 12 + 20, |_| true);
    let good = event.media(event.windows()[0], false);
    let multi = playlist::multivariant(&event.windows(), &Suffix::none()).expect("ready");
    let iframes = playlist::iframes(event.windows()[0], &Suffix::none()).expect("ready");
    let media_cases: &[(&rules::Rule, &str, &str)] = &[
        (&rules::EXTM3U, "#EXTM3U\n", "#EXTM3\n"),
        (&rules::UTF8, "#EXTINF:1.92,", "#EXTINF:1.92,\u{1}"),
        (&rules::ONE_VERSION, "#EXT-X-VERSION:9\n", "#EXT-X-VERSION:9\n#EXT-X-VERSION:9\n"),
        (&rules::VERSION, "#EXT-X-VERSION:9", "#EXT-X-VERSION:5"),
        (&rules::ONCE, "#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:2\n#EXT-X-TARGETDURATION:2\n"),
        (&rules::KINDS, "#EXT-X-TARGETDURATION:2\n", "#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA:TYPE=AUDIO\n"),
        (&rules::ATTRIBUTES, "PART-TARGET=0.32", "PART-TARGET=0.32,"),
        (&rules::TARGET, "#EXT-X-TARGETDURATION:2", "#EXT-X-TARGETDURATION:1"),
        (&rules::DISCONTINUITY_SEQUENCE, "#EXT-X-DISCONTINUITY-SEQUENCE:0\n", "#EXT-X-DISCONTINUITY\n"),
        (&rules::INF, "#EXTINF:1.92,\n", ""),
        (&rules::PART_INF, "#EXT-X-PART-INF:PART-TARGET=0.32\n", ""),
        (&rules::HOLD_BACK, ",HOLD-BACK=6", ",HOLD-BACK=5"),
        (&rules::PART_HOLD_BACK, "PART-HOLD-BACK=0.96", "PART-HOLD-BACK=0.6"),
        (&rules::SKIP_BOUNDARY, "CAN-SKIP-UNTIL=12", "CAN-SKIP-UNTIL=11"),
        (&rules::PART_LENGTH, "PART:DURATION=0.32", "PART:DURATION=0.33"),
        (&rules::PART_SUM, "PART:DURATION=0.32", "PART:DURATION=0.2"),
        (&rules::HINT, "#EXT-X-PRELOAD-HINT:TYPE=PART", "#EXT-X-ENDLIST\n#EXT-X-PRELOAD-HINT:TYPE=PART"),
        (&rules::REPORT, ",LAST-PART=1", ""),
        (&rules::MAP, "#EXT-X-MAP:URI=\"init-0.mp4\"\n", ""),
        (&rules::DATE, "#EXTINF:1.92,", "#EXTINF:1.8,"),
        (&rules::SKIP, "#EXTINF", "#EXT-X-SKIP:SKIPPED-SEGMENTS=0\n#EXTINF"),
    ];
    for (rule, from, to) in media_cases {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{}", rule.id);
        assert!(
            rules::media(&bad).1.iter().any(|v| v.rule == rule.id && v.says == rule.says),
            "{}: {}",
            rule.id,
            rule.says
        );
    }
    let mut late = good.replacen("#EXT-X-MEDIA-SEQUENCE", "#X", 1);
    late.push_str("#EXT-X-MEDIA-SEQUENCE:3\n");
    assert!(rules::media(&late).1.iter().any(|v| v.rule == rules::SEQUENCE_FIRST.id));
    let order = good.replace("#EXT-X-PRELOAD-HINT", "#EXT-X-DISCONTINUITY\n#EXT-X-PRELOAD-HINT");
    assert!(rules::media(&order).1.iter().any(|v| v.rule == rules::PART_ORDER.id));
    let old = good.replacen("#EXTINF:1.92,", "#EXT-X-PART:DURATION=0.32,URI=\"x\"\n#EXTINF:1.92,", 1);
    assert!(rules::media(&old).1.iter().any(|v| v.rule == rules::PARTS_RECENT.id));
    let no_range = iframes.replacen("#EXT-X-BYTERANGE:", "#X:", 1);
    assert!(rules::media(&no_range).1.iter().any(|v| v.rule == rules::IFRAMES_VERSION.id));
    let parts = iframes.replacen("#EXTINF", "#EXT-X-PART:DURATION=0.3,URI=\"x\"\n#EXTINF", 1);
    assert!(rules::media(&parts).1.iter().any(|v| v.rule == rules::IFRAMES_PARTS.id));

    let multi_cases: &[(&rules::Rule, &str, &str)] = &[
        (&rules::KINDS, "#EXT-X-VERSION:9\n", "#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n"),
        (&rules::STREAM_INF, "720p/media.m3u8\n", ""),
        (&rules::CODECS, "CODECS=\"avc1.640028,mp4a.40.2\",", ""),
        (&rules::RESOLUTION, "RESOLUTION=1920x1080,", ""),
        (&rules::AVERAGE, "AVERAGE-BANDWIDTH=", "AVERAGE-BANDWIDTH=9999"),
        (&rules::FRAME_RATE, "FRAME-RATE=25.000", "FRAME-RATE=25"),
        (&rules::VIDEO_RANGE, "VIDEO-RANGE=SDR", "VIDEO-RANGE=HDR"),
        (&rules::CAPTIONS, ",CLOSED-CAPTIONS=NONE", ""),
        (&rules::MEDIA, "GROUP-ID=\"audio\",", ""),
        (&rules::MEDIA, "DEFAULT=YES,AUTOSELECT=YES", "DEFAULT=YES,AUTOSELECT=NO"),
        (&rules::LANGUAGE, "LANGUAGE=\"mul\",", ""),
        (&rules::CHANNELS, "CHANNELS=\"2\",", ""),
        (&rules::GROUPS, "NAME=\"Deutsch\"", "NAME=\"Original\""),
        (&rules::GROUPS, "AUDIO=\"audio\"", "AUDIO=\"other\""),
        (&rules::STABLE, "STABLE-VARIANT-ID=\"720p\"", "STABLE-VARIANT-ID=\"720 p\""),
    ];
    for (rule, from, to) in multi_cases {
        let bad = multi.replacen(from, to, 1);
        assert_ne!(bad, multi, "{} {from}", rule.id);
        assert!(
            rules::multivariant(&bad).1.iter().any(|v| v.rule == rule.id && v.says == rule.says),
            "{}: {from}",
            rule.id
        );
    }
    let steered = playlist::multivariant_steered(&event.windows(), Some(&steering()), &Suffix::none()).expect("ready");
    let steered_cases: &[(&rules::Rule, &str, &str)] = &[
        (&rules::STEERING, "SERVER-URI=\"steering.json\",", ""),
        (&rules::STEERING, "PATHWAY-ID=\"a\"\n#EXT-X-MEDIA", "PATHWAY-ID=\"z\"\n#EXT-X-MEDIA"),
        (
            &rules::PATHWAYS,
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio-b\"",
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio-c\"",
        ),
        (&rules::PATHWAYS, "AUDIO=\"audio-b\"", "AUDIO=\"audio-a\""),
        (&rules::PATHWAYS, ",PATHWAY-ID=\"c\",URI", ",PATHWAY-ID=\"b\",URI"),
    ];
    for (rule, from, to) in steered_cases {
        let bad = steered.replacen(from, to, 1);
        assert_ne!(bad, steered, "{} {from}", rule.id);
        let broken = rules::multivariant(&bad).1;
        assert!(broken.iter().any(|v| v.rule == rule.id && v.says == rule.says), "{}: {from}", rule.id);
    }
    let plain: String =
        multi.lines().filter(|l| !l.starts_with("#EXT-X-I-FRAME-STREAM-INF")).map(|l| format!("{l}\n")).collect();
    assert!(rules::multivariant(&plain).1.iter().any(|v| v.rule == rules::TRICK_PLAY.id));
    let dear = multi.replace("BANDWIDTH=140000,", "BANDWIDTH=240000,");
    assert!(rules::multivariant(&dear).1.iter().any(|v| v.rule == rules::CELLULAR.id));

    // Across loads and across playlists.
    let (now, _) = rules::media(&good);
    event.pass(48, |_| true);
    let (later, _) = rules::media(&event.media(event.windows()[0], false));
    assert!(rules::reload(&now, &later).is_empty());
    let changed = |change: &dyn Fn(&mut rules::Media)| {
        let mut other = later.clone();
        change(&mut other);
        rules::reload(&now, &other).iter().map(|v| v.rule).collect::<Vec<_>>()
    };
    assert_eq!(changed(&|m| m.target = 3.0), [rules::TARGET_STAYS.id]);
    assert_eq!(changed(&|m| m.segments[3].duration += 0.1), [rules::ONLY_APPEND.id]);
    assert_eq!(changed(&|m| drop(m.segments.remove(2))), [rules::ONLY_APPEND.id]);
    let short = changed(&|m| {
        m.sequence += 11;
        m.segments.drain(..11);
    });
    assert!(short.contains(&rules::LEAST_LEFT.id), "{short:?}");
    let mut ended = now.clone();
    ended.ended = true;
    assert!(rules::reload(&ended, &later).iter().any(|v| v.rule == rules::ENDLIST.id));
    let mut delta = later.clone();
    (delta.skipped, delta.segments) = (Some(9), later.segments[9..].to_vec());
    assert!(rules::delta(&later, &delta).iter().all(|v| v.rule == rules::DELTA.id));
    assert!(!rules::delta(&later, &delta).is_empty(), "less than the boundary is kept");
    let mut few = now.clone();
    few.segments.truncate(5);
    assert_eq!(rules::settled(&few).len(), 1);
    let (multivariant, _) = rules::multivariant(&multi);
    let mut all = BTreeMap::new();
    for window in event.windows() {
        let (media, _) = rules::media(&event.media(window, false));
        all.insert(format!("{}/media.m3u8", window.spec().name), media);
    }
    assert!(rules::presentation(&multivariant, &all).is_empty());
    let broken = |change: &dyn Fn(&mut rules::Media)| {
        let mut all = all.clone();
        all.get_mut("de/media.m3u8").map(change);
        rules::presentation(&multivariant, &all).iter().map(|v| v.rule).collect::<Vec<_>>()
    };
    assert_eq!(broken(&|m| m.target = 3.0), [rules::SAME_TARGET.id]);
    assert_eq!(broken(&|m| drop(m.reports.pop())), [rules::REPORTS_ALL.id]);
    let shifted = broken(&|m| m.segments.iter_mut().for_each(|s| s.date = s.date.map(|d| d + 100.0)));
    assert_eq!(shifted, [rules::SAME_TIME.id]);
    assert!(rules::LEFT.iter().all(|(_, says, why)| !says.is_empty() && !why.is_empty()));
    assert!(rules::CHECKED.len() > 40);
}

#[test]
fn a_manifest_addresses_the_same_segments() {
    let mut event = Event::new(25);
    event.pass(48 * 12 + 20, |_| true);
    let now = event.grid.frame_start(event.now);
    let text = manifest::manifest(&event.windows(), now, Dur::from_millis(1200), &Suffix::none()).expect("ready");
    insta::assert_snapshot!("manifest", text);
    let number = event.grid.segment_number(NOW);
    // What a client computes: number = floor((now − availabilityStartTime) ÷ duration) − 1 is the newest complete one.
    let duration = 172_800 * 1_000_000 / 90_000;
    let available = (now - Ts::from_millis(1200)).to_scale(1_000_000) / duration - 1;
    assert!(event.windows()[0].segment(available as u64).is_some_and(|s| !s.gap));
    assert!(available as u64 >= number + 10);
    let hidden = manifest::manifest(&event.windows(), now, Dur::ZERO, &Suffix::query("preview", "a&b")).expect("ready");
    assert_eq!(hidden.matches("?preview=a%26b\"").count(), 2 * 4);
}

#[test]
fn a_manifest_of_a_source_lists_each_segment() {
    let targets = SourceTargets::for_rate(Some((25, 1)));
    let picture = picture();
    let mut packager = SourcePackager::new(targets, Some((video_spec("source"), Resume::default())), Vec::new());
    let mut window = Window::new(video_spec("source"), Cut::Source(targets), limits());
    let mut out = Vec::new();
    for n in 0..600i64 {
        let other = other_picture();
        let track = if n < 300 { &picture } else { &other };
        let at = NOW + Dur::from_millis(40) * n;
        packager.push(&packet(track, at, Dur::from_millis(40), n % 60 == 0), &mut out).expect("packaged");
    }
    out.into_iter().for_each(|(_, o)| drop(window.apply(o)));
    let text = manifest::manifest(&[&window], NOW, Dur::ZERO, &Suffix::none()).expect("ready");
    // The format changed after 12 s: the period begins there.
    let begin = NOW + Dur::from_secs(12);
    assert!(text.contains(&format!("presentationTimeOffset=\"{}\"", begin.to_scale(90_000))), "{text}");
    let s = format!("<S t=\"{}\" d=\"216000\" r=\"3\"/>", begin.to_scale(90_000));
    assert!(text.contains(&s), "{text}");
    let first = window.listed().find(|s| s.discontinuity).expect("a discontinuity").number;
    assert!(text.contains(&format!("startNumber=\"{first}\"")) && text.contains("init-1.mp4"));
    let media = playlist::media(&window, &[], targets.part, &Suffix::none(), false).expect("ready");
    assert!(check(&media).segments.iter().filter(|s| s.discontinuity).count() == 1);
}
