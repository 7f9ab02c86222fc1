//! How long before its arrival a voice's speaker heard what they speak of, for network compensation.
//!
//! What the daemon sends at some instant of the timeline reaches the ear after the rooms' own delay, the way down and
//! the page's buffers; what is said then comes back after capture and the way up. The *lead* of a voice is the sum of
//! these: a sample that arrives at `t` belongs at `t − lead`, where its speaker was then, and the network adds
//! nothing to the interpreter's own *décalage*.
//!
//! A packet's arrival jitters, its RTP timestamp does not. So samples are placed by RTP time, and RTP time is tied to
//! the daemon's clock by the least delay seen of late ([`Anchor`]): the jitter of each packet goes into its lead, and
//! `arrival − lead` is smooth.

use crate::media::{Dur, Ts};

/// RTP clock of Opus (RFC 7587 §4.1).
const RTP_RATE: u32 = 48_000;
/// From the microphone to the packet: one 20 ms frame.
pub const CAPTURE: Dur = Dur::from_millis(20);
/// From an instant of the timeline to the rooms' packet of its picture. Voices that answer flashes, end to end, come out
/// right with it.
pub const ROOM: Dur = Dur::from_millis(20);
/// How old the programme is when it is heard and seen, until the page says so: a browser's jitter buffer and output.
pub const PLAYOUT: Dur = Dur::from_millis(80);
/// Longer than any connection on which one can interpret.
pub const MAX_LEAD: Dur = Dur::from_secs(3);
/// What a page may report as its playout age.
const MAX_PLAYOUT: f64 = 1_000.0;
/// Weight of a new round trip: the mean of about the last eight, one a second.
const RTT_WEIGHT: f64 = 0.125;
/// How fast the lead may change, per second. A voice that is moved that slowly is not heard to move.
const SLEW: f64 = 0.050;

/// The lead of one voice, but for each packet's own jitter.
#[derive(Clone, Debug, Default)]
pub struct Lead {
    rtt: Option<f64>,
    playout: Option<f64>,
    /// What is applied, in seconds, and since when.
    applied: Option<(f64, Ts)>,
}

impl Lead {
    /// Nothing measured yet.
    pub fn new() -> Lead {
        Lead::default()
    }

    /// A round trip, as RTCP measured it (RFC 3550 §6.4.1).
    pub fn rtt(&mut self, rtt: Dur) {
        let rtt = rtt.as_secs_f64().clamp(0.0, MAX_LEAD.as_secs_f64());
        match &mut self.rtt {
            Some(mean) => *mean += (rtt - *mean) * RTT_WEIGHT,
            // The first measurement is not approached but taken: before it, nothing was known.
            None => {
                self.rtt = Some(rtt);
                self.applied = None;
            }
        }
    }

    /// How old the programme is when the page plays it, in ms; nonsense is ignored.
    pub fn playout(&mut self, ms: f64) {
        if !(0.0..=MAX_PLAYOUT).contains(&ms) {
            return;
        }
        let seconds = ms / 1000.0;
        match &mut self.playout {
            Some(mean) => *mean += (seconds - *mean) * RTT_WEIGHT,
            None => {
                self.playout = Some(seconds);
                self.applied = None;
            }
        }
    }

    /// The lead at `now`: within 0 and [`MAX_LEAD`], and not farther from the one before than [`SLEW`] allows.
    pub fn at(&mut self, now: Ts) -> Dur {
        let target =
            self.rtt.unwrap_or(0.0) + self.playout.unwrap_or(PLAYOUT.as_secs_f64()) + (CAPTURE + ROOM).as_secs_f64();
        let target = target.min(MAX_LEAD.as_secs_f64());
        let (value, at) = match self.applied {
            Some((value, at)) => {
                let most = (now - at).max(Dur::ZERO).as_secs_f64() * SLEW;
                (value + (target - value).clamp(-most, most), now.max(at))
            }
            None => (target, now),
        };
        self.applied = Some((value, at));
        Dur::from_secs_f64(value)
    }
}

/// Half of the time over which the least delay is looked for: longer than a spell of congestion, and at 200 ppm of
/// drift only 4 ms.
const WINDOW: Dur = Dur::from_secs(10);
/// A jump of the offset beyond this is another clock: a restarted sender, or a network that stood still.
const JUMP: Dur = Dur::from_millis(500);
/// How fast the tie between the clocks may change, per second: over 20 times the drift of any sound card.
const ANCHOR_SLEW: f64 = 0.005;
/// So long from the first packet on, an earlier one is taken at once.
const SETTLE: Dur = Dur::from_secs(1);

