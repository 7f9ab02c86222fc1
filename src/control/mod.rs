//! The control side over HTTP: the API under `/api/v1`, its description, health, metrics, the pages and the rooms.
//!
//! **Data flow.** Request → id, log and limits ([`api`](Api::router)) → role ([`auth`](self)) → handler → [`crate::store`],
//! then [`Live`], which `app` implements, and the rooms ([`Rooms`]), then [`Notices`] to whoever listens. The store is the truth: a change is stored
//! first and applied to what runs afterwards, one after the other per event, to the end even when the client is gone.
//! **Bound.** Bodies [`MAX_BODY`], answers a page of a list, streams [`MAX_STREAMS`]; connections are bounded by `net`.
//! **A slow reader** of a stream is disconnected once it is [`notices::BACKLOG`] messages behind; it may come again and
//! begins with the present state.

mod api;
mod auth;
mod docs;
mod events;
mod extract;
mod health;
mod inputs;
mod links;
mod live;
pub mod notices;
mod openapi;
mod origins;
mod pages;
mod problem;
mod rooms;
mod state;
mod stream;
#[cfg(test)]
mod tests;
mod validate;
mod view;
mod webhooks;

pub use api::{Api, Setup};
pub use auth::{AdminTokenError, admin_token};
pub use extract::MAX_BODY;
pub use health::metrics_router;
pub use links::Addresses;
pub use live::{Check, Job, Live};
pub use notices::{Notice, Notices};
pub use problem::Problem;
pub use rooms::{Answered, OfferError, Peer, PeerFigures, RoomMedia, RoomSource, Rooms, Sound, Taken, VoiceIn};
pub use stream::MAX_STREAMS;
