//! One event that takes contribution: its inputs, its selector, its place on the origin, its pipeline.

use super::pipeline;
use super::registry::Shared;
use crate::control::Notice;
use crate::control::notices::Audience;
use crate::deliver::hls::{EventOptions, EventStream, OriginError, Viewing};
use crate::engine::{Engine, Preview};
use crate::hub;
use crate::ingest::{Health, InputHealth, Protocol, Refusal, Request, Session, Stop};
use crate::media::{Dur, InputName, Ts};
use crate::select::{self, ClockConfig, FailoverConfig, Mode, Selector, Switch};
use crate::store::{Event, EventId, Selection, Status};
use crate::task::Group;
use arc_swap::ArcSwapOption;
use serde_json::{Map, Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;

/// How long an event's tasks may take to end: the engine's child is killed and the origin's files are written in less.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A publisher on an input.
struct Connected {
    stream: hub::Stream,
    health: Arc<Health>,
    stop: Stop,
}

/// An event that runs. Dropped only after [`Running::close`].
pub(super) struct Running {
    pub(super) id: EventId,
    pub(super) group: Group,
    pub(super) selector: Selector,
    pub(super) origin: EventStream,
    pub(super) engine: ArcSwapOption<Engine>,
    inputs: Mutex<[Option<Connected>; 2]>,
}

/// A point of the wall clock on the event timeline, which is Unix time.
pub(super) fn to_ts(at: OffsetDateTime) -> Ts {
    Ts::from_scale(i64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX), 1_000_000)
}

