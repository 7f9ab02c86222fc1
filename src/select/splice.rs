//! Where one run of packets may follow another on the event timeline. Pure.
//!
//! For now a splice is made at a key frame of the new input, placed by arrival. [`Plan`] is also what a splice by matched
//! content would produce: another shift, and pictures before the splice point to decode only.

use crate::media::{Dur, Packet, TrackId, Ts};

/// How much later than its arrival says an input may begin, so that it comes after what was sent. Key frames are large
/// and so arrive later than the pictures that made the clock's minimum: 500 ms is 1 MB at 16 Mbps. The shift only adds
/// latency, and the clock slews it away.
pub const MAX_SHIFT: Dur = Dur::from_millis(500);

/// The same for a key frame that has been waiting: a shift would repeat what was shown, and the next key frame needs
/// none.
pub const MAX_SHIFT_OF_OLD: Dur = Dur::from_millis(50);

/// How far two sound packets of different inputs may overlap before the second is dropped: half an AAC frame at 48 kHz,
/// so that the seam is at the nearest frame.
const SOUND_OVERLAP: Dur = Dur::from_millis(10);

/// What was sent of a track.
#[derive(Clone, Copy, Debug)]
struct Sent {
    id: TrackId,
    epoch: u32,
    dts: Ts,
    /// Where the last packet ends: its latest pts plus its duration.
    end: Ts,
    /// The last step of dts, for packets that do not say how long they last.
    step: Dur,
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
    /// How much programme is missing before it; none where nothing was sent before.
    pub gap: Option<Dur>,
}

impl Edge {
    /// How a run may begin whose first packet, of track `id`, is mapped to `dts` and `pts`, when it may be shifted by
    /// up to `most`.
    ///
    /// # Errors
    /// The overlap with what was sent, where it is more than that.
    pub fn plan(&self, id: TrackId, dts: Ts, pts: Ts, most: Dur) -> Result<Plan, Dur> {
        let Some(sent) = self.tracks.iter().find(|t| t.id == id) else {
            return Ok(Plan { shift: Dur::ZERO, gap: None });
        };
        let overlap = (sent.end - pts).max(sent.dts + Dur::from_flicks(1) - dts).max(Dur::ZERO);
        if overlap > most {
            return Err(overlap);
        }
        Ok(Plan { shift: overlap, gap: Some((pts + overlap - sent.end).max(Dur::ZERO)) })
    }

    /// How much of a track is missing before a packet that would go on with it, by decoding times; none where nothing of
    /// it was sent.
    pub fn gap(&self, id: TrackId, dts: Ts) -> Option<Dur> {
        self.tracks.iter().find(|t| t.id == id).map(|t| (dts - t.dts - t.step).max(Dur::ZERO))
    }

    /// Makes a mapped packet follow what was sent of its track, and books it; false when it must be dropped, because it
    /// overlaps with the epoch before.
    pub fn follow(&mut self, packet: &mut Packet) -> bool {
        let Some(sent) = self.tracks.iter_mut().find(|t| t.id == packet.track.id) else {
            let end = packet.pts + packet.duration;
            let (id, epoch, dts) = (packet.track.id, packet.epoch, packet.dts);
            self.tracks.push(Sent { id, epoch, dts, end, step: packet.duration });
            return true;
        };
        if sent.epoch != packet.epoch {
            if packet.dts <= sent.dts || packet.pts < sent.end - SOUND_OVERLAP {
                return false;
            }
        } else {
            // The map's rounding may put two that are a flick apart on one.
            packet.dts = packet.dts.max(sent.dts + Dur::from_flicks(1));
            packet.pts = packet.pts.max(packet.dts);
            sent.step = packet.dts - sent.dts;
        }
        let duration = if packet.duration > Dur::ZERO { packet.duration } else { sent.step.min(MAX_SHIFT) };
        let end = packet.pts + duration;
        sent.end = if sent.epoch == packet.epoch { sent.end.max(end) } else { end };
        sent.epoch = packet.epoch;
        sent.dts = packet.dts;
        true
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

    #[test]
    fn a_run_begins_where_the_last_one_ended_or_a_little_later() {
        let mut edge = Edge::default();
        let (video, t) = (TrackId::VIDEO, start());
        assert_eq!(edge.plan(video, t, t + ms(40), MAX_SHIFT), Ok(Plan { shift: Dur::ZERO, gap: None }));
        sent(&mut edge, 0, 0, 1000);
        // The last picture is shown from 1000 to 1040 ms and was decoded at 960 ms.
        let plan = |at: i64, most| edge.plan(video, t + ms(at), t + ms(at + 40), most);
        assert_eq!(plan(1000, MAX_SHIFT), Ok(Plan { shift: Dur::ZERO, gap: Some(Dur::ZERO) }));
        assert_eq!(plan(1500, MAX_SHIFT), Ok(Plan { shift: Dur::ZERO, gap: Some(ms(500)) }));
        assert_eq!(plan(600, MAX_SHIFT), Ok(Plan { shift: ms(400), gap: Some(Dur::ZERO) }));
        assert_eq!(plan(600, MAX_SHIFT_OF_OLD), Err(ms(400)));
        assert_eq!(plan(400, MAX_SHIFT), Err(ms(600)));
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
}
