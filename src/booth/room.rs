//! The state of an event's rooms and what changes it.

mod handover;

use super::limit::{Bucket, Rate};
use super::person::{Person, PersonId, Seat, Source};
use super::relay::{self, Relay, RelayQuality};
use crate::media::{Dur, LanguageMix, MixPlan, Ramps, TrackId, Ts, VoiceId};
use std::collections::BTreeMap;

/// People in one booth, those included who have lost their connection: a team is two or three.
pub const MAX_PER_BOOTH: usize = 8;
/// Managers in an event.
pub const MAX_MANAGERS: usize = 16;
/// Characters of a name.
pub const MAX_NAME: usize = 60;
/// Characters of a chat message.
pub const MAX_CHAT: usize = 1_000;
/// Voices that wait for their page, in an event.
pub const MAX_PENDING_VOICES: usize = 16;
/// How long a person whose connection is lost keeps their place and state.
pub const GRACE: Dur = Dur::from_secs(120);
/// How long the call to slow down stands.
pub const SLOW_DOWN: Dur = Dur::from_secs(10);
/// Commands of one person: pressing and letting go of cough quickly, with room.
const COMMANDS: Rate = Rate { burst: 40, every: Dur::from_millis(50) };
/// Chat messages of one person.
const CHATS: Rate = Rate { burst: 8, every: Dur::from_secs(1) };
/// The least floor level above none at all, dB.
const MIN_FLOOR_DB: f32 = -60.0;

/// A booth as the event has it.
#[derive(Clone, Debug, PartialEq)]
pub struct BoothSpec {
    /// The language that it is named after.
    pub language: String,
    /// The other language of a bilingual booth; one that has a booth of its own.
    pub second_language: Option<String>,
    /// Muted by a manager: nobody in it is heard.
    pub muted: bool,
    /// The floor's level under a voice in `language`, dB, at most 0; negative infinity: no floor.
    pub floor_level_db: f32,
}

/// Which way a handover goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverKind {
    /// Someone on air offers the microphone.
    Offer,
    /// Someone off air asks for it.
    Ask,
}

/// A handover that waits for an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Which way.
    pub kind: HandoverKind,
    /// Whose.
    pub from: PersonId,
    /// Since when.
    pub at: Ts,
}

/// A booth as it stands.
#[derive(Clone, Debug)]
pub struct Booth {
    /// What managers set.
    pub spec: BoothSpec,
    /// A handover that waits for an answer.
    pub handover: Option<Handover>,
    /// Until when the floor is asked to slow down.
    pub slow_down_until: Option<Ts>,
}

/// What to do about handing over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandoverAction {
    /// On air: offer the microphone; also agrees to somebody's asking.
    Offer,
    /// Off air: ask for it.
    Ask,
    /// Accept what is open: an offer, by going on air; an asking, by letting the other go on air.
    Take,
    /// Refuse what is open, or withdraw one's own.
    Decline,
}

/// What a person does.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// The switch. Never refused to interpreters.
    OnAir(bool),
    /// Muted while pressed.
    Cough(bool),
    /// What to hear.
    Listen(Source),
    /// Which language to speak into (A/B).
    Outgoing(String),
    /// Handing over.
    Handover(HandoverAction),
    /// Ask the floor to slow down.
    SlowDown,
    /// Call a manager, or no longer.
    CallManager(bool),
    /// Managers: a booth's settings.
    Manage {
        /// The booth's language.
        booth: String,
        /// Whether nobody in it is heard.
        muted: Option<bool>,
        /// The floor's level under a voice, dB.
        floor_level_db: Option<f32>,
    },
    /// Managers: someone's call is answered.
    AnswerCall(PersonId),
}

/// Whom a chat message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChatTo {
    /// A booth; of interpreters, their own unless they name another.
    Booth,
    /// All managers.
    Managers,
    /// Everybody.
    All,
}

/// A chat message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chat {
    /// The text without blanks around it.
    pub text: String,
    /// The booth that it is for.
    pub booth: Option<String>,
    /// Everybody who gets it, the sender included.
    pub recipients: Vec<PersonId>,
}

