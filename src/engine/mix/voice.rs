//! One voice on one timeline: decodes what its [`Jitter`] buffer says and moves in time where nobody hears it.
//!
//! **Moving.** A voice whose place should change (jitter grew or shrank, the sender's clock drifts, the network's delay
//! changed) moves by [`SLIP`] per block, cross-faded, in blocks that are quiet; where it is further off than
//! [`Line::forced`] says, in any block. After a pause it begins at its place.
//! **Clicks.** A voice begins and ends in fades; concealment fades out.

use super::jitter::{Jitter, MOST_CONCEALED, Policy, Step};
use super::level::Meter;
use crate::media::grid::AUDIO_RATE;
use crate::media::{Dur, VoicePacket, VoiceReport};
use bytes::Bytes;

/// Nothing came for this long: the voice is lost. Longer than the 400 ms between the packets of a sender that sends none
/// for silence (RFC 6716 §2.1.9).
pub const LOST: Dur = Dur::from_millis(440);
/// By how much a voice moves at once: 5 ms.
pub const SLIP: usize = 240;
/// Length of a fade at a voice's beginning.
const FADE: f32 = 240.0;
/// The longest Opus packet.
const MOST_SAMPLES: usize = 5760;
/// A block below this is quiet, linear RMS: −50 dB.
const QUIET: f32 = 0.003;
/// So is one this far below the voice, linear: −20 dB.
const QUIETER: f32 = 0.1;
/// How fast the memory of how loud a voice is goes, per block: halved in 14 s.
const FORGET: f32 = 0.999;
/// A placed voice that is further off moves in any block: well below the 40 ms that may be seen.
const OFF_PLACE: i64 = 30 * 48;
/// A realtime voice that waits this much longer than it must moves in any block.
const OFF_WAIT: i64 = 60 * 48;
/// Gaps between reads up to this are skipped; a longer one begins anew.
const MOST_GAP: i64 = AUDIO_RATE as i64;

/// An Opus decoder for one channel at 48 kHz.
pub trait Decode {
    /// Decodes a packet into `out` and returns how many samples came; with `recover` what it carries of the one before;
    /// for an empty packet the decoder guesses. None when the packet is not decodable.
    fn decode(&mut self, packet: &[u8], recover: bool, out: &mut [f32]) -> Option<usize>;
}

/// A packet at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stem {
    /// Where it begins, in samples of the timeline.
    pub at: i64,
    /// How long it is, samples.
    pub samples: i64,
    /// The packet.
    pub data: Bytes,
}

/// See the module.
pub struct Line<D> {
    jitter: Jitter,
    placed: bool,
    decoder: D,
    /// Decoded and not yet read: from `read` on.
    decoded: Box<[f32; MOST_SAMPLES]>,
    read: usize,
    until: usize,
    work: Vec<f32>,
    /// The timeline's next sample, and what to add for the voice's RTP time.
    at: Option<i64>,
    shift: i64,
    gain: f32,
    /// What the gain moves to, and by how much per sample.
    gain_to: f32,
    gain_step: f32,
    quiet: bool,
    loudest: f32,
    /// Timeline after the last sample that came from the voice.
    heard: Option<i64>,
    meter: Meter,
    played: u64,
    concealed: u64,
    recovered: u64,
    corrupt: u64,
    stems: Option<Vec<Stem>>,
}

impl<D: Decode> Line<D> {
    /// An empty line.
    pub fn new(policy: Policy, decoder: D, stems: bool) -> Line<D> {
        Line {
            jitter: Jitter::new(policy),
            placed: policy != Policy::Adaptive,
            decoder,
            decoded: Box::new([0.0; MOST_SAMPLES]),
            read: 0,
            until: 0,
            work: Vec::with_capacity(2 * MOST_SAMPLES),
            at: None,
            shift: 0,
            gain: 0.0,
            gain_to: 0.0,
            gain_step: 1.0,
            quiet: true,
            loudest: 0.0,
            heard: None,
            meter: Meter::default(),
            played: 0,
            concealed: 0,
            recovered: 0,
            corrupt: 0,
            stems: stems.then(Vec::new),
        }
    }

