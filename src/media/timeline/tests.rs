use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const VIDEO: TrackId = TrackId::VIDEO;
const AUDIO: TrackId = TrackId::audio(0);

fn ms(v: i64) -> Ts {
    Ts::from_millis(v)
}

fn rtmp(timestamp: i64) -> RawTime {
    RawTime::rtmp(timestamp as u32, 0)
}

struct Source {
    timeline: Timeline,
    now: Ts,
}

impl Source {
    fn new() -> Source {
        Source { timeline: Timeline::new(Policy::default()), now: ms(1_700_000_000_000) }
    }

    fn wait(&mut self, millis: i64) {
        self.now += Dur::from_millis(millis);
    }

    fn push(&mut self, track: TrackId, raw: RawTime) -> Verdict {
        self.timeline.stamp(track, raw, self.now)
    }

    fn accepted(&mut self, track: TrackId, raw: RawTime) -> Stamp {
        match self.push(track, raw) {
            Verdict::Accept(stamp) => stamp,
            Verdict::Drop(reason) => panic!("{raw:?} dropped: {reason:?}"),
        }
    }

    /// 25 fps and 50 audio packets per second for `millis`, with raw time from `raw`; all must be accepted.
    fn run(&mut self, raw: i64, millis: i64) -> Vec<(TrackId, Stamp)> {
        let mut out = Vec::new();
        for t in (0..millis).step_by(20) {
            if t % 40 == 0 {
                out.push((VIDEO, self.accepted(VIDEO, rtmp(raw + t))));
            }
            out.push((AUDIO, self.accepted(AUDIO, rtmp(raw + t))));
            self.wait(20);
        }
        out
    }
}

#[test]
fn the_first_packet_is_at_zero_and_steps_are_the_sources() {
    let mut s = Source::new();
    let out = s.run(3_600_000, 1000);
    for (i, (_, stamp)) in out.iter().filter(|(t, _)| *t == VIDEO).enumerate() {
        assert_eq!(*stamp, Stamp { dts: ms(i as i64 * 40), pts: ms(i as i64 * 40), epoch: 0 });
    }
    assert_eq!(s.timeline.stats().jumps, 0);
}

#[test]
fn rtmp_and_mpegts_wraps_are_invisible() {
    let mut s = Source::new();
    let out = s.run((1 << 32) - 500, 1000);
    assert!(out.iter().all(|(_, stamp)| stamp.epoch == 0));
    assert_eq!(out.last().map(|o| o.1.dts), Some(ms(980)));

    let mut s = Source::new();
    for frame in 0..100i64 {
        let dts = ((1i64 << 33) - 50 * 3600 + frame * 3600).rem_euclid(1 << 33) as u64;
        let stamp = s.accepted(VIDEO, RawTime::mpegts(dts, (dts + 7200) & ((1 << 33) - 1)));
        assert_eq!((stamp.dts, stamp.pts, stamp.epoch), (ms(frame * 40), ms(frame * 40 + 80), 0));
        s.wait(40);
    }
    // A track that shows up only after the wrap belongs to the same turn.
    let stamp = s.accepted(AUDIO, RawTime::mpegts(50 * 3600, 50 * 3600));
    assert_eq!((stamp.dts, stamp.epoch), (ms(4000), 0));
}

#[test]
fn sound_and_picture_of_one_jump_land_on_one_offset() {
    for (from, to) in [(5_000_000, 0), (1000, 90_000_000), (50_000, 55_500), (50_000, 47_000)] {
        let mut s = Source::new();
        s.run(from, 3000);
        let end = from + 3000;
        // Sound jumps first; a picture still in the old time comes after it.
        let audio = s.accepted(AUDIO, rtmp(to));
        assert_eq!(audio.epoch, 1, "{from} → {to}");
        assert_eq!(s.push(VIDEO, rtmp(end)), Verdict::Drop(DropReason::Leftover), "{from} → {to}");
        s.wait(20);
        let video = s.accepted(VIDEO, rtmp(to + 20));
        assert_eq!((video.epoch, video.dts - audio.dts), (1, Dur::from_millis(20)));
        let rest = s.run(to + 40, 2000);
        assert!(rest.iter().all(|(_, stamp)| stamp.epoch == 1));
        assert!(rest.iter().all(|(_, stamp)| (stamp.dts - audio.dts) >= Dur::from_millis(20)));
        // The timeline went on by arrival: neither a hole nor an overlap of more than a packet.
        assert!((audio.dts - ms(3000)).abs() <= Dur::from_millis(40), "{} after 3 s", audio.dts);
        let stats = s.timeline.stats();
        assert_eq!((stats.jumps, stats.leftovers, stats.split), (1, 1, 0));
    }
}

