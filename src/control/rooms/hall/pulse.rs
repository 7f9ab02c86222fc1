//! What a hall does by the clock: states, levels and statistics, and what time alone changes.

use super::{Grant, Hall, Use};
use crate::booth::{PersonId, Quality};
use crate::control::rooms::media::PeerFigures;
use crate::control::rooms::protocol::FromDaemon;
use crate::control::rooms::view;
use crate::control::rooms::voice::VoiceIn;
use crate::media::{Dur, Ts};
use std::collections::HashMap;
use std::sync::Arc;

/// The least time from one state to the next.
const STATE_EVERY: Dur = Dur::from_millis(50);
/// How often the hall looks at its voices and links.
const TICK: Dur = Dur::from_millis(50);
/// Levels are told so often at most.
const LEVELS_EVERY: Dur = Dur::from_millis(100);
/// Statistics are told, and qualities looked at, so often.
const STATS_EVERY: Dur = Dur::from_secs(1);
/// A voice without packets for this long has stopped: longer than the 400 ms between packets of a silent speaker
/// where an encoder pauses (DTX).
const STALL: Dur = Dur::from_millis(450);

impl Hall {
    /// Sends states, levels and statistics for as long as the rooms are open.
    pub(super) async fn run(&self) {
        let clock = self.rooms.0.clock.clone();
        let (mut next_state, mut next_levels, mut next_stats) = (Ts::ZERO, Ts::ZERO, Ts::ZERO);
        loop {
            let idle = {
                let state = self.lock();
                state.sockets.is_empty() && state.sessions.is_empty() && state.room.people().next().is_none()
            };
            if idle {
                self.wake.notified().await;
            } else {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = clock.sleep_until(clock.now() + TICK) => {}
                }
            }
            let now = clock.now();
            self.tick(now);
            if now >= next_stats {
                next_stats = now + STATS_EVERY;
                self.stats();
            }
            if now >= next_levels && self.send_levels() {
                next_levels = now + LEVELS_EVERY;
            }
            if now >= next_state && self.send_state() {
                next_state = now + STATE_EVERY;
            }
        }
    }

    /// What time alone changes.
    fn tick(&self, now: Ts) {
        let mut closing = Vec::new();
        let mut expired: Vec<String> = Vec::new();
        {
            let mut state = self.lock();
            let mut changed = false;
            let stalled: Vec<Arc<VoiceIn>> =
                state.voices.values().filter(|v| v.last().is_some_and(|at| now - at >= STALL)).cloned().collect();
            for voice in stalled {
                if state.room.voice_flowing(voice.voice(), false) {
                    voice.stalled();
                    changed = true;
                }
            }
            let (ticked, effects) = state.room.tick(now);
            if changed || ticked {
                self.follow(&mut state, effects, &mut closing);
            } else {
                self.silence(&mut state, now);
            }
            let over = |grant: &Grant| grant.expires_at.is_some_and(|at| at <= now).then(|| grant.link.clone());
            expired.extend(state.sockets.values().filter_map(|s| over(&s.grant)));
            expired.extend(state.sessions.values().filter_map(|s| over(&s.grant)));
        }
        drop(closing);
        for link in expired {
            self.revoke(&link, "expired");
        }
    }

    /// Tells the state to everybody; false when nothing has changed since.
    fn send_state(&self) -> bool {
        let mut state = self.lock();
        if !std::mem::take(&mut state.dirty) {
            return false;
        }
        let at = crate::control::api::wall(self.now());
        let shown = view::Shown::new(&state, self.media());
        // Only what can be listened to differs from one to the other, and only by what they make themselves.
        let mut made: HashMap<Option<String>, Arc<str>> = HashMap::new();
        for (person, socket) in &state.sockets {
            let speaks = state.room.person(*person).filter(|p| p.on_air).and_then(|p| p.outgoing.clone());
            let text = made.entry(speaks).or_insert_with(|| shown.message(&state, *person, self.media(), at).into());
            socket.send(text);
        }
        for (language, summary, notice) in shown.notices(&state, at) {
            let before = state.noticed.insert(language, summary.clone());
            if before.as_ref() != Some(&summary) {
                self.rooms.0.notices.publish(&self.id, notice);
            }
        }
        true
    }

    fn send_levels(&self) -> bool {
        let mut state = self.lock();
        let Some(levels) = state.levels.take() else { return false };
        let booths = levels.booths.iter().map(|(language, &db)| (language.as_str(), db)).collect();
        let text: Arc<str> = FromDaemon::Levels { floor: levels.floor, booths }.json().into();
        state.sockets.values().for_each(|socket| socket.send(&text));
        true
    }

    /// Each second: what is known of everybody's connection, to themselves, to the managers and to the metrics.
    fn stats(&self) {
        let mut state = self.lock();
        let mut voices: HashMap<PersonId, PeerFigures> = HashMap::new();
        let mut ears: HashMap<PersonId, PeerFigures> = HashMap::new();
        for session in state.sessions.values() {
            let figures = session.peer.figures();
            match &session.kind {
                Use::Voice(voice) => {
                    if let (Some(rtt), Some(sink)) = (figures.rtt, state.voices.get(voice)) {
                        sink.rtt(rtt);
                    }
                    if let Some(person) = state.room.speaker(*voice) {
                        voices.insert(person.id, figures);
                    }
                }
                Use::Ears(Some(person)) => {
                    ears.insert(*person, figures);
                }
                _ => {}
            }
        }
        let mut qualities = HashMap::new();
        for person in state.room.people().filter(|p| p.present()) {
            let (voice, ears) = (voices.get(&person.id), ears.get(&person.id));
            let page = state.pages.get(&person.id).copied().unwrap_or_default();
            let report = person.voice.and_then(|v| state.reports.get(&v));
            let ms = |ms: f64| Dur::from_secs_f64(ms / 1000.0);
            let quality = Quality {
                rtt: voice.and_then(|v| v.rtt).or(ears.and_then(|e| e.rtt)).or(page.rtt.map(ms)),
                jitter: voice
                    .and_then(|v| v.jitter)
                    .or(report.map(|r| ms(f64::from(r.jitter_ms))))
                    .or(page.jitter.map(ms)),
                loss_up: voice.and_then(|v| v.loss_up).or(report.map(|r| f64::from(r.loss))),
                loss_down: ears.and_then(|e| e.loss_down).or(page.loss),
            };
            let shown = view::quality(&quality);
            let stats = FromDaemon::Stats {
                rtt_ms: shown.rtt_ms,
                jitter_ms: shown.jitter_ms,
                loss: shown.loss_up,
                loss_down: shown.loss_down,
            };
            state.tell(person.id, &stats);
            qualities.insert(person.id, quality);
        }
        let changed = |(person, quality): (&PersonId, &Quality)| {
            state.qualities.get(person).map(view::quality) != Some(view::quality(quality))
        };
        if qualities.iter().any(changed) {
            state.dirty = true;
        }
        state.qualities = qualities;
        view::metrics(&self.id, &state);
    }
}