    /// Takes a packet.
    pub fn push(&mut self, packet: &VoicePacket) {
        self.jitter.push(packet);
    }

    /// The jitter buffer.
    pub fn jitter(&self) -> &Jitter {
        &self.jitter
    }

    /// The voice from sample `at` of the timeline on; false when it is silent because it pauses. Reads follow each other.
    pub fn read(&mut self, at: i64, out: &mut [f32]) -> bool {
        let n = out.len();
        match self.at {
            Some(next) if next == at => {}
            Some(next) if at > next && at - next < MOST_GAP => self.skip((at - next) as usize),
            _ => self.pause(),
        }
        if self.jitter.paused()
            && let Some(target) = self.jitter.target()
        {
            self.shift = target;
        }
        let slip = self.slip(n);
        self.at = Some(at);
        let need = (n as i64 + slip) as usize;
        let mut work = std::mem::take(&mut self.work);
        work.clear();
        work.resize(need, 0.0);
        let heard = self.fill(at, &mut work);
        splice(&work, slip, out);
        self.work = work;
        self.shift += slip;
        self.at = Some(at + n as i64);
        let rms = (out.iter().map(|s| s * s).sum::<f32>() / n.max(1) as f32).sqrt();
        self.loudest = rms.max(self.loudest * FORGET);
        self.quiet = rms < QUIET || rms < self.loudest * QUIETER;
        self.meter.add(out);
        heard
    }

    /// By how many samples to move in a block of `n`: forward to wait less, back to wait longer.
    fn slip(&self, n: usize) -> i64 {
        let Some(target) = self.jitter.target().filter(|_| !self.jitter.paused() && n >= 4 * SLIP) else { return 0 };
        let off = target - self.shift;
        // A realtime voice that waits too short a time loses packets: it is moved at once, and too far.
        let within = match self.placed {
            true => off.abs() < SLIP as i64,
            false => (0..=SLIP as i64 + 48).contains(&off),
        };
        if within || !(self.quiet || self.forced(off)) {
            return 0;
        }
        off.signum() * SLIP as i64
    }

    /// Whether it is so far off that it moves although it is heard.
    fn forced(&self, off: i64) -> bool {
        match self.placed {
            true => off.abs() > OFF_PLACE,
            false if off < 0 => self.jitter.pressed(),
            false => off > OFF_WAIT || self.jitter.settling(),
        }
    }

    fn skip(&mut self, samples: usize) {
        let mut work = std::mem::take(&mut self.work);
        let mut left = samples;
        while left > 0 {
            let n = left.min(MOST_SAMPLES);
            work.clear();
            work.resize(n, 0.0);
            let at = self.at.unwrap_or(0);
            self.fill(at, &mut work);
            self.at = Some(at + n as i64);
            left -= n;
        }
        self.work = work;
    }

    fn pause(&mut self) {
        self.jitter.pause();
        (self.read, self.until) = (0, 0);
        self.gain = 0.0;
    }

    /// Passes over what is to sound before `at` without decoding it.
    pub fn pass(&mut self, at: i64) {
        self.pause();
        self.at = None;
        if let Some(target) = self.jitter.target() {
            self.shift = target;
            self.jitter.first_after(at + target);
        }
    }

    /// Decodes into `out` what sounds from `at` on; whether any of it came from the voice or its concealment.
    fn fill(&mut self, at: i64, out: &mut [f32]) -> bool {
        let (mut done, mut any) = (0, false);
        while done < out.len() {
            if self.read < self.until {
                let n = (self.until - self.read).min(out.len() - done);
                let from = &self.decoded[self.read..self.read + n];
                if self.gain == self.gain_to {
                    out[done..done + n].iter_mut().zip(from).for_each(|(o, s)| *o = s * self.gain);
                } else {
                    for (o, s) in out[done..done + n].iter_mut().zip(from) {
                        let left = self.gain_to - self.gain;
                        self.gain += left.clamp(-self.gain_step, self.gain_step);
                        *o = s * self.gain;
                    }
                }
                self.read += n;
                done += n;
                any = true;
                self.played += n as u64;
                continue;
            }
            let rtp = at + done as i64 + self.shift;
            if !self.jitter.paused() {
                self.decode(at + done as i64);
                continue;
            }
            self.gain = 0.0;
            let rest = (out.len() - done) as i64;
            match self.jitter.first_after(rtp) {
                Some(first) if first < rtp + rest => {
                    done += (first - rtp).max(0) as usize;
                    self.jitter.start(first.max(rtp));
                }
                _ => break,
            }
        }
        any
    }