#[test]
fn a_reconnect_after_silence_goes_on_by_arrival() {
    let mut s = Source::new();
    s.run(700_000, 2000);
    s.wait(30_000);
    let stamp = s.accepted(VIDEO, rtmp(0));
    assert_eq!(stamp.epoch, 1);
    assert!((stamp.dts - ms(32_000)).abs() <= Dur::from_millis(40), "{}", stamp.dts);
}

#[test]
fn a_gap_that_arrival_explains_keeps_the_offset() {
    let mut s = Source::new();
    s.run(0, 2000);
    s.wait(5000);
    // Below the limit: the same epoch.
    assert_eq!(s.accepted(VIDEO, rtmp(7000)), Stamp { dts: ms(7000), pts: ms(7000), epoch: 0 });
    s.wait(20_000);
    assert_eq!(s.accepted(AUDIO, rtmp(27_000)), Stamp { dts: ms(27_000), pts: ms(27_000), epoch: 1 });
    assert_eq!(s.accepted(VIDEO, rtmp(27_010)), Stamp { dts: ms(27_010), pts: ms(27_010), epoch: 1 });
    let stats = s.timeline.stats();
    assert_eq!((stats.gaps, stats.jumps), (1, 0));
}

#[test]
fn a_picture_that_pauses_while_sound_goes_on_is_no_jump() {
    let mut s = Source::new();
    s.run(0, 1000);
    for t in (1000..31_000).step_by(20) {
        s.accepted(AUDIO, rtmp(t));
        s.wait(20);
    }
    let stamp = s.accepted(VIDEO, rtmp(31_000));
    assert_eq!((stamp.dts, stamp.epoch), (ms(31_000), 0));
}

#[test]
fn one_wrong_time_costs_little_and_the_offset_comes_back() {
    let mut s = Source::new();
    s.run(10_000, 2000);
    s.accepted(AUDIO, rtmp(77_000_000));
    s.wait(20);
    let audio = s.accepted(AUDIO, rtmp(12_020));
    assert_eq!(audio.dts, ms(2020));
    let video = s.accepted(VIDEO, rtmp(12_040));
    assert_eq!((video.dts, video.epoch), (ms(2040), audio.epoch));
    let rest = s.run(12_060, 3000);
    assert!(rest.iter().all(|(_, stamp)| stamp.epoch == audio.epoch));
}

#[test]
fn small_steps_back_are_clamped_larger_ones_dropped_lasting_ones_a_jump() {
    let mut s = Source::new();
    s.run(0, 1000);
    let last = s.accepted(VIDEO, rtmp(1000)).dts;
    assert_eq!(s.accepted(VIDEO, rtmp(1000)).dts, last + Dur::from_flicks(1));
    assert_eq!(s.accepted(VIDEO, rtmp(970)).dts, last + Dur::from_flicks(2));
    assert_eq!(s.push(VIDEO, rtmp(800)), Verdict::Drop(DropReason::Backward));
    assert_eq!(s.accepted(VIDEO, rtmp(1040)).epoch, 0);
    let verdicts: Vec<Verdict> = (0..4)
        .map(|i| {
            s.wait(40);
            s.push(VIDEO, rtmp(500 + i * 40))
        })
        .collect();
    assert_eq!(verdicts[..2], [Verdict::Drop(DropReason::Backward); 2]);
    for verdict in &verdicts[2..] {
        assert!(matches!(verdict, Verdict::Accept(Stamp { epoch: 1, .. })), "{verdict:?}");
    }
    let stats = s.timeline.stats();
    assert_eq!((stats.clamped, stats.backward, stats.jumps), (2, 3, 1));
}

