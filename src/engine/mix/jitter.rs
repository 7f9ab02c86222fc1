//! The jitter buffer of a voice: puts packets in order, decides what to decode when, and where in time a voice belongs.
//! Pure: packets carry their arrival, time is counted in samples of 48 kHz.
//!
//! **Two ways of placing.** The *shift* is by how much a voice's RTP time is ahead of the timeline it is played on.
//! [`Policy::Placed`] (programme): each packet says where it belongs, its arrival less its lead; the median of the last
//! ten seconds stands, so jitter of the network does not move a voice. The wait for late packets is fixed.
//! [`Policy::Adaptive`] (realtime): late enough for 98 of 100 packets and [`MARGIN`] more. Where the shift should be is
//! [`Jitter::target`]; who reads moves there where nobody hears it ([`super::voice`]). So a sender whose clock drifts, which
//! moves every packet a little further, is followed.
//!
//! **Loss.** A missing packet is recovered from the next one when that carries it (in-band FEC), else concealed for at most
//! [`MOST_CONCEALED`]; then the voice pauses until a packet comes, and is placed anew.
//!
//! **Bound.** [`MAX_PACKETS`]; the oldest goes. Duplicates and packets that are too late go too, counted.

use crate::media::VoicePacket;
use crate::media::grid::AUDIO_RATE;
use crate::media::opus;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

/// Packets kept at most: two seconds of 10 ms packets, more than any programme delay leaves waiting for a voice.
pub const MAX_PACKETS: usize = 256;
/// What the realtime mix waits beyond the jitter: one packet, so that the next one is there for recovery.
pub const MARGIN: i64 = 960;
/// Before enough packets have come to know the jitter: two more packets.
const EARLY_MARGIN: i64 = 2 * 960;
/// The longest wait of the realtime mix for late packets: half a second. What comes later than that is lost.
const MOST_WAIT: i64 = AUDIO_RATE as i64 / 2;
/// Packets whose transit counts: ten seconds.
const WINDOW: usize = 500;
/// Packets after which the jitter is known.
const ENOUGH: usize = 25;
/// Packets within which a voice still looks for its place: two seconds.
const SETTLED: usize = 100;
/// How much a late packet weighs against those in time: one in nine is too many.
const LATE: u32 = 8;
/// See [`Jitter::pressed`]: three in a row.
const PRESSED: u32 = 3 * LATE - 2;
/// How often quantiles are taken: every so many packets.
const EVERY: u32 = 8;
/// Concealment fades to silence within this.
pub const MOST_CONCEALED: i64 = AUDIO_RATE as i64 / 10;
/// A packet this far from the one before belongs to another run of the sender's clock.
const JUMP: i64 = 5 * AUDIO_RATE as i64;
/// Numbers beyond this are refused: no clock reaches them, and sums of a few stay in range.
const MOST: i64 = 1 << 52;

/// How a voice is placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// At its arrival less its lead, but not earlier than what is mixed `budget` samples after its instant allows.
    Placed {
        /// Samples. May be negative: then a voice is placed after its arrival.
        budget: i64,
    },
    /// As soon as its jitter allows.
    Adaptive,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Decode this packet of `samples` and leave out the first `skip`.
    Decode {
        /// The packet.
        data: Bytes,
        /// How long it is.
        samples: usize,
        /// What of it is past.
        skip: usize,
    },
    /// Decode what this packet carries of the one before it.
    Recover {
        /// The packet.
        data: Bytes,
        /// How long the missing one is.
        samples: usize,
    },
    /// Let the decoder guess.
    Conceal {
        /// For how long.
        samples: usize,
    },
    /// The voice pauses.
    Pause,
}

struct Held {
    sequence: i64,
    samples: i64,
    data: Bytes,
}

/// What happened to packets since this was last read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Arrivals {
    /// Share that never came or came too late, 0 to 1.
    pub loss: f32,
    /// Packets that were taken.
    pub taken: u32,
    /// Packets that came too late.
    pub late: u32,
    /// Packets that came twice.
    pub duplicates: u32,
    /// Packets that are not Opus.
    pub corrupt: u32,
}

/// See the module.
pub struct Jitter {
    policy: Policy,
    packets: BTreeMap<i64, Held>,
    /// RTP time of the next sample to decode; none while the voice pauses.
    next: Option<i64>,
    /// Length of the last packet.
    frame: i64,
    /// Samples concealed in a row.
    concealed: i64,
    /// Arrival less RTP time (and less the lead, where it counts) of the last packets.
    transits: VecDeque<i64>,
    scratch: Vec<i64>,
    since: u32,
    /// The least transit of the window, and the one to play at.
    least: i64,
    at: Option<i64>,
    lead: i64,
    last: Option<(i64, i64)>,
    jitter: f64,
    /// The highest sequence number, and what it was when arrivals were last read.
    highest: Option<(i64, i64)>,
    arrivals: Arrivals,
    /// Rises with each packet that is late, falls with each that is not.
    pressure: u32,
}

