//! Raw clocks of a source become [`Ts`] here, once, and nowhere else.
//!
//! **Role.** Every ingest session owns one [`Timeline`] and passes each access unit's raw time through
//! [`Timeline::stamp`]. All tracks of the session share one mapping `Ts = raw + offset`, so the distance between
//! sound and picture is the source's own.
//!
//! **What is policed** ([`Policy`] holds the limits):
//! - *Wraps* (RTMP's 32-bit milliseconds, MPEG-TS's 33-bit 90 kHz) are unwrapped to the nearest value and not seen outside.
//! - *Jumps* (a restarted encoder, a looped file, a corrected clock) begin a new epoch, common to all tracks: the
//!   timeline goes on by arrival time. Sound and picture jump in different packets; both land on the one new offset,
//!   and what still comes in the old time meanwhile is dropped.
//! - *Gaps*: a long hole that the arrival times confirm begins a new epoch too (references are lost), but keeps the offset.
//! - *Small steps back* are clamped, larger ones dropped; where they persist they are a jump.
//! - *pts before dts* (streams with negative composition offsets): the track's dts is moved earlier, pts stays, for sync
//!   hangs on pts. *Absurd composition offsets* are replaced by the track's last good one.
//! - *Unrelated clocks* of sound and picture (seen from real encoders): the odd track is placed by its arrival.
//! - *Drift* against arrival is measured per track, by windowed minima, and reported in [`Stats`]; it is corrected in
//!   `select`, not here.
//!
//! **Guarantees.** Within an epoch each track's dts rises strictly and pts ≥ dts; no accepted dts lies more than
//! [`Policy::max_gap`] after everything accepted before it. Nothing panics or overflows on any input.
//! **Bound.** Memory is a fixed amount per track, for at most [`MAX_TRACKS`] tracks. There is no queue.

use super::packet::TrackId;
use super::time::{Dur, Ts};
use super::window::MinWindow;

/// Tracks of one source. A contribution has one picture and some languages; a peer that numbers more is hostile.
pub const MAX_TRACKS: usize = 64;

/// Raw times farther than this from zero are refused: 150 years holds Unix time in any scale and leaves the sums
/// below room to stay exact.
const MAX_RAW: Dur = Dur::from_secs(150 * 365 * 86_400);

/// A track that walks back this many times in a row in rising order has been set back, not reordered.
const BACKWARD_RUN: u32 = 3;

/// Buckets of the delay floor that tells a gap from a jump: long enough to span a stall, short enough to follow drift.
const FLOOR_BUCKET: Dur = Dur::from_secs(2);
const FLOOR_BUCKETS: usize = 15;

/// Buckets of the drift measurement: 5 minutes, over which 10 ppm move 3 ms.
const DRIFT_BUCKET: Dur = Dur::from_secs(10);
const DRIFT_BUCKETS: usize = 30;
/// Below one minute a slope says more about jitter than about the clock.
const DRIFT_LEAST: usize = 6;

/// The limits of what a source's clock may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A step ahead of more than this, which the arrival times do not explain, is a jump.
    pub max_jump: Dur,
    /// A hole of more than this is a new epoch even where the arrival times explain it.
    pub max_gap: Dur,
    /// A track's step back of up to this is clamped to just after the packet before.
    pub max_clamp: Dur,
    /// A track's step back of more than this is a jump at once; between the two the packet is dropped.
    pub max_backward: Dur,
    /// The most that pts may follow dts.
    pub max_composition: Dur,
    /// The most that pts may lie before dts, and so the most that dts is moved earlier to make room.
    pub max_lead: Dur,
    /// The most that a track may begin behind the others (interleaving of the muxer).
    pub max_skew: Dur,
    /// How long after a jump another track's packets in the old time are taken for leftovers and dropped.
    pub leftovers: Dur,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            // Muxers hand over in bursts well below this; clock corrections worth a new epoch are above.
            max_jump: Dur::from_secs(1),
            // The GOP of the worst encoders: after this decoders want a key frame anyway.
            max_gap: Dur::from_secs(10),
            // Rounding to milliseconds and one frame of careless muxing at 25 fps.
            max_clamp: Dur::from_millis(50),
            max_backward: Dur::from_secs(1),
            // Four reordered pictures at 1 fps, with room.
            max_composition: Dur::from_secs(5),
            // Twelve reordered pictures at 25 fps; what is more is a broken number.
            max_lead: Dur::from_millis(500),
            max_skew: Dur::from_secs(10),
            leftovers: Dur::from_secs(1),
        }
    }
}

