//! The task around [`super::core`]: reads both inputs, keeps the clock, publishes.

use super::core::{Core, Output};
use super::policy::Triggers;
use super::{Config, State, Switch, active_name};
use crate::hub::{self, Publisher, RecvError, Start, Stream, Subscriber};
use crate::media::{Clock, Content, Dur, InputName, Packet, SharedClock, SoundMatch, Ts};
use crate::task::Group;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast, watch};

/// Packets that are taken from an input before the others get their turn.
const BATCH: usize = 256;

/// Switch notices that a reader may be behind by; a slower one is told that it lagged, and has [`State::switches`].
const NOTICES: usize = 64;

/// Packets of the inputs' sounds that whoever compares them may be behind by; beyond that the oldest are gone.
const SOUNDS: usize = 256;

/// How often the clock's gauge is set.
const REPORT: Dur = Dur::from_secs(1);

/// What waits for the task; a newer wish replaces an older one, so there is no queue.
#[derive(Default)]
struct Inbox {
    inputs: [Option<Change>; 2],
    /// Which input a person chose; `Some(None)` is the automation.
    choice: Option<Option<InputName>>,
    /// The output's frame.
    frame: Option<Dur>,
    triggers: Option<Triggers>,
    /// What was measured of the programme.
    content: Option<Content>,
    /// How the inputs' sounds were found to belong together.
    alike: Option<SoundMatch>,
}

enum Change {
    Attach(Stream),
    Detach,
}

struct Shared {
    inbox: Mutex<Inbox>,
    wake: Notify,
}

impl Shared {
    /// Held for an assignment, never across an await.
    fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle of an event's selector. Clones are the same selector; it runs until its group is cancelled.
#[derive(Clone)]
pub struct Selector {
    shared: Arc<Shared>,
    programme: Stream,
    state: watch::Receiver<State>,
    switches: broadcast::Sender<Switch>,
    sounds: broadcast::Sender<(InputName, Packet)>,
}

impl Selector {
    /// Starts the task in `group`. The programme begins empty and ends only with the task.
    pub fn start(group: &Group, clock: SharedClock, config: Config) -> Selector {
        let (publisher, programme) = hub::stream(config.limits);
        let core = Core::new(config.clone(), clock.now());
        let (state_tx, state) = watch::channel(core.state());
        let (switches, _) = broadcast::channel(NOTICES);
        let (sounds, _) = broadcast::channel(SOUNDS);
        let shared = Arc::new(Shared { inbox: Mutex::default(), wake: Notify::new() });
        let task = Task {
            shared: shared.clone(),
            clock,
            core,
            event: config.event,
            readers: [None, None],
            publisher,
            state: state_tx,
            switches: switches.clone(),
            sounds: sounds.clone(),
            reported: Ts::ZERO,
        };
        group.spawn_until_cancelled("select", task.run());
        Selector { shared, programme, state, switches, sounds }
    }

    /// An input's publisher has come; it replaces one that was there. When the stream ends, the input is detached by
    /// itself.
    pub fn attach(&self, input: InputName, stream: Stream) {
        self.shared.lock().inputs[input.index()] = Some(Change::Attach(stream));
        self.shared.wake.notify_one();
    }

    /// Takes an input away, whatever is attached to it.
    pub fn detach(&self, input: InputName) {
        self.shared.lock().inputs[input.index()] = Some(Change::Detach);
        self.shared.wake.notify_one();
    }

    /// A person chooses an input by hand, or, with none, gives the choice back to the automation.
    pub fn set_mode(&self, choice: Option<InputName>) {
        self.shared.lock().choice = Some(choice);
        self.shared.wake.notify_one();
    }

    /// The length of the output's frame is known: from now on the source's pictures fall on the output's slots. It must
    /// not be told for a passthrough.
    pub fn set_frame(&self, frame: Dur) {
        self.shared.lock().frame = Some(frame);
        self.shared.wake.notify_one();
    }

    /// What of its content an input is left for from now on.
    pub fn set_triggers(&self, triggers: Triggers) {
        self.shared.lock().triggers = Some(triggers);
        self.shared.wake.notify_one();
    }

