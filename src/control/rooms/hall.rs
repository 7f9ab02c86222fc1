//! One event's rooms while they are open.
//!
//! **Data flow.** Sockets and sessions → [`Hall`] → under its lock [`Room`] decides → plan to [`RoomMedia`], messages
//! to the sockets' queues. A task of its own sends the state, coalesced to one each [`STATE_EVERY`], levels and
//! statistics, sees voices that have stopped, links that run out and people who do not come back.

mod pulse;

use super::booths::Interpreter;
use super::media::{Peer, RoomMedia, RoomSource, Sound, Taken};
use super::protocol::FromDaemon;
use super::voice::VoiceIn;
use super::{Rooms, view};
use crate::booth::{
    BoothSpec, Chat, ChatTo, Command, Effect, Join, Person, PersonId, Quality, Refusal, Room, Seat, Source,
};
use crate::control::Job;
use crate::media::{Dur, MixPlan, Ts, VoiceId, VoiceReport};
use crate::store::{Event, EventId};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// Messages that a socket may be behind: some seconds of the busiest room.
pub(super) const BACKLOG: usize = 128;
/// WHIP and WHEP sessions of one event besides participants': everybody in every room with two each, and some that are
/// about to go.
pub(super) const MAX_SESSIONS: usize = 1_500;
/// How long a participant without picture still hears a language that nobody is on air in: what was said last is on
/// its way through the mixer.
const TAIL: Dur = Dur::from_millis(250);
/// Below this nothing sounds, dB.
const SILENT: f32 = -90.0;
/// The level of nothing at all, dB.
const SILENCE: f32 = -120.0;

/// What let somebody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Grant {
    /// The link's id, or the token's.
    pub link: String,
    /// When it runs out.
    pub expires_at: Option<Ts>,
}

/// How a socket ends.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    token: CancellationToken,
    why: Arc<OnceLock<(&'static str, String)>>,
}

impl End {
    fn close(&self, reason: &'static str, detail: &str) {
        // The first reason counts.
        let _ = self.why.set((reason, detail.to_owned()));
        self.token.cancel();
    }

    /// Completes when the socket is to be closed.
    pub async fn closed(&self) {
        self.token.cancelled().await;
    }

    /// Why, and what to say of it.
    pub fn why(&self) -> Option<(&'static str, &str)> {
        self.why.get().map(|(reason, detail)| (*reason, detail.as_str()))
    }
}

/// What a socket's writer takes.
pub(super) struct Outbox {
    /// Messages in order.
    pub messages: mpsc::Receiver<Arc<str>>,
    /// The end.
    pub end: End,
}

struct Socket {
    connection: u64,
    grant: Grant,
    out: mpsc::Sender<Arc<str>>,
    end: End,
}

impl Socket {
    fn send(&self, text: &Arc<str>) {
        if self.out.try_send(text.clone()).is_err() && !self.end.token.is_cancelled() {
            metrics::counter!("boothcast_room_sockets_slow_total").increment(1);
            self.end.close("slow", "The connection could not keep up; it may be opened again.");
        }
    }
}

/// What a session is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Sends a voice.
    Voice(VoiceId),
    /// Hears what this person listens to.
    Ears(Option<PersonId>),
    /// Hears what it asked for.
    Fixed,
    /// Hears a language, or without picture its interpreters alone.
    Participant(String),
}

impl State {
    /// Everybody who is there, with how their voices arrive.
    pub(super) fn interpreters(&self) -> Vec<Interpreter> {
        let present = self.room.people().filter(|p| p.present());
        let with_voice = |person: &crate::booth::Person| {
            let session = self.sessions.values().find(|s| person.voice.is_some_and(|v| s.kind == Use::Voice(v)));
            Interpreter {
                person: view::person(self, person),
                transport: session.and_then(|s| s.peer.figures().transport),
                voice: person.voice.and_then(|v| self.reports.get(&v)).copied().map(Into::into),
            }
        };
        present.map(with_voice).collect()
    }
}

struct Session {
    kind: Use,
    grant: Grant,
    source: RoomSource,
    peer: Box<dyn Peer>,
}

