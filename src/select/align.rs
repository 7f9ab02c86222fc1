//! How far the clocks of two inputs are apart that carry the same programme. Pure.
//!
//! **By content.** Where one encoder feeds both inputs, their access units are equal byte for byte once `ingest` has taken
//! the container away. Each unit leaves a fingerprint with its source time; one that the other input has too, and both just
//! once, votes for the distance of the two clocks. [`ENOUGH`] votes in a row that agree are certain: units that many pictures
//! of a still scene share, or a looped file's, vote for nothing or against each other.
//!
//! **By sound.** Where two encoders are fed alike, what they send decodes to nearly the same sound. The engine, which can
//! decode, is given both and measures the distance ([`Aligner::alike`]); it holds as long as it is measured again.
//!
//! **Bound.** The fingerprints of [`KEPT`] of each input's time, at most [`UNITS`].

use crate::media::{Dur, InputName, Packet, SoundMatch, Ts};
use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, VecDeque};
use std::hash::Hasher;

/// How far one input may be behind the other so that its content is still recognised.
pub const KEPT: Dur = Dur::from_secs(10);
/// Access units that are remembered of an input: [`KEPT`] of 60 pictures and four tracks of sound a second.
const UNITS: usize = 4096;
/// Smaller units are not told from each other by their bytes: skipped pictures, digital silence.
const LEAST_BYTES: usize = 64;
/// Bytes at either end of a unit that its fingerprint is made of, beside its length: coded data differs all over.
const SAMPLE: usize = 128;
/// Votes in a row that make a distance certain.
pub const ENOUGH: u32 = 8;
/// How far votes may differ, and a unit's place from where it should be: twice what milliseconds round.
pub const NEAR: Dur = Dur::from_millis(2);
/// How long a distance holds after the last vote for it: the loss of an input takes some seconds to be acted on at most.
const HOLDS: Dur = Dur::from_secs(4);
/// The same of a measured distance: a pause in what is said, in which nothing can be measured, is longer.
const SOUND_HOLDS: Dur = Dur::from_secs(15);

/// How the inputs' times are known to belong together. The order is that of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Basis {
    /// By nothing but when they arrive.
    #[default]
    Arrival,
    /// They sound alike.
    Sound,
    /// They are equal.
    Content,
}

impl Basis {
    /// As in the API and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Basis::Arrival => "arrival",
            Basis::Sound => "sound",
            Basis::Content => "content",
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Seen {
    /// Fingerprint, source dts and arrival, oldest first.
    units: VecDeque<(u64, Ts, Ts)>,
    /// Of each fingerprint, its newest source dts and how many units have it.
    places: HashMap<u64, (Ts, u32)>,
}

impl Seen {
    fn push(&mut self, print: u64, packet: &Packet) {
        let place = self.places.entry(print).or_insert((packet.dts, 0));
        *place = (packet.dts, place.1 + 1);
        self.units.push_back((print, packet.dts, packet.arrival));
        while self.units.len() > UNITS || self.units.front().is_some_and(|u| packet.arrival - u.2 > KEPT) {
            let Some((old, ..)) = self.units.pop_front() else { return };
            if let Some(place) = self.places.get_mut(&old) {
                place.1 -= 1;
                if place.1 == 0 {
                    self.places.remove(&old);
                }
            }
        }
    }

    /// Where the one unit with this fingerprint is.
    fn only(&self, print: u64) -> Option<Ts> {
        self.places.get(&print).filter(|(_, times)| *times == 1).map(|(at, _)| *at)
    }
}

/// A distance of the clocks, main's less backup's.
#[derive(Clone, Copy, Debug)]
struct Distance {
    of: Dur,
    votes: u32,
    at: Ts,
}

/// See the module's text.
#[derive(Clone, Debug, Default)]
pub struct Aligner {
    seen: [Seen; 2],
    run: Option<Distance>,
    content: Option<Distance>,
    sound: Option<SoundMatch>,
    /// How often each input's clock has begun anew.
    epochs: [u32; 2],
}

impl Aligner {
    /// An input's clock begins anew: another publisher, or a jump.
    pub fn reset(&mut self, input: InputName) {
        self.seen[input.index()] = Seen::default();
        (self.run, self.content, self.sound) = (None, None, None);
        self.epochs[input.index()] = self.epochs[input.index()].wrapping_add(1);
    }

