//! What others hold: the handle of the driver, and of each session.

use super::core::PeerId;
use super::driver::{self, Command};
use super::{Config, MediaSink, Patched, PeerState, PeerStats, PlaySource, Role, RtcError, VoiceSink};
use crate::media::SharedClock;
use crate::task::Group;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc, oneshot, watch};

/// The handle of the driver; clones are the same driver.
#[derive(Clone)]
pub struct Rtc {
    commands: mpsc::Sender<Command>,
    mailbox: Arc<Mailbox>,
    local: SocketAddr,
}

/// An answered offer.
#[derive(Debug)]
pub struct Accepted {
    /// The answer, for the peer.
    pub answer: String,
    /// The session; dropping it closes the peer.
    pub session: Session,
}

/// What sessions tell the driver without waiting: bounded by the number of sessions, for a newer word replaces an older.
#[derive(Default)]
pub(super) struct Mailbox {
    letters: Mutex<Letters>,
    /// Something is there.
    pub(super) notify: Notify,
}

/// What is in a [`Mailbox`].
#[derive(Default)]
pub(super) struct Letters {
    /// To be closed.
    pub(super) closing: Vec<PeerId>,
    /// To play something else.
    pub(super) sources: Vec<(PeerId, PlaySource)>,
}

impl Mailbox {
    fn write(&self, write: impl FnOnce(&mut Letters)) {
        write(&mut self.letters.lock().unwrap_or_else(PoisonError::into_inner));
        self.notify.notify_one();
    }

    /// Empties it.
    pub(super) fn take(&self) -> Letters {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rtc {
    /// Binds the UDP port and TCP on the same number, and starts the driver as a task of `group`.
    ///
    /// # Errors
    /// When the port cannot be had, or no certificate can be made.
    pub async fn start(config: &Config, group: &Group, clock: SharedClock) -> std::io::Result<Rtc> {
        let (commands, mailbox, local) = driver::start(config, group, clock).await?;
        Ok(Rtc { commands, mailbox, local })
    }

    /// The address that is listened on, with the port that was found.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// WHEP: answers an offer of a receiver; `source` flows until the session ends.
    ///
    /// # Errors
    /// Why the offer is refused.
    pub async fn play(&self, offer: &str, source: PlaySource) -> Result<Accepted, RtcError> {
        self.open(offer, Role::Play(source)).await
    }

    /// WHIP of one voice, Opus alone: its packets go to `sink`.
    ///
    /// # Errors
    /// Why the offer is refused.
    pub async fn voice(&self, offer: &str, sink: Arc<dyn VoiceSink>) -> Result<Accepted, RtcError> {
        self.open(offer, Role::Voice(sink)).await
    }

    /// WHIP of a contribution: access units of H.264 and Opus go to `sink`.
    ///
    /// # Errors
    /// Why the offer is refused.
    pub async fn contribute(&self, offer: &str, sink: Box<dyn MediaSink>) -> Result<Accepted, RtcError> {
        self.open(offer, Role::Contribute(sink)).await
    }

    /// A connection test: answers pings on data channels, counts what comes, sends a voice's worth of silence.
    ///
    /// # Errors
    /// Why the offer is refused.
    pub async fn probe(&self, offer: &str) -> Result<Accepted, RtcError> {
        self.open(offer, Role::Probe).await
    }

    /// Any of them.
    ///
    /// # Errors
    /// Why the offer is refused.
    pub async fn open(&self, offer: &str, role: Role) -> Result<Accepted, RtcError> {
        let gone = || RtcError::Unavailable("it is stopping".into());
        let (reply, answer) = oneshot::channel();
        let offer = offer.to_owned();
        self.commands.send(Command::Open { offer, role, reply }).await.map_err(|_| gone())?;
        let opened = answer.await.map_err(|_| gone())??;
        let session = Session {
            id: opened.id,
            name: opened.name,
            etag: Mutex::new(opened.etag),
            commands: self.commands.clone(),
            mailbox: self.mailbox.clone(),
            stats: opened.stats,
        };
        Ok(Accepted { answer: opened.answer, session })
    }
}

impl fmt::Debug for Rtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rtc").field("local", &self.local).finish_non_exhaustive()
    }
}

/// A live session; dropping it closes the peer.
pub struct Session {
    id: PeerId,
    name: String,
    etag: Mutex<String>,
    commands: mpsc::Sender<Command>,
    mailbox: Arc<Mailbox>,
    stats: watch::Receiver<PeerStats>,
}

impl Session {
    /// Its name: random, so that it can stand in a URL by which the peer ends it.
    pub fn id(&self) -> &str {
        &self.name
    }

    /// The entity tag of its ICE session, without quotes.
    pub fn etag(&self) -> String {
        self.etag.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes the fragment of a PATCH: candidates, or an ICE restart. `etag` is what the request is conditional on
    /// (`If-Match`, without quotes).
    ///
    /// # Errors
    /// [`RtcError::Gone`], [`RtcError::Outdated`], or that the fragment cannot be read.
    pub async fn patch(&self, fragment: &str, etag: Option<&str>) -> Result<Patched, RtcError> {
        let (reply, answer) = oneshot::channel();
        let (fragment, etag) = (fragment.to_owned(), etag.map(str::to_owned));
        let command = Command::Patch { id: self.id, fragment, etag, reply };
        self.commands.send(command).await.map_err(|_| RtcError::Gone)?;
        let patched = answer.await.map_err(|_| RtcError::Gone)??;
        if let Patched::Restarted { etag, .. } = &patched {
            etag.clone_into(&mut self.etag.lock().unwrap_or_else(PoisonError::into_inner));
        }
        Ok(patched)
    }

    /// Closes the peer, telling it.
    pub fn close(&self) {
        self.mailbox.write(|letters| {
            if !letters.closing.contains(&self.id) {
                letters.closing.push(self.id);
            }
        });
    }

    /// What a player plays from now on; the newest word counts.
    pub fn set_source(&self, source: PlaySource) {
        self.mailbox.write(|letters| {
            letters.sources.retain(|(id, _)| *id != self.id);
            letters.sources.push((self.id, source));
        });
    }

    /// Its figures, new every second.
    pub fn stats(&self) -> watch::Receiver<PeerStats> {
        self.stats.clone()
    }

    /// Completes when it is over.
    pub async fn ended(&self) {
        let mut stats = self.stats.clone();
        // The driver that is gone has closed it, too.
        let _ = stats.wait_for(|s| s.state == PeerState::Closed).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.stats.borrow().state != PeerState::Closed {
            self.close();
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("id", &self.id).finish_non_exhaustive()
    }
}
