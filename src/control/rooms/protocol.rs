//! The messages of the rooms' WebSockets: JSON text with a `type`. `web/src/room/protocol.ts` is the same for pages.

use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// A field that may be left out, and null to say none.
fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(deserializer).map(Some)
}

fn yes() -> bool {
    true
}

/// From a page.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum ToDaemon {
    Hello {
        name: String,
        #[serde(default)]
        resume: Option<String>,
    },
    OnAir {
        value: bool,
    },
    Cough {
        value: bool,
    },
    Listen {
        source: String,
    },
    Outgoing {
        language: String,
    },
    Handover {
        action: HandoverAction,
    },
    Chat {
        to: ChatTo,
        text: String,
        #[serde(default)]
        booth: Option<String>,
    },
    SlowDown {},
    CallManager {
        #[serde(default = "yes")]
        value: bool,
    },
    Quality {
        #[serde(default)]
        rtt_ms: Option<f64>,
        #[serde(default)]
        jitter_ms: Option<f64>,
        #[serde(default)]
        loss: Option<f64>,
        #[serde(default)]
        playout_ms: Option<f64>,
    },
    Ping {
        at: f64,
    },
    Manage {
        booth: String,
        #[serde(default)]
        muted: Option<bool>,
        /// Null: no floor.
        #[serde(default, deserialize_with = "nullable")]
        floor_level_db: Option<Option<f32>>,
    },
    AnswerCall {
        person: String,
    },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HandoverAction {
    Offer,
    Ask,
    Take,
    Decline,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ChatTo {
    Booth,
    Managers,
    All,
}

/// To a page.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum FromDaemon<'a> {
    Welcome {
        you: String,
        resume: &'a str,
        event: Named<'a>,
        booth: Option<&'a str>,
    },
    State(State<'a>),
    Chat {
        from: String,
        name: &'a str,
        role: &'static str,
        booth: Option<&'a str>,
        to: ChatTo,
        text: &'a str,
        at: String,
    },
    Levels {
        floor: f32,
        booths: BTreeMap<&'a str, f32>,
    },
    Stats {
        rtt_ms: Option<f64>,
        jitter_ms: Option<f64>,
        loss: Option<f64>,
        loss_down: Option<f64>,
    },
    SlowDown {
        from: String,
        booth: &'a str,
    },
    Pong {
        at: f64,
    },
    Closed {
        reason: &'static str,
        detail: &'a str,
    },
    Error {
        detail: &'a str,
    },
}

impl FromDaemon<'_> {
    /// As it is sent.
    pub fn json(&self) -> String {
        // Strings, numbers and string keys: cannot fail. NaN and infinities become null.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Named<'a> {
    pub id: &'a str,
    pub name: &'a str,
}

#[derive(Debug, Serialize)]
pub(super) struct State<'a> {
    pub at: String,
    pub event: EventState<'a>,
    pub booths: &'a [BoothState],
    pub people: &'a [PersonState],
    pub relays: Vec<RelayState>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct EventState<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub status: &'static str,
    pub floor_language: &'a str,
}

/// A booth, as in messages.
#[derive(Clone, Debug, Serialize)]
pub(super) struct BoothState {
    pub language: String,
    pub name: String,
    pub second_language: Option<String>,
    pub muted: bool,
    pub floor_level_db: Option<f32>,
    pub on_air: bool,
    pub handover: Option<HandoverState>,
    pub slow_down: bool,
    pub open: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct HandoverState {
    pub kind: &'static str,
    pub from: String,
    pub at: String,
}

/// A person, as in messages and in the API.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(title = "Person")]
pub(in crate::control) struct PersonState {
    /// Who.
    pub id: String,
    /// What they call themselves.
    pub name: String,
    /// `interpreter` or `manager`.
    #[schema(pattern = "^(interpreter|manager)$")]
    pub role: &'static str,
    /// The booth's language; null for managers.
    pub booth: Option<String>,
    /// The switch; whether they are heard is `heard`.
    pub on_air: bool,
    /// Muted while pressed.
    pub cough: bool,
    /// Their voice arrives.
    pub connected: bool,
    /// Viewers hear them.
    pub heard: bool,
    /// The language that they speak into; null for managers.
    pub outgoing: Option<String>,
    /// What they hear: `floor` or a language.
    pub listen: String,
    /// They want a manager.
    pub calling: bool,
    /// Their connection.
    pub quality: QualityState,
}

/// How good a person's connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(title = "Quality")]
pub(in crate::control) struct QualityState {
    /// There and back, in ms.
    pub rtt_ms: Option<f64>,
    /// Interarrival jitter, in ms.
    pub jitter_ms: Option<f64>,
    /// Share of packets lost towards the daemon, 0 to 1.
    pub loss_up: Option<f64>,
    /// Share of packets lost from it, 0 to 1.
    pub loss_down: Option<f64>,
    /// `good`, `average` or `bad`, by the thresholds of the connection test: round trip 250 ms, jitter 30 and 100 ms,
    /// loss 0 and 15 %.
    #[schema(pattern = "^(good|average|bad)$")]
    pub grade: Option<&'static str>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RelayState {
    pub source: String,
    pub name: String,
    pub quality: &'static str,
    pub refused: Option<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<ToDaemon>(text).map_err(|e| e.to_string());
        for good in [
            r#"{"type":"hello","name":"Ana"}"#,
            r#"{"type":"on_air","value":true}"#,
            r#"{"type":"slow_down"}"#,
            r#"{"type":"call_manager"}"#,
            r#"{"type":"handover","action":"offer"}"#,
            r#"{"type":"chat","to":"all","text":"x"}"#,
            r#"{"type":"quality","playout_ms":80.5}"#,
            r#"{"type":"manage","booth":"de","floor_level_db":null}"#,
        ] {
            assert!(read(good).is_ok(), "{good}: {:?}", read(good));
        }
        for bad in [
            r#"{"type":"shout"}"#,
            r#"{"type":"on_air","value":true,"more":1}"#,
            r#"{"type":"on_air"}"#,
            r#"{"type":"slow_down","x":1}"#,
            r#"{"type":"on_air","value":1}"#,
            "[]",
            "null",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let level = |text| match read(text) {
            Ok(ToDaemon::Manage { floor_level_db, .. }) => floor_level_db,
            other => panic!("{other:?}"),
        };
        assert_eq!(level(r#"{"type":"manage","booth":"de"}"#), None);
        assert_eq!(level(r#"{"type":"manage","booth":"de","floor_level_db":null}"#), Some(None));
        assert_eq!(level(r#"{"type":"manage","booth":"de","floor_level_db":-20}"#), Some(Some(-20.0)));
    }
}
