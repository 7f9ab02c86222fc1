//! The rooms of one event: who is in which booth, who is on air, who hears what. Pure.
//!
//! **Role.** Decides; the engine mixes ([`Room::plan`]), `rtc` carries, `control` tells everybody.
//! **Data flow.** Commands of people and reports of connections → [`Room`] → [`Effect`]s, the state as it is to be
//! shown and the [`MixPlan`](crate::media::MixPlan). [`lead`] turns arrivals and round trips into the places where
//! voices belong.
//! **Bound.** [`MAX_PER_BOOTH`], [`MAX_MANAGERS`], [`MAX_NAME`], [`MAX_CHAT`], and rates per person ([`limit`]).
//! **Time** comes in as [`Ts`](crate::media::Ts); nothing here waits.
//!
//! # Who is heard
//! A person is heard in the language they speak into when they are on air, their page and their voice are connected,
//! they do not cough and no manager has muted their booth. Whoever is off air, or gone, is in no mix at once: the
//! floor is back along its ramp.
//!
//! # Loops
//! On air, a person carries what they listen to into the language they speak into. These edges never form a circle
//! ([`relay`]): a choice that would close one is refused, and who would close one by going on air or by changing
//! language is put back on the floor and told.

mod grade;
pub mod lead;
mod limit;
mod person;
mod relay;
mod room;
#[cfg(test)]
mod tests;

pub use grade::{Grade, Quality};
pub use limit::{Bucket, Rate};
pub use person::{Person, PersonId, Seat, Source};
pub use relay::{Relay, RelayQuality};
pub use room::{
    Booth, BoothSpec, Chat, ChatTo, Command, Effect, GRACE, Handover, HandoverAction, HandoverKind, Join, MAX_CHAT,
    MAX_MANAGERS, MAX_NAME, MAX_PENDING_VOICES, MAX_PER_BOOTH, Refusal, Room, SLOW_DOWN,
};