#[derive(Clone, Copy, Debug, Default)]
struct PageFigures {
    rtt: Option<f64>,
    jitter: Option<f64>,
    loss: Option<f64>,
}

struct Levels {
    floor: f32,
    booths: BTreeMap<String, f32>,
}

pub(super) struct State {
    pub event: Arc<Event>,
    pub room: Room,
    pub reports: HashMap<VoiceId, VoiceReport>,
    pub qualities: HashMap<PersonId, Quality>,
    /// Levels of the languages' mixes as the engine last told.
    pub language_levels: BTreeMap<String, f32>,
    plan: MixPlan,
    sockets: HashMap<PersonId, Socket>,
    sessions: HashMap<String, Session>,
    voices: HashMap<VoiceId, Arc<VoiceIn>>,
    pages: HashMap<PersonId, PageFigures>,
    levels: Option<Levels>,
    /// Since when nobody is on air in a language.
    quiet_since: HashMap<String, Ts>,
    /// What staff was told of each booth.
    noticed: HashMap<String, String>,
    dirty: bool,
    closed: bool,
}

/// The rooms of one event.
pub(super) struct Hall {
    id: EventId,
    rooms: Rooms,
    state: Mutex<State>,
    wake: Notify,
    stop: CancellationToken,
}

/// A person's way in.
pub(super) struct Entered {
    pub person: PersonId,
    pub connection: u64,
    pub resume: String,
    pub outbox: Outbox,
    /// The event's name, for the welcome.
    pub event: Arc<Event>,
}

impl Hall {
    /// Opens an event's rooms.
    pub fn open(rooms: Rooms, event: Arc<Event>, specs: Vec<BoothSpec>) -> Arc<Hall> {
        let state = State {
            room: Room::new(specs),
            reports: HashMap::new(),
            qualities: HashMap::new(),
            language_levels: BTreeMap::new(),
            plan: MixPlan::default(),
            sockets: HashMap::new(),
            sessions: HashMap::new(),
            voices: HashMap::new(),
            pages: HashMap::new(),
            levels: None,
            quiet_since: HashMap::new(),
            noticed: HashMap::new(),
            dirty: true,
            closed: false,
            event: event.clone(),
        };
        let hall = Arc::new(Hall {
            id: event.id.clone(),
            state: Mutex::new(state),
            wake: Notify::new(),
            stop: CancellationToken::new(),
            rooms,
        });
        hall.change(|_| Vec::new());
        let (run, tasks) = (hall.clone(), hall.rooms.0.tasks.clone());
        tasks.clone().spawn("rooms", async move {
            tokio::select! {
                () = run.run() => {}
                () = run.stop.cancelled() => {}
                () = tasks.cancelled() => run.close("event", "The server is stopping; it may be back in a moment."),
            }
        });
        hall
    }

    /// The event.
    pub fn id(&self) -> &EventId {
        &self.id
    }

    /// The media side.
    pub fn media(&self) -> &dyn RoomMedia {
        &*self.rooms.0.media
    }