    /// What [`SoundMatch::epochs`] says of an input whose clock runs as it does now.
    pub fn epoch(&self, input: InputName) -> u32 {
        self.epochs[input.index()]
    }

    /// The inputs were found to sound alike.
    pub fn alike(&mut self, found: SoundMatch) {
        if found.epochs == self.epochs {
            self.sound = Some(found);
        }
    }

    /// A packet of an input, with its times on the source's clock.
    pub fn heard(&mut self, input: InputName, packet: &Packet) {
        if packet.data.len() < LEAST_BYTES {
            return;
        }
        let print = fingerprint(packet);
        if let Some(other) = self.seen[1 - input.index()].only(print)
            && self.seen[input.index()].only(print).is_none()
        {
            let of = match input {
                InputName::Main => packet.dts - other,
                InputName::Backup => other - packet.dts,
            };
            self.vote(of, packet.arrival);
        }
        self.seen[input.index()].push(print, packet);
    }

    fn vote(&mut self, of: Dur, at: Ts) {
        let run = match self.run {
            // Both containers round: the mean is nearer to the truth than any of them.
            Some(run) if (of - run.of).abs() <= NEAR => {
                Distance { of: run.of + (of - run.of) / 16, votes: run.votes.saturating_add(1), at }
            }
            _ => Distance { of, votes: 1, at },
        };
        self.run = Some(run);
        if run.votes >= ENOUGH {
            self.content = Some(run);
        }
    }

