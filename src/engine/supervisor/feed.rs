//! What goes to the child: what was kept, then the programme, voices and wishes as they come.

use super::SessionError;
use crate::engine::history::History;
use crate::engine::protocol::{InPacket, Start, ToEngine};
use crate::engine::schedule::{CATCH_UP, MIN_VIDEO_DELAY};
use crate::engine::{AudioSpec, EngineConfig, Wishes};
use crate::hub::{RecvError, Subscriber};
use crate::media::{Dur, InputName, Packet, SharedClock, Track, TrackId, Ts, VoicePacket};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::{broadcast, watch};

/// How often the child is told that the daemon lives.
const PING: Duration = Duration::from_millis(500);
/// How far ahead of the mix an added rendition must begin so that its encoder is running by then.
const ADD_MARGIN: Dur = Dur::from_millis(250);

/// What goes to the child.
pub(super) struct Feed {
    pub config: EngineConfig,
    pub clock: SharedClock,
    pub input: Subscriber,
    pub history: History,
    pub wishes: watch::Receiver<Wishes>,
    pub voices: broadcast::Receiver<VoicePacket>,
    pub sounds: broadcast::Receiver<(InputName, Packet)>,
}

async fn send(socket: &mut (impl AsyncWrite + Unpin), message: &ToEngine) -> std::io::Result<()> {
    let frame = message.encode();
    socket.write_all(&frame.head).await?;
    socket.write_all(&frame.tail).await
}

/// Writes packets, preceded by the format of their track where the child does not know it yet.
struct Feeder<W> {
    socket: BufWriter<W>,
    known: Vec<Arc<Track>>,
    /// The format of each input's sound, as sent last.
    known_sounds: [Option<Arc<Track>>; 2],
}

impl<W: AsyncWrite + Unpin> Feeder<W> {
    async fn packet(&mut self, packet: &Packet) -> std::io::Result<()> {
        let known = self.known.iter_mut().find(|t| t.id == packet.track.id);
        if known.as_ref().is_none_or(|t| !Arc::ptr_eq(t, &packet.track)) {
            send(&mut self.socket, &ToEngine::Track((*packet.track).clone())).await?;
            match known {
                Some(slot) => *slot = packet.track.clone(),
                None => self.known.push(packet.track.clone()),
            }
        }
        send(&mut self.socket, &ToEngine::Packet(InPacket::from(packet))).await
    }

    async fn sound(&mut self, input: InputName, packet: &Packet) -> std::io::Result<()> {
        let known = &mut self.known_sounds[input.index()];
        if known.as_ref().is_none_or(|t| !Arc::ptr_eq(t, &packet.track)) {
            *known = Some(packet.track.clone());
            send(&mut self.socket, &ToEngine::SoundTrack(input, (*packet.track).clone())).await?;
        }
        send(&mut self.socket, &ToEngine::Sound(input, InPacket::from(packet))).await
    }
}

/// The instant of the first output of any track that a child is asked for.
fn first_instant(config: &EngineConfig, start: &Start) -> Ts {
    let video = config.video.iter().map(|v| config.grid.frame_start(start.first(v.id)));
    let audio = config.audio.iter().map(|a| config.grid.aac_start(start.first(a.id)));
    video.chain(audio).min().unwrap_or(Ts::ZERO)
}

/// Sends what is wished for as it changes.
struct Wishing {
    sent: Wishes,
}

impl Wishing {
    /// To a child that was started with `audio` and knows of nothing else.
    async fn first(socket: &mut (impl AsyncWrite + Unpin), wishes: Wishes) -> std::io::Result<Wishing> {
        send(socket, &ToEngine::Plan((*wishes.plan).clone())).await?;
        send(socket, &ToEngine::Rooms(wishes.rooms.clone())).await?;
        Ok(Wishing { sent: wishes })
    }

    async fn send(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        wishes: Wishes,
        first: impl Fn(&[AudioSpec]) -> Vec<(TrackId, i64)>,
    ) -> std::io::Result<()> {
        let sent = std::mem::replace(&mut self.sent, wishes);
        let wishes = &self.sent;
        if !Arc::ptr_eq(&sent.audio, &wishes.audio) {
            let is_new = |a: &&AudioSpec| !sent.audio.iter().any(|old| old.id == a.id);
            let new: Vec<AudioSpec> = wishes.audio.iter().filter(is_new).cloned().collect();
            send(socket, &ToEngine::Audio { specs: (*wishes.audio).clone(), first: first(&new) }).await?;
        }
        if !Arc::ptr_eq(&sent.plan, &wishes.plan) {
            send(socket, &ToEngine::Plan((*wishes.plan).clone())).await?;
        }
        if sent.rooms != wishes.rooms {
            send(socket, &ToEngine::Rooms(wishes.rooms.clone())).await?;
        }
        if sent.key_frames != wishes.key_frames {
            send(socket, &ToEngine::KeyFrame).await?;
        }
        Ok(())
    }
}

impl Feed {
    /// Sends what to make, what was kept, and then the programme, voices and wishes as they come.
    pub async fn run(&mut self, write: impl AsyncWrite + Unpin, start: Start) -> SessionError {
        let gone = |e: std::io::Error| SessionError::Gone(e.to_string());
        let mut feeder = Feeder {
            socket: BufWriter::with_capacity(256 << 10, write),
            known: Vec::new(),
            known_sounds: [None, None],
        };
        match self.begin(&mut feeder, start).await {
            Ok((wishing, ended)) => gone(self.go_on(&mut feeder, wishing, ended).await),
            Err(e) => gone(e),
        }
    }

