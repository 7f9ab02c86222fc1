//! The media side of the rooms: what [`crate::control`] asks for, carried out by the engines and by WebRTC.
//!
//! **Data flow.** Plans → kept here → every engine of the event. Voices' packets → the event's engine. Offers → `rtc`; what a
//! listener hears follows its wish and the engine that is there: without one it gets nothing, and the sound when one begins.
//! The other way the engine's reports go to the rooms, ten times a second.
//! **Bound.** One task per listener, which ends with its session; sessions are bounded by `rtc`.

use super::event::Air;
use super::pipeline::ROOM_PICTURE;
use super::registry::Registry;
use super::sounds::{self, FLOOR};
use crate::control::{
    Answered, Job, OfferError, Peer, PeerFigures, RoomMedia, RoomSource, Rooms, Sound, Taken, VoiceIn,
};
use crate::deliver::hls::{self, Access, Verdict};
use crate::deliver::webrtc::{Asking, BoxFuture, Denied, Granted, Viewing};
use crate::engine::{Engine, Status};
use crate::hub;
use crate::media::{MixPlan, TrackId, Ts, VoicePacket};
use crate::rtc::{Accepted, Patched, PeerState, PlaySource, Rtc, RtcError, Session, VoiceSink};
use crate::store::EventId;
use crate::task::Group;
use crate::wire::language::autonym;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::sync::watch;

/// A sound that no stream has: its listener is sent none.
const NO_SOUND: TrackId = TrackId(u16::MAX);
/// What the meters of a room show for silence, dB.
const SILENT_DB: f32 = -120.0;

/// One event's rooms, from when it opens until it closes.
struct EventRooms {
    air: watch::Receiver<Option<Air>>,
    plan: MixPlan,
    /// How many watch: an engine makes the rooms' picture while somebody does.
    watchers: usize,
    /// How many hear each sound: an engine encodes what somebody hears.
    listeners: HashMap<String, usize>,
}

impl EventRooms {
    fn engine(&self) -> Option<Arc<Engine>> {
        self.air.borrow().as_ref().map(|air| air.engine.clone())
    }

    /// Tells the engine which realtime sounds are heard, and whether anybody watches.
    fn tell_listeners(&self) {
        let air = self.air.borrow();
        let Some(air) = &*air else { return };
        air.engine.set_room_video(self.watchers > 0);
        let heard = self.listeners.keys().filter_map(|name| sounds::of(&air.sounds, name));
        air.engine.set_realtime(heard.map(|s| s.realtime).collect());
    }
}

/// The rooms' media, of all events.
pub(super) struct Media {
    rtc: Rtc,
    tasks: Group,
    /// Held for a look-up or an assignment and for telling an engine, never across an await.
    events: Mutex<HashMap<EventId, EventRooms>>,
    /// Told of reports; the control side comes after this one.
    rooms: OnceLock<Rooms>,
    /// What is played while no engine runs. Its publisher never says a word.
    nothing: (hub::Publisher, hub::Stream),
}

/// The name under which a sound is counted; none for silence.
fn name(sound: &Sound) -> Option<&str> {
    match sound {
        Sound::Floor => Some(FLOOR),
        Sound::Mix(language) => Some(language),
        Sound::Silence => None,
    }
}

impl Media {
    /// `tasks` own the listeners' tasks.
    pub(super) fn new(rtc: Rtc, tasks: &Group) -> Arc<Media> {
        let (events, rooms) = (Mutex::default(), OnceLock::new());
        Arc::new(Media { rtc, tasks: tasks.child(), events, rooms, nothing: hub::stream(hub::Limits::default()) })
    }