impl Jitter {
    /// Empty.
    pub fn new(policy: Policy) -> Jitter {
        Jitter {
            policy,
            packets: BTreeMap::new(),
            next: None,
            frame: 960,
            concealed: 0,
            transits: VecDeque::with_capacity(WINDOW),
            scratch: Vec::with_capacity(WINDOW),
            since: 0,
            least: 0,
            at: None,
            lead: 0,
            last: None,
            jitter: 0.0,
            highest: None,
            arrivals: Arrivals::default(),
            pressure: 0,
        }
    }

    /// Takes a packet.
    pub fn push(&mut self, packet: &VoicePacket) {
        let (rtp, sequence) = (packet.rtp, packet.sequence);
        let Some(samples) = opus::samples(&packet.data).map(i64::from) else {
            self.arrivals.corrupt += 1;
            return;
        };
        let (arrival, lead) = (packet.arrival.to_scale(AUDIO_RATE), packet.lead.to_scale(AUDIO_RATE));
        if [rtp, sequence, arrival].iter().any(|v| v.saturating_abs() > MOST) {
            self.arrivals.corrupt += 1;
            return;
        }
        let plain = arrival - rtp;
        if let Some((last_rtp, last_plain)) = self.last {
            if (rtp - last_rtp).abs() > JUMP {
                self.begin_anew();
            } else {
                // RFC 3550 §6.4.1.
                self.jitter += ((plain - last_plain).abs() as f64 - self.jitter) / 16.0;
            }
        }
        self.last = Some((rtp, plain));
        self.highest = match self.highest {
            Some((highest, read)) => Some((highest.max(sequence), read)),
            None => Some((sequence, sequence - 1)),
        };
        let transit = match self.policy {
            Policy::Placed { budget } => {
                self.lead = lead.clamp(-MOST, MOST).min(budget);
                plain - self.lead
            }
            Policy::Adaptive => plain - samples,
        };
        if self.transits.len() >= WINDOW {
            self.transits.pop_front();
        }
        self.transits.push_back(transit);
        self.since += 1;
        if self.since >= EVERY || self.transits.len() <= ENOUGH {
            self.since = 0;
            self.measure();
        }
        if self.next.is_some_and(|next| rtp + samples <= next) {
            self.arrivals.late += 1;
            self.pressure = (self.pressure + LATE).min(2 * PRESSED);
            return;
        }
        self.pressure = self.pressure.saturating_sub(1);
        if self.packets.contains_key(&rtp) {
            self.arrivals.duplicates += 1;
            return;
        }
        self.arrivals.taken += 1;
        self.packets.insert(rtp, Held { sequence, samples, data: packet.data.clone() });
        if self.packets.len() > MAX_PACKETS {
            self.packets.pop_first();
        }
    }

    /// Another run of the sender's clock: nothing of the one before holds.
    fn begin_anew(&mut self) {
        self.packets.clear();
        self.transits.clear();
        self.pause();
        self.at = None;
        self.highest = None;
    }

    fn measure(&mut self) {
        self.scratch.clear();
        self.scratch.extend(self.transits.iter());
        let n = self.scratch.len();
        let mut quantile = |of_hundred: usize| {
            let place = (n - 1) * of_hundred / 100;
            *self.scratch.select_nth_unstable(place).1
        };
        self.at = Some(match self.policy {
            Policy::Placed { .. } => quantile(50),
            Policy::Adaptive => {
                self.least = quantile(0);
                let margin = if n < ENOUGH { EARLY_MARGIN } else { MARGIN };
                (quantile(98) + margin).min(self.least + MOST_WAIT)
            }
        });
    }

    /// Where the shift should be: RTP time less timeline; none before the first packet.
    pub fn target(&self) -> Option<i64> {
        self.at.map(|at| -at)
    }

    /// How long the realtime mix lets the fastest packet wait when it plays at `shift`, samples.
    pub fn delay(&self, shift: i64) -> i64 {
        -shift - self.least
    }

    /// The lead of the last packet as far as the budget allows, samples.
    pub fn lead(&self) -> i64 {
        self.lead
    }

    /// Interarrival jitter (RFC 3550 §6.4.1), samples.
    pub fn jitter(&self) -> f64 {
        self.jitter
    }

    /// Whether packets wait.
    pub fn waiting(&self) -> bool {
        !self.packets.is_empty()
    }

    /// Whether packets come too late in numbers: the wait must grow at once.
    pub fn pressed(&self) -> bool {
        self.pressure >= PRESSED
    }