    /// What was measured of the programme where it is decoded. Without it no trigger goes off.
    pub fn measured(&self, content: Content) {
        self.shared.lock().content = Some(content);
        self.shared.wake.notify_one();
    }

    /// How what [`Selector::sounds`] gave was found to belong together.
    pub fn alike(&self, found: SoundMatch) {
        self.shared.lock().alike = Some(found);
        self.shared.wake.notify_one();
    }

    /// The sounds of both inputs as they come, on their sources' clocks, while it is not known that they are equal: whoever
    /// can decode them finds out how far they are apart and says so by [`Selector::alike`]. `epoch` counts the runs of an
    /// input's clock, as [`SoundMatch::epochs`] does. A reader that falls behind by 256 packets gets `Lagged`.
    pub fn sounds(&self) -> broadcast::Receiver<(InputName, Packet)> {
        self.sounds.subscribe()
    }

    /// The programme: packets on the event timeline.
    pub fn programme(&self) -> Stream {
        self.programme.clone()
    }

    /// What it does now, and each change.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.clone()
    }

    /// Each switch as it is made. A reader that falls behind by 64 gets `Lagged` and finds what it missed in
    /// [`State::switches`].
    pub fn switches(&self) -> broadcast::Receiver<Switch> {
        self.switches.subscribe()
    }
}

struct Task {
    shared: Arc<Shared>,
    clock: SharedClock,
    core: Core,
    event: String,
    readers: [Option<Subscriber>; 2],
    publisher: Publisher,
    state: watch::Sender<State>,
    switches: broadcast::Sender<Switch>,
    sounds: broadcast::Sender<(InputName, Packet)>,
    /// When the clock's gauge was last set.
    reported: Ts,
}

/// What a reader gave in one turn.
enum Read {
    Packet(Packet),
    Lagged(u64),
    Ended,
}

impl Task {
    async fn run(mut self) {
        loop {
            let mut first = None;
            {
                let [main, backup] = &mut self.readers;
                let deadline = self.core.deadline();
                tokio::select! {
                    biased;
                    () = self.shared.wake.notified() => {}
                    read = next(main) => first = Some((InputName::Main, read)),
                    read = next(backup) => first = Some((InputName::Backup, read)),
                    () = sleep(&*self.clock, deadline) => {}
                }
            }
            let mut out = Output::default();
            self.take_packets(first, &mut out);
            self.take_changes(&mut out);
            let now = self.clock.now();
            self.core.tick(now, &mut out);
            self.publish(out);
            // A turn can be long when both inputs burst; others on this thread come first now and then.
            tokio::task::yield_now().await;
        }
    }

    /// Everything that has arrived, from both inputs in the order of arrival. Time is judged by arrival while doing so:
    /// an input is not lost because its packets were still in the queue.
    fn take_packets(&mut self, first: Option<(InputName, Read)>, out: &mut Output) {
        let mut taken: Vec<(Ts, InputName, Read)> = Vec::new();
        // A lag or an end comes where it stood between the packets; nothing more is taken of that input in this turn.
        let mut last = [self.clock.now(); 2];
        let mut stopped = [false; 2];
        let mut take = |name: InputName, read: Read| {
            match &read {
                Read::Packet(packet) => last[name.index()] = packet.arrival,
                Read::Lagged(_) | Read::Ended => stopped[name.index()] = true,
            }
            taken.push((last[name.index()], name, read));
            stopped[name.index()]
        };
        let mut first_stopped = None;
        if let Some((name, read)) = first
            && take(name, read)
        {
            first_stopped = Some(name);
        }
        for name in InputName::ALL {
            let Some(reader) = self.readers[name.index()].as_mut().filter(|_| first_stopped != Some(name)) else {
                continue;
            };
            for _ in 0..BATCH {
                let Some(read) = read(reader.try_recv()) else { break };
                if take(name, read) {
                    break;
                }
            }
        }
        taken.sort_by_key(|&(at, ..)| at);
        for (at, name, read) in taken {
            match read {
                Read::Packet(packet) => {
                    self.core.packet(name, &packet, out);
                    if self.sounds.receiver_count() > 0
                        && let Some(sound) = self.core.to_compare(name, &packet)
                    {
                        // Nobody listening any more is fine.
                        let _ = self.sounds.send((name, sound));
                    }
                }
                Read::Lagged(packets) => {
                    metrics::counter!("boothcast_select_missed_packets_total", "event" => self.event.clone(), "input" => name.as_str())
                        .increment(packets);
                    tracing::warn!(event = %self.event, input = name.as_str(), packets, "selector missed packets");
                    self.core.lagged(name, at, out);
                }
                Read::Ended => {
                    self.readers[name.index()] = None;
                    self.core.detach(name, at, out);
                }
            }
        }
    }