/// What follows from a change, besides the new state.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Something to say to one person.
    Tell(PersonId, String),
    /// The floor is asked to slow down.
    SlowDown {
        /// By whom.
        from: PersonId,
        /// In which booth.
        booth: String,
    },
    /// What this person hears has changed.
    Listen(PersonId, Source),
    /// A manager sets a booth: to be stored first, then to come back by [`Room::configure`].
    Set {
        /// The booth's language.
        booth: String,
        /// Whether nobody in it is heard.
        muted: Option<bool>,
        /// The floor's level, dB.
        floor_level_db: Option<f32>,
    },
    /// A voice that nobody has any more: to be closed.
    CloseVoice(VoiceId),
    /// The person is not in the rooms any more; their page, if it is still there, is to be closed.
    Removed(PersonId),
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody with this id.
    #[error("you are not in these rooms any more; connect again")]
    Unknown,
    /// Not with this role.
    #[error("{0} is for {1}")]
    Role(&'static str, &'static str),
    /// Too many people.
    #[error("this room is full: {0} people at most")]
    Full(usize),
    /// No such booth.
    #[error("there is no booth for `{0}` in this event")]
    NoBooth(String),
    /// No name, or not one to show.
    #[error("a name has 1 to {MAX_NAME} characters")]
    Name,
    /// Nothing said, or too much.
    #[error("a message has 1 to {MAX_CHAT} characters")]
    Text,
    /// Too often.
    #[error("too many messages; wait a moment")]
    Often,
    /// One would hear oneself.
    #[error("you cannot listen to `{0}` while you are on air: you would hear yourself")]
    Loop(String),
    /// Not a language of this booth.
    #[error("this booth speaks into {0}")]
    Outgoing(String),
    /// Not as the handover stands.
    #[error("{0}")]
    Handover(&'static str),
    /// Not a level.
    #[error("a floor level lies within {MIN_FLOOR_DB} and 0 dB, or is null for no floor")]
    Level,
    /// Too many voices without a page.
    #[error("too many voices are connected without their page; say hello on the WebSocket first")]
    Voices,
}

/// Someone who comes in.
#[derive(Clone, Debug)]
pub struct Join {
    /// What for.
    pub seat: Seat,
    /// What they call themselves.
    pub name: String,
    /// The link or token that let them in.
    pub link: String,
    /// What lets the same person come again: a secret that nobody else has.
    pub resume: String,
}

#[derive(Clone, Debug)]
struct Voice {
    /// Whose; none while its page has not said hello.
    holder: Option<PersonId>,
    link: String,
    /// Whether packets come.
    flowing: bool,
}

/// An event's rooms.
#[derive(Clone, Debug, Default)]
pub struct Room {
    /// In the order of the event's languages.
    booths: Vec<Booth>,
    people: BTreeMap<PersonId, Person>,
    voices: BTreeMap<VoiceId, Voice>,
    ramps: Ramps,
    last_person: u32,
    last_voice: u32,
    last_connection: u64,
}

/// A level that can be, with everything below the least taken for no floor.
fn floor_level(db: f32) -> Option<f32> {
    match db {
        db if db.is_nan() || db > 0.0 => None,
        db if db < MIN_FLOOR_DB => Some(f32::NEG_INFINITY),
        db => Some(db),
    }
}

/// A text without blanks around it and without control characters, 1 to `most` characters.
fn clean(text: &str, most: usize, lines: bool) -> Option<String> {
    let text = text.trim();
    let shown = |c: char| !c.is_control() || (lines && c == '\n');
    (!text.is_empty() && text.chars().count() <= most && text.chars().all(shown)).then(|| text.to_owned())
}

impl Room {
    /// With these booths, and nobody in them.
    pub fn new(booths: Vec<BoothSpec>) -> Room {
        let mut room = Room::default();
        room.configure(booths);
        room
    }

    /// The booths, in the order of the event's languages.
    pub fn booths(&self) -> &[Booth] {
        &self.booths
    }