    /// Whether the voice began a short while ago, so that its place is not known well yet.
    pub fn settling(&self) -> bool {
        self.transits.len() < SETTLED
    }

    /// What happened since this was last asked.
    pub fn take_arrivals(&mut self) -> Arrivals {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        if let Some((highest, read)) = &mut self.highest {
            let expected = highest.saturating_sub(*read);
            *read = *highest;
            arrivals.loss = match expected {
                // Nothing at all came of a voice that is there.
                0 if arrivals.taken == 0 => 1.0,
                0 => 0.0,
                n => (1.0 - arrivals.taken as f32 / n as f32).clamp(0.0, 1.0),
            };
        }
        arrivals
    }

    /// While the voice pauses: forgets what ends at or before `rtp`, and says where the first packet after it begins.
    pub fn first_after(&mut self, rtp: i64) -> Option<i64> {
        while let Some(entry) = self.packets.first_entry() {
            if entry.key() + entry.get().samples > rtp {
                return Some(*entry.key());
            }
            self.arrivals.late += 1;
            self.arrivals.taken = self.arrivals.taken.saturating_sub(1);
            entry.remove();
        }
        None
    }

    /// Decoding begins at `rtp`.
    pub fn start(&mut self, rtp: i64) {
        self.next = Some(rtp);
        self.concealed = 0;
    }

    /// Decoding ends, until [`Jitter::start`].
    pub fn pause(&mut self) {
        self.next = None;
        self.concealed = 0;
    }

    /// Whether decoding has not begun.
    pub fn paused(&self) -> bool {
        self.next.is_none()
    }

    /// What to decode next.
    pub fn step(&mut self) -> Step {
        let Some(next) = self.next else { return Step::Pause };
        while self.packets.first_entry().is_some_and(|e| e.key() + e.get().samples <= next) {
            self.packets.pop_first();
        }
        if let Some(entry) = self.packets.first_entry()
            && *entry.key() <= next
        {
            let (rtp, held) = entry.remove_entry();
            self.next = Some(rtp + held.samples);
            self.frame = held.samples;
            self.concealed = 0;
            return Step::Decode { data: held.data, samples: held.samples as usize, skip: (next - rtp) as usize };
        }
        if self.concealed >= MOST_CONCEALED {
            self.pause();
            return Step::Pause;
        }
        let (samples, recover) = match self.packets.first_key_value() {
            Some((&rtp, held)) => {
                let gap = rtp - next;
                // A recovery takes the place of one packet, the one right before, in steps of 2.5 ms.
                let recover = gap <= self.frame && gap % 120 == 0 && gap > 0 && opus::recovers(&held.data);
                (gap.min(self.frame), recover.then(|| held.data.clone()))
            }
            None => (self.frame, None),
        };
        self.next = Some(next + samples);
        self.concealed += samples;
        match recover {
            Some(data) => Step::Recover { data, samples: samples as usize },
            None => Step::Conceal { samples: samples as usize },
        }
    }

    /// The highest sequence number so far.
    pub fn highest(&self) -> Option<i64> {
        self.highest.map(|h| h.0)
    }

