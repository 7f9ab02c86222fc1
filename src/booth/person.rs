//! People in the rooms.

use super::limit::Bucket;
use crate::media::{Ts, VoiceId};
use std::fmt;

/// A person in an event's rooms; kept through reconnects, never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersonId(pub u32);

impl fmt::Display for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}", self.0)
    }
}

impl PersonId {
    /// As a message names it: `p7`.
    pub fn parse(text: &str) -> Option<PersonId> {
        let digits = text.strip_prefix('p')?;
        // `u32` would also take a sign.
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok().map(PersonId))?
    }
}

/// What somebody is here for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seat {
    /// Interprets in the booth of this language.
    Interpreter(String),
    /// Manages.
    Manager,
}

/// What somebody hears.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The floor.
    Floor,
    /// What is made of the floor for this language.
    Relay(String),
}

impl Source {
    /// As a message names it: `floor` is no language tag, since those begin with two or three letters.
    pub fn parse(text: &str) -> Source {
        if text == "floor" { Source::Floor } else { Source::Relay(text.to_owned()) }
    }

    /// The language of a relay.
    pub fn language(&self) -> Option<&str> {
        match self {
            Source::Floor => None,
            Source::Relay(language) => Some(language),
        }
    }

    /// As in messages.
    pub fn as_str(&self) -> &str {
        self.language().unwrap_or("floor")
    }
}

/// Somebody in the rooms.
#[derive(Clone, Debug)]
pub struct Person {
    /// Who.
    pub id: PersonId,
    /// What they call themselves.
    pub name: String,
    /// What they are here for.
    pub seat: Seat,
    /// The link or token that let them in.
    pub link: String,
    /// The switch; whether they are heard is [`super::Room::heard`].
    pub on_air: bool,
    /// Muted while pressed.
    pub cough: bool,
    /// The language spoken into; none for managers.
    pub outgoing: Option<String>,
    /// What they hear.
    pub listen: Source,
    /// They want a manager.
    pub calling: bool,
    /// The connected voice.
    pub voice: Option<VoiceId>,
    /// Since when the page is gone; none while it is here.
    pub left_at: Option<Ts>,
    /// Lets the same person come again after a lost connection.
    pub(super) resume: String,
    /// Which of the person's connections, one after the other, is the present one.
    pub(super) connection: u64,
    pub(super) commands: Bucket,
    pub(super) chats: Bucket,
}

impl Person {
    /// The booth; none for managers.
    pub fn booth(&self) -> Option<&str> {
        match &self.seat {
            Seat::Interpreter(booth) => Some(booth),
            Seat::Manager => None,
        }
    }

    /// Whether the page is connected.
    pub fn present(&self) -> bool {
        self.left_at.is_none()
    }

    /// The present connection of the page.
    pub fn connection(&self) -> u64 {
        self.connection
    }

    /// Where what they hear goes: from, to. None off air.
    pub(super) fn edge(&self) -> Option<(&Source, &str)> {
        let outgoing = self.outgoing.as_deref().filter(|_| self.on_air && self.present())?;
        Some((&self.listen, outgoing))
    }
}