    fn now(&self) -> Ts {
        self.rooms.0.clock.now()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the rooms.
    pub fn with<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.lock())
    }

    /// Changes the rooms and carries out what follows.
    fn change(&self, change: impl FnOnce(&mut State) -> Vec<Effect>) {
        let mut closing = Vec::new();
        {
            let mut state = self.lock();
            let effects = change(&mut state);
            self.follow(&mut state, effects, &mut closing);
        }
        // Outside the lock: a peer may take a while to go.
        drop(closing);
        self.wake.notify_one();
    }

    /// Carries effects out, and gives the plan to the mixer where it changed.
    fn follow(&self, state: &mut State, effects: Vec<Effect>, closing: &mut Vec<Session>) {
        state.dirty = true;
        for effect in effects {
            match effect {
                Effect::Tell(person, detail) => state.tell(person, &FromDaemon::Error { detail: &detail }),
                Effect::SlowDown { from, booth } => {
                    let text: Arc<str> = FromDaemon::SlowDown { from: from.to_string(), booth: &booth }.json().into();
                    state.sockets.values().for_each(|socket| socket.send(&text));
                }
                Effect::Listen(person, source) => {
                    let sound = sound(&source);
                    for session in state.sessions.values_mut().filter(|s| s.kind == Use::Ears(Some(person))) {
                        session.set(&self.id, sound.clone());
                    }
                }
                // Stored by whoever gave the command.
                Effect::Set { .. } => {}
                Effect::CloseVoice(voice) => {
                    closing.extend(state.take_sessions(|s| s.kind == Use::Voice(voice)));
                    state.voices.remove(&voice);
                    state.reports.remove(&voice);
                }
                Effect::Removed(person) => {
                    if let Some(socket) = state.sockets.remove(&person) {
                        socket.end.close("event", "This booth is not open any more.");
                    }
                    closing.extend(state.take_sessions(|s| s.kind == Use::Ears(Some(person))));
                    state.pages.remove(&person);
                    state.qualities.remove(&person);
                }
            }
        }
        let media = self.media();
        let plan = state.room.plan(|language| media.output(&self.id, language));
        if plan != state.plan {
            media.set_plan(&self.id, plan.clone());
            state.plan = plan;
        }
        let now = self.now();
        for booth in state.room.booths() {
            let language = &booth.spec.language;
            if state.room.on_air(language) {
                state.quiet_since.remove(language);
            } else if !state.quiet_since.contains_key(language) {
                state.quiet_since.insert(language.clone(), now);
            }
        }
        self.silence(state, now);
    }

    /// Participants without picture hear interpreters alone.
    fn silence(&self, state: &mut State, now: Ts) {
        let State { sessions, quiet_since, .. } = state;
        for session in sessions.values_mut() {
            let Use::Participant(language) = &session.kind else { continue };
            let quiet = quiet_since.get(language).is_some_and(|since| now - *since >= TAIL);
            let sound = if quiet && !session.source.video { Sound::Silence } else { Sound::Mix(language.clone()) };
            session.set(&self.id, sound);
        }
    }

    /// Takes over what is stored.
    pub fn configure(&self, event: Arc<Event>, specs: Vec<BoothSpec>) {
        self.change(|state| {
            if event.revision >= state.event.revision {
                state.event = event;
            }
            state.room.configure(specs)
        });
    }

    /// Works the plan out again.
    pub fn replan(&self) {
        self.change(|_| Vec::new());
    }

    /// Ends everything.
    pub fn close(&self, reason: &'static str, detail: &str) {
        let (sessions, sockets) = {
            let mut state = self.lock();
            state.closed = true;
            state.voices.clear();
            view::clear_metrics(&self.id, &state);
            (std::mem::take(&mut state.sessions), std::mem::take(&mut state.sockets))
        };
        sockets.values().for_each(|socket| socket.end.close(reason, detail));
        drop(sessions);
        self.stop.cancel();
    }

    /// Everybody whom a link let in goes.
    pub fn revoke(&self, link: &str, reason: &'static str) {
        let detail = match reason {
            "expired" => "This link has run out.",
            _ => "This link was revoked.",
        };
        let mut closing = Vec::new();
        {
            let mut state = self.lock();
            // Before the room removes them: this is why.
            state.sockets.values().filter(|s| s.grant.link == link).for_each(|s| s.end.close(reason, detail));
            closing.extend(state.take_sessions(|s| s.grant.link == link));
            let effects = state.room.revoke(link);
            self.follow(&mut state, effects, &mut closing);
        }
        drop(closing);
        self.wake.notify_one();
    }

    /// Lets a person in, or in again.
    ///
    /// # Errors
    /// As [`Room::join`].
    pub fn enter(
        &self,
        seat: Seat,
        name: &str,
        grant: Grant,
        resume: Option<&str>,
        fresh: String,
    ) -> Result<Entered, Refusal> {
        let mut closing = Vec::new();
        let entered = {
            let mut state = self.lock();
            if state.closed {
                return Err(Refusal::Unknown);
            }
            let back = resume.and_then(|resume| {
                let (person, effects) = state.room.resume(resume, &grant.link, name)?;
                Some((person, effects, resume.to_owned()))
            });
            let (person, effects, resume) = match back {
                Some(back) => back,
                None => {
                    let join = Join { seat, name: name.to_owned(), link: grant.link.clone(), resume: fresh.clone() };
                    let (person, effects) = state.room.join(join, self.now())?;
                    (person, effects, fresh)
                }
            };
            let connection = state.room.person(person).map_or(0, Person::connection);
            let (out, messages) = mpsc::channel(BACKLOG);
            let end = End::default();
            let socket = Socket { connection, grant, out, end: end.clone() };
            if let Some(old) = state.sockets.insert(person, socket) {
                old.end.close("replaced", "You are connected from another page.");
            }
            let event = state.event.clone();
            let outbox = Outbox { messages, end };
            let entered = Entered { person, connection, resume, outbox, event };
            // The first message is the welcome; what the room has to say comes after it.
            state.welcome(&entered);
            self.follow(&mut state, effects, &mut closing);
            entered
        };
        drop(closing);
        self.wake.notify_one();
        Ok(entered)
    }

    /// A person's page is gone.
    pub fn leave(&self, person: PersonId, connection: u64) {
        let now = self.now();
        self.change(|state| {
            if state.sockets.get(&person).is_some_and(|s| s.connection == connection) {
                state.sockets.remove(&person);
            }
            state.room.leave(person, connection, now);
            Vec::new()
        });
    }

    /// The command of a person's present connection; what a manager sets is given back, to be stored.
    ///
    /// # Errors
    /// As [`Room::apply`].
    pub fn command(&self, entered: (PersonId, u64), command: Command) -> Result<Option<Effect>, Refusal> {
        let mut closing = Vec::new();
        let set = {
            let mut state = self.lock();
            let person = state.present(entered)?;
            let mut effects = state.room.apply(person, command, self.now())?;
            let set = effects.iter().position(|e| matches!(e, Effect::Set { .. })).map(|i| effects.swap_remove(i));
            self.follow(&mut state, effects, &mut closing);
            set
        };
        drop(closing);
        self.wake.notify_one();
        Ok(set)
    }

    /// Sends a chat message on its way.
    ///
    /// # Errors
    /// As [`Room::chat`].
    pub fn chat(
        &self,
        entered: (PersonId, u64),
        to: ChatTo,
        booth: Option<&str>,
        text: &str,
        message: impl FnOnce(&Person, &Chat, Ts) -> String,
    ) -> Result<(), Refusal> {
        let now = self.now();
        let mut state = self.lock();
        let from = state.present(entered)?;
        let chat = state.room.chat(from, to, booth, text, now)?;
        let sender = state.room.person(from).ok_or(Refusal::Unknown)?;
        let text: Arc<str> = message(sender, &chat, now).into();
        for recipient in &chat.recipients {
            if let Some(socket) = state.sockets.get(recipient) {
                socket.send(&text);
            }
        }
        Ok(())
    }

    /// What a page measured, in ms and shares.
    pub fn page_figures(
        &self,
        person: PersonId,
        rtt: Option<f64>,
        jitter: Option<f64>,
        loss: Option<f64>,
        playout: Option<f64>,
    ) {
        /// What is not within 0 and this is no measurement.
        const MOST: f64 = 60_000.0;
        let sound = |value: Option<f64>, most: f64| value.filter(|v| (0.0..=most).contains(v));
        let mut state = self.lock();
        let figures = PageFigures { rtt: sound(rtt, MOST), jitter: sound(jitter, MOST), loss: sound(loss, 1.0) };
        state.pages.insert(person, figures);
        let voice = state.room.person(person).and_then(|p| p.voice).and_then(|v| state.voices.get(&v)).cloned();
        drop(state);
        if let (Some(voice), Some(playout)) = (voice, playout) {
            voice.playout(playout);
        }
    }

    /// A name and a sink for a voice that is about to connect.
    pub fn new_voice(self: &Arc<Self>) -> Arc<VoiceIn> {
        let id = self.lock().room.new_voice();
        Arc::new(VoiceIn::new(id, Arc::downgrade(self)))
    }

    /// Takes a session over: a voice with its sink, or ears. Its peer is closed when the hall cannot have it.
    ///
    /// # Errors
    /// When nobody of that link is meant, or there are too many sessions.
    pub fn add_session(
        self: &Arc<Self>,
        id: &str,
        kind: Use,
        grant: Grant,
        source: RoomSource,
        peer: Box<dyn Peer>,
        voice: Option<(Arc<VoiceIn>, Option<PersonId>)>,
    ) -> Result<(), Refusal> {
        let ended = peer.ended();
        let mut closing = Vec::new();
        {
            let mut state = self.lock();
            if state.closed || state.sessions.len() >= MAX_SESSIONS {
                return Err(Refusal::Full(MAX_SESSIONS));
            }
            let mut effects = Vec::new();
            if let Some((sink, person)) = voice {
                effects = state.room.voice_opened(sink.voice(), &grant.link, person)?;
                // Packets may have come while the answer was made.
                state.room.voice_flowing(sink.voice(), sink.last().is_some());
                state.voices.insert(sink.voice(), sink);
            }
            // A person has one pair of ears: the new ones.
            if let Use::Ears(Some(_)) = kind {
                closing.extend(state.take_sessions(|s| s.kind == kind));
            }
            state.sessions.insert(id.to_owned(), Session { kind, grant, source, peer });
            self.follow(&mut state, effects, &mut closing);
        }
        drop(closing);
        self.wake.notify_one();
        let (hall, id) = (Arc::downgrade(self), id.to_owned());
        let stop = self.stop.clone();
        self.rooms.0.tasks.spawn_until_cancelled("room session", async move {
            tokio::select! {
                () = ended => {}
                () = stop.cancelled() => {}
            }
            if let Some(hall) = hall.upgrade() {
                hall.end_session(&id, None);
            }
        });
        Ok(())
    }

    /// Whose ears a session without a name is: of who came by this link and has none, or of the one who came by it.
    pub fn ears_of(&self, link: &str, person: Option<PersonId>) -> Result<(Option<PersonId>, Sound), Refusal> {
        let state = self.lock();
        let here: Vec<&Person> = state.room.people().filter(|p| p.link == link).collect();
        let found = match person {
            Some(id) => Some(*here.iter().find(|p| p.id == id).ok_or(Refusal::Unknown)?),
            None => {
                let deaf = |p: &&&Person| !state.sessions.values().any(|s| s.kind == Use::Ears(Some(p.id)));
                let present = here.iter().filter(|p| p.present());
                present.clone().rev().find(deaf).or(present.clone().next()).copied()
            }
        };
        Ok((found.map(|p| p.id), found.map_or(Sound::Floor, |p| sound(&p.listen))))
    }

    /// Participants that are connected.
    pub fn participants(&self) -> usize {
        self.lock().sessions.values().filter(|s| matches!(s.kind, Use::Participant(_))).count()
    }

    /// What a participant hears now.
    pub fn participant_sound(&self, language: &str, video: bool) -> Sound {
        let quiet = !video && !self.lock().room.on_air(language);
        if quiet { Sound::Silence } else { Sound::Mix(language.to_owned()) }
    }

    /// Whether the event has a booth for a language.
    pub fn has_booth(&self, language: &str) -> bool {
        self.lock().room.booth(language).is_some()
    }

    /// Ends a session; with a link, only one that it made. False when there is none.
    pub fn end_session(&self, id: &str, link: Option<&str>) -> bool {
        let mut closing = Vec::new();
        {
            let mut state = self.lock();
            if state.sessions.get(id).is_none_or(|s| link.is_some_and(|l| s.grant.link != l)) {
                return false;
            }
            let Some(session) = state.sessions.remove(id) else { return false };
            if let Use::Voice(voice) = session.kind {
                state.room.voice_closed(voice);
                state.voices.remove(&voice);
                state.reports.remove(&voice);
            }
            closing.push(session);
            self.follow(&mut state, Vec::new(), &mut closing);
        }
        drop(closing);
        self.wake.notify_one();
        true
    }

    /// Ends a manager's session. False when there is none with this name.
    pub fn end_monitor(&self, id: &str) -> bool {
        let monitor = self.lock().sessions.get(id).is_some_and(|s| s.kind == Use::Fixed);
        monitor && self.end_session(id, None)
    }

    /// Hands a fragment to a session that a link made; none when there is no such session.
    pub fn patch_session(
        &self,
        id: &str,
        link: &str,
        fragment: String,
        etag: Option<String>,
    ) -> Option<Job<'static, Result<Taken, super::OfferError>>> {
        let state = self.lock();
        let session = state.sessions.get(id).filter(|s| s.grant.link == link)?;
        Some(session.peer.patch(fragment, etag))
    }

    /// A voice's packets come.
    pub fn voice_flows(&self, voice: VoiceId) {
        self.change(|state| {
            state.room.voice_flowing(voice, true);
            Vec::new()
        });
    }

    /// How voices arrive, as the engine reports.
    pub fn reports(&self, reports: &[(VoiceId, VoiceReport)]) {
        let mut state = self.lock();
        for (voice, report) in reports {
            if state.voices.contains_key(voice) {
                state.reports.insert(*voice, *report);
            }
        }
    }

    /// How loud everything is.
    pub fn levels(&self, floor: f32, languages: &[(String, f32)]) {
        let mut state = self.lock();
        // JSON knows no negative infinity.
        let shown = |db: f32| if db.is_nan() { SILENCE } else { db.clamp(SILENCE, 0.0) };
        let floor = shown(floor);
        let booths: BTreeMap<String, f32> = languages.iter().map(|(l, db)| (l.clone(), shown(*db))).collect();
        state.language_levels.clone_from(&booths);
        let sounds = floor > SILENT || booths.values().any(|&db| db > SILENT);
        state.levels = sounds.then_some(Levels { floor, booths });
    }
}