    /// What to add to a source time of `from` for the other input's source time of the same instant, and how that is known;
    /// none where it is not.
    pub fn to_other(&self, from: InputName, now: Ts) -> Option<(Dur, Basis)> {
        let content = self.content.filter(|d| now - d.at <= HOLDS).map(|d| (d.of, Basis::Content));
        let sound = || self.sound.filter(|s| now - s.at <= SOUND_HOLDS).map(|s| (s.apart, Basis::Sound));
        let (of, basis) = content.or_else(sound)?;
        Some((if from == InputName::Backup { of } else { -of }, basis))
    }
}

/// Of its length, its track and its two ends. Not against forgery: both inputs have shown the event's key.
fn fingerprint(packet: &Packet) -> u64 {
    let data = &packet.data[..];
    let mut hasher = DefaultHasher::new();
    hasher.write_usize(data.len());
    hasher.write_u16(packet.track.id.0);
    hasher.write(&data[..data.len().min(SAMPLE)]);
    hasher.write(&data[data.len() - data.len().min(SAMPLE)..]);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::testing::{Encoder, Random, ms};
    use bytes::Bytes;
    use proptest::prelude::*;

    const MAIN: InputName = InputName::Main;
    const BACKUP: InputName = InputName::Backup;

    /// Ten seconds of an encoder with content of its own.
    fn programme(content: u64) -> Vec<Packet> {
        Encoder { content, ..Encoder::new() }.packets(0, 0, 10_000, 0, &mut Random(1))
    }

    /// Both inputs in the order of arrival, backup by so much later and with its own clock.
    fn play(aligner: &mut Aligner, main: &[Packet], backup: &[Packet], later: i64, clock: i64) -> Ts {
        let moved = backup.iter().map(|p| {
            let arrival = p.arrival + ms(later);
            (BACKUP, Packet { dts: p.dts + ms(clock), pts: p.pts + ms(clock), arrival, ..p.clone() })
        });
        let mut all: Vec<_> = main.iter().map(|p| (MAIN, p.clone())).chain(moved).collect();
        all.sort_by_key(|(_, p)| p.arrival);
        all.iter().for_each(|(name, p)| aligner.heard(*name, p));
        all.last().expect("packets").1.arrival
    }

    #[test]
    fn equal_feeds_are_found_whatever_their_clocks_and_delays() {
        for (later, clock) in [(0, 0), (300, 5_000_000), (-300, -77), (8000, 1234)] {
            let mut aligner = Aligner::default();
            let now = play(&mut aligner, &programme(1), &programme(1), later, clock);
            assert_eq!(aligner.to_other(BACKUP, now), Some((ms(-clock), Basis::Content)), "{later} ms later");
            assert_eq!(aligner.to_other(MAIN, now), Some((ms(clock), Basis::Content)));
            assert_eq!(aligner.to_other(MAIN, now + HOLDS + ms(1)), None, "it is not for ever");
            aligner.reset(MAIN);
            assert_eq!(aligner.to_other(MAIN, now), None);
        }
    }

    #[test]
    fn a_measured_distance_is_second_to_equal_units_and_ends_with_the_clock_it_was_measured_of() {
        let mut aligner = Aligner::default();
        aligner.reset(MAIN);
        let now = play(&mut aligner, &programme(1), &programme(2), 0, 0);
        let found = |at, epochs| SoundMatch { apart: ms(120), at, epochs };
        aligner.alike(found(now, [0, 0]));
        assert_eq!(aligner.to_other(MAIN, now), None, "of a clock before this one");
        aligner.alike(found(now, [aligner.epoch(MAIN), aligner.epoch(BACKUP)]));
        assert_eq!(aligner.to_other(BACKUP, now), Some((ms(120), Basis::Sound)));
        assert_eq!(aligner.to_other(MAIN, now), Some((ms(-120), Basis::Sound)));
        assert_eq!(aligner.to_other(MAIN, now + SOUND_HOLDS + ms(1)), None);
        aligner.reset(BACKUP);
        assert_eq!(aligner.to_other(MAIN, now), None);

        let mut aligner = Aligner::default();
        let now = play(&mut aligner, &programme(1), &programme(1), 0, 40);
        aligner.alike(found(now, [0, 0]));
        assert_eq!(aligner.to_other(BACKUP, now), Some((ms(-40), Basis::Content)));
    }

    #[test]
    fn other_feeds_and_still_ones_are_not() {
        let mut aligner = Aligner::default();
        let now = play(&mut aligner, &programme(1), &programme(2), 0, 0);
        assert_eq!(aligner.to_other(MAIN, now), None);
        // All pictures the same, as those of a still scene are from one GOP to the next.
        let mut still = programme(1);
        still.iter_mut().for_each(|p| p.data = Bytes::from_static(&[7; 300]));
        let mut aligner = Aligner::default();
        let now = play(&mut aligner, &still, &still, 40, 0);
        assert_eq!(aligner.to_other(MAIN, now), None);
    }

    proptest! {
        /// Two encoders that see the same scene rarely agree on a unit, and never on eight in a row.
        #[test]
        fn a_few_equal_units_are_no_match(seed in any::<u64>(), equal in 0usize..ENOUGH as usize) {
            let (main, mut backup) = (programme(1), programme(2));
            let mut random = Random(seed);
            for _ in 0..equal {
                let i = random.below(backup.len() as i64) as usize;
                backup[i].data = main[random.below(main.len() as i64) as usize].data.clone();
            }
            let mut aligner = Aligner::default();
            let now = play(&mut aligner, &main, &backup, 0, 0);
            prop_assert_eq!(aligner.to_other(MAIN, now), None);
        }

        /// However packets are lost and rounded, what is found is right.
        #[test]
        fn losses_and_rounding_do_not_mislead(seed in any::<u64>(), lost in 0i64..50, later in -3000i64..3000) {
            let mut random = Random(seed);
            let mut thinned = |mut packets: Vec<Packet>| {
                packets.retain(|_| random.below(100) >= lost);
                for p in &mut packets {
                    let off = Dur::from_flicks(random.below(705_600));
                    (p.dts, p.pts) = (p.dts + off, p.pts + off);
                }
                packets
            };
            let (main, backup) = (thinned(programme(1)), thinned(programme(1)));
            let mut aligner = Aligner::default();
            let now = play(&mut aligner, &main, &backup, later, 500);
            if let Some((of, _)) = aligner.to_other(BACKUP, now) {
                prop_assert!((of + ms(500)).abs() <= NEAR, "{of}");
            }
            if lost == 0 {
                prop_assert!(aligner.to_other(BACKUP, now).is_some());
            }
        }
    }
}