    /// One booth.
    pub fn booth(&self, language: &str) -> Option<&Booth> {
        self.booths.iter().find(|b| b.spec.language == language)
    }

    /// Everybody, those included who have lost their connection.
    pub fn people(&self) -> impl Iterator<Item = &Person> {
        self.people.values()
    }

    /// One person.
    pub fn person(&self, id: PersonId) -> Option<&Person> {
        self.people.get(&id)
    }

    /// Takes over the booths as the event has them now. People of booths that are gone are removed; who listened to
    /// them hears the floor; who spoke into a language that their booth no longer has speaks into the booth's own.
    pub fn configure(&mut self, specs: Vec<BoothSpec>) -> Vec<Effect> {
        let languages: Vec<String> = specs.iter().map(|s| s.language.clone()).collect();
        let mut before = std::mem::take(&mut self.booths);
        for mut spec in specs {
            let elsewhere = |second: &String| *second != spec.language && languages.contains(second);
            spec.second_language = spec.second_language.filter(elsewhere);
            spec.floor_level_db = floor_level(spec.floor_level_db).unwrap_or(0.0);
            let kept = before.iter().position(|b| b.spec.language == spec.language).map(|i| before.swap_remove(i));
            let (handover, slow_down_until) = kept.map_or((None, None), |b| (b.handover, b.slow_down_until));
            self.booths.push(Booth { spec, handover, slow_down_until });
        }
        let mut effects = Vec::new();
        let ids: Vec<PersonId> = self.people.keys().copied().collect();
        for id in ids {
            let Some(person) = self.people.get(&id) else { continue };
            let booth = person.booth().map(|b| self.booth(b));
            if let Some(None) = booth {
                self.remove(id, &mut effects);
                continue;
            }
            let outgoing = booth.flatten().filter(|b| !b.speaks(person.outgoing.as_deref()));
            let outgoing = outgoing.map(|b| b.spec.language.clone());
            let listens_to_nothing = person.listen.language().is_some_and(|l| !languages.iter().any(|x| x == l));
            if let (Some(language), Some(person)) = (outgoing, self.people.get_mut(&id)) {
                let text = format!("You speak into {language} again: the booth has no other language any more.");
                effects.push(Effect::Tell(id, text));
                person.outgoing = Some(language);
            }
            if listens_to_nothing {
                self.back_to_floor(id, "The language that you listened to is gone: you hear the floor.", &mut effects);
            } else {
                self.settle(id, &mut effects);
            }
        }
        effects
    }

    /// Lets somebody in, off air and hearing the floor.
    ///
    /// # Errors
    /// When the name cannot be one, there is no such booth, or the room is full of people who are there.
    pub fn join(&mut self, join: Join, now: Ts) -> Result<(PersonId, Vec<Effect>), Refusal> {
        let name = clean(&join.name, MAX_NAME, false).ok_or(Refusal::Name)?;
        let most = match &join.seat {
            Seat::Interpreter(booth) => {
                self.booth(booth).ok_or_else(|| Refusal::NoBooth(booth.clone()))?;
                MAX_PER_BOOTH
            }
            Seat::Manager => MAX_MANAGERS,
        };
        let mut effects = Vec::new();
        let here: Vec<&Person> = self.people.values().filter(|p| p.seat == join.seat).collect();
        if here.len() >= most {
            // Who is gone makes room for who comes.
            let gone = here.iter().filter_map(|p| Some((p.left_at?, p.id))).min();
            let (_, gone) = gone.ok_or(Refusal::Full(most))?;
            self.remove(gone, &mut effects);
        }
        self.last_person += 1;
        self.last_connection += 1;
        let id = PersonId(self.last_person);
        let outgoing = match &join.seat {
            Seat::Interpreter(booth) => Some(booth.clone()),
            Seat::Manager => None,
        };
        // A voice that was faster than its page.
        let waiting = matches!(join.seat, Seat::Interpreter(_))
            .then(|| self.voices.iter_mut().find(|(_, v)| v.holder.is_none() && v.link == join.link))
            .flatten();
        let voice = waiting.map(|(voice, held)| {
            held.holder = Some(id);
            *voice
        });
        let person = Person {
            id,
            name,
            seat: join.seat,
            link: join.link,
            on_air: false,
            cough: false,
            outgoing,
            listen: Source::Floor,
            calling: false,
            voice,
            left_at: None,
            resume: join.resume,
            connection: self.last_connection,
            commands: Bucket::new(now),
            chats: Bucket::new(now),
        };
        self.people.insert(id, person);
        Ok((id, effects))
    }