/// A time as the wire has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTime {
    /// Decoding time in units of `1/scale` s.
    pub dts: i64,
    /// Presentation time in units of `1/scale` s.
    pub pts: i64,
    /// Units per second. All tracks of a source share its clock, but not necessarily the scale.
    pub scale: u32,
    /// Low bits that count before the clock wraps: 32 in RTMP, 33 in MPEG-TS, 0 for none; at most 62.
    pub wrap_bits: u32,
}

impl RawTime {
    /// RTMP and FLV: milliseconds in 32 bits, `composition` as in AVCVIDEOPACKET (E.4.3.1 of the FLV specification).
    pub fn rtmp(timestamp: u32, composition: i32) -> RawTime {
        let dts = i64::from(timestamp);
        RawTime { dts, pts: dts + i64::from(composition), scale: 1000, wrap_bits: 32 }
    }

    /// MPEG-TS: 90 kHz in 33 bits (ISO/IEC 13818-1 §2.4.3.7).
    pub fn mpegts(dts: u64, pts: u64) -> RawTime {
        let mask = (1u64 << 33) - 1;
        RawTime { dts: (dts & mask) as i64, pts: (pts & mask) as i64, scale: 90_000, wrap_bits: 33 }
    }
}

/// An accepted time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Decoding time on the source's timeline; the source's first packet is at zero.
    pub dts: Ts,
    /// Presentation time; never before `dts`.
    pub pts: Ts,
    /// Begins at 0 and rises with each jump and each gap too long to bridge.
    pub epoch: u32,
}

/// Why a packet cannot be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// The time has no scale, an impossible wrap or lies beyond any calendar.
    Malformed,
    /// More than [`MAX_TRACKS`] tracks.
    TooManyTracks,
    /// Before what the track has already delivered.
    Backward,
    /// Still in the old time after another track has jumped.
    Leftover,
}

impl DropReason {
    /// For metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            DropReason::Malformed => "malformed_time",
            DropReason::TooManyTracks => "too_many_tracks",
            DropReason::Backward => "backward",
            DropReason::Leftover => "leftover",
        }
    }
}

/// What is to become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Publish it with this time.
    Accept(Stamp),
    /// Forget it; it is counted.
    Drop(DropReason),
}

/// What the source's clock did so far, for health.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Jumps that arrival did not explain; each began an epoch.
    pub jumps: u64,
    /// Holes longer than the limit; each began an epoch.
    pub gaps: u64,
    /// Packets whose dts was moved up to rise.
    pub clamped: u64,
    /// Packets dropped because they lay before what was already delivered.
    pub backward: u64,
    /// Packets dropped because they were still in the old time after a jump.
    pub leftovers: u64,
    /// Packets with pts before dts.
    pub pts_before_dts: u64,
    /// Packets whose composition offset was replaced.
    pub absurd_composition: u64,
    /// Times a track was placed by arrival because its clock had no relation to the others'.
    pub split: u64,
    /// Packets that could not be read as a time, or were of too many tracks.
    pub malformed: u64,
    /// Each track's clock against arrival.
    pub tracks: Vec<TrackStats>,
}

/// A track's clock against the daemon's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackStats {
    /// Which track.
    pub track: TrackId,
    /// How fast the source's clock runs against ours, in ppm: positive when it is slow. None before a minute has passed.
    pub drift_ppm: Option<f64>,
    /// How much later than the earliest track this one arrives for the same time, from recent minima.
    pub behind: Dur,
    /// The last accepted dts.
    pub last_dts: Ts,
    /// When it arrived.
    pub last_arrival: Ts,
}

