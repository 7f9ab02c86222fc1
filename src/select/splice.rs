//! Where one run of packets may follow another on the event timeline. Pure.
//!
//! Pictures are sent in the order of decoding, so that a run that breaks off may have shown a picture and miss one before it.
//! What follows begins where the pictures have their first hole ([`Edge::end`]); the engine drops what it holds from there on.

use super::clockmap::Slots;
use crate::media::{Dur, Packet, Track, TrackId, Ts};
use std::collections::VecDeque;
use std::sync::Arc;

/// How far two sound packets of different inputs may overlap before the second is dropped: half an AAC frame at 48 kHz,
/// so that the seam is at the nearest frame.
const SOUND_OVERLAP: Dur = Dur::from_millis(10);

/// How far two runs of pictures may overlap so that the second begins on a slot all the same: more than what containers
/// round, far less than a picture.
pub const ROUNDING: Dur = Dur::from_millis(2);

/// Pictures of a track that are looked at for holes: codecs reorder by at most 16.
const REORDERED: usize = 32;

/// A picture lasts no longer than this unless it says so.
const LONGEST: Dur = Dur::from_millis(500);

/// What was sent of a track.
#[derive(Clone, Debug)]
struct Sent {
    track: Arc<Track>,
    epoch: u32,
    dts: Ts,
    /// Where the last packet ends: its latest pts plus its duration.
    end: Ts,
    /// The last step of dts, for packets that do not say how long they last.
    step: Dur,
    /// The last pictures of the epoch: dts, pts and duration.
    pictures: VecDeque<(Ts, Ts, Dur)>,
    /// Another input has just gone on with it: what that one has sent before comes twice.
    joined: bool,
}

impl Sent {
    fn new(packet: &Packet) -> Sent {
        let end = packet.pts + packet.duration;
        let mut sent = Sent {
            track: packet.track.clone(),
            epoch: packet.epoch,
            dts: packet.dts,
            end,
            step: packet.duration,
            pictures: VecDeque::new(),
            joined: false,
        };
        sent.keep(packet);
        sent
    }

    fn keep(&mut self, packet: &Packet) {
        if packet.track.is_video() {
            self.pictures.push_back((packet.dts, packet.pts, packet.duration));
            if self.pictures.len() > REORDERED {
                self.pictures.pop_front();
            }
        }
    }

    /// Up to where it is complete.
    fn complete(&self) -> Ts {
        let steps = self.pictures.iter().zip(self.pictures.iter().skip(1)).map(|(a, b)| b.0 - a.0);
        let Some(step) = steps.filter(|&s| s > ROUNDING).min().or(Some(self.step)).map(|s| s.min(LONGEST)) else {
            return self.end;
        };
        let mut spans: Vec<(Ts, Ts)> =
            self.pictures.iter().map(|&(_, pts, d)| (pts, pts + if d > Dur::ZERO { d } else { step })).collect();
        spans.sort_unstable();
        // Nothing that is decoded later is shown before its decoding.
        let certain = self.dts + step;
        let begin = spans.iter().filter(|s| s.0 < certain).map(|s| s.1).max();
        let Some(mut end) = begin.or(spans.first().map(|s| s.0)) else { return self.end };
        for (start, stop) in spans {
            if start <= end + ROUNDING {
                end = end.max(stop);
            }
        }
        end
    }
}

/// What the programme has sent, for monotony and to measure gaps.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    tracks: Vec<Sent>,
}

/// How a run of packets begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Added to the times that the clock says.
    pub shift: Dur,
    /// The first instant of it that is shown; what comes before it is only decoded.
    pub splice: Ts,
    /// How much programme is missing before it; none where nothing was sent before.
    pub gap: Option<Dur>,
}

impl Edge {
    fn sent(&self, id: TrackId) -> Option<&Sent> {
        self.tracks.iter().find(|t| t.track.id == id)
    }

    /// Up to where a track has been sent without a hole; none where nothing of it was.
    pub fn end(&self, id: TrackId) -> Option<Ts> {
        self.sent(id).map(Sent::complete)
    }

    /// Up to where anything that was sent is shown or sounds; none where nothing was.
    pub fn latest(&self) -> Option<Ts> {
        self.tracks.iter().map(|t| t.end).max()
    }