/// Ties a voice's RTP time to the daemon's clock.
#[derive(Clone, Debug, Default)]
pub struct Anchor {
    state: Option<Tied>,
}

#[derive(Clone, Debug)]
struct Tied {
    since: Ts,
    /// What is applied: arrival minus RTP time of an undelayed packet.
    offset: Dur,
    applied_at: Ts,
    /// The least offsets of this window and the one before.
    least: Dur,
    before: Option<Dur>,
    window: Ts,
    /// Packets in a row that are far off.
    far: u32,
}

impl Tied {
    fn new(offset: Dur, arrival: Ts) -> Tied {
        Tied { since: arrival, offset, applied_at: arrival, least: offset, before: None, window: arrival, far: 0 }
    }
}

impl Anchor {
    /// Not tied yet.
    pub fn new() -> Anchor {
        Anchor::default()
    }

    /// When a sample would have arrived without jitter: never after its arrival by more than what the slew owes.
    pub fn place(&mut self, rtp: i64, arrival: Ts) -> Ts {
        /// Packets far off before they are believed: one alone may be corrupt or very late.
        const FAR: u32 = 25;
        let media = Ts::from_scale(rtp, RTP_RATE);
        let offset = arrival - media;
        let Some(tied) = &mut self.state else {
            self.state = Some(Tied::new(offset, arrival));
            return arrival;
        };
        // Earlier than possible on the clock known so far: another clock. Later: perhaps only late.
        let off = offset - tied.offset;
        tied.far = if off.abs() > JUMP { tied.far + 1 } else { 0 };
        if (off < -JUMP && tied.far >= 2) || tied.far >= FAR {
            *tied = Tied::new(offset, arrival);
            return arrival;
        }
        if off.abs() > JUMP {
            return media + tied.offset;
        }
        if arrival - tied.window >= WINDOW {
            tied.before = Some(tied.least);
            tied.least = offset;
            tied.window = arrival;
        }
        tied.least = tied.least.min(offset);
        let target = tied.before.map_or(tied.least, |before| tied.least.min(before));
        let elapsed = (arrival - tied.applied_at).max(Dur::ZERO);
        let step = target - tied.offset;
        if arrival - tied.since < SETTLE && step < Dur::ZERO {
            tied.offset = target;
        } else {
            let most = Dur::from_secs_f64(elapsed.as_secs_f64() * ANCHOR_SLEW);
            tied.offset += step.max(-most).min(most);
        }
        tied.applied_at = tied.applied_at.max(arrival);
        media + tied.offset
    }
}

/// Both together: the `lead` of each packet of a voice.
#[derive(Clone, Debug, Default)]
pub struct Stamper {
    /// What the network and the page add.
    pub lead: Lead,
    anchor: Anchor,
}

impl Stamper {
    /// For a new voice.
    pub fn new() -> Stamper {
        Stamper::default()
    }