    /// Lets somebody come again, in the state that they left, under the name they give now; none when they are not
    /// known any more. A connection that they still had is thereby an old one.
    pub fn resume(&mut self, resume: &str, link: &str, name: &str) -> Option<(PersonId, Vec<Effect>)> {
        let person = self.people.values_mut().find(|p| p.resume == resume && p.link == link)?;
        self.last_connection += 1;
        person.connection = self.last_connection;
        person.left_at = None;
        // Nobody holds a key down across a reconnect.
        person.cough = false;
        if let Some(name) = clean(name, MAX_NAME, false) {
            person.name = name;
        }
        let id = person.id;
        let mut effects = Vec::new();
        self.settle(id, &mut effects);
        Some((id, effects))
    }

    /// A page is gone: its person is not heard any more, and keeps their state for [`GRACE`]. An old connection of
    /// someone who is back changes nothing.
    pub fn leave(&mut self, id: PersonId, connection: u64, now: Ts) {
        let Some(person) = self.people.get_mut(&id).filter(|p| p.connection == connection) else { return };
        person.left_at.get_or_insert(now);
        person.cough = false;
        self.tidy();
    }

    /// Removes everybody whom this link let in, with their voices.
    pub fn revoke(&mut self, link: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        let people: Vec<PersonId> = self.people.values().filter(|p| p.link == link).map(|p| p.id).collect();
        for id in people {
            self.remove(id, &mut effects);
        }
        let voices: Vec<VoiceId> = self.voices.iter().filter(|(_, v)| v.link == link).map(|(id, _)| *id).collect();
        for id in voices {
            self.voices.remove(&id);
            effects.push(Effect::CloseVoice(id));
        }
        effects
    }

    /// A name for a voice that is about to connect.
    pub fn new_voice(&mut self) -> VoiceId {
        self.last_voice += 1;
        VoiceId(self.last_voice)
    }

    /// A voice has connected by a link. It is the named person's; without a name, of who came by that link and has
    /// none, or of the one who came by it, or it waits for its page. The voice that its person had before is closed.
    ///
    /// # Errors
    /// When the named person did not come by this link, or too many voices wait.
    pub fn voice_opened(&mut self, id: VoiceId, link: &str, person: Option<PersonId>) -> Result<Vec<Effect>, Refusal> {
        let speaks = |p: &&Person| p.link == link && matches!(p.seat, Seat::Interpreter(_));
        let holder = match person {
            Some(id) => Some(self.people.get(&id).filter(speaks).ok_or(Refusal::Unknown)?.id),
            None => {
                let here: Vec<&Person> = self.people.values().filter(speaks).filter(|p| p.present()).collect();
                let without = here.iter().rev().find(|p| p.voice.is_none());
                without.or(if let [one] = here.as_slice() { Some(one) } else { None }).map(|p| p.id)
            }
        };
        if holder.is_none() && self.voices.values().filter(|v| v.holder.is_none()).count() >= MAX_PENDING_VOICES {
            return Err(Refusal::Voices);
        }
        self.voices.insert(id, Voice { holder, link: link.to_owned(), flowing: false });
        let mut effects = Vec::new();
        if let Some(person) = holder.and_then(|h| self.people.get_mut(&h))
            && let Some(old) = person.voice.replace(id)
        {
            self.voices.remove(&old);
            effects.push(Effect::CloseVoice(old));
        }
        Ok(effects)
    }

