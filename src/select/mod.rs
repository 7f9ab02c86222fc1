//! One programme from two inputs.
//!
//! ```text
//! main   ──▶ hub ──▶┐ observe → ClockMap ┐
//!                   │                    ├─▶ core: splice, T(pts) ──▶ programme hub ──▶ engine, source packager
//! backup ──▶ hub ──▶┘ health  → Failover ┘                        └─▶ state, switch notices
//!                                   ▲ black, frozen, silent, alike, as the engine measured
//! ```
//!
//! **Role.** Both inputs are read always. [`policy::Failover`] says which one viewers should see, [`clockmap::ClockMap`]
//! carries its times onto the event timeline (Unix time), [`splice`] says where one may follow the other, `core` puts
//! that together without IO, and [`Selector`] is the task around it. Nothing after this module changes a timestamp, but
//! for the engine's one clock stage.
//!
//! **Alignment.** Where both inputs carry the same access units, [`align`] finds how far their clocks are apart, whatever
//! protocol brings them, and a switch goes on with the very next access unit: same epoch, nothing lost, nothing twice.
//! Where they do not, the new input begins with the first picture that is missing: what lies between its last key frame and
//! that is marked *decode only*. Which one that is, the sound tells where both sound alike: the engine gets both
//! ([`Selector::sounds`]) and correlates what they decode to. Where they do not either (other microphones, a test tone, a
//! passthrough, which has no engine), the new input is placed by arrival, and a switch repeats or skips what the two arrive
//! apart.
//!
//! **Epochs.** The programme's `epoch` rises at each splice that is not such a continuation: another input, a restarted
//! one, a jump in its time. Its first packet is a video key frame (any sound where the input has no picture), and picture
//! and sound share one mapping, so their distance stays the source's. A run that breaks off may have sent a picture and owe
//! one that is shown before it: the next run begins with the latter, and the engine drops the former. While no input
//! delivers, the programme is silent but does not end: what to show then is the engine's matter.
//!
//! **Bounds.** An input's packets are held (by reference) for a switch, for at most [`REACH_BACK`] of arrival and
//! [`BACKLOG_BYTES`]. A wished-for switch may hold the programme back for [`LONGEST_WAIT`] at most, so that the input to come
//! catches up. The programme ring has the hub's bounds; a slow reader of it or of
//! the notices lags and never delays the selector. A selector that itself lags behind an input treats that as a break
//! of the input: it goes on at the next key frame in a new epoch.

use crate::media::{Dur, InputName, Ts};
use std::sync::Arc;

pub mod align;
pub mod clockmap;
mod core;
pub mod policy;
mod run;
pub mod splice;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use align::Basis;
pub use clockmap::ClockConfig;
pub use policy::{Cause, FailoverConfig, Mode, Triggers};
pub use run::Selector;

/// How old, by arrival, a key frame may be for the programme to begin with it: a GOP of 2 s, the time until a loss is seen,
/// and what the two inputs' networks differ by.
pub const REACH_BACK: Dur = Dur::from_millis(3500);

/// Bytes that are held of an input for a splice: [`REACH_BACK`] at 55 Mbps.
pub const BACKLOG_BYTES: usize = 24 << 20;

/// For how long a wished-for switch may hold the programme back at most: encoders and networks differ by less.
pub const LONGEST_WAIT: Dur = Dur::from_millis(500);

/// Switches that [`State`] remembers.
pub const SWITCHES_KEPT: usize = 32;

/// How an event selects.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// The event's id, for metrics and logs.
    pub event: String,
    /// When to switch.
    pub failover: FailoverConfig,
    /// How the source's clock is followed.
    pub clock: ClockConfig,
    /// For how long the programme may stand still without a viewer noticing: what its delay leaves when everything else is
    /// paid for. None by default.
    pub wait: Dur,
    /// What the programme's ring keeps.
    pub limits: crate::hub::Limits,
}

/// A change of what viewers see.
#[derive(Clone, Debug, PartialEq)]
pub struct Switch {
    /// When it was made, on the daemon's clock.
    pub at: Ts,
    /// Which input fed the programme before; none: the slate.
    pub from: Option<InputName>,
    /// Which one feeds it now; none: the slate.
    pub to: Option<InputName>,
    /// Why.
    pub cause: Cause,
    /// How much programme is missing between the last packet before and the first one after it, measured on the event
    /// timeline; none where there was nothing before or is nothing after.
    pub gap: Option<Dur>,
    /// The programme epoch that begins with it; none when the old one goes on or nothing follows.
    pub epoch: Option<u32>,
    /// How it was known which instant of the new input follows.
    pub basis: Basis,
}

/// What the selector does now, for the API.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Which input feeds the programme; none: the slate.
    pub active: Option<InputName>,
    /// Since when, on the daemon's clock.
    pub since: Ts,
    /// Which input will feed it at its next key frame.
    pub pending: Option<InputName>,
    /// Who decides.
    pub mode: Mode,
    /// The last switches, oldest first, at most [`SWITCHES_KEPT`]. Shared, since every watcher gets a copy.
    pub switches: Arc<[Switch]>,
    /// How the inputs' times belong together, once a second; none while that is not known.
    pub alignment: Option<Alignment>,
    /// What is wrong with each input's content, by [`InputName::index`]: on air as it is now, off air as it was when the
    /// programme left it, which is why it is not taken back by itself.
    pub faults: [Option<Cause>; 2],
}

/// Two inputs that carry the same programme.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    /// How that is known.
    pub basis: Basis,
    /// How much later backup brings the same instant; negative where main is later.
    pub backup_behind: Dur,
}

/// The active input's name in the API: `main`, `backup` or `slate`.
pub fn active_name(active: Option<InputName>) -> &'static str {
    active.map_or("slate", InputName::as_str)
}