impl State {
    /// The person of a connection, unless another one has taken its place.
    fn present(&self, (person, connection): (PersonId, u64)) -> Result<PersonId, Refusal> {
        let present = self.room.person(person).is_some_and(|p| p.present() && p.connection() == connection);
        if present { Ok(person) } else { Err(Refusal::Unknown) }
    }

    /// Sends a message to one person.
    fn tell(&self, person: PersonId, message: &FromDaemon<'_>) {
        if let Some(socket) = self.sockets.get(&person) {
            socket.send(&message.json().into());
        }
    }

    fn welcome(&self, entered: &Entered) {
        let booth = self.room.person(entered.person).and_then(Person::booth);
        let event = super::protocol::Named { id: self.event.id.as_str(), name: &self.event.settings.name };
        let you = entered.person.to_string();
        self.tell(entered.person, &FromDaemon::Welcome { you, resume: &entered.resume, event, booth });
    }

    fn take_sessions(&mut self, which: impl Fn(&Session) -> bool) -> Vec<Session> {
        let ids: Vec<String> = self.sessions.iter().filter(|(_, s)| which(s)).map(|(id, _)| id.clone()).collect();
        ids.iter().filter_map(|id| self.sessions.remove(id)).collect()
    }

    /// The sink of a person's voice.
    pub fn voice_of(&self, person: &Person) -> Option<&Arc<VoiceIn>> {
        self.voices.get(&person.voice?)
    }
}

impl Session {
    fn set(&mut self, event: &EventId, sound: Sound) {
        if self.source.sound != sound {
            self.source.sound = sound;
            self.peer.set_source(event, &self.source);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.peer.close();
    }
}

/// What of the rooms' sound somebody hears who listens to `source`.
fn sound(source: &Source) -> Sound {
    match source {
        Source::Floor => Sound::Floor,
        Source::Relay(language) => Sound::Mix(language.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_that_is_not_read_is_closed_and_delays_nobody() {
        let (out, mut messages) = mpsc::channel(2);
        let grant = Grant { link: "l".into(), expires_at: None };
        let socket = Socket { connection: 1, grant, out, end: End::default() };
        let text: Arc<str> = "x".into();
        for _ in 0..5 {
            socket.send(&text);
        }
        socket.end.closed().await;
        assert_eq!(socket.end.why().map(|(reason, _)| reason), Some("slow"));
        socket.end.close("event", "too late to matter");
        assert_eq!(socket.end.why().map(|(reason, _)| reason), Some("slow"));
        assert!(messages.recv().await.is_some());
    }
}
