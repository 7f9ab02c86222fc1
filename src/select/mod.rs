//! One programme from two inputs.
//!
//! ```text
//! main   ──▶ hub ──▶┐ observe → ClockMap ┐
//!                   │                    ├─▶ core: splice, T(pts) ──▶ programme hub ──▶ engine, source packager
//! backup ──▶ hub ──▶┘ health  → Failover ┘                        └─▶ state, switch notices
//! ```
//!
//! **Role.** Both inputs are read always. [`policy::Failover`] says which one viewers should see, [`clockmap::ClockMap`]
//! carries its times onto the event timeline (Unix time), [`splice`] says where one may follow the other, `core` puts
//! that together without IO, and [`Selector`] is the task around it. Nothing after this module changes a timestamp, but
//! for the engine's one clock stage.
//!
//! **Epochs.** The programme's `epoch` rises at each splice: another input, a restarted one, a jump in its time. Its
//! first packet is a video key frame (any sound where the input has no picture), sound before that instant is dropped,
//! and picture and sound share one mapping, so their distance stays the source's. While no input delivers, the
//! programme is silent but does not end: what to show then is the engine's matter.
//!
//! **Bounds.** An input's packets since its newest key frame are held (by reference) for a switch, for at most
//! [`REACH_BACK`] of arrival and [`BACKLOG_BYTES`]. The programme ring has the hub's bounds; a slow reader of it or of
//! the notices lags and never delays the selector. A selector that itself lags behind an input treats that as a break
//! of the input: it goes on at the next key frame in a new epoch.

use crate::media::{Dur, InputName, Ts};
use std::sync::Arc;

pub mod clockmap;
mod core;
pub mod policy;
mod run;
pub mod splice;
#[cfg(test)]
mod testing;

pub use clockmap::ClockConfig;
pub use policy::{Cause, FailoverConfig, Mode};
pub use run::Selector;

/// How old, by arrival, a key frame may be for the programme to begin with it: what comes before the programme delay is
/// only decoded, and the engine is never handed more than its own bound of 2 s at once.
pub const REACH_BACK: Dur = Dur::from_secs(2);

/// Bytes that are held of an input since its key frame: 2 s at 60 Mbps and a large key frame.
pub const BACKLOG_BYTES: usize = 24 << 20;

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
}

/// The active input's name in the API: `main`, `backup` or `slate`.
pub fn active_name(active: Option<InputName>) -> &'static str {
    active.map_or("slate", InputName::as_str)
}