    /// A voice's packets have begun to come, or stopped. False when that is known already. Until the first one, and
    /// without packets, a voice is connected in name only: its speaker is not heard, and the floor is not lowered for
    /// silence.
    pub fn voice_flowing(&mut self, id: VoiceId, flowing: bool) -> bool {
        match self.voices.get_mut(&id) {
            Some(voice) if voice.flowing != flowing => {
                voice.flowing = flowing;
                true
            }
            _ => false,
        }
    }

    /// A voice is gone; what it was is known to be closed.
    pub fn voice_closed(&mut self, id: VoiceId) {
        let held = self.voices.remove(&id).and_then(|v| v.holder);
        if let Some(person) = held.and_then(|h| self.people.get_mut(&h))
            && person.voice == Some(id)
        {
            person.voice = None;
        }
    }

    /// Whose voice it is.
    pub fn speaker(&self, id: VoiceId) -> Option<&Person> {
        self.people.get(&self.voices.get(&id)?.holder?)
    }

    /// What time alone changes; true when anything did.
    pub fn tick(&mut self, now: Ts) -> (bool, Vec<Effect>) {
        let mut changed = false;
        for booth in &mut self.booths {
            if booth.slow_down_until.is_some_and(|until| until <= now) {
                booth.slow_down_until = None;
                changed = true;
            }
        }
        let mut effects = Vec::new();
        let over = |p: &&Person| p.left_at.is_some_and(|left| now - left >= GRACE);
        let gone: Vec<PersonId> = self.people.values().filter(over).map(|p| p.id).collect();
        for id in gone {
            self.remove(id, &mut effects);
            changed = true;
        }
        (changed, effects)
    }

    /// A person does something.
    ///
    /// # Errors
    /// When it cannot be as things stand. Nothing has changed then.
    pub fn apply(&mut self, id: PersonId, command: Command, now: Ts) -> Result<Vec<Effect>, Refusal> {
        // A page that is gone does nothing any more.
        let person = self.people.get_mut(&id).filter(|p| p.present()).ok_or(Refusal::Unknown)?;
        // Letting go is always possible: off air and the end of a cough must never be lost.
        let free = matches!(command, Command::OnAir(false) | Command::Cough(_));
        if !person.commands.take(COMMANDS, now) && !free {
            return Err(Refusal::Often);
        }
        match (&person.seat, &command) {
            (Seat::Manager, Command::OnAir(_) | Command::Cough(_) | Command::Outgoing(_) | Command::Handover(_)) => {
                return Err(Refusal::Role("speaking", "interpreters"));
            }
            (Seat::Manager, Command::SlowDown | Command::CallManager(_)) => {
                return Err(Refusal::Role("this", "interpreters"));
            }
            (Seat::Interpreter(_), Command::Manage { .. } | Command::AnswerCall(_)) => {
                return Err(Refusal::Role("this", "managers"));
            }
            _ => {}
        }
        let mut effects = Vec::new();
        match command {
            Command::OnAir(value) => {
                person.on_air = value;
                self.settle(id, &mut effects);
                self.tidy();
            }
            Command::Cough(value) => person.cough = value,
            Command::Listen(source) => {
                self.listen(id, source)?;
                if let Some(person) = self.people.get(&id) {
                    effects.push(Effect::Listen(id, person.listen.clone()));
                }
            }
            Command::Outgoing(language) => {
                let booth = person.booth().unwrap_or_default().to_owned();
                let booth = self.booth(&booth).ok_or(Refusal::NoBooth(booth))?;
                if !booth.speaks(Some(&language)) {
                    let own = &booth.spec.language;
                    let all = booth.spec.second_language.as_ref().map_or(own.clone(), |s| format!("{own} and {s}"));
                    return Err(Refusal::Outgoing(all));
                }
                if let Some(person) = self.people.get_mut(&id) {
                    person.outgoing = Some(language);
                }
                self.settle(id, &mut effects);
            }
            Command::Handover(action) => self.hand_over(id, action, now, &mut effects)?,
            Command::SlowDown => {
                let booth = person.booth().unwrap_or_default().to_owned();
                let found = self.booths.iter_mut().find(|b| b.spec.language == booth);
                let found = found.ok_or_else(|| Refusal::NoBooth(booth.clone()))?;
                // While it stands it is not told again.
                let stands = found.slow_down_until.is_some_and(|until| until > now);
                found.slow_down_until = Some(now + SLOW_DOWN);
                if !stands {
                    effects.push(Effect::SlowDown { from: id, booth });
                }
            }
            Command::CallManager(value) => person.calling = value,
            Command::Manage { booth, muted, floor_level_db } => {
                let floor_level_db = floor_level_db.map(|db| floor_level(db).ok_or(Refusal::Level)).transpose()?;
                self.booth(&booth).ok_or_else(|| Refusal::NoBooth(booth.clone()))?;
                effects.push(Effect::Set { booth, muted, floor_level_db });
            }
            Command::AnswerCall(who) => {
                let caller = self.people.get_mut(&who).ok_or(Refusal::Unknown)?;
                caller.calling = false;
            }
        }
        Ok(effects)
    }