/// A track's own state.
#[derive(Debug)]
struct TrackState {
    id: TrackId,
    /// Unwrapped time of the last accepted packet.
    raw: Ts,
    /// The epoch that it was accepted in.
    epoch: u32,
    /// Where it was placed, before `shift`.
    placed: Ts,
    /// The dts given out.
    last: Ts,
    /// When it arrived.
    arrival: Ts,
    /// The track's own offset, while its clock has no relation to the others'.
    own_offset: Option<Dur>,
    /// How far dts is moved earlier, so that a pts before it can stay.
    shift: Dur,
    /// The last composition offset within limits.
    composition: Dur,
    /// Dropped steps back in a row, and where the last one was.
    backward: Option<(u32, Ts)>,
    /// Arrival minus placed time.
    delay: MinWindow,
}

/// The clock of one source. See the module's text.
#[derive(Debug)]
pub struct Timeline {
    policy: Policy,
    epoch: u32,
    /// `Ts = raw + offset` in the current epoch; none before the first packet.
    offset: Option<Dur>,
    /// The offset of the epoch before, to find back after a single wrong time.
    previous: Option<Dur>,
    /// When the current epoch began.
    since: Ts,
    /// The newest placed dts of the epoch over all tracks.
    position: Ts,
    /// Arrival minus placed dts, over all tracks: the least is the way without congestion.
    floor: MinWindow,
    tracks: Vec<TrackState>,
    stats: Stats,
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Into the current epoch at the common offset.
    Common,
    /// Into the current epoch at an offset of the track's own.
    Own(Dur),
    /// A new epoch begins with it.
    NewEpoch { offset: Dur, gap: bool },
    /// Nowhere.
    Drop(DropReason),
}