#[test]
fn negative_composition_moves_dts_and_keeps_pts() {
    let mut s = Source::new();
    let mut last = None;
    for frame in 0..50i64 {
        let composition = [40, -40, -80, 0][frame as usize % 4];
        let stamp = s.accepted(VIDEO, RawTime::rtmp(1000 + frame as u32 * 40, composition));
        if frame >= 4 {
            assert_eq!(stamp.pts, ms(frame * 40 + i64::from(composition)));
        }
        assert!(stamp.pts >= stamp.dts && last < Some(stamp.dts));
        last = Some(stamp.dts);
        s.wait(40);
    }
    let stats = s.timeline.stats();
    assert_eq!((stats.pts_before_dts > 0, stats.absurd_composition), (true, 0));
}

#[test]
fn an_absurd_composition_offset_is_replaced_by_the_last_good_one() {
    let mut s = Source::new();
    s.accepted(VIDEO, RawTime::rtmp(0, 80));
    let stamp = s.accepted(VIDEO, RawTime::rtmp(40, 8_000_000));
    assert_eq!((stamp.dts, stamp.pts), (ms(40), ms(120)));
    let stamp = s.accepted(VIDEO, RawTime::rtmp(80, -3000));
    assert_eq!((stamp.dts, stamp.pts), (ms(80), ms(160)));
    assert_eq!(s.timeline.stats().absurd_composition, 2);
}

#[test]
fn a_track_with_a_clock_of_its_own_is_placed_by_arrival() {
    let mut s = Source::new();
    let mut stamps = Vec::new();
    for t in (0..5000).step_by(20) {
        let video = (t % 40 == 0).then(|| s.push(VIDEO, rtmp(9_000_000 + t)));
        let audio = s.push(AUDIO, rtmp(t));
        stamps.push((t, video, audio));
        s.wait(20);
    }
    let stats = s.timeline.stats();
    assert_eq!((stats.jumps, stats.split), (1, 1), "{stats:?}");
    for (t, video, audio) in stamps.into_iter().filter(|&(t, video, _)| t > 2000 && video.is_some()) {
        let (Some(Verdict::Accept(video)), Verdict::Accept(audio)) = (video, audio) else {
            panic!("dropped at {t}");
        };
        assert!((video.dts - audio.dts).abs() <= Dur::from_millis(60), "{t}: {video:?} {audio:?}");
    }
}

#[test]
fn drift_is_measured_under_jitter() {
    let mut s = Source::new();
    let start = s.now;
    let mut seed = 7u64;
    let mut last = start;
    for t in (0..400_000i64).step_by(40) {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        // The source runs 100 ppm fast: its clock shows t when t·(1 − 1e-4) has passed here.
        let sent = start + Dur::from_secs_f64(t as f64 / 1000.0 * (1.0 - 100e-6));
        last = last.max(sent + Dur::from_millis((seed >> 33) as i64 % 100));
        s.timeline.stamp(VIDEO, rtmp(t), last);
    }
    let drift = s.timeline.stats().tracks[0].drift_ppm.expect("six minutes");
    assert!((drift + 100.0).abs() < 15.0, "{drift}");
}

#[test]
fn the_number_of_tracks_is_bounded() {
    let mut s = Source::new();
    for i in 0..MAX_TRACKS as u16 {
        s.accepted(TrackId(i), rtmp(0));
    }
    assert_eq!(s.push(TrackId(1000), rtmp(0)), Verdict::Drop(DropReason::TooManyTracks));
    assert_eq!(s.push(TrackId(1), RawTime { scale: 0, ..rtmp(0) }), Verdict::Drop(DropReason::Malformed));
    assert_eq!(
        s.push(TrackId(1), RawTime { dts: i64::MAX, pts: 0, scale: 1, wrap_bits: 0 }),
        Verdict::Drop(DropReason::Malformed)
    );
}