    /// How a run may begin that has pictures at these times, as the clock says: with the first that follows what was sent,
    /// moved by up to half a frame onto one of `slots`; or, where pictures lie between two slots, by a little more, if that
    /// leaves less out. None where all of it has been shown.
    pub fn plan(&self, id: TrackId, mut pictures: Vec<Ts>, slots: Option<Slots>) -> Option<Plan> {
        pictures.sort_unstable();
        let end = self.end(id);
        let plan = |pts: Ts, shift: Dur| {
            let splice = pts + shift;
            let follows = end.is_none_or(|end| splice >= end - ROUNDING);
            follows.then(|| Plan { shift, splice, gap: end.map(|end| (splice - end).max(Dur::ZERO)) })
        };
        let mut before = None;
        for pts in pictures {
            let late = end.map_or(Dur::ZERO, |end| (end - pts).max(Dur::ZERO));
            let shift = slots.map_or(if late <= ROUNDING { late } else { Dur::ZERO }, |slots| slots.to_nearest(pts));
            if let Some(found) = plan(pts, shift) {
                return before.filter(|b: &Plan| b.gap < found.gap).or(Some(found));
            }
            before = slots.and_then(|slots| plan(pts, slots.to_next(pts)));
        }
        before
    }

    /// How a run may begin that has only sound: with the first packet that follows what was sent.
    pub fn plan_sound(&self, id: TrackId, packets: impl Iterator<Item = Ts>) -> Option<Plan> {
        let end = self.sent(id).map(|s| s.end);
        let mut following = packets.filter(|&pts| end.is_none_or(|end| pts >= end - SOUND_OVERLAP));
        let splice = following.next()?;
        Some(Plan { shift: Dur::ZERO, splice, gap: end.map(|end| (splice - end).max(Dur::ZERO)) })
    }

    /// How much of a track is missing before a packet that would go on with it, by decoding times; none where nothing of
    /// it was sent.
    pub fn gap(&self, id: TrackId, dts: Ts) -> Option<Dur> {
        self.sent(id).map(|t| (dts - t.dts - t.step).max(Dur::ZERO))
    }

    /// Where sound of a new epoch begins that is shown from `splice` on: where the sound before it ended, if that is near.
    /// None where the epoch's sound has begun.
    pub fn sound_from(&self, id: TrackId, epoch: u32, splice: Ts) -> Option<Ts> {
        let Some(sent) = self.sent(id) else { return Some(splice) };
        if sent.epoch == epoch {
            return None;
        }
        let near = (splice - sent.end).abs() <= LONGEST;
        Some(if near { sent.end - SOUND_OVERLAP } else { splice })
    }

    /// Another input goes on with what was sent, in the same epoch.
    pub fn join(&mut self) {
        for sent in self.tracks.iter_mut().filter(|t| !t.track.is_video()) {
            sent.joined = true;
        }
    }

    /// Makes a mapped packet follow what was sent of its track, and books it; false when it must be dropped, because it
    /// overlaps with what was sent. What is only decoded keeps its pts, which then is before its dts.
    pub fn follow(&mut self, packet: &mut Packet) -> bool {
        let Some(sent) = self.tracks.iter_mut().find(|t| t.track.id == packet.track.id) else {
            self.tracks.push(Sent::new(packet));
            return true;
        };
        if packet.decode_only {
            packet.dts = packet.dts.max(sent.dts + Dur::from_flicks(1));
            sent.dts = packet.dts;
            Self::share(sent, packet);
            return true;
        }
        let first = sent.epoch != packet.epoch;
        if first {
            if packet.pts < sent.end - SOUND_OVERLAP && !packet.track.is_video() {
                return false;
            }
            sent.pictures.clear();
        }
        if sent.joined {
            if packet.dts <= sent.dts + sent.step / 2 {
                return false;
            }
            sent.joined = false;
        }
        // The map's rounding may put two that are a flick apart on one.
        packet.dts = packet.dts.max(sent.dts + Dur::from_flicks(1));
        packet.pts = packet.pts.max(packet.dts);
        if !first {
            sent.step = packet.dts - sent.dts;
        }
        let duration = if packet.duration > Dur::ZERO { packet.duration } else { sent.step.min(LONGEST) };
        let end = packet.pts + duration;
        sent.end = if first { end } else { sent.end.max(end) };
        sent.epoch = packet.epoch;
        sent.dts = packet.dts;
        sent.keep(packet);
        Self::share(sent, packet);
        true
    }