    fn take_changes(&mut self, out: &mut Output) {
        let Inbox { inputs, choice, frame, triggers, content, alike } = std::mem::take(&mut *self.shared.lock());
        let now = self.clock.now();
        if let Some(frame) = frame {
            self.core.set_frame(frame);
        }
        for (name, change) in InputName::ALL.into_iter().zip(inputs) {
            match change {
                Some(Change::Attach(stream)) => {
                    self.core.attach(name, now, out);
                    self.readers[name.index()] = Some(stream.subscribe(Start::KeyFrame));
                }
                Some(Change::Detach) => {
                    self.readers[name.index()] = None;
                    self.core.detach(name, now, out);
                }
                None => {}
            }
        }
        if let Some(found) = alike {
            self.core.alike(found);
        }
        if let Some(choice) = choice {
            self.core.choose(choice, now, out);
        }
        if let Some(triggers) = triggers {
            self.core.set_triggers(triggers, now, out);
        }
        if let Some(content) = content {
            self.core.measured(&content, now, out);
        }
    }

    fn publish(&mut self, out: Output) {
        for packet in out.packets {
            self.publisher.publish(packet);
        }
        for switch in out.switches {
            let (from, to, cause) = (active_name(switch.from), active_name(switch.to), switch.cause.as_str());
            let gap = switch.gap.map(Dur::as_secs_f64);
            tracing::info!(event = %self.event, from, to, cause, gap_seconds = gap, "programme switched");
            metrics::counter!("boothcast_select_switches_total", "event" => self.event.clone(), "to" => to, "cause" => cause)
                .increment(1);
            if let Some(gap) = gap {
                metrics::histogram!("boothcast_select_gap_seconds", "event" => self.event.clone()).record(gap);
            }
            // Nobody listening is fine: the state has it too.
            let _ = self.switches.send(switch);
        }
        let now = self.clock.now();
        let report = now - self.reported >= REPORT;
        if report {
            self.core.look(now);
        }
        let state = self.core.state();
        let (active, alignment) = (state.active, state.alignment);
        let changed = self.state.send_if_modified(|old| {
            let changed = *old != state;
            if changed {
                *old = state;
            }
            changed
        });
        if changed {
            for name in InputName::ALL {
                let on_air = f64::from(u8::from(active == Some(name)));
                metrics::gauge!("boothcast_select_active", "event" => self.event.clone(), "input" => name.as_str())
                    .set(on_air);
            }
        }
        if !report {
            return;
        }
        self.reported = now;
        if let Some(error) = active.and_then(|name| self.core.clock_error(name)) {
            metrics::gauge!("boothcast_select_clock_error_seconds", "event" => self.event.clone())
                .set(error.as_secs_f64());
        }
        if let Some(alignment) = alignment {
            metrics::gauge!("boothcast_select_backup_behind_seconds", "event" => self.event.clone())
                .set(alignment.backup_behind.as_secs_f64());
        }
    }
}

fn read(received: Result<Option<Packet>, RecvError>) -> Option<Read> {
    match received {
        Ok(packet) => packet.map(Read::Packet),
        Err(RecvError::Lagged(lag)) => Some(Read::Lagged(lag.packets)),
        Err(RecvError::Ended) => Some(Read::Ended),
    }
}

async fn next(reader: &mut Option<Subscriber>) -> Read {
    match reader {
        Some(reader) => match reader.recv().await {
            Ok(packet) => Read::Packet(packet),
            Err(RecvError::Lagged(lag)) => Read::Lagged(lag.packets),
            Err(RecvError::Ended) => Read::Ended,
        },
        None => std::future::pending().await,
    }
}

async fn sleep(clock: &dyn Clock, deadline: Option<Ts>) {
    match deadline {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