    /// Decodes what comes next into the buffer; it sounds at `at`.
    fn decode(&mut self, at: i64) {
        let step = self.jitter.step();
        (self.read, self.until) = (0, 0);
        let (recovered, guessed) = (matches!(step, Step::Recover { .. }), matches!(step, Step::Conceal { .. }));
        let (samples, skip, decoded) = match step {
            Step::Decode { data, samples, skip } => {
                let decoded = self.decoder.decode(&data, false, &mut self.decoded[..]);
                if let Some(stems) = &mut self.stems {
                    stems.push(Stem { at: at - skip as i64, samples: samples as i64, data });
                }
                (samples, skip, decoded)
            }
            Step::Recover { data, samples } => {
                (samples, 0, self.decoder.decode(&data, true, &mut self.decoded[..samples]))
            }
            // Decoders guess in steps of 2.5 ms.
            Step::Conceal { samples } if samples % 120 == 0 => {
                (samples, 0, self.decoder.decode(&[], false, &mut self.decoded[..samples]))
            }
            Step::Conceal { samples } => (samples, 0, Some(0)),
            Step::Pause => return,
        };
        let samples = samples.min(MOST_SAMPLES);
        let whole = decoded.unwrap_or_else(|| {
            self.corrupt += 1;
            0
        });
        // Less than the packet promised: silence. Not a number: silence.
        self.decoded[whole.min(samples)..samples].fill(0.0);
        for s in &mut self.decoded[..samples] {
            *s = if s.is_finite() { s.clamp(-2.0, 2.0) } else { 0.0 };
        }
        (self.read, self.until) = (skip.min(samples), samples);
        let length = (self.until - self.read) as u64;
        if guessed || decoded.is_none() {
            (self.gain_to, self.gain_step) = (0.0, 1.0 / MOST_CONCEALED as f32);
            self.concealed += length;
        } else {
            (self.gain_to, self.gain_step) = (1.0, 1.0 / FADE);
            self.recovered += if recovered { length } else { 0 };
            self.heard = Some(at + length as i64);
        }
    }

    /// Whether nothing has come for [`LOST`] before the next sample to be read.
    pub fn lost(&self) -> bool {
        match (self.at, self.heard) {
            (Some(at), Some(heard)) => at - heard > LOST.to_scale(AUDIO_RATE),
            _ => true,
        }
    }

    /// Where on the clock of arrivals the timeline's sample `at` is, for a placed voice.
    pub fn arrival_of(&self, at: i64) -> i64 {
        at + self.jitter.lead()
    }

    /// What waits in the realtime mix, ms.
    pub fn delay_ms(&self) -> f32 {
        self.jitter.delay(self.shift).max(0) as f32 / 48.0
    }

    /// How it was since this was last asked, without the delay.
    pub fn report(&mut self) -> VoiceReport {
        let (peak_db, level_db) = self.meter.take();
        let arrivals = self.jitter.take_arrivals();
        let share = |samples: u64| (samples as f32 / self.played.max(1) as f32).min(1.0);
        let (concealed, recovered) = (share(self.concealed), share(self.recovered));
        (self.played, self.concealed, self.recovered) = (0, 0, 0);
        let jitter_ms = (self.jitter.jitter() / 48.0) as f32;
        VoiceReport { level_db, peak_db, jitter_ms, loss: arrivals.loss, concealed, recovered, delay_ms: 0.0 }
    }

