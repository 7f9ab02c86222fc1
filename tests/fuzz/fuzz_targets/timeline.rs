//! Hostile clocks: whatever a source claims, time rises within an epoch, steps stay within the policy, and the map to
//! the event timeline keeps the order.
#![no_main]

use boothcast::media::timeline::{Policy, RawTime, Timeline, Verdict};
use boothcast::media::{Dur, TrackId, Ts};
use boothcast::select::clockmap::{ClockConfig, ClockMap};
use libfuzzer_sys::fuzz_target;
use std::collections::HashMap;

/// One packet: track and wrap, scale, how long after the packet before, dts, pts.
const RECORD: usize = 20;

fuzz_target!(|data: &[u8]| {
    let policy = Policy::default();
    let mut timeline = Timeline::new(policy);
    let mut map = ClockMap::new(ClockConfig::default());
    let mut now = Ts::from_millis(1_700_000_000_000);
    let mut last: HashMap<TrackId, Ts> = HashMap::new();
    let (mut newest, mut mapped, mut epoch): (Option<Ts>, Option<(Ts, Ts)>, u32) = (None, None, 0);
    for record in data.chunks_exact(RECORD) {
        let number = |at: usize| i64::from_le_bytes(record[at..at + 8].try_into().unwrap_or_default());
        let track = TrackId(u16::from(record[0] & 3));
        let scale = [1000, 90_000, 48_000, 1, 0, u32::MAX, 30_000, 44_100][usize::from(record[1] & 7)];
        let wrap_bits = [0, 32, 33, u32::from(record[1] >> 2)][usize::from(record[0] >> 6)];
        now += Dur::from_millis(i64::from(u16::from_le_bytes([record[2], record[3]])));
        let raw = RawTime { dts: number(4), pts: number(12), scale, wrap_bits };
        let Verdict::Accept(stamp) = timeline.stamp(track, raw, now) else { continue };
        assert!(stamp.pts >= stamp.dts);
        if stamp.epoch != epoch {
            assert_eq!(stamp.epoch, epoch + 1);
            epoch = stamp.epoch;
            last.clear();
            (newest, mapped) = (None, None);
            map.reset();
        }
        if let Some(before) = last.insert(track, stamp.dts) {
            assert!(stamp.dts > before);
        }
        if let Some(newest) = newest {
            assert!(stamp.dts - newest <= policy.max_gap + policy.max_lead);
        }
        newest = newest.max(Some(stamp.dts));
        map.observe(stamp.dts, now);
        if map.must_step() {
            map.restart();
            mapped = None;
        }
        if map.map(stamp.dts).is_none()
            && map.settled(now)
            && let Some(t) = map.preview(stamp.dts)
        {
            map.anchor(stamp.dts, t);
        }
        if let Some(t) = map.map(stamp.dts) {
            if let Some((s0, t0)) = mapped {
                assert!(if stamp.dts < s0 { t <= t0 } else { t >= t0 });
            }
            mapped = Some((stamp.dts, t));
        }
    }
    let _ = timeline.stats();
});