    /// Sequence numbers that wait, for tests and reports.
    pub fn sequences(&self) -> impl Iterator<Item = i64> {
        self.packets.values().map(|h| h.sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Dur, Ts, VoiceId};

    const BASE: i64 = 1_000_000_000;

    /// Packet `n` of 20 ms that arrives `ms` after it was complete.
    fn packet(n: i64, ms: f64) -> VoicePacket {
        let arrival = Ts::from_scale(BASE + (n + 1) * 960, AUDIO_RATE) + Dur::from_secs_f64(ms / 1000.0);
        // Configuration 9: SILK, wide band, 20 ms; one frame, voice in it, and the one before once more.
        let data = Bytes::copy_from_slice(&[9 << 3, 0xc0, n as u8]);
        VoicePacket { voice: VoiceId(1), sequence: n + 500, rtp: n * 960, arrival, lead: Dur::ZERO, data }
    }

    fn number(step: &Step) -> Option<u8> {
        match step {
            Step::Decode { data, .. } => Some(data[2]),
            _ => None,
        }
    }

    #[test]
    fn packets_out_of_order_twice_and_missing() {
        let mut j = Jitter::new(Policy::Adaptive);
        for n in [0, 2, 1, 1, 4, 2, 8] {
            j.push(&packet(n, 10.0));
        }
        j.start(0);
        let steps: Vec<Step> = (0..8).map(|_| j.step()).collect();
        assert_eq!(steps[..3].iter().map(number).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
        assert!(matches!(&steps[3], Step::Recover { data, samples: 960 } if data[2] == 4));
        assert_eq!(number(&steps[4]), Some(4));
        assert_eq!(steps[5..7], [Step::Conceal { samples: 960 }, Step::Conceal { samples: 960 }]);
        assert!(matches!(&steps[7], Step::Recover { data, .. } if data[2] == 8));
        assert_eq!(number(&j.step()), Some(8));
        j.push(&packet(3, 200.0));
        let a = j.take_arrivals();
        assert_eq!((a.taken, a.late, a.duplicates), (5, 1, 2));
        assert!((a.loss - 4.0 / 9.0).abs() < 1e-6, "{a:?}");
    }

    #[test]
    fn a_voice_that_ends_is_concealed_briefly_and_then_pauses() {
        let mut j = Jitter::new(Policy::Adaptive);
        j.push(&packet(0, 0.0));
        j.start(0);
        let steps: Vec<Step> = (0..7).map(|_| j.step()).collect();
        assert_eq!(steps[1..6], [const { Step::Conceal { samples: 960 } }; 5]);
        assert_eq!(steps[6], Step::Pause);
        assert!(j.paused());
        j.take_arrivals();
        assert_eq!(j.take_arrivals().loss, 1.0);
    }

    #[test]
    fn the_wait_follows_the_jitter_both_ways_and_is_bounded() {
        let mut seed = 1u32;
        let mut random = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed) / f64::from(u32::MAX)
        };
        let mut j = Jitter::new(Policy::Adaptive);
        let wait = |j: &Jitter| j.delay(j.target().expect("known")) as f64 / 48.0;
        let mut n = 0;
        let mut play = |j: &mut Jitter, packets: i64, spread: f64| {
            for _ in 0..packets {
                j.push(&packet(n, 30.0 + spread * random()));
                n += 1;
            }
        };
        play(&mut j, 600, 1.0);
        assert!((20.0..23.0).contains(&wait(&j)), "{}", wait(&j));
        play(&mut j, 600, 60.0);
        assert!((75.0..82.0).contains(&wait(&j)), "{}", wait(&j));
        play(&mut j, 600, 5.0);
        assert!((20.0..26.0).contains(&wait(&j)), "{}", wait(&j));
        play(&mut j, 600, 5000.0);
        assert!(wait(&j) <= 500.0);
    }

    #[test]
    fn a_voice_is_placed_by_its_lead_as_far_as_the_budget_allows() {
        for (lead, budget, placed) in [(100, 500, 100), (100, 60, 60), (0, 500, 0), (100, -40, -40)] {
            let mut j = Jitter::new(Policy::Placed { budget: budget * 48 });
            for n in 0..400 {
                // Mean jitter of 20 ms both ways does not move it.
                let late = 20.0 + [0.0, 20.0, -20.0, 7.0, -7.0][n as usize % 5];
                j.push(&VoicePacket { lead: Dur::from_millis(lead), ..packet(n, late) });
            }
            // The first sample of packet 0 arrived 20 ms after it was complete.
            let place = -j.target().expect("known") - BASE;
            assert_eq!(place, (20 + 20 - placed) * 48, "lead {lead}, budget {budget}");
            assert_eq!(j.lead(), placed * 48);
        }
    }

    #[test]
    fn a_drifting_sender_is_followed() {
        for ppm in [200.0, -200.0] {
            let mut j = Jitter::new(Policy::Adaptive);
            for n in 0..180_000i64 {
                j.push(&packet(n, 30.0 + n as f64 * 20.0 * ppm * 1e-6));
            }
            let wait = j.delay(j.target().expect("known")) as f64 / 48.0;
            assert!((19.0..24.0).contains(&wait), "{ppm}: {wait}");
            assert!(j.sequences().count() <= MAX_PACKETS);
        }
    }

    #[test]
    fn another_clock_begins_anew_and_hostile_numbers_do_no_harm() {
        let mut j = Jitter::new(Policy::Adaptive);
        for n in 0..50 {
            j.push(&packet(n, 10.0));
        }
        let first = j.target().expect("known");
        for n in 0..50 {
            let p = packet(n + 50, 10.0);
            j.push(&VoicePacket { rtp: p.rtp + 7_000_000, ..p });
        }
        assert_eq!(j.target(), Some(first + 7_000_000));
        let mut t = 1i64;
        for i in 0..5000 {
            t = t.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let data = Bytes::copy_from_slice(&t.to_le_bytes()[..(i % 9) as usize]);
            let (arrival, lead) = (Ts::from_flicks(t.rotate_left(7)), Dur::from_flicks(t.rotate_left(13)));
            let rtp = if i % 2 == 0 { t } else { t % 100_000 };
            j.push(&VoicePacket { voice: VoiceId(1), sequence: t.rotate_left(3), rtp, arrival, lead, data });
            if i % 3 == 0 {
                j.start(t % 1_000_000);
            }
            j.step();
            j.first_after(t % 1_000_000);
            j.take_arrivals();
        }
    }
}