impl Timeline {
    /// A clock that has seen nothing.
    pub fn new(policy: Policy) -> Timeline {
        Timeline {
            policy,
            epoch: 0,
            offset: None,
            previous: None,
            since: Ts::ZERO,
            position: Ts::ZERO,
            floor: MinWindow::new(FLOOR_BUCKET, FLOOR_BUCKETS),
            tracks: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// Places an access unit that arrived at `arrival` on the daemon's clock. Call it in the order of arrival.
    pub fn stamp(&mut self, track: TrackId, raw: RawTime, arrival: Ts) -> Verdict {
        let known = self.tracks.iter().position(|t| t.id == track);
        let state = known.and_then(|i| self.tracks.get(i));
        if state.is_none() && self.tracks.len() >= MAX_TRACKS {
            self.stats.malformed += 1;
            return Verdict::Drop(DropReason::TooManyTracks);
        }
        let Some((dts, composition)) = self.unwrap(state, raw) else {
            self.stats.malformed += 1;
            return Verdict::Drop(DropReason::Malformed);
        };
        let Some(offset) = self.offset else {
            let offset = Ts::ZERO - dts;
            self.offset = Some(offset);
            self.since = arrival;
            return Verdict::Accept(self.accept(known, track, dts, None, offset, composition, arrival));
        };
        let (own, offset) = match self.place(state, dts, offset, arrival) {
            Place::Common => (None, offset),
            Place::Own(own) => {
                if state.is_none_or(|s| s.own_offset != Some(own)) {
                    self.stats.split += 1;
                }
                (Some(own), own)
            }
            Place::NewEpoch { offset, gap } => {
                self.begin_epoch(dts + offset, offset, arrival, gap);
                (None, offset)
            }
            Place::Drop(reason) => {
                self.dropped(known, dts, reason);
                return Verdict::Drop(reason);
            }
        };
        Verdict::Accept(self.accept(known, track, dts, own, offset, composition, arrival))
    }

    /// What the clock did so far.
    pub fn stats(&self) -> Stats {
        let earliest = self.tracks.iter().filter_map(|t| t.delay.min()).min().unwrap_or_default();
        let tracks = self.tracks.iter().map(|t| TrackStats {
            track: t.id,
            drift_ppm: t.delay.slope_ppm(DRIFT_LEAST),
            behind: t.delay.min().unwrap_or_default() - earliest,
            last_dts: t.last,
            last_arrival: t.arrival,
        });
        Stats { tracks: tracks.collect(), ..self.stats.clone() }
    }

    /// The unwrapped dts and the composition offset.
    fn unwrap(&self, state: Option<&TrackState>, raw: RawTime) -> Option<(Ts, Dur)> {
        if raw.scale == 0 || raw.wrap_bits > 62 {
            return None;
        }
        let (dts, pts) = if raw.wrap_bits == 0 {
            (raw.dts, raw.pts)
        } else {
            // A track's own last time is the reference; a new track's is the newest of the others.
            let reference = state.map_or_else(|| self.tracks.iter().map(|t| t.raw).max(), |s| Some(s.raw));
            let low = raw.dts & ((1 << raw.wrap_bits) - 1);
            let dts = reference.map_or(low, |r| nearest(low, r.to_scale(raw.scale), raw.wrap_bits));
            (dts, nearest(raw.pts, dts, raw.wrap_bits))
        };
        let at = Ts::from_scale(dts, raw.scale);
        let composition = Dur::from_scale(pts.saturating_sub(dts), raw.scale);
        ((at - Ts::ZERO).abs() <= MAX_RAW).then_some((at, composition))
    }

    fn place(&self, state: Option<&TrackState>, dts: Ts, offset: Dur, arrival: Ts) -> Place {
        let common = dts + offset;
        match state {
            None if self.joins(common, arrival) => Place::Common,
            None => self.leave(dts, offset, arrival),
            Some(state) if state.epoch != self.epoch => self.join(state, dts, offset, arrival),
            Some(state) => self.go_on(state, dts, offset, arrival),
        }
    }

    /// A track's first packet since the epoch began: it has jumped as well, or is still in the old time.
    fn join(&self, state: &TrackState, dts: Ts, offset: Dur, arrival: Ts) -> Place {
        let waited = (arrival - state.arrival).max(Dur::ZERO);
        let old_step = dts - state.raw;
        let new_step = (dts + offset) - state.placed;
        let in_old_time = (old_step - waited).abs() < (new_step - waited).abs();
        if in_old_time && old_step > -self.policy.max_backward && old_step < self.policy.max_gap + waited {
            if arrival - self.since < self.policy.leftovers {
                return Place::Drop(DropReason::Leftover);
            }
            // It stays in its own time although another track jumped: their clocks are not related.
            let target = self.expected(arrival).max(self.position).min(self.position + self.policy.max_jump);
            return Place::Own(target - dts);
        }
        if self.joins(dts + offset, arrival) { Place::Common } else { self.leave(dts, offset, arrival) }
    }

    /// A further packet of a track within the epoch.
    fn go_on(&self, state: &TrackState, dts: Ts, offset: Dur, arrival: Ts) -> Place {
        let used = state.own_offset.unwrap_or(offset);
        let here = state.own_offset.map_or(Place::Common, Place::Own);
        let placed = dts + used;
        let back = state.placed - placed;
        if back >= Dur::ZERO {
            if back <= self.policy.max_clamp {
                return here;
            }
            let run = state.backward.map_or(1, |(run, at)| if placed > at { run + 1 } else { 1 });
            if back <= self.policy.max_backward && run < BACKWARD_RUN {
                return Place::Drop(DropReason::Backward);
            }
        } else if self.fits(placed, arrival) {
            return here;
        }
        let common = dts + offset;
        if state.own_offset.is_some() && common > state.placed && self.joins(common, arrival) {
            // The odd track has found the others' clock.
            return Place::Common;
        }
        self.leave(dts, used, arrival)
    }

    /// Whether a step to `placed` is one that a source makes without a break.
    fn fits(&self, placed: Ts, arrival: Ts) -> bool {
        let ahead = placed - self.position;
        ahead <= self.policy.max_jump || (ahead <= self.policy.max_gap && !self.early(placed, arrival))
    }

    /// The same for a track's first packet in an epoch, which has no predecessor to hold on to.
    fn joins(&self, placed: Ts, arrival: Ts) -> bool {
        self.position - placed <= self.policy.max_skew && self.fits(placed, arrival)
    }

    /// Whether `placed` would have arrived faster than the network can: then it was not a gap in the source's time.
    fn early(&self, placed: Ts, arrival: Ts) -> bool {
        self.floor.min().is_some_and(|floor| arrival - placed < floor - self.policy.max_jump)
    }

    /// Where the timeline stands at `arrival`, from the fastest recent packets.
    fn expected(&self, arrival: Ts) -> Ts {
        self.floor.min().map_or(self.position, |floor| arrival - floor)
    }

    /// The packet breaks with the current epoch. `used` is the offset that it was tried with.
    fn leave(&self, dts: Ts, used: Dur, arrival: Ts) -> Place {
        let near = |placed: Ts| (placed - self.expected(arrival)).abs() <= self.policy.max_jump;
        if dts + used > self.position && near(dts + used) {
            return Place::NewEpoch { offset: used, gap: true };
        }
        // Back from a single wrong time to where the source was before: as if nothing had happened.
        if let Some(previous) = self.previous
            && near(dts + previous)
        {
            return Place::NewEpoch { offset: previous, gap: false };
        }
        Place::NewEpoch { offset: self.expected(arrival).max(self.position) - dts, gap: false }
    }

    fn begin_epoch(&mut self, first: Ts, offset: Dur, arrival: Ts, gap: bool) {
        if gap {
            self.stats.gaps += 1;
        } else {
            self.stats.jumps += 1;
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.previous = self.offset.replace(offset);
        self.since = arrival;
        self.position = first;
        self.floor.clear();
    }

    fn dropped(&mut self, known: Option<usize>, dts: Ts, reason: DropReason) {
        if reason == DropReason::Leftover {
            self.stats.leftovers += 1;
            return;
        }
        self.stats.backward += 1;
        let offset = self.offset.unwrap_or_default();
        if let Some(state) = known.and_then(|i| self.tracks.get_mut(i)) {
            let placed = dts + state.own_offset.unwrap_or(offset);
            let run = state.backward.map_or(1, |(run, at)| if placed > at { run + 1 } else { 1 });
            state.backward = Some((run, placed));
        }
    }

    /// Books an accepted packet and makes its stamp.
    #[allow(clippy::too_many_arguments)]
    fn accept(
        &mut self,
        known: Option<usize>,
        track: TrackId,
        dts: Ts,
        own_offset: Option<Dur>,
        offset: Dur,
        composition: Dur,
        arrival: Ts,
    ) -> Stamp {
        let placed = dts + offset;
        self.position = self.position.max(placed);
        self.floor.push(arrival, arrival - placed);
        let index = known.unwrap_or_else(|| {
            self.tracks.push(TrackState {
                id: track,
                raw: dts,
                // Any other than the current one: the packet below is the track's first.
                epoch: self.epoch.wrapping_sub(1),
                placed,
                last: placed,
                arrival,
                own_offset: None,
                shift: Dur::ZERO,
                composition: Dur::ZERO,
                backward: None,
                delay: MinWindow::new(DRIFT_BUCKET, DRIFT_BUCKETS),
            });
            self.tracks.len() - 1
        });
        let state = &mut self.tracks[index];
        let first = state.epoch != self.epoch || state.own_offset != own_offset;
        if first {
            state.delay.clear();
        }
        let composition = if composition > self.policy.max_composition || composition < -self.policy.max_lead {
            self.stats.absurd_composition += 1;
            state.composition
        } else {
            composition
        };
        state.composition = composition;
        if composition < Dur::ZERO {
            self.stats.pts_before_dts += 1;
            state.shift = state.shift.max(-composition);
        }
        let wanted = placed - state.shift;
        let stamped = if state.epoch == self.epoch { wanted.max(state.last + Dur::from_flicks(1)) } else { wanted };
        // Making room for a pts before dts moves dts as well; that is not the source's fault twice.
        if stamped > wanted && state.placed >= placed {
            self.stats.clamped += 1;
        }
        state.placed = if state.epoch == self.epoch { state.placed.max(placed) } else { placed };
        state.raw = dts;
        state.epoch = self.epoch;
        state.last = stamped;
        state.arrival = arrival;
        state.own_offset = own_offset;
        state.backward = None;
        state.delay.push(arrival, arrival - placed);
        Stamp { dts: stamped, pts: (placed + composition).max(stamped), epoch: self.epoch }
    }
}

/// The value nearest to `reference` whose low `bits` are those of `value`.
fn nearest(value: i64, reference: i64, bits: u32) -> i64 {
    let shift = 64 - bits;
    // The difference, sign-extended from `bits`.
    let step = (value.wrapping_sub(reference) << shift) >> shift;
    reference.saturating_add(step)
}

#[cfg(test)]
mod tests;