/// What must hold for any sequence.
fn check(packets: &[(TrackId, RawTime, Ts)]) -> Result<(), TestCaseError> {
    let policy = Policy::default();
    let mut timeline = Timeline::new(policy);
    let mut last: HashMap<TrackId, Ts> = HashMap::new();
    let mut newest: Option<Ts> = None;
    let mut epoch = 0;
    let mut dropped = 0u64;
    for &(track, raw, arrival) in packets {
        match timeline.stamp(track, raw, arrival) {
            Verdict::Accept(stamp) => {
                prop_assert!(stamp.pts >= stamp.dts);
                prop_assert!(stamp.pts - stamp.dts <= policy.max_composition + policy.max_lead + policy.max_clamp);
                if stamp.epoch != epoch {
                    prop_assert_eq!(stamp.epoch, epoch + 1);
                    epoch = stamp.epoch;
                    last.clear();
                    newest = None;
                }
                if let Some(before) = last.insert(track, stamp.dts) {
                    prop_assert!(stamp.dts > before, "{:?} after {:?}", stamp.dts, before);
                }
                if let Some(newest) = newest {
                    // A track's dts may have been moved earlier to make room for a pts before it.
                    prop_assert!(stamp.dts - newest <= policy.max_gap + policy.max_lead);
                }
                newest = newest.max(Some(stamp.dts));
            }
            Verdict::Drop(_) => dropped += 1,
        }
    }
    let stats = timeline.stats();
    prop_assert_eq!(u64::from(epoch), stats.jumps + stats.gaps);
    prop_assert_eq!(dropped, stats.backward + stats.leftovers + stats.malformed);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Numbers without any sense.
    #[test]
    fn noise_never_breaks_a_guarantee(
        packets in prop::collection::vec(
            (0u16..4, any::<i64>(), any::<i64>(), prop::sample::select(vec![0u32, 1, 1000, 90_000, 48_000, u32::MAX]), 0u32..66, 0i64..5000),
            1..300)
    ) {
        let mut now = ms(1_700_000_000_000);
        let packets: Vec<_> = packets.into_iter().map(|(track, dts, pts, scale, wrap_bits, wait)| {
            now += Dur::from_millis(wait);
            (TrackId(track), RawTime { dts, pts, scale, wrap_bits }, now)
        }).collect();
        check(&packets)?;
    }

    /// A source that mostly behaves: steps, reordering, jumps, bursts, gaps and wraps.
    #[test]
    fn plausible_trouble_never_breaks_a_guarantee(
        start in prop::sample::select(vec![0i64, (1 << 32) - 2000, 1_000_000]),
        steps in prop::collection::vec(
            (0u16..3, prop_oneof![6 => 0i64..60, 2 => -120i64..0, 1 => -3000i64..12_000, 1 => -100_000i64..100_000],
             -200i64..200, prop_oneof![8 => 0i64..60, 1 => 0i64..20_000]),
            1..400)
    ) {
        let (mut raw, mut now) = (start, ms(1_700_000_000_000));
        let packets: Vec<_> = steps.into_iter().map(|(track, step, composition, wait)| {
            raw += step;
            now += Dur::from_millis(wait);
            let dts = raw.rem_euclid(1 << 32);
            (TrackId(track), RawTime { dts, pts: dts + composition, scale: 1000, wrap_bits: 32 }, now)
        }).collect();
        check(&packets)?;
    }

    /// Wrapped and unwrapped clocks give the same stamps.
    #[test]
    fn wraps_are_invisible(
        start in 0i64..(1 << 33),
        steps in prop::collection::vec((0u16..3, -30i64..200_000), 1..300)
    ) {
        let (mut wide, mut narrow) = (Timeline::new(Policy::default()), Timeline::new(Policy::default()));
        let (mut raw, mut now) = (start, ms(1_700_000_000_000));
        for (track, step) in steps {
            raw += step;
            now += Dur::from_scale(step.max(0), 90_000);
            let whole = RawTime { dts: raw, pts: raw + 900, scale: 90_000, wrap_bits: 0 };
            let mask = (1i64 << 33) - 1;
            let wrapped = RawTime { dts: raw & mask, pts: (raw + 900) & mask, scale: 90_000, wrap_bits: 33 };
            prop_assert_eq!(wide.stamp(TrackId(track), whole, now), narrow.stamp(TrackId(track), wrapped, now));
        }
    }
}
