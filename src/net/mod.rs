//! The network's edge: listening, TLS, and serving HTTP.
//!
//! **Role.** `ingest` and `control` get their sockets here, so that limits, refusals and TLS are the same everywhere.
//! **Data flow.** [`listen`] binds and admits connections, [`tls`] holds the certificate that new handshakes use,
//! [`http`] runs a router on both. [`outgoing`] guards what the daemon itself connects to.
//! **Bound.** Connections in total and per address; bytes and time per request head; time without progress per write.
//! A peer that is slower than that is disconnected, which nobody else notices.

pub mod http;
pub mod io;
pub mod listen;
pub mod outgoing;
mod post;
pub mod tls;

pub use http::{HttpOptions, Transport};
pub use listen::{Admitted, BindError, Gate, Inherited, Limits, Listener, Permit, Refusal, peer_group};
pub use outgoing::{Guard, GuardError, OutgoingUrl, UrlError};
pub use post::{PostError, post};
pub use tls::{Source, Tls, TlsError};