    /// Who is told how voices arrive. To be called once, before events run.
    pub(super) fn set_rooms(&self, rooms: Rooms) {
        let _ = self.rooms.set(rooms);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, EventRooms>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An event begins; `air` is what makes its output. Ends with `group`, as does the event.
    pub(super) fn open(self: &Arc<Self>, event: &EventId, air: watch::Receiver<Option<Air>>, group: &Group) {
        let rooms = EventRooms { air: air.clone(), plan: MixPlan::default(), watchers: 0, listeners: HashMap::new() };
        self.lock().insert(event.clone(), rooms);
        let (media, event) = (self.clone(), event.clone());
        group.spawn_until_cancelled("rooms", async move { media.follow(&event, air).await });
    }

    /// An event ends.
    pub(super) fn close(&self, event: &EventId) {
        self.lock().remove(event);
    }

    /// Tells each engine of the event what is wanted, and the rooms what the engine reports.
    async fn follow(&self, event: &EventId, mut air: watch::Receiver<Option<Air>>) {
        loop {
            let now = air.borrow_and_update().clone();
            if let (Some(now), Some(rooms)) = (&now, self.lock().get(event)) {
                now.engine.set_plan(rooms.plan.clone());
                rooms.tell_listeners();
            }
            // The renditions that the plan names may have changed with it.
            if let Some(rooms) = self.rooms.get() {
                rooms.replan(event);
            }
            let report = async {
                let Some(now) = &now else { return std::future::pending().await };
                let mut status = now.engine.status();
                while status.changed().await.is_ok() {
                    let status = status.borrow_and_update().clone();
                    self.report(event, now, &status);
                }
                // The engine has ended; another one may come.
                std::future::pending().await
            };
            tokio::select! {
                () = report => {}
                changed = air.changed() => if changed.is_err() { return },
            }
        }
    }

    fn report(&self, event: &EventId, air: &Air, status: &Status) {
        let Some(rooms) = self.rooms.get() else { return };
        if !status.voices.is_empty() {
            rooms.voices(event, &status.voices);
        }
        let level = |id: TrackId| {
            let made = status.outputs.iter().find(|o| o.track == id.0);
            // A realtime mix that nobody hears is not made.
            made.map(|o| o.rms_db).filter(|&db| db > SILENT_DB)
        };
        let floor = air.sounds.first().and_then(|floor| status.levels.iter().find(|l| l.track == floor.source.track));
        let languages: Vec<(String, f32)> = air
            .sounds
            .iter()
            .filter(|s| s.listed && s.interpreted)
            // What the rooms hear is nearer to now than the programme.
            .map(|s| (s.language.clone(), level(s.realtime).or(level(s.id)).unwrap_or(SILENT_DB)))
            .collect();
        rooms.levels(event, floor.map_or(SILENT_DB, |l| l.rms_db), &languages);
    }

    /// What a listener gets now. The tracks are named also where there is nothing yet, since the answer to its offer says for
    /// good whether there is a picture.
    fn source(&self, event: &EventId, wanted: &RoomSource) -> PlaySource {
        let video = wanted.video.then_some(ROOM_PICTURE);
        let air = self.lock().get(event).and_then(|e| e.air.borrow().clone());
        let nothing = || PlaySource::new(self.nothing.1.clone(), video, Some(NO_SOUND));
        let Some(Air { engine, sounds }) = air else { return nothing() };
        let sound = name(&wanted.sound).and_then(|name| sounds::of(&sounds, name));
        let stream = match sound {
            Some(sound) => engine.room(sound.realtime),
            // The picture goes with any of them.
            None => sounds.first().and_then(|floor| engine.room(floor.realtime)),
        };
        let Some(stream) = stream else { return nothing() };
        // The engine is not kept by those who watch it.
        let asked = Arc::downgrade(&engine);
        PlaySource::new(stream, video, Some(sound.map_or(NO_SOUND, |s| s.realtime)))
            .on_key_frame(Arc::new(move || asked.upgrade().into_iter().for_each(|engine| engine.key_frame())))
    }

    /// Whether the event has sound in this language now.
    fn has(&self, event: &EventId, language: &str) -> bool {
        let events = self.lock();
        let Some(air) = events.get(event).map(|e| e.air.borrow()) else { return false };
        air.as_ref().is_some_and(|air| sounds::of(&air.sounds, language).is_some())
    }

    /// Counts a listener in or out.
    fn count(&self, event: &EventId, source: &RoomSource, more: bool) {
        let mut events = self.lock();
        let Some(rooms) = events.get_mut(event) else { return };
        let step = |count: usize| if more { count + 1 } else { count.saturating_sub(1) };
        if source.video {
            rooms.watchers = step(rooms.watchers);
        }
        if let Some(name) = name(&source.sound) {
            let count = rooms.listeners.entry(name.to_owned()).or_default();
            *count = step(*count);
            if *count == 0 {
                rooms.listeners.remove(name);
            }
        }
        rooms.tell_listeners();
    }

    /// Keeps a listener at what it wants until its session is over.
    async fn listen(self: Arc<Self>, event: EventId, session: Arc<Session>, mut wanted: watch::Receiver<RoomSource>) {
        let mut air = self.lock().get(&event).map(|e| e.air.clone());
        let mut counted = Counted::new(&self, &event, wanted.borrow_and_update().clone());
        loop {
            let air_changed = async {
                let changed = match &mut air {
                    Some(air) => air.changed().await.is_ok(),
                    None => false,
                };
                if !changed {
                    // No event: nothing more will come.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = session.ended() => break,
                () = air_changed => {}
                changed = wanted.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    // The new one counts before the old one ceases to: an encoder that both hear goes on.
                    counted = Counted::new(&self, &event, wanted.borrow_and_update().clone());
                }
            }
            session.set_source(self.source(&event, &counted.source));
        }
    }
}

/// A listener that is counted for as long as this is held.
struct Counted {
    media: Arc<Media>,
    event: EventId,
    source: RoomSource,
}

impl Counted {
    fn new(media: &Arc<Media>, event: &EventId, source: RoomSource) -> Counted {
        media.count(event, &source, true);
        Counted { media: media.clone(), event: event.clone(), source }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.media.count(&self.event, &self.source, false);
    }
}

/// WHEP for viewers: who may see an event by HLS may see it without delay.
pub(super) struct Views {
    pub(super) media: Arc<Media>,
    pub(super) registry: Arc<Registry>,
}

impl Viewing for Views {
    fn ask<'a>(&'a self, asking: Asking<'a>) -> BoxFuture<'a, Result<Granted, Denied>> {
        Box::pin(async move {
            let event = EventId::parse(asking.event).ok_or(Denied::NoEvent)?;
            let hls =
                hls::Asking { event: asking.event, token: asking.token, peer: asking.peer, headers: asking.headers };
            let preview = match self.registry.shared.previews.check(&hls) {
                Verdict::Denied => return Err(Denied::Forbidden),
                verdict => verdict == Verdict::Preview,
            };
            let mut open = self.registry.open_to_viewers(&event).ok_or(Denied::NoEvent)?;
            if !preview && !*open.borrow_and_update() {
                // As by HLS: whether there is such an event is not told before it is live.
                return Err(Denied::NoEvent);
            }
            let sound = match asking.language {
                None => Sound::Floor,
                Some(language) if self.media.has(&event, language) => Sound::Mix(language.to_owned()),
                Some(_) => return Err(Denied::NoLanguage),
            };
            let source = RoomSource { sound, video: true };
            let (media, first) = (self.media.clone(), self.media.source(&event, &source));
            let opened = move |session: Arc<Session>| {
                let (wanted, tasks) = (watch::Sender::new(source), media.tasks.clone());
                let changes = wanted.subscribe();
                tasks.spawn_until_cancelled("whep viewer", async move {
                    let shut = async {
                        // A manager's preview goes on as long as the event runs.
                        let over = open.wait_for(|open| !open && !preview).await;
                        drop(over);
                    };
                    tokio::select! {
                        () = media.listen(event, session.clone(), changes) => {}
                        () = shut => session.close(),
                    }
                    drop(wanted);
                });
            };
            Ok(Granted { source: first, opened: Some(Box::new(opened)), keep: None })
        })
    }
}

impl From<RtcError> for OfferError {
    fn from(error: RtcError) -> OfferError {
        match error {
            RtcError::Description(_) | RtcError::NotAcceptable(_) => OfferError::Offer(error.to_string()),
            RtcError::Full => OfferError::Full(error.to_string()),
            RtcError::Outdated => OfferError::Outdated(error.to_string()),
            RtcError::Gone | RtcError::Unavailable(_) => OfferError::Unavailable(error.to_string()),
        }
    }
}

/// A peer's session, with what it wants to hear.
struct Listener {
    session: Arc<Session>,
    /// None where nothing is sent.
    wanted: Option<watch::Sender<RoomSource>>,
}

impl Peer for Listener {
    fn etag(&self) -> String {
        self.session.etag()
    }