    /// Equal tracks of two inputs are one: nobody after this begins anew where nothing has changed.
    fn share(sent: &mut Sent, packet: &mut Packet) {
        if Arc::ptr_eq(&sent.track, &packet.track) {
            return;
        }
        if *sent.track == *packet.track {
            packet.track = sent.track.clone();
        } else {
            sent.track = packet.track.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::select::testing::{Encoder, Random, ms, start};

    fn sent(edge: &mut Edge, epoch: u32, from: i64, to: i64) -> Vec<Packet> {
        let mut packets = Encoder::new().packets(0, from, to, epoch, &mut Random(1));
        for p in &mut packets {
            let distance = p.pts - p.dts;
            p.dts = start() + (p.dts - Ts::ZERO);
            p.pts = p.dts + distance;
        }
        packets.retain_mut(|p| edge.follow(p));
        packets
    }

    fn plan(edge: &Edge, at: &[i64], slots: bool) -> Option<(i64, i64, Option<i64>)> {
        let slots = slots.then(|| Slots::new(ms(40), None));
        let plan = edge.plan(TrackId::VIDEO, at.iter().map(|at| start() + ms(*at)).collect(), slots)?;
        Some((plan.shift.as_millis(), (plan.splice - start()).as_millis(), plan.gap.map(Dur::as_millis)))
    }

    #[test]
    fn a_run_begins_with_its_first_picture_after_what_was_sent() {
        let mut edge = Edge::default();
        assert_eq!(plan(&edge, &[40], false), Some((0, 40, None)));
        sent(&mut edge, 0, 0, 1000);
        assert_eq!(edge.end(TrackId::VIDEO), Some(start() + ms(1040)));
        assert_eq!(plan(&edge, &[1040, 1120, 1080], false), Some((0, 1040, Some(0))));
        assert_eq!(plan(&edge, &[600, 680, 640], false), None);
        assert_eq!(plan(&edge, &[960, 1000, 1040, 1080], false), Some((0, 1040, Some(0))));
        assert_eq!(plan(&edge, &[1039], false), Some((1, 1040, Some(0))));
        assert_eq!(plan(&edge, &[1540], false), Some((0, 1540, Some(500))));
    }

    #[test]
    fn a_run_of_pictures_begins_on_a_slot() {
        let mut edge = Edge::default();
        assert_eq!(plan(&edge, &[15], true), Some((-15, 0, None)));
        assert_eq!(plan(&edge, &[25], true), Some((15, 40, None)));
        sent(&mut edge, 0, 0, 1000);
        assert_eq!(plan(&edge, &[1041], true), Some((-1, 1040, Some(0))));
        assert_eq!(plan(&edge, &[1015, 1055], true), Some((-15, 1040, Some(0))));
        assert_eq!(plan(&edge, &[1025], true), Some((15, 1040, Some(0))));
        assert_eq!(plan(&edge, &[1105], true), Some((15, 1120, Some(80))));
        // Between two slots: rather a little later than with a hole.
        assert_eq!(plan(&edge, &[1022, 1062], true), Some((18, 1040, Some(0))));
        assert_eq!(plan(&edge, &[1018, 1058], true), Some((-18, 1040, Some(0))));
    }

    #[test]
    fn what_is_decoded_before_it_is_shown_leaves_no_hole() {
        let mut edge = Edge::default();
        // I P B P B: after a B all is there; after a P, the B that is shown before it is missing.
        sent(&mut edge, 0, 0, 920);
        assert_eq!(edge.end(TrackId::VIDEO), Some(start() + ms(960)));
        let mut edge = Edge::default();
        sent(&mut edge, 0, 0, 960);
        assert_eq!(edge.end(TrackId::VIDEO), Some(start() + ms(960)), "the P at 1000 has a hole before it");
    }

    #[test]
    fn sound_that_overlaps_the_epoch_before_is_dropped_and_within_an_epoch_all_rises() {
        let mut edge = Edge::default();
        assert_eq!(sent(&mut edge, 0, 0, 1000).len(), 75);
        let second = sent(&mut edge, 1, 900, 2000);
        assert!(second.iter().all(|p| p.track.is_video() || p.dts >= start() + ms(1000)), "{:?}", second.first());
        assert_eq!(second.iter().filter(|p| !p.track.is_video()).count(), 50);
        // Twice the same instant in one epoch: the second is moved by a flick.
        let mut packet = second.last().expect("packets").clone();
        let dts = packet.dts;
        assert!(edge.follow(&mut packet));
        assert_eq!(packet.dts, dts + Dur::from_flicks(1));
        assert_eq!(edge.gap(packet.track.id, dts), Some(Dur::ZERO));
    }

    #[test]
    fn sound_that_another_input_goes_on_with_comes_once() {
        let mut edge = Edge::default();
        let first = sent(&mut edge, 0, 0, 1000);
        edge.join();
        let second = sent(&mut edge, 0, 940, 1200);
        let sound: Vec<i64> =
            second.iter().filter(|p| !p.track.is_video()).map(|p| (p.dts - start()).as_millis()).collect();
        assert_eq!(sound, (1000..1200).step_by(20).collect::<Vec<_>>());
        // Equal tracks are one from then on.
        assert!(Arc::ptr_eq(&first[1].track, &second.last().expect("packets").track));
    }
}
