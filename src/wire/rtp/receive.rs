//! What a receiver of RTP knows of the way there: RFC 3550 §6.4.1 and appendix A.

use super::{Unwrap, UnwrapTimestamp};
use crate::media::{Dur, Ts};

/// A source that jumps by more than this many packets has restarted (RFC 3550 A.1: `MAX_DROPOUT`).
const MAX_DROPOUT: i64 = 3000;

/// Packets behind the newest within which a duplicate is told from a late one.
const WINDOW: i64 = 128;

/// One source as it is received. Fixed size.
#[derive(Clone, Debug)]
pub struct Reception {
    rate: u32,
    sequence: Unwrap<16>,
    timestamp: UnwrapTimestamp,
    first: Option<i64>,
    highest: i64,
    /// Bit n: the packet n behind the highest has come.
    seen: u128,
    received: u64,
    duplicates: u64,
    bytes: u64,
    /// Of the timestamp clock, 4 bits of fraction, as in RFC 3550 A.8.
    jitter: i64,
    transit: Option<i64>,
    /// At the report before: expected, received.
    reported: (i64, u64),
    /// The same for our own figures.
    measured: (i64, u64),
}

/// One packet's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Sequence number, unwrapped.
    pub sequence: i64,
    /// Timestamp, unwrapped.
    pub timestamp: i64,
    /// It has come before.
    pub duplicate: bool,
    /// Packets left out between the highest so far and this one.
    pub skipped: i64,
}

/// A reception report's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Lost since the report before, of 256.
    pub fraction: u8,
    /// Lost since the beginning, 24 bits signed.
    pub lost: i32,
    /// Highest sequence number with the count of wraps above it.
    pub highest: u32,
    /// Interarrival jitter in the clock of the timestamps.
    pub jitter: u32,
}

impl Reception {
    /// Of a source whose timestamps run at `rate`.
    pub fn new(rate: u32) -> Reception {
        Reception {
            rate,
            sequence: Unwrap::default(),
            timestamp: UnwrapTimestamp::default(),
            first: None,
            highest: 0,
            seen: 0,
            received: 0,
            duplicates: 0,
            bytes: 0,
            jitter: 0,
            transit: None,
            reported: (0, 0),
            measured: (0, 0),
        }
    }

    /// A packet has come. A duplicate counts in nothing but its own counter.
    pub fn packet(&mut self, sequence: u16, timestamp: u32, bytes: usize, arrival: Ts) -> Place {
        let place = self.sequence.unwrap(sequence.into());
        let time = self.timestamp.unwrap(timestamp);
        let mut skipped = 0;
        let first = *self.first.get_or_insert(place);
        if self.received == 0 {
            self.highest = place;
        }
        let ahead = place - self.highest;
        if ahead > 0 || self.received == 0 {
            skipped = (ahead - 1).max(0);
            self.seen = if ahead < WINDOW { (self.seen << ahead) | 1 } else { 1 };
            self.highest = place;
            if ahead > MAX_DROPOUT {
                // The source began anew: what lies between was never sent.
                self.first = Some(first + ahead - 1);
            }
        } else if -ahead < WINDOW {
            let bit = 1u128 << -ahead;
            if self.seen & bit != 0 {
                self.duplicates += 1;
                return Place { sequence: place, timestamp: time, duplicate: true, skipped: 0 };
            }
            self.seen |= bit;
        }
        // Before the first: reordered at the very start.
        self.first = self.first.map(|f| f.min(place));
        self.received += 1;
        self.bytes += bytes as u64;
        self.jitter_of(time, arrival);
        Place { sequence: place, timestamp: time, duplicate: false, skipped }
    }

    /// The place of a packet that came another way, which counts in nothing.
    pub fn place(&mut self, sequence: u16, timestamp: u32) -> (i64, i64) {
        (self.sequence.unwrap(sequence.into()), self.timestamp.unwrap(timestamp))
    }

    /// RFC 3550 A.8.
    fn jitter_of(&mut self, time: i64, arrival: Ts) {
        let transit = arrival.to_scale(self.rate).wrapping_sub(time);
        if let Some(before) = self.transit.replace(transit) {
            // Beyond ten seconds it is a jump of the clock, not jitter.
            let d = transit.wrapping_sub(before).wrapping_abs().min(i64::from(self.rate) * 10);
            self.jitter += d - ((self.jitter + 8) >> 4);
        }
    }