    fn patch(&self, fragment: String, etag: Option<String>) -> Job<'static, Result<Taken, OfferError>> {
        let session = self.session.clone();
        Box::pin(async move {
            Ok(match session.patch(&fragment, etag.as_deref()).await? {
                Patched::Trickled => Taken::Trickled,
                Patched::Restarted { fragment, etag } => Taken::Restarted { fragment, etag },
            })
        })
    }

    fn set_source(&self, _: &EventId, source: &RoomSource) {
        if let Some(wanted) = &self.wanted {
            wanted.send_if_modified(|now| std::mem::replace(now, source.clone()) != *source);
        }
    }

    fn figures(&self) -> PeerFigures {
        let stats = *self.session.stats().borrow();
        PeerFigures {
            connected: stats.state == PeerState::Connected,
            transport: stats.transport,
            rtt: stats.rtt,
            jitter: stats.jitter,
            loss_up: stats.loss_up,
            loss_down: stats.loss_down,
        }
    }

    fn ended(&self) -> Job<'static, ()> {
        let session = self.session.clone();
        Box::pin(async move { session.ended().await })
    }

    fn close(&self) {
        self.session.close();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.session.close();
    }
}

fn answered(accepted: Accepted) -> (String, Arc<Session>) {
    (accepted.answer, Arc::new(accepted.session))
}