    /// Takes a chat message on its way.
    ///
    /// # Errors
    /// When it is empty, too long, too soon, or for a booth that does not exist.
    pub fn chat(
        &mut self,
        from: PersonId,
        to: ChatTo,
        booth: Option<&str>,
        text: &str,
        now: Ts,
    ) -> Result<Chat, Refusal> {
        let sender = self.people.get_mut(&from).filter(|p| p.present()).ok_or(Refusal::Unknown)?;
        let text = clean(text, MAX_CHAT, true).ok_or(Refusal::Text)?;
        if !sender.chats.take(CHATS, now) {
            return Err(Refusal::Often);
        }
        let booth = match to {
            ChatTo::Booth => {
                let named = booth.or(sender.booth()).unwrap_or_default().to_owned();
                Some(self.booth(&named).map(|b| b.spec.language.clone()).ok_or(Refusal::NoBooth(named))?)
            }
            ChatTo::Managers | ChatTo::All => None,
        };
        let meant = |p: &&Person| match to {
            ChatTo::Booth => p.booth() == booth.as_deref(),
            ChatTo::Managers => p.seat == Seat::Manager,
            ChatTo::All => true,
        };
        let gets = |p: &&Person| p.present() && (p.id == from || meant(p));
        let recipients = self.people.values().filter(gets).map(|p| p.id).collect();
        Ok(Chat { text, booth, recipients })
    }

    /// Whether this person's voice arrives.
    pub fn connected(&self, person: &Person) -> bool {
        person.voice.and_then(|v| self.voices.get(&v)).is_some_and(|v| v.flowing)
    }

    /// Whether viewers hear this person: on air, connected with page and voice, neither coughing nor muted.
    pub fn heard(&self, person: &Person) -> bool {
        let flowing = self.connected(person);
        let muted = person.booth().and_then(|b| self.booth(b)).is_none_or(|b| b.spec.muted);
        person.on_air && person.present() && flowing && !person.cough && !muted && person.outgoing.is_some()
    }

    /// Who is heard in a language, wherever they sit.
    pub fn heard_in<'a>(&'a self, language: &'a str) -> impl Iterator<Item = &'a Person> {
        self.people.values().filter(move |p| p.outgoing.as_deref() == Some(language) && self.heard(p))
    }

    /// Whether anybody is heard in a language.
    pub fn on_air(&self, language: &str) -> bool {
        self.heard_in(language).next().is_some()
    }

    /// Open microphones of a booth; two or more are worth a warning.
    pub fn open<'a>(&'a self, booth: &'a str) -> impl Iterator<Item = &'a Person> {
        self.people.values().filter(move |p| p.booth() == Some(booth) && p.on_air && p.present())
    }

    /// How far what is heard in a language is from what was said.
    pub fn quality(&self, language: &str) -> RelayQuality {
        if !self.on_air(language) {
            return RelayQuality::Floor;
        }
        let relayed = |p: &Person| p.listen.language().is_some_and(|heard| self.on_air(heard));
        if self.heard_in(language).any(relayed) { RelayQuality::Relay } else { RelayQuality::Direct }
    }