    /// The event time of the oldest slot that a restart would have to make.
    fn needed(&self) -> Ts {
        self.clock.now() - self.config.delay.max(MIN_VIDEO_DELAY) - CATCH_UP
    }

    async fn begin<W: AsyncWrite + Unpin>(
        &mut self,
        feeder: &mut Feeder<W>,
        start: Start,
    ) -> std::io::Result<(Wishing, bool)> {
        let first = first_instant(&self.config, &start);
        let audio = Arc::new(start.config.audio.clone());
        send(&mut feeder.socket, &ToEngine::Start(Box::new(start))).await?;
        // What waits in the hub belongs to what the child must know before its output begins.
        let mut ended = false;
        loop {
            match self.input.try_recv() {
                Ok(Some(packet)) => self.history.push(packet, self.needed()),
                Ok(None) => break,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Ended) => {
                    ended = true;
                    break;
                }
            }
        }
        // A change of the sound since the start message was made shows as a difference to `audio`.
        let wishes = self.wishes.borrow_and_update().clone();
        let same = *wishes.audio == *audio;
        let known = Wishes { audio: if same { wishes.audio.clone() } else { audio }, ..wishes.clone() };
        let mut wishing = Wishing::first(&mut feeder.socket, known).await?;
        wishing.send(&mut feeder.socket, wishes, |new| self.first_numbers(new)).await?;
        for packet in self.history.packets(first) {
            feeder.packet(packet).await?;
        }
        // What voices said to the child before is past, and what inputs did.
        self.voices = self.voices.resubscribe();
        self.sounds = self.sounds.resubscribe();
        send(&mut feeder.socket, &ToEngine::Live).await?;
        feeder.socket.flush().await?;
        Ok((wishing, ended))
    }

    /// Where a rendition that is added now begins: at the first segment whose sound is not yet being mixed.
    fn first_numbers(&self, added: &[AudioSpec]) -> Vec<(TrackId, i64)> {
        let grid = self.config.grid;
        let mixed = self.clock.now() - self.config.delay + ADD_MARGIN;
        let start = grid.aac_number(grid.segment_start(grid.segment_number(mixed) + 1));
        added.iter().map(|a| (a.id, start)).collect()
    }

    async fn go_on<W: AsyncWrite + Unpin>(
        &mut self,
        feeder: &mut Feeder<W>,
        mut wishing: Wishing,
        mut ended: bool,
    ) -> std::io::Error {
        let mut ping = tokio::time::interval(PING);
        let mut engine_gone = false;
        loop {
            enum Next {
                Ping,
                Input(Result<Packet, RecvError>),
                Voice(Result<VoicePacket, broadcast::error::RecvError>),
                Sound(Result<(InputName, Packet), broadcast::error::RecvError>),
                Wish(bool),
            }
            let next = tokio::select! {
                _ = ping.tick() => Next::Ping,
                message = self.input.recv(), if !ended => Next::Input(message),
                voice = self.voices.recv(), if !engine_gone => Next::Voice(voice),
                sound = self.sounds.recv(), if !engine_gone => Next::Sound(sound),
                changed = self.wishes.changed(), if !engine_gone => Next::Wish(changed.is_ok()),
            };
            let written = match next {
                Next::Ping => send(&mut feeder.socket, &ToEngine::Ping).await,
                Next::Input(Ok(packet)) => {
                    let written = feeder.packet(&packet).await;
                    self.history.push(packet, self.needed());
                    written
                }
                Next::Input(Err(RecvError::Lagged(lag))) => {
                    let event = self.config.event.clone();
                    tracing::warn!(%event, packets = lag.packets, "engine lagged behind the programme");
                    metrics::counter!("boothcast_engine_input_lost_packets_total", "event" => event)
                        .increment(lag.packets);
                    Ok(())
                }
                Next::Input(Err(RecvError::Ended)) => {
                    ended = true;
                    Ok(())
                }
                Next::Voice(Ok(packet)) => send(&mut feeder.socket, &ToEngine::Voice(packet)).await,
                Next::Voice(Err(broadcast::error::RecvError::Lagged(packets))) => {
                    let event = self.config.event.clone();
                    metrics::counter!("boothcast_engine_voice_lost_packets_total", "event" => event).increment(packets);
                    Ok(())
                }
                Next::Sound(Ok((input, packet))) => feeder.sound(input, &packet).await,
                Next::Sound(Err(broadcast::error::RecvError::Lagged(packets))) => {
                    let event = self.config.event.clone();
                    metrics::counter!("boothcast_engine_sounds_lost_packets_total", "event" => event)
                        .increment(packets);
                    Ok(())
                }
                Next::Wish(true) => {
                    let wishes = self.wishes.borrow_and_update().clone();
                    self.config.audio.clone_from(&wishes.audio);
                    wishing.send(&mut feeder.socket, wishes, |new| self.first_numbers(new)).await
                }
                // The handle was dropped: its group is being cancelled.
                Next::Voice(Err(broadcast::error::RecvError::Closed))
                | Next::Sound(Err(broadcast::error::RecvError::Closed))
                | Next::Wish(false) => {
                    engine_gone = true;
                    Ok(())
                }
            };
            let flushed = match written {
                Ok(()) => feeder.socket.flush().await,
                Err(e) => Err(e),
            };
            if let Err(e) = flushed {
                return e;
            }
        }
    }
}