/// A voice's packets on their way to the rooms.
struct VoiceTo(Arc<VoiceIn>);

impl VoiceSink for VoiceTo {
    fn packet(&self, sequence: i64, rtp: i64, arrival: Ts, data: Bytes) {
        self.0.packet(sequence, rtp, arrival, data);
    }
}

/// [`Media`] as the control side holds it.
pub(super) struct Handle(pub(super) Arc<Media>);

impl RoomMedia for Handle {
    fn output(&self, event: &EventId, language: &str) -> Option<TrackId> {
        let events = self.0.lock();
        let air = events.get(event)?.air.borrow();
        sounds::of(&air.as_ref()?.sounds, language).filter(|s| s.interpreted).map(|s| s.id)
    }

    fn name(&self, language: &str) -> String {
        autonym(language).into_owned()
    }

    fn set_plan(&self, event: &EventId, plan: MixPlan) {
        let mut events = self.0.lock();
        let Some(rooms) = events.get_mut(event) else { return };
        rooms.plan = plan;
        if let Some(engine) = rooms.engine() {
            engine.set_plan(rooms.plan.clone());
        }
    }

    fn packet(&self, event: &EventId, packet: VoicePacket) {
        let engine = self.0.lock().get(event).and_then(EventRooms::engine);
        if let Some(engine) = engine {
            engine.voice(packet);
        }
    }

    fn voice(&self, _: &EventId, offer: String, sink: Arc<VoiceIn>) -> Job<'_, Result<Answered, OfferError>> {
        Box::pin(async move {
            let (answer, session) = answered(self.0.rtc.voice(&offer, Arc::new(VoiceTo(sink))).await?);
            Ok(Answered { answer, peer: Box::new(Listener { session, wanted: None }) })
        })
    }

    fn play(&self, event: &EventId, offer: String, source: RoomSource) -> Job<'_, Result<Answered, OfferError>> {
        let event = event.clone();
        Box::pin(async move {
            let (answer, session) = answered(self.0.rtc.play(&offer, self.0.source(&event, &source)).await?);
            let wanted = watch::Sender::new(source);
            let listen = self.0.clone().listen(event, session.clone(), wanted.subscribe());
            self.0.tasks.spawn_until_cancelled("room listener", listen);
            Ok(Answered { answer, peer: Box::new(Listener { session, wanted: Some(wanted) }) })
        })
    }

    fn probe(&self, offer: String) -> Job<'_, Result<Answered, OfferError>> {
        Box::pin(async move {
            let (answer, session) = answered(self.0.rtc.probe(&offer).await?);
            Ok(Answered { answer, peer: Box::new(Listener { session, wanted: None }) })
        })
    }
}
