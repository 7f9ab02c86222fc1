//! The rooms as people, staff and metrics see them.

use super::hall::State;
use super::media::RoomMedia;
use super::protocol::{
    BoothState, EventState, FromDaemon, HandoverState, PersonState, QualityState, RelayState, State as Message,
};
use crate::booth::{HandoverKind, Person, PersonId, Quality, Room, Seat};
use crate::control::notices::{Audience, Notice, rfc3339};
use crate::media::{Dur, Ts};
use crate::store::EventId;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

/// A measured value as shown: a decimal or three, so that noise is no change.
fn rounded(value: f64, scale: f64) -> f64 {
    (value * scale).round() / scale
}

/// A quality as shown.
pub(super) fn quality(quality: &Quality) -> QualityState {
    let ms = |dur: Dur| rounded(dur.as_secs_f64() * 1000.0, 1.0);
    QualityState {
        rtt_ms: quality.rtt.map(ms),
        jitter_ms: quality.jitter.map(|dur| rounded(dur.as_secs_f64() * 1000.0, 10.0)),
        loss_up: quality.loss_up.map(|share| rounded(share, 1000.0)),
        loss_down: quality.loss_down.map(|share| rounded(share, 1000.0)),
        grade: quality.grade().map(|grade| grade.as_str()),
    }
}

/// A level as shown; none for negative infinity, which JSON does not know.
fn level(db: f32) -> Option<f32> {
    db.is_finite().then_some(db)
}

pub(super) fn role(person: &Person) -> &'static str {
    match person.seat {
        Seat::Interpreter(_) => "interpreter",
        Seat::Manager => "manager",
    }
}

fn at(ts: Ts) -> String {
    rfc3339(crate::control::api::wall(ts))
}

/// A person as shown.
pub(super) fn person(state: &State, person: &Person) -> PersonState {
    PersonState {
        id: person.id.to_string(),
        name: person.name.clone(),
        role: role(person),
        booth: person.booth().map(str::to_owned),
        on_air: person.on_air,
        cough: person.cough,
        connected: state.room.connected(person),
        heard: state.room.heard(person),
        outgoing: person.outgoing.clone(),
        listen: person.listen.as_str().to_owned(),
        calling: person.calling,
        quality: state.qualities.get(&person.id).map(quality).unwrap_or_default(),
    }
}

/// Everybody who is there.
pub(super) fn people(state: &State) -> Vec<PersonState> {
    state.room.people().filter(|p| p.present()).map(|p| person(state, p)).collect()
}

fn booths(room: &Room, media: &dyn RoomMedia) -> Vec<BoothState> {
    let shown = |booth: &crate::booth::Booth| {
        let language = &booth.spec.language;
        BoothState {
            language: language.clone(),
            name: media.name(language),
            second_language: booth.spec.second_language.clone(),
            muted: booth.spec.muted,
            floor_level_db: level(booth.spec.floor_level_db),
            on_air: room.on_air(language),
            handover: booth.handover.as_ref().map(|handover| HandoverState {
                kind: match handover.kind {
                    HandoverKind::Offer => "offer",
                    HandoverKind::Ask => "ask",
                },
                from: handover.from.to_string(),
                at: at(handover.at),
            }),
            slow_down: booth.slow_down_until.is_some(),
            open: room.open(language).map(|p| p.id.to_string()).collect(),
        }
    };
    room.booths().iter().map(shown).collect()
}

/// The parts of the state that are the same for everybody.
pub(super) struct Shown {
    booths: Vec<BoothState>,
    people: Vec<PersonState>,
}

impl Shown {
    pub fn new(state: &State, media: &dyn RoomMedia) -> Shown {
        Shown { booths: booths(&state.room, media), people: people(state) }
    }

    /// The message for one person.
    pub fn message(&self, state: &State, to: PersonId, media: &dyn RoomMedia, at: OffsetDateTime) -> String {
        let event = &state.event;
        let floor = &event.settings.floor_language;
        let relay = |relay: crate::booth::Relay| RelayState {
            name: media.name(relay.source.language().unwrap_or(floor)),
            source: relay.source.as_str().to_owned(),
            quality: relay.quality.as_str(),
            refused: relay.refused,
        };
        let message = Message {
            at: rfc3339(at),
            event: EventState {
                id: event.id.as_str(),
                name: &event.settings.name,
                status: event.status.as_str(),
                floor_language: floor,
            },
            booths: &self.booths,
            people: &self.people,
            relays: state.room.relays(to).into_iter().map(relay).collect(),
        };
        FromDaemon::State(message).json()
    }

