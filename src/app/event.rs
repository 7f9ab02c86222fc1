//! One event that takes contribution: its inputs, its selector, its place on the origin, its pipeline.

use super::pipeline;
use super::pulls::Pulling;
use super::registry::Shared;
use super::sounds::{self, Sound};
use crate::config::Programme;
use crate::control::Notice;
use crate::control::notices::Audience;
use crate::deliver::hls::{EventOptions, EventStream, OriginError, Viewing};
use crate::engine::{Engine, Preview};
use crate::hub;
use crate::ingest::{Health, InputHealth, Protocol, Refusal, Session, Stop};
use crate::media::{Dur, InputName, Ts};
use crate::select::{self, Cause, ClockConfig, FailoverConfig, Mode, Selector, Switch, Triggers};
use crate::store::{Event, EventId, Selection, Settings, Status};
use crate::task::Group;
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;

/// What of the programme's delay is used up when nothing goes wrong: late packets, decoding, encoding.
const DELAY_IN_USE: Dur = Dur::from_millis(250);
/// How long an event's tasks may take to end: the engine's child is killed and the origin's files are written in less.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// The slate shows for this long before players are sent to another origin: an encoder that reconnects is back sooner.
const SLATE_FOR: Dur = Dur::from_secs(2);
/// The programme has been back for this long before they are called back.
const PROGRAMME_FOR: Dur = Dur::from_secs(10);

/// A publisher on an input.
struct Connected {
    stream: hub::Stream,
    health: Arc<Health>,
    stop: Stop,
    /// Whether it is pulled, and so has no key.
    pulled: bool,
}

/// Who wants to publish.
pub(super) struct Newcomer {
    pub(super) protocol: Protocol,
    pub(super) peer: SocketAddr,
    /// Whether it may replace the present publisher.
    pub(super) takeover: bool,
    /// Whether it is pulled.
    pub(super) pulled: bool,
}

/// What makes an event's output, and the sound that it has.
#[derive(Clone)]
pub(super) struct Air {
    pub(super) engine: Arc<Engine>,
    pub(super) sounds: Arc<[Sound]>,
}