    /// What this person can listen to: the floor, then the booths' languages.
    pub fn relays(&self, id: PersonId) -> Vec<Relay> {
        let edges = self.edges(Some(id));
        let speaker = self.people.get(&id).and_then(Person::edge);
        let relay = |booth: &Booth| {
            let language = booth.spec.language.as_str();
            let source = Source::Relay(language.to_owned());
            let own = speaker.filter(|(_, outgoing)| relay::hears_itself(&edges, outgoing, &source));
            let refused = own.map(|(_, outgoing)| {
                if outgoing == language {
                    "You speak into this language now."
                } else {
                    "Its interpreters hear you: you would hear yourself."
                }
            });
            Relay { quality: self.quality(language), source, refused }
        };
        let floor = Relay { source: Source::Floor, quality: RelayQuality::Floor, refused: None };
        std::iter::once(floor).chain(self.booths.iter().map(relay)).collect()
    }

    /// What the engine is to mix. `output` names a language's sound rendition; languages without one are left out.
    pub fn plan(&self, output: impl Fn(&str) -> Option<TrackId>) -> MixPlan {
        let mix = |booth: &Booth| {
            let language = booth.spec.language.as_str();
            Some(LanguageMix {
                output: output(language)?,
                on_air: self.heard_in(language).filter_map(|p| p.voice).collect(),
                floor_level_db: booth.spec.floor_level_db,
            })
        };
        let voices = self.people.values().filter(|p| p.present()).filter_map(|p| p.voice).collect();
        MixPlan { languages: self.booths.iter().filter_map(mix).collect(), voices, ramps: self.ramps }
    }

    /// Where what people hear goes, of everybody on air but one.
    fn edges(&self, without: Option<PersonId>) -> Vec<(&Source, &str)> {
        self.people.values().filter(|p| Some(p.id) != without).filter_map(Person::edge).collect()
    }

    fn listen(&mut self, id: PersonId, source: Source) -> Result<(), Refusal> {
        if let Some(language) = source.language() {
            self.booth(language).ok_or_else(|| Refusal::NoBooth(language.to_owned()))?;
            let edges = self.edges(Some(id));
            let speaker = self.people.get(&id).and_then(Person::edge);
            if speaker.is_some_and(|(_, outgoing)| relay::hears_itself(&edges, outgoing, &source)) {
                return Err(Refusal::Loop(language.to_owned()));
            }
        }
        if let Some(person) = self.people.get_mut(&id) {
            person.listen = source;
        }
        Ok(())
    }

    /// Puts somebody back on the floor whose going on air or changing language has closed a circle.
    fn settle(&mut self, id: PersonId, effects: &mut Vec<Effect>) {
        let edges = self.edges(Some(id));
        let speaker = self.people.get(&id).and_then(Person::edge);
        if speaker.is_some_and(|(listen, outgoing)| relay::hears_itself(&edges, outgoing, listen)) {
            self.back_to_floor(id, "You would have heard yourself: you hear the floor now.", effects);
        }
    }

    fn back_to_floor(&mut self, id: PersonId, why: &str, effects: &mut Vec<Effect>) {
        let Some(person) = self.people.get_mut(&id) else { return };
        person.listen = Source::Floor;
        effects.push(Effect::Tell(id, why.to_owned()));
        effects.push(Effect::Listen(id, Source::Floor));
    }

    fn remove(&mut self, id: PersonId, effects: &mut Vec<Effect>) {
        let Some(person) = self.people.remove(&id) else { return };
        if let Some(voice) = person.voice {
            self.voices.remove(&voice);
            effects.push(Effect::CloseVoice(voice));
        }
        effects.push(Effect::Removed(id));
        self.tidy();
    }
}

impl Booth {
    /// Whether the booth speaks into a language.
    pub fn speaks(&self, language: Option<&str>) -> bool {
        language.is_some_and(|l| self.spec.language == l || self.spec.second_language.as_deref() == Some(l))
    }
}