    fn expected(&self) -> i64 {
        self.first.map_or(0, |first| self.highest - first + 1)
    }

    /// The figures for a report, since the one before.
    pub fn report(&mut self) -> Figures {
        let expected = self.expected();
        let (was_expected, was_received) = std::mem::replace(&mut self.reported, (expected, self.received));
        let share = share(expected - was_expected, self.received - was_received);
        let lost = (expected - self.received as i64).clamp(-0x80_0000, 0x7f_ffff);
        Figures {
            fraction: (share * 256.0).min(255.0) as u8,
            lost: lost as i32,
            highest: self.highest as u32,
            jitter: (self.jitter >> 4).clamp(0, i64::from(u32::MAX)) as u32,
        }
    }

    /// The share of packets lost since this was asked last, 0 to 1; none where none were expected.
    pub fn loss(&mut self) -> Option<f64> {
        let expected = self.expected();
        let (was_expected, was_received) = std::mem::replace(&mut self.measured, (expected, self.received));
        (expected > was_expected).then(|| share(expected - was_expected, self.received - was_received))
    }

    /// Packets that never came.
    pub fn lost(&self) -> u64 {
        u64::try_from(self.expected()).unwrap_or(0).saturating_sub(self.received)
    }

    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub fn jitter(&self) -> Dur {
        Dur::from_scale(self.jitter >> 4, self.rate)
    }

    /// Packets that have come, each counted once.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of payload that have come.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Packets that came again.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// The highest sequence number so far, unwrapped.
    pub fn highest(&self) -> Option<i64> {
        self.first.map(|_| self.highest)
    }
}

fn share(expected: i64, received: u64) -> f64 {
    let lost = expected - received as i64;
    if expected <= 0 || lost <= 0 { 0.0 } else { lost as f64 / expected as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> Ts {
        Ts::from_millis(1_700_000_000_000 + ms)
    }

    #[test]
    fn loss_counts_what_is_missing_once() {
        let mut r = Reception::new(48_000);
        for n in (0..100u16).filter(|n| n % 10 != 3) {
            r.packet(65_500u16.wrapping_add(n), u32::from(n) * 960, 80, at(i64::from(n) * 20));
        }
        assert_eq!(r.loss(), Some(0.1));
        assert_eq!(r.loss(), None);
        let figures = r.report();
        assert_eq!((figures.fraction, figures.lost, figures.jitter), (25, 10, 0));
        assert_eq!(figures.highest, 65_500 + 99);
        // The lost ones come late, twice.
        for n in (0..100u16).filter(|n| n % 10 == 3) {
            for _ in 0..2 {
                r.packet(65_500u16.wrapping_add(n), u32::from(n) * 960, 80, at(2000));
            }
        }
        assert_eq!((r.report().lost, r.duplicates(), r.received()), (0, 10, 100));
    }

    #[test]
    fn jitter_is_the_mean_deviation() {
        let mut r = Reception::new(48_000);
        for n in 0..1000i64 {
            // Alternately on time and 10 ms late: consecutive transits differ by 10 ms.
            r.packet(n as u16, (n * 960) as u32, 80, at(n * 20 + (n % 2) * 10));
        }
        assert!((r.jitter() - Dur::from_millis(10)).abs() < Dur::from_millis(1), "{}", r.jitter());
    }

    #[test]
    fn a_restarted_source_has_lost_nothing() {
        let mut r = Reception::new(90_000);
        for n in (0..10u16).chain(20_000..20_010) {
            r.packet(n, 0, 1, at(0));
        }
        assert_eq!(r.report().lost, 0);
    }

    proptest! {
        #[test]
        fn figures_stay_in_their_ranges(packets in prop::collection::vec((any::<u16>(), any::<u32>(), any::<i64>()), 0..300)) {
            let mut r = Reception::new(48_000);
            for (sequence, timestamp, flicks) in packets {
                r.packet(sequence, timestamp, 10, Ts::from_flicks(flicks));
                let figures = r.report();
                prop_assert!((-0x80_0000..=0x7f_ffff).contains(&figures.lost));
                prop_assert!(r.loss().is_none_or(|l| (0.0..=1.0).contains(&l)));
                prop_assert!(r.jitter() >= Dur::ZERO);
            }
        }
    }
}