/// An event that runs. Dropped only after [`Running::close`].
pub(super) struct Running {
    pub(super) id: EventId,
    pub(super) group: Group,
    pub(super) selector: Selector,
    pub(super) origin: EventStream,
    /// What is made of the programme, once something is published.
    pub(super) air: watch::Sender<Option<Air>>,
    /// What managers set, as it changes.
    pub(super) settings: watch::Sender<Settings>,
    /// Whether the public may watch.
    pub(super) open: watch::Sender<bool>,
    /// As configured when it was opened.
    programme: Programme,
    inputs: Mutex<[Option<Connected>; 2]>,
    /// What its inputs are pulled by.
    pub(super) pulls: Mutex<[Option<Pulling>; 2]>,
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

fn choice(selection: Selection) -> Option<InputName> {
    match selection {
        Selection::Auto => None,
        Selection::Main => Some(InputName::Main),
        Selection::Backup => Some(InputName::Backup),
    }
}

/// What of its content an input is left for.
fn triggers(settings: &Settings, configured: &Programme) -> Triggers {
    let after = |set: Option<f64>, configured: f64| {
        Some(set.unwrap_or(configured)).filter(|&seconds| seconds > 0.0).map(Dur::from_secs_f64)
    };
    Triggers {
        black_after: after(settings.black_after_seconds, configured.black_after_seconds),
        frozen_after: after(settings.frozen_after_seconds, configured.frozen_after_seconds),
        silent_after: after(settings.silent_after_seconds, configured.silent_after_seconds),
    }
}

/// What a manager should know of an input whose content is not as it should be.
fn untrusted(cause: Cause, on_air: bool) -> String {
    let (is, was) = match cause {
        Cause::Frozen => ("picture stands still", "picture stood still"),
        Cause::Silent => ("floor is silent", "floor was silent"),
        _ => ("picture is black", "picture was black"),
    };
    match on_air {
        true => format!("its {is}, and there is no other input that could take its place"),
        false => {
            format!("its {was} when the programme left it: it is not taken back before it is published anew or chosen")
        }
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
        let delay = if event.settings.is_copied() { 0.0 } else { config.programme.delay_seconds };
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
                    triggers: triggers(&event.settings, &config.programme),
                },
                clock: if event.settings.is_copied() { ClockConfig::passthrough() } else { ClockConfig::default() },
                wait: (Dur::from_secs_f64(delay) - DELAY_IN_USE).clamp(Dur::ZERO, select::LONGEST_WAIT),
                limits: hub::Limits::default(),
            },
        );
        selector.set_mode(choice(event.input_selection));
        let running = Arc::new(Running {
            id: event.id.clone(),
            group,
            selector,
            origin,
            air: watch::Sender::default(),
            settings: watch::Sender::new(event.settings.clone()),
            open: watch::Sender::new(false),
            programme: config.programme.clone(),
            inputs: Mutex::default(),
            pulls: Mutex::default(),
        });
        running.show(event);
        running.list_origins(shared, event);
        running.tell_wellness(shared);
        running.tell_switches(shared);
        shared.rooms.open(&event.id, running.air.subscribe(), &running.group);
        let (task, deps, of) = (running.clone(), shared.clone(), event.clone());
        running.group.spawn_until_cancelled("pipeline", async move {
            if let Err(error) = pipeline::run(&deps, &task, &of).await {
                tracing::error!(event = %task.id, %error, "the event's output cannot be made");
            }
        });
        for input in InputName::ALL {
            running.start_pull(shared, event, input);
        }
        Ok(running)
    }

    /// Lets viewers see what the event's status grants them.
    pub(super) fn show(&self, event: &Event) {
        self.open.send_replace(event.status == Status::Started);
        self.origin.set_viewing(match event.status {
            Status::Started => Viewing::Open { since: to_ts(event.status_changed_at) },
            Status::Preview => Viewing::Closed,
            Status::Paused | Status::Ended | Status::Inactive => Viewing::HoldBack,
        });
    }

    /// Lists the event's other origins beside this one.
    pub(super) fn list_origins(&self, shared: &Shared, event: &Event) {
        let own = &shared.pathway;
        // The daemon may have been renamed since they were set.
        let (others, namesakes): (Vec<_>, Vec<_>) =
            event.settings.other_origins.iter().partition(|o| o.pathway != *own);
        for namesake in namesakes {
            tracing::warn!(event = %self.id, pathway = own, url = namesake.hls_url, "another origin has this one's name: not listed");
        }
        let others: Vec<(&str, &str)> = others.iter().map(|o| (o.pathway.as_str(), o.hls_url.as_str())).collect();
        self.origin.set_other_origins(own, &others);
    }

    /// Tells the origin whether viewers get the programme or the slate, in calm steps: each sends all players that are
    /// steered to another server.
    fn tell_wellness(self: &Arc<Self>, shared: &Shared) {
        let (running, clock) = (Arc::downgrade(self), shared.clock.clone());
        let mut state = self.selector.state();
        self.group.spawn_until_cancelled("origin wellness", async move {
            let (mut well, mut patience) = (true, Dur::ZERO);
            loop {
                let on_air = state.borrow_and_update().active.is_some();
                if well && on_air {
                    // The first programme of all is not waited for.
                    patience = PROGRAMME_FOR;
                }
                let turn = async {
                    match (well, on_air) {
                        (true, false) => clock.sleep_until(clock.now() + SLATE_FOR).await,
                        (false, true) => clock.sleep_until(clock.now() + patience).await,
                        _ => std::future::pending().await,
                    }
                };
                tokio::select! {
                    changed = state.changed() => if changed.is_err() { return },
                    () = turn => {
                        well = on_air;
                        let Some(running) = running.upgrade() else { return };
                        running.origin.set_well(well);
                    }
                }
            }
        });
    }

    /// Takes over what managers have set.
    pub(super) fn set(&self, event: &Event) {
        self.settings.send_replace(event.settings.clone());
        self.selector.set_triggers(triggers(&event.settings, &self.programme));
    }

    /// Follows a manager's choice of input.
    pub(super) fn select(&self, event: &Event) {
        self.selector.set_mode(choice(event.input_selection));
    }

    /// Whether somebody publishes on an input.
    pub(super) fn is_taken(&self, input: InputName) -> bool {
        self.lock()[input.index()].as_ref().is_some_and(|c| !c.stream.ended())
    }

    /// Admits a publisher, or says why not. `newcomer` says what it may.
    pub(super) fn admit(&self, shared: &Shared, input: InputName, newcomer: &Newcomer) -> Result<Session, Refusal> {
        let mut inputs = self.lock();
        let slot = &mut inputs[input.index()];
        if let Some(present) = slot.as_ref().filter(|c| !c.stream.ended()) {
            if !newcomer.takeover {
                return Err(Refusal::Busy);
            }
            present.stop.stop(Refusal::Replaced);
        }
        let (publisher, stream) = hub::stream(hub::Limits::default());
        let health = Arc::new(Health::new(newcomer.protocol, newcomer.peer, shared.clock.now()));
        let stop = Stop::new();
        *slot = Some(Connected {
            stream: stream.clone(),
            health: health.clone(),
            stop: stop.clone(),
            pulled: newcomer.pulled,
        });
        drop(inputs);
        self.selector.attach(input, stream.clone());
        self.tell_input(shared, input, newcomer.protocol);
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

    fn tell_input(&self, shared: &Shared, input: InputName, protocol: Protocol) {
        let fields = Map::from_iter([
            ("input".to_owned(), input.as_str().into()),
            ("state".to_owned(), "connected".into()),
            ("protocol".to_owned(), protocol.as_str().into()),
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

    /// Ends the publisher of an input that has come with its key.
    pub(super) fn revoke_key(&self, input: InputName) {
        if let Some(connected) = self.lock()[input.index()].as_ref().filter(|c| !c.pulled) {
            connected.stop.stop(Refusal::Revoked);
        }
    }

    /// Ends the publisher of an input.
    pub(super) fn stop_input(&self, input: InputName, reason: Refusal) {
        if let Some(connected) = &self.lock()[input.index()] {
            connected.stop.stop(reason);
        }
    }

    /// `{active, mode, switches, main, backup, output}` for the API.
    pub(super) fn inputs_json(&self, now: Ts) -> Value {
        let state = self.selector.state().borrow().clone();
        let health = |input: InputName| {
            let inputs = self.lock();
            let present = inputs[input.index()].as_ref().filter(|c| !c.stream.ended());
            let mut health = present.map_or_else(InputHealth::offline, |c| c.health.snapshot(now));
            drop(inputs);
            let tracks: Vec<(u16, u8)> = health.audio.iter().map(|a| (a.track, a.channels)).collect();
            if !tracks.is_empty() {
                health.warnings.extend(sounds::lacking(&self.settings.borrow(), &tracks));
            }
            let fault = state.faults[input.index()].filter(|_| !matches!(state.mode, Mode::Manual(_)));
            health.warnings.extend(fault.map(|cause| untrusted(cause, state.active == Some(input))));
            match self.pull_health(input) {
                Some((protocol, pull)) => health.pulled(protocol, pull),
                None => health,
            }
        };
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
            "alignment": state.alignment.map(|alignment| json!({
                "matched_by": alignment.basis.as_str(),
                "backup_behind_seconds": (alignment.backup_behind.as_secs_f64() * 1000.0).round() / 1000.0,
            })),
            "main": health(InputName::Main),
            "backup": health(InputName::Backup),
            "output": self.engine().map(|engine| engine.status().borrow().clone()),
        })
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.air.borrow().as_ref().map(|air| air.engine.clone())
    }

    /// The programme's present picture.
    pub(super) fn preview(&self) -> Option<Preview> {
        self.engine().and_then(|engine| engine.preview())
    }

    /// Ends contribution and the pipeline; what the origin holds stays on it.
    pub(super) async fn finish(&self, reason: &Refusal) {
        for input in InputName::ALL {
            self.stop_input(input, reason.clone());
        }
        if !self.group.close(CLOSE_LIMIT).await {
            tracing::warn!(event = %self.id, "tasks of the event did not end in time");
        }
        self.air.send_replace(None);
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
        "matched_by": switch.to.map(|_| switch.basis.as_str()),
    })
}