    /// How long before `arrival` the packet's speaker heard what is spoken in it: within 0 and [`MAX_LEAD`].
    pub fn stamp(&mut self, rtp: i64, arrival: Ts) -> Dur {
        let late = arrival - self.anchor.place(rtp, arrival);
        (self.lead.at(arrival) + late).max(Dur::ZERO).min(MAX_LEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: i64 = 1_772_000_000_000;

    fn at(ms: f64) -> Ts {
        Ts::from_millis(START) + Dur::from_secs_f64(ms / 1000.0)
    }

    /// Places of packets every 20 ms, each delayed by `delay(n)` ms, from a sender whose clock runs at `rate`.
    fn places(count: i64, rate: f64, delay: impl Fn(i64) -> f64) -> Vec<f64> {
        let mut anchor = Anchor::new();
        (0..count)
            .map(|n| {
                let spoken = n as f64 * 20.0 / rate;
                let place = anchor.place(77_000 + n * 960, at(spoken + delay(n)));
                (place - at(spoken)).as_secs_f64() * 1000.0
            })
            .collect()
    }

    /// Something like jitter, 0 to 60 ms, without a generator.
    fn jitter(n: i64) -> f64 {
        ((n * 7919 + n * n * 31) % 61) as f64
    }

    #[test]
    fn jitter_leaves_places_alone() {
        let places = places(3000, 1.0, |n| 40.0 + jitter(n));
        for (n, place) in places.iter().enumerate().skip(50) {
            assert!((place - 40.0).abs() < 2.0, "packet {n} at {place} ms");
        }
        let steps = places.windows(2).skip(50).map(|w| (w[1] - w[0]).abs()).fold(0.0, f64::max);
        assert!(steps < 0.2, "a step of {steps} ms");
    }

    #[test]
    fn drift_is_followed_for_an_hour() {
        for rate in [1.0 + 200e-6, 1.0 - 200e-6] {
            let places = places(180_000, rate, |n| 40.0 + jitter(n));
            for (n, place) in places.iter().enumerate().skip(50) {
                assert!((place - 40.0).abs() < 6.0, "packet {n} at {place} ms with a clock at {rate}");
            }
        }
    }

    #[test]
    fn a_longer_way_is_taken_slowly_and_a_burst_not_at_all() {
        let step = places(3000, 1.0, |n| if n < 500 { 40.0 } else { 100.0 });
        assert!((step[499] - 40.0).abs() < 0.1 && (step[600] - 40.0).abs() < 1.0, "{} {}", step[499], step[600]);
        assert!((step[2999] - 100.0).abs() < 1.0, "{}", step[2999]);
        let steps = step.windows(2).skip(50).map(|w| (w[1] - w[0]).abs()).fold(0.0, f64::max);
        assert!(steps < 0.2, "a step of {steps} ms");
        let burst = places(1000, 1.0, |n| if (300..310).contains(&n) { 400.0 } else { 40.0 });
        assert!(burst.iter().all(|p| (p - 40.0).abs() < 1.0));
    }

    #[test]
    fn another_clock_is_recognised() {
        let mut anchor = Anchor::new();
        for n in 0..100 {
            anchor.place(n * 960, at(n as f64 * 20.0));
        }
        // One packet with a corrupt timestamp moves nothing.
        anchor.place(1 << 40, at(2000.0));
        let place = anchor.place(101 * 960, at(2020.0));
        assert!((place - at(2020.0)).abs() < Dur::from_millis(1));
        // The sender begins again at another timestamp.
        let mut last = Ts::ZERO;
        for n in 0..60 {
            last = anchor.place(9_000_000 + n * 960, at(2040.0 + n as f64 * 20.0));
        }
        assert!((last - at(2040.0 + 59.0 * 20.0)).abs() < Dur::from_millis(1));
    }

    #[test]
    fn the_lead_is_the_round_trip_and_what_the_page_adds() {
        let mut lead = Lead::new();
        assert_eq!(lead.at(at(0.0)), CAPTURE + ROOM + PLAYOUT);
        lead.rtt(Dur::from_millis(250));
        assert_eq!(lead.at(at(1000.0)), CAPTURE + ROOM + PLAYOUT + Dur::from_millis(250), "known: taken at once");
        lead.playout(120.0);
        let before = lead.at(at(2000.0));
        assert_eq!(before, CAPTURE + ROOM + Dur::from_millis(370));
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 1e9] {
            lead.playout(wrong);
        }
        // A congested minute: approached, not jumped to.
        for second in 1..=60 {
            lead.rtt(Dur::from_millis(650));
            let now = lead.at(at(2000.0 + f64::from(second) * 1000.0));
            assert!(now - before <= Dur::from_millis(i64::from(second) * 51), "{now} after {second} s");
        }
        let settled = lead.at(at(62_000.0)) - before;
        assert!((settled - Dur::from_millis(400)).abs() < Dur::from_millis(5), "{settled}");
    }

    #[test]
    fn a_packets_jitter_is_in_its_lead() {
        let mut stamper = Stamper::new();
        stamper.lead.rtt(Dur::from_millis(100));
        for n in 0..500i64 {
            let arrival = at(n as f64 * 20.0 + jitter(n));
            let lead = stamper.stamp(n * 960, arrival);
            let place = (arrival - lead) - at(n as f64 * 20.0);
            let expected = -(CAPTURE + ROOM + PLAYOUT + Dur::from_millis(100));
            assert!(n < 50 || (place - expected).abs() < Dur::from_millis(2), "packet {n}: {place}");
        }
    }

    proptest! {
        #[test]
        fn the_lead_is_always_bounded(
            steps in prop::collection::vec((any::<i64>(), any::<i64>(), any::<i64>(), any::<f64>()), 1..60),
        ) {
            let mut stamper = Stamper::new();
            for (rtp, arrival, rtt, playout) in steps {
                stamper.lead.rtt(Dur::from_flicks(rtt));
                stamper.lead.playout(playout);
                let lead = stamper.stamp(rtp, Ts::from_flicks(arrival));
                prop_assert!((Dur::ZERO..=MAX_LEAD).contains(&lead));
            }
        }
    }
}