    /// What staff is told of each booth: its language, what of it makes a difference, and the notice.
    pub fn notices(&self, state: &State, at: OffsetDateTime) -> Vec<(String, String, Notice)> {
        let told = |booth: &BoothState| {
            let in_it = self.people.iter().filter(|p| p.booth.as_ref() == Some(&booth.language));
            let people: Vec<Value> = in_it
                .map(
                    |p| json!({"id": p.id, "name": p.name, "on_air": p.on_air, "heard": p.heard, "calling": p.calling}),
                )
                .collect();
            let fields = Map::from_iter([
                ("event".to_owned(), Value::from(state.event.id.as_str())),
                ("language".to_owned(), booth.language.as_str().into()),
                ("on_air".to_owned(), booth.on_air.into()),
                ("muted".to_owned(), booth.muted.into()),
                ("floor_level_db".to_owned(), booth.floor_level_db.into()),
                ("second_language".to_owned(), booth.second_language.as_deref().into()),
                ("people".to_owned(), people.into()),
            ]);
            let summary = Value::Object(fields.clone()).to_string();
            (booth.language.clone(), summary, Notice::new("booth", Audience::Staff, at, fields))
        };
        self.booths.iter().map(told).collect()
    }
}

/// A level when nothing sounds, dB.
const SILENCE: f64 = -120.0;

/// The gauges that a booth has, per event and language, and what each is where nothing happens.
const GAUGES: [(&str, f64); 11] = [
    ("boothcast_booth_on_air", 0.0),
    ("boothcast_booth_people", 0.0),
    ("boothcast_booth_muted", 0.0),
    ("boothcast_booth_level_db", SILENCE),
    ("boothcast_booth_voice_level_db", SILENCE),
    ("boothcast_booth_voice_jitter_seconds", 0.0),
    ("boothcast_booth_voice_loss_ratio", 0.0),
    ("boothcast_booth_voice_concealed_ratio", 0.0),
    ("boothcast_booth_voice_recovered_ratio", 0.0),
    ("boothcast_booth_voice_delay_seconds", 0.0),
    ("boothcast_booth_voice_lead_seconds", 0.0),
];

fn set(event: &EventId, language: &str, values: [f64; GAUGES.len()]) {
    for ((name, _), value) in GAUGES.into_iter().zip(values) {
        metrics::gauge!(name, "event" => event.to_string(), "language" => language.to_owned()).set(value);
    }
}

/// Tells the metrics of each booth. Of the voices heard in its language, the worst figure counts.
pub(super) fn metrics(event: &EventId, state: &State) {
    for booth in state.room.booths() {
        let language = &booth.spec.language;
        let heard: Vec<&Person> = state.room.heard_in(language).collect();
        let reports = || heard.iter().filter_map(|p| state.reports.get(&p.voice?));
        let worst = |figure: fn(&crate::media::VoiceReport) -> f32, none: f64| {
            reports().map(|r| f64::from(figure(r))).fold(none, f64::max)
        };
        let lead = heard.iter().filter_map(|p| state.voice_of(p)).map(|v| v.lead().as_secs_f64()).fold(0.0, f64::max);
        let in_it = state.room.people().filter(|p| p.booth() == Some(language) && p.present()).count();
        let values = [
            f64::from(u8::from(!heard.is_empty())),
            in_it as f64,
            f64::from(u8::from(booth.spec.muted)),
            state.language_levels.get(language).map_or(SILENCE, |&db| f64::from(db)).max(SILENCE),
            worst(|r| r.level_db, SILENCE),
            worst(|r| r.jitter_ms, 0.0) / 1000.0,
            worst(|r| r.loss, 0.0),
            worst(|r| r.concealed, 0.0),
            worst(|r| r.recovered, 0.0),
            worst(|r| r.delay_ms, 0.0) / 1000.0,
            lead,
        ];
        set(event, language, values);
    }
}

/// Puts the metrics of rooms that close to nothing: a gauge cannot be taken back.
pub(super) fn clear_metrics(event: &EventId, state: &State) {
    for booth in state.room.booths() {
        set(event, &booth.spec.language, GAUGES.map(|(_, nothing)| nothing));
    }
}