/// A point of the event timeline on the wall clock.
pub(super) fn to_wall(at: Ts) -> OffsetDateTime {
    let nanos = i128::from(at.to_scale(1_000_000)) * 1000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

const fn index(input: InputName) -> usize {
    match input {
        InputName::Main => 0,
        InputName::Backup => 1,
    }
}

fn choice(selection: Selection) -> Option<InputName> {
    match selection {
        Selection::Auto => None,
        Selection::Main => Some(InputName::Main),
        Selection::Backup => Some(InputName::Backup),
    }
}

impl Running {
    /// Starts an event: what the origin's disk still holds of it is taken up again.
    ///
    /// # Errors
    /// When the origin has it already, which would be a fault of the registry.
    pub(super) fn start(shared: &Arc<Shared>, event: &Arc<Event>) -> Result<Arc<Running>, OriginError> {
        let config = shared.config.load_full();
        let group = shared.group.child();
        let dvr = event.settings.dvr_window_seconds.unwrap_or(config.hls.dvr_window_seconds);
        // A passthrough is not held back; what is transcoded leaves one programme delay after its instant.
        let delay = if event.settings.ladder.is_passthrough() { 0.0 } else { config.programme.delay_seconds };
        let options = EventOptions { dvr: Dur::from_secs_f64(dvr), delay: Dur::from_secs_f64(delay) };
        let origin = shared.origin.event(event.id.as_str(), options)?;
        let mode = match config.programme.recover {
            crate::config::Recover::Auto => Mode::Auto,
            crate::config::Recover::Manual | crate::config::Recover::Sticky => Mode::Sticky,
        };
        let selector = Selector::start(
            &group,
            shared.clock.clone(),
            select::Config {
                event: event.id.to_string(),
                failover: FailoverConfig {
                    mode,
                    loss_timeout: Dur::from_secs_f64(config.programme.loss_timeout_seconds),
                    recover_after: Dur::from_secs_f64(config.programme.recover_after_seconds),
                },
                clock: if event.settings.ladder.is_passthrough() {
                    ClockConfig::passthrough()
                } else {
                    ClockConfig::default()
                },
                limits: hub::Limits::default(),
            },
        );
        selector.set_mode(choice(event.input_selection));
        let running = Arc::new(Running {
            id: event.id.clone(),
            group,
            selector,
            origin,
            engine: ArcSwapOption::empty(),
            inputs: Mutex::default(),
        });
        running.show(event);
        running.tell_switches(shared);
        let (task, deps, event) = (running.clone(), shared.clone(), event.clone());
        running.group.spawn_until_cancelled("pipeline", async move {
            if let Err(error) = pipeline::run(&deps, &task, &event).await {
                tracing::error!(event = %task.id, %error, "the event's output cannot be made");
            }
        });
        Ok(running)
    }

    /// Lets viewers see what the event's status grants them.
    pub(super) fn show(&self, event: &Event) {
        self.origin.set_viewing(match event.status {
            Status::Started => Viewing::Open { since: to_ts(event.status_changed_at) },
            Status::Preview => Viewing::Closed,
            Status::Paused | Status::Ended | Status::Inactive => Viewing::HoldBack,
        });
    }

    /// Follows a manager's choice of input.
    pub(super) fn select(&self, event: &Event) {
        self.selector.set_mode(choice(event.input_selection));
    }

    /// Admits a publisher, or says why not.
    pub(super) fn admit(
        &self,
        shared: &Shared,
        event: &Event,
        input: InputName,
        request: &Request,
    ) -> Result<Session, Refusal> {
        let mut inputs = self.lock();
        let slot = &mut inputs[index(input)];
        if let Some(present) = slot.as_ref().filter(|c| !c.stream.ended()) {
            if !event.inputs.get(input).takeover {
                return Err(Refusal::Busy);
            }
            present.stop.stop(Refusal::Replaced);
        }
        let (publisher, stream) = hub::stream(hub::Limits::default());
        let health = Arc::new(Health::new(request.protocol, request.peer, shared.clock.now()));
        let stop = Stop::new();
        *slot = Some(Connected { stream: stream.clone(), health: health.clone(), stop: stop.clone() });
        drop(inputs);
        self.selector.attach(input, stream.clone());
        self.tell_input(shared, input, Some(request.protocol));
        self.watch_end(shared, input, stream);
        Ok(Session { event: self.id.to_string(), input, publisher, health, stop })
    }

    /// Tells listeners when a publisher is gone.
    fn watch_end(&self, shared: &Shared, input: InputName, stream: hub::Stream) {
        let (notices, clock, id) = (shared.notices.clone(), shared.clock.clone(), self.id.clone());
        let mut reader = stream.subscribe(hub::Start::Live);
        self.group.spawn_until_cancelled("input end", async move {
            while !matches!(reader.recv().await, Err(hub::RecvError::Ended)) {}
            let fields =
                Map::from_iter([("input".to_owned(), input.as_str().into()), ("state".to_owned(), "offline".into())]);
            notices.publish(&id, Notice::new("input", Audience::Staff, to_wall(clock.now()), fields));
        });
    }

    fn tell_input(&self, shared: &Shared, input: InputName, protocol: Option<Protocol>) {
        let fields = Map::from_iter([
            ("input".to_owned(), input.as_str().into()),
            ("state".to_owned(), "connected".into()),
            ("protocol".to_owned(), protocol.map(Protocol::as_str).into()),
        ]);
        shared.notices.publish(&self.id, Notice::new("input", Audience::Staff, to_wall(shared.clock.now()), fields));
    }

    /// Tells listeners of each switch, with its cause and measured gap.
    fn tell_switches(&self, shared: &Shared) {
        let mut switches = self.selector.switches();
        let (notices, id) = (shared.notices.clone(), self.id.clone());
        self.group.spawn_until_cancelled("switch notices", async move {
            loop {
                match switches.recv().await {
                    Ok(switch) => {
                        let Value::Object(fields) = switch_json(&switch) else { continue };
                        notices.publish(&id, Notice::new("switch", Audience::Staff, to_wall(switch.at), fields));
                    }
                    // What was missed still stands in the inputs' answer.
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
    }

    /// Ends the publisher of an input.
    pub(super) fn stop_input(&self, input: InputName, reason: Refusal) {
        if let Some(connected) = &self.lock()[index(input)] {
            connected.stop.stop(reason);
        }
    }

    /// `{active, mode, switches, main, backup, output}` for the API.
    pub(super) fn inputs_json(&self, now: Ts) -> Value {
        let health = |input| {
            let inputs = self.lock();
            let present = inputs[index(input)].as_ref().filter(|c| !c.stream.ended());
            present.map_or_else(InputHealth::offline, |c| c.health.snapshot(now))
        };
        let state = self.selector.state().borrow().clone();
        json!({
            "active": select::active_name(state.active),
            "active_since": crate::control::notices::rfc3339(to_wall(state.since)),
            "pending": state.pending.map(InputName::as_str),
            "mode": match state.mode {
                Mode::Auto => "auto",
                Mode::Sticky => "sticky",
                Mode::Manual(input) => input.as_str(),
            },
            "switches": state.switches.iter().map(switch_json).collect::<Vec<_>>(),
            "main": health(InputName::Main),
            "backup": health(InputName::Backup),
            "output": self.engine.load().as_ref().map(|engine| engine.status().borrow().clone()),
        })
    }

    /// The programme's present picture.
    pub(super) fn preview(&self) -> Option<Preview> {
        self.engine.load().as_ref().and_then(|engine| engine.preview())
    }

    /// Ends contribution and the pipeline; what the origin holds stays on it.
    pub(super) async fn finish(&self, reason: &Refusal) {
        for input in InputName::ALL {
            self.stop_input(input, reason.clone());
        }
        if !self.group.close(CLOSE_LIMIT).await {
            tracing::warn!(event = %self.id, "tasks of the event did not end in time");
        }
        self.engine.store(None);
    }

    /// Held for a look-up or an assignment, never across an await.
    fn lock(&self) -> MutexGuard<'_, [Option<Connected>; 2]> {
        self.inputs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn switch_json(switch: &Switch) -> Value {
    json!({
        "at": crate::control::notices::rfc3339(to_wall(switch.at)),
        "from": select::active_name(switch.from),
        "to": select::active_name(switch.to),
        "cause": switch.cause.as_str(),
        "gap_seconds": switch.gap.map(Dur::as_secs_f64),
    })
}