    /// Packets that could not be decoded since this was last asked.
    pub fn take_corrupt(&mut self) -> u64 {
        std::mem::take(&mut self.corrupt)
    }

    /// Packets decoded since this was last asked, at their places.
    pub fn stems(&mut self) -> impl Iterator<Item = Stem> {
        self.stems.iter_mut().flat_map(|s| s.drain(..))
    }
}

/// Brings `work`, which is `slip` samples longer (or shorter) than `out`, into `out`: samples are left out, or come twice,
/// across a fade.
fn splice(work: &[f32], slip: i64, out: &mut [f32]) {
    if slip == 0 {
        out.copy_from_slice(work);
        return;
    }
    // The fade begins where both of its sides exist.
    let begin = SLIP;
    for (i, o) in out.iter_mut().enumerate() {
        let later = (i as i64 + slip).max(0) as usize;
        *o = match i.checked_sub(begin) {
            None => work[i],
            Some(k) if k < SLIP => {
                let part = k as f32 / SLIP as f32;
                work[i] * (1.0 - part) + work[later] * part
            }
            Some(_) => work[later],
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{Ts, VoiceId};

    const BASE: i64 = 1_000_000_000 * 48;
    const BLOCK: usize = 960;

    /// Makes a tone of each packet's own place, which stands in its bytes, so that it shows what was played where.
    struct Tone {
        next: i64,
        hz: f64,
    }

    fn tone(hz: f64, rtp: i64) -> f32 {
        0.5 * (2.0 * std::f64::consts::PI * hz * rtp as f64 / 48_000.0).sin() as f32
    }

    impl Decode for Tone {
        fn decode(&mut self, packet: &[u8], recover: bool, out: &mut [f32]) -> Option<usize> {
            let from = match packet.get(2..10) {
                Some(bytes) => {
                    let rtp = i64::from_le_bytes(bytes.try_into().ok()?);
                    if recover { rtp - 960 } else { rtp }
                }
                None if packet.is_empty() => self.next,
                None => return None,
            };
            let n = out.len().min(960);
            (0..n).for_each(|i| out[i] = tone(self.hz, from + i as i64));
            self.next = from + n as i64;
            Some(n)
        }
    }

    fn packet(n: i64, arrival: i64, lead_ms: i64) -> VoicePacket {
        // SILK, wide band, 20 ms; one frame, voice in it, and the one before once more.
        let mut data = vec![9 << 3, 0xc0];
        data.extend((n * 960).to_le_bytes());
        VoicePacket {
            voice: VoiceId(1),
            sequence: n,
            rtp: n * 960,
            arrival: Ts::from_scale(BASE + arrival, AUDIO_RATE),
            lead: Dur::from_millis(lead_ms),
            data: data.into(),
        }
    }

    struct Net {
        seed: u32,
        loss: f64,
        jitter_ms: f64,
        ppm: f64,
    }

    impl Net {
        fn random(&mut self) -> f64 {
            self.seed = self.seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(self.seed) / f64::from(u32::MAX)
        }

        /// Packets of `seconds` with their arrivals, in the order of these.
        fn send(&mut self, seconds: i64) -> Vec<(i64, VoicePacket)> {
            let mut sent = Vec::new();
            for n in 0..seconds * 50 {
                let arrival =
                    (n + 1) as f64 * 960.0 * (1.0 + self.ppm * 1e-6) + (20.0 + self.jitter_ms * self.random()) * 48.0;
                if self.random() >= self.loss {
                    sent.push((arrival as i64, packet(n, arrival as i64, 0)));
                }
            }
            sent.sort_by_key(|s| s.0);
            sent
        }
    }

    struct Played {
        out: Vec<f32>,
        concealed: f32,
        recovered: f32,
        delay: f32,
        lost: f32,
    }

    /// Reads blocks at their time; `wait` is how long after its instant a block is mixed.
    fn play(sent: &[(i64, VoicePacket)], policy: Policy, hz: f64, wait: i64, seconds: i64) -> Played {
        let mut line = Line::new(policy, Tone { next: 0, hz }, false);
        let mut next = sent.iter().peekable();
        let (mut out, mut block) = (Vec::new(), [0.0; BLOCK]);
        for k in 0..seconds * 50 {
            let at = k * BLOCK as i64;
            while let Some((_, p)) = next.next_if(|s| s.0 <= at + BLOCK as i64 + wait) {
                line.push(p);
            }
            line.read(BASE + at, &mut block);
            out.extend(block);
            if k == seconds * 25 {
                line.report();
            }
        }
        let VoiceReport { concealed, recovered, loss: lost, .. } = line.report();
        Played { out, concealed, recovered, delay: line.delay_ms(), lost }
    }

    fn steepest(out: &[f32]) -> f32 {
        out.windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_good_network_is_played_whole_and_with_a_short_wait() {
        let sent = Net { seed: 1, loss: 0.0, jitter_ms: 1.0, ppm: 0.0 }.send(20);
        let p = play(&sent, Policy::Adaptive, 300.0, 0, 20);
        assert_eq!((p.concealed, p.recovered, p.lost), (0.0, 0.0, 0.0));
        assert!((19.0..40.0).contains(&p.delay), "{}", p.delay);
        let slope = 0.5 * 2.0 * std::f32::consts::PI * 300.0 / 48_000.0;
        assert!(steepest(&p.out[48_000..]) < slope * 1.01);
    }

    #[test]
    fn loss_and_jitter_are_recovered_without_a_click_and_the_wait_adapts() {
        for (loss, most) in [(0.05, 0.09), (0.10, 0.16)] {
            let sent = Net { seed: 5, loss, jitter_ms: 60.0, ppm: 0.0 }.send(60);
            let p = play(&sent, Policy::Adaptive, 300.0, 0, 60);
            assert!((60.0..130.0).contains(&p.delay), "{}", p.delay);
            // Every packet of this sender carries the one before: guessed is only where two in a row are lost.
            let (concealed, recovered) = (p.concealed, p.recovered);
            assert!(f64::from(recovered) > loss * 0.5 && recovered < most, "{loss}: {recovered} recovered");
            assert!(concealed < most / 3.0, "{loss}: {concealed} concealed");
            // The tone goes on, the fades of concealment and slips apart.
            let rms = (p.out[96_000..].iter().map(|s| s * s).sum::<f32>() / (p.out.len() - 96_000) as f32).sqrt();
            assert!((0.28..0.36).contains(&rms), "{rms}");
        }
    }

    #[test]
    fn a_clock_that_is_off_is_absorbed_in_silence() {
        for ppm in [200.0, -200.0] {
            // Words of a second with pauses.
            struct Words(i64);
            impl Decode for Words {
                fn decode(&mut self, packet: &[u8], recover: bool, out: &mut [f32]) -> Option<usize> {
                    let from = packet.get(2..10).and_then(|b| b.try_into().ok()).map_or(self.0, i64::from_le_bytes);
                    let from = if recover { from - 960 } else { from };
                    let n = out.len().min(960);
                    out[..n].fill(if from.rem_euclid(96_000) < 48_000 { 0.5 } else { 0.0 });
                    self.0 = from + n as i64;
                    Some(n)
                }
            }
            let sent = Net { seed: 3, loss: 0.0, jitter_ms: 5.0, ppm }.send(600);
            let mut line = Line::new(Policy::Adaptive, Words(0), false);
            let mut next = sent.iter().peekable();
            let mut block = [0.0; BLOCK];
            let (mut most, mut concealed) = (0.0f32, 0.0f32);
            for k in 0..590 * 50i64 {
                let at = k * BLOCK as i64;
                while let Some((_, p)) = next.next_if(|s| s.0 <= at + BLOCK as i64) {
                    line.push(p);
                }
                line.read(BASE + at, &mut block);
                if k % 500 == 499 {
                    concealed = concealed.max(line.report().concealed);
                    if k > 1000 {
                        most = most.max(line.delay_ms());
                    }
                }
            }
            assert!(most < 45.0, "{ppm} ppm: {most} ms");
            assert!(concealed < 0.03, "{ppm} ppm: {concealed} concealed");
        }
    }

    #[test]
    fn a_placed_voice_sounds_at_its_arrival_less_its_lead() {
        for (lead, jitter) in [(0, 0.0), (100, 0.0), (250, 0.0), (100, 60.0)] {
            let mut net = Net { seed: 9, loss: 0.02, jitter_ms: jitter, ppm: 0.0 };
            let sent: Vec<(i64, VoicePacket)> = net
                .send(30)
                .into_iter()
                .map(|(at, p)| (at, VoicePacket { lead: Dur::from_millis(lead), ..p }))
                .collect();
            // 50 Hz repeats after 20 ms: the phase tells the place within that, the packet's number the rest.
            let p = play(&sent, Policy::Placed { budget: 500 * 48 }, 7.0, 700 * 48, 30);
            let part = &p.out[20 * 48_000..28 * 48_000];
            // RTP time r sounds at r + 20 ms of packet + 20 ms + half of the jitter − lead.
            let moved = (40.0 + jitter / 2.0 - lead as f64) * 48.0;
            let off = (-1500i64..=1500)
                .step_by(24)
                .min_by_key(|d| {
                    let wrong = |(i, s): (usize, &f32)| {
                        let rtp = 20 * 48_000 + i as i64 - moved as i64 - d;
                        f64::from(s - tone(7.0, rtp)).powi(2)
                    };
                    (part.iter().enumerate().step_by(97).map(wrong).sum::<f64>() * 1e6) as i64
                })
                .expect("one");
            assert!(off.abs() <= 10 * 48, "lead {lead}, jitter {jitter}: off by {} ms", off as f64 / 48.0);
            assert!(p.concealed < 0.04, "{}", p.concealed);
        }
    }

    #[test]
    fn a_voice_that_ends_fades_is_lost_in_time_and_comes_back() {
        let sent = Net { seed: 2, loss: 0.0, jitter_ms: 2.0, ppm: 0.0 }.send(10);
        let cut: Vec<_> = sent.into_iter().filter(|s| !(200..350).contains(&s.1.sequence)).collect();
        let mut line = Line::new(Policy::Adaptive, Tone { next: 0, hz: 300.0 }, true);
        let mut next = cut.iter().peekable();
        let (mut out, mut block) = (Vec::new(), [0.0; BLOCK]);
        let mut lost = Vec::new();
        assert!(line.lost());
        for k in 0..490i64 {
            let at = k * BLOCK as i64;
            while let Some((_, p)) = next.next_if(|s| s.0 <= at + BLOCK as i64) {
                line.push(p);
            }
            line.read(BASE + at, &mut block);
            out.extend(block);
            lost.push(line.lost());
        }
        assert!(steepest(&out) < 0.021, "{}", steepest(&out));
        assert!(!lost[199] && !lost[215] && lost[235] && lost[340] && !lost[360]);
        assert!(out[220 * 960..345 * 960].iter().all(|&s| s == 0.0));
        let stems: Vec<Stem> = line.stems().collect();
        assert!(stems.len() > 330 && stems.windows(2).all(|w| w[1].at >= w[0].at + 960 - SLIP as i64));
    }

    #[test]
    fn garbage_is_silence() {
        struct Broken;
        impl Decode for Broken {
            fn decode(&mut self, packet: &[u8], _: bool, out: &mut [f32]) -> Option<usize> {
                out.fill([f32::NAN, f32::INFINITY, 1e30, -7.0][packet.len() % 4]);
                (packet.len() != 10).then_some(out.len())
            }
        }
        let sent = Net { seed: 2, loss: 0.1, jitter_ms: 30.0, ppm: 0.0 }.send(5);
        let mut line = Line::new(Policy::Adaptive, Broken, false);
        let mut block = [0.0; BLOCK];
        for (k, (_, p)) in sent.iter().enumerate() {
            line.push(p);
            line.read(BASE + k as i64 * 960, &mut block);
            assert!(block.iter().all(|s| s.abs() <= 2.0));
        }
        assert!(line.take_corrupt() > 0);
    }
}
