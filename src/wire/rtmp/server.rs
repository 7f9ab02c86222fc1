//! The server's side of an RTMP connection that publishes (RTMP 1.0 §7.2, and what encoders do beyond it).
//!
//! **Data flow.** [`ServerSession::next_event`] takes received bytes and the time, and gives one [`Event`] at a time; what must be sent
//! collects in [`ServerSession::take_output`]. A [`Event::Publish`] must be answered by [`ServerSession::accept`] or
//! [`ServerSession::refuse`] before reading goes on.
//! **Bound.** [`MAX_OUTPUT`] bytes to send: a peer that asks for more than that in one go is cut off. [`ServerSession::timeout`] says
//! when [`ServerSession::tick`] wants to be called; a peer that does not get on is an error there.

use super::chunk::{self, ChunkReader, Message};
use super::kind;
use super::peer::{Aggregate, Received, Sender, Unwritable, WINDOW, amf_body, capabilities, metadata, status};
use crate::media::{Dur, Ts};
use crate::wire::amf0::{self, Value};
use bytes::{Bytes, BytesMut};
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};
use secrecy::SecretString;

/// From the first byte to `publish`: encoders behind slow satellite links need some seconds for the dozen round trips.
pub const SETUP_TIMEOUT: Dur = Dur::from_secs(15);

/// Without any sound or picture for so long, a publisher is gone although its socket is not.
pub const MEDIA_TIMEOUT: Dur = Dur::from_secs(15);

/// How often the round trip is measured.
pub const PING_INTERVAL: Dur = Dur::from_secs(10);

/// Commands and metadata longer than this are passed over: the largest real ones have some kilobytes.
pub const MAX_COMMAND: usize = 64 << 10;

/// Payload that a peer may have in progress before it was let in: commands only, so that strangers cannot fill the memory.
pub const SETUP_BYTES: usize = 128 << 10;

/// Bytes that may wait to be sent. All answers to a normal session together are 2 KB.
pub const MAX_OUTPUT: usize = 64 << 10;

/// Message streams of a connection: encoders make one, some a second one after a restart.
const MAX_STREAMS: u32 = 16;

/// Chunk size for what is sent, large enough that no answer is cut.
const CHUNK_SIZE: u32 = 4096;

/// Keys are some tens of characters.
const MAX_KEY: usize = 512;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first bytes are not RTMP's.
    #[error("not an RTMP handshake")]
    Handshake,
    /// The chunk stream is broken.
    #[error(transparent)]
    Chunk(#[from] chunk::Error),
    /// `publish` did not come in time.
    #[error("no publish command within {SETUP_TIMEOUT}")]
    SetupTimeout,
    /// No sound and no picture any more.
    #[error("no sound or picture for {MEDIA_TIMEOUT}")]
    MediaTimeout,
    /// More questions than a peer may ask at once.
    #[error("more than {MAX_OUTPUT} bytes of answers asked for at once")]
    Flood,
    /// The peer wants to play.
    #[error("the peer asked to play; only publishing is served here")]
    Play,
    /// An answer could not be written; the peer made its parameters impossible.
    #[error("an answer could not be written")]
    Answer,
}

impl From<Unwritable> for Error {
    fn from(_: Unwritable) -> Error {
        Error::Answer
    }
}

/// What a peer that wants to publish presents.
pub struct Publish {
    /// The stream key.
    pub key: SecretString,
    /// It asks to replace the present publisher (`takeover=1` among the query parameters).
    pub takeover: bool,
}

/// What happened.
pub enum Event {
    /// A peer wants to publish: answer before reading on.
    Publish(Publish),
    /// An audio message.
    Audio {
        /// Milliseconds, modulo 2³².
        timestamp: u32,
        /// A tag's body, for [`crate::wire::flv::audio`].
        data: Bytes,
    },
    /// A video message.
    Video {
        /// Milliseconds, modulo 2³².
        timestamp: u32,
        /// A tag's body, for [`crate::wire::flv::video`].
        data: Bytes,
    },
    /// `onMetaData`.
    Metadata(Value),
    /// The peer stopped publishing; the connection may publish again.
    Unpublish,
}

/// Where in its life a connection is.
enum Phase {
    Handshake(Box<Handshake>),
    /// Commands are exchanged.
    Idle,
    /// The owner is asked; nothing is read.
    Deciding {
        stream: u32,
        publish: Option<f64>,
    },
    Publishing {
        stream: u32,
    },
    /// Refused: what still comes is not looked at.
    Refused,
}

/// One connection.
pub struct ServerSession {
    phase: Phase,
    reader: ChunkReader,
    sender: Sender,
    app: String,
    tc_url: String,
    encoder: Option<String>,
    enhanced: bool,
    streams: u32,
    fc_publish: bool,
    received: Received,
    started: Ts,
    last_media: Ts,
    next_ping: Ts,
    rtt: Option<Dur>,
    aggregate: Option<Aggregate>,
}

impl ServerSession {
    /// A connection that was accepted at `now`.
    pub fn new(now: Ts) -> ServerSession {
        let mut reader = ChunkReader::new();
        reader.set_limit(SETUP_BYTES);
        ServerSession {
            phase: Phase::Handshake(Box::new(Handshake::new(PeerType::Server))),
            reader,
            sender: Sender::new(),
            app: String::new(),
            tc_url: String::new(),
            encoder: None,
            enhanced: false,
            streams: 0,
            fc_publish: false,
            received: Received::new(),
            started: now,
            last_media: now,
            next_ping: now,
            rtt: None,
            aggregate: None,
        }
    }

    /// What the peer calls itself (`flashVer`).
    pub fn encoder(&self) -> Option<&str> {
        self.encoder.as_deref()
    }

    /// Whether the peer announced Enhanced RTMP.
    pub fn enhanced(&self) -> bool {
        self.enhanced
    }

    /// The last measured round trip.
    pub fn rtt(&self) -> Option<Dur> {
        self.rtt
    }

    /// Bytes received so far.
    pub fn received(&self) -> u64 {
        self.received.bytes
    }

    /// What must be sent now.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.sender.take()
    }

    /// When [`ServerSession::tick`] must be called at the latest.
    pub fn timeout(&self) -> Ts {
        match self.phase {
            Phase::Publishing { .. } => (self.last_media + MEDIA_TIMEOUT).min(self.next_ping),
            _ => self.started + SETUP_TIMEOUT,
        }
    }

    /// Does what is due.
    ///
    /// # Errors
    /// When the peer did not get on in time.
    pub fn tick(&mut self, now: Ts) -> Result<(), Error> {
        match self.phase {
            Phase::Publishing { .. } => {
                if now >= self.last_media + MEDIA_TIMEOUT {
                    return Err(Error::MediaTimeout);
                }
                if now >= self.next_ping {
                    self.next_ping = now + PING_INTERVAL;
                    // User control: Ping Request with our milliseconds (§7.1.7).
                    let time = (now.as_millis() as u32).to_be_bytes();
                    let ping = [&[0, 6][..], &time].concat();
                    self.send(kind::USER_CONTROL, 0, ping.into())?;
                }
                Ok(())
            }
            // The owner's decision is not the peer's fault.
            Phase::Deciding { .. } => Ok(()),
            _ if now >= self.started + SETUP_TIMEOUT => Err(Error::SetupTimeout),
            _ => Ok(()),
        }
    }

    /// Takes bytes from the front of `input` until something happened; none when all was used. Call it until it gives none, then send
    /// the output, then receive more. `fresh` is how many bytes `input` has grown since the last call.
    ///
    /// # Errors
    /// [`Error`]: send the output, then close.
    pub fn next_event(&mut self, now: Ts, input: &mut BytesMut, fresh: usize) -> Result<Option<Event>, Error> {
        self.received.add(fresh);
        if let Phase::Handshake(handshake) = &mut self.phase {
            let taken = input.split();
            match handshake.process_bytes(&taken).map_err(|_| Error::Handshake)? {
                HandshakeProcessResult::InProgress { response_bytes } => {
                    self.sender.raw(response_bytes);
                    return Ok(None);
                }
                HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                    self.sender.raw(response_bytes);
                    input.extend_from_slice(&remaining_bytes);
                    self.phase = Phase::Idle;
                }
            }
        }
        self.received.acknowledge(&mut self.sender)?;
        loop {
            if self.sender.len() > MAX_OUTPUT {
                return Err(Error::Flood);
            }
            match self.phase {
                Phase::Deciding { .. } => return Ok(None),
                Phase::Refused => {
                    input.clear();
                    return Ok(None);
                }
                _ => {}
            }
            let message = match self.next_of_aggregate() {
                Some(message) => message,
                None => match self.reader.next_message(input)? {
                    Some(message) => message,
                    None => return Ok(None),
                },
            };
            if let Some(event) = self.message(now, message)? {
                return Ok(Some(event));
            }
        }
    }

    /// Lets the peer publish.
    ///
    /// # Errors
    /// When the answer cannot be written.
    pub fn accept(&mut self, now: Ts) -> Result<(), Error> {
        let Phase::Deciding { stream, .. } = self.phase else { return Ok(()) };
        self.phase = Phase::Publishing { stream };
        self.reader.set_limit(chunk::MAX_BYTES);
        self.last_media = now;
        self.next_ping = now + PING_INTERVAL;
        // User control: Stream Begin.
        self.send(kind::USER_CONTROL, 0, [&[0, 0][..], &stream.to_be_bytes()].concat().into())?;
        if self.fc_publish {
            let info = status("status", "NetStream.Publish.Start", "publishing");
            self.command(stream, "onFCPublish", 0.0, [Value::Null, info])?;
        }
        self.status(stream, "status", "NetStream.Publish.Start", "publishing")
    }

    /// Refuses, with a code (`NetStream.Publish.BadName`, `NetStream.Publish.Denied`) and words for people. Also ends a publisher that
    /// was accepted before. Send the output, then close.
    ///
    /// # Errors
    /// When the answer cannot be written.
    pub fn refuse(&mut self, code: &str, description: &str) -> Result<(), Error> {
        let (Phase::Deciding { stream, .. } | Phase::Publishing { stream }) = self.phase else { return Ok(()) };
        if let Phase::Deciding { publish: Some(transaction), .. } = self.phase {
            // Encoders that gave their publish command a transaction wait for its result.
            let info = status("error", code, description);
            self.command(stream, "_error", transaction, [Value::Null, info])?;
        }
        self.status(stream, "error", code, description)?;
        self.phase = Phase::Refused;
        Ok(())
    }

    fn message(&mut self, now: Ts, message: Message) -> Result<Option<Event>, Error> {
        let Message { kind, timestamp, data, stream } = message;
        let publishing = matches!(self.phase, Phase::Publishing { .. });
        match kind {
            kind::AUDIO | kind::VIDEO if publishing => {
                self.last_media = now;
                let event = if kind == kind::AUDIO {
                    Event::Audio { timestamp, data }
                } else {
                    Event::Video { timestamp, data }
                };
                return Ok(Some(event));
            }
            kind::AGGREGATE if publishing => self.aggregate = Some(Aggregate::new(data, timestamp)),
            kind::WINDOW_ACK_SIZE => {
                self.received.set_window(&data);
            }
            kind::USER_CONTROL => return self.user_control(now, &data).map(|()| None),
            kind::DATA_AMF0 | kind::DATA_AMF3 if publishing && data.len() <= MAX_COMMAND => {
                return Ok(metadata(amf_body(kind, &data)).map(Event::Metadata));
            }
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 if data.len() <= MAX_COMMAND => {
                return self.incoming_command(stream, amf_body(kind, &data));
            }
            _ => {}
        }
        Ok(None)
    }

    /// The next tag of an aggregate message.
    fn next_of_aggregate(&mut self) -> Option<Message> {
        let message = self.aggregate.as_mut()?.next_message();
        if message.is_none() {
            self.aggregate = None;
        }
        message
    }

    /// §7.1.7.
    fn user_control(&mut self, now: Ts, data: &[u8]) -> Result<(), Error> {
        match data {
            [0, 7, a, b, c, d, ..] => {
                let sent = u32::from_be_bytes([*a, *b, *c, *d]);
                let millis = (now.as_millis() as u32).wrapping_sub(sent);
                // An answer to nothing that was asked recently is no measurement.
                if i64::from(millis) < PING_INTERVAL.as_millis() * 2 {
                    self.rtt = Some(Dur::from_millis(millis.into()));
                }
                Ok(())
            }
            _ => Ok(self.sender.pong(data).map(drop)?),
        }
    }

    fn incoming_command(&mut self, stream: u32, body: &[u8]) -> Result<Option<Event>, Error> {
        let mut reader = amf0::Reader::new(body);
        let Ok(Some(Value::String(name))) = reader.next_value() else { return Ok(None) };
        let arguments = reader.rest();
        let transaction = arguments.first().and_then(Value::as_number).unwrap_or(0.0);
        let argument = |i: usize| arguments.get(i).and_then(Value::as_str).unwrap_or("");
        match name.as_str() {
            "connect" => self.connect(transaction, arguments.get(1).unwrap_or(&Value::Null)),
            "createStream" => {
                if self.streams >= MAX_STREAMS {
                    let info = status("error", "NetConnection.Call.Failed", "too many streams");
                    return self.command(0, "_error", transaction, [Value::Null, info]).map(|()| None);
                }
                self.streams += 1;
                self.command(0, "_result", transaction, [Value::Null, Value::Number(self.streams.into())])
            }
            "publish" => return self.publish(stream, transaction, argument(2)),
            "FCPublish" => {
                self.fc_publish = true;
                self.command(0, "_result", transaction, [Value::Null, Value::Undefined])
            }
            "FCUnpublish" | "closeStream" | "deleteStream" => return self.unpublish(&name, transaction),
            "play" | "play2" => {
                let _ = self.status(stream, "error", "NetStream.Play.Failed", "only publishing is served here");
                return Err(Error::Play);
            }
            "getStreamLength" => self.command(0, "_result", transaction, [Value::Null, Value::Number(0.0)]),
            "@setDataFrame" | "onMetaData" if matches!(self.phase, Phase::Publishing { .. }) => {
                return Ok(arguments.into_iter().rfind(|v| !v.members().is_empty()).map(Event::Metadata));
            }
            // releaseStream, _checkbw, and whatever else an encoder asks: one that waits for a result gets an empty one.
            _ if (transaction != 0.0 && !name.starts_with('_')) || name == "_checkbw" => {
                self.command(0, "_result", transaction, [Value::Null, Value::Undefined])
            }
            _ => Ok(()),
        }
        .map(|()| None)
    }

    /// §7.2.1.1, and "Enhancing NetConnection connect Command" of Enhanced RTMP v2.
    fn connect(&mut self, transaction: f64, object: &Value) -> Result<(), Error> {
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or("");
        self.app = text("app").to_owned();
        self.tc_url = text("tcUrl").to_owned();
        self.encoder = super::super::flv::encoder_name(text("flashVer"));
        self.enhanced = ["fourCcList", "videoFourCcInfoMap", "audioFourCcInfoMap", "capsEx"]
            .iter()
            .any(|name| object.get(name).is_some());
        self.send(kind::WINDOW_ACK_SIZE, 0, Bytes::copy_from_slice(&WINDOW.to_be_bytes()))?;
        // Limit type 2: dynamic.
        self.send(kind::SET_PEER_BANDWIDTH, 0, [&WINDOW.to_be_bytes()[..], &[2]].concat().into())?;
        self.sender.chunk_size(CHUNK_SIZE)?;
        let mut properties = vec![
            ("fmsVer".to_owned(), Value::string("FMS/3,5,7,7009")),
            ("capabilities".to_owned(), Value::Number(31.0)),
            ("mode".to_owned(), Value::Number(1.0)),
        ];
        let mut info = vec![
            ("level".to_owned(), Value::string("status")),
            ("code".to_owned(), Value::string("NetConnection.Connect.Success")),
            ("description".to_owned(), Value::string("connected")),
            ("objectEncoding".to_owned(), Value::Number(0.0)),
        ];
        if self.enhanced {
            let capabilities = capabilities();
            // The specification does not say in which of the two objects; peers look in either.
            properties.extend(capabilities.clone());
            info.extend(capabilities);
        }
        self.command(0, "_result", transaction, [Value::Object(properties), Value::Object(info)])?;
        // Encoders of the Flash era wait for this before they go on.
        self.command(0, "onBWDone", 0.0, [Value::Null, Value::Number(0.0)])
    }

    /// §7.2.2.6.
    fn publish(&mut self, stream: u32, transaction: f64, name: &str) -> Result<Option<Event>, Error> {
        if !matches!(self.phase, Phase::Idle) {
            self.status(stream, "error", "NetStream.Publish.BadName", "this connection publishes already")?;
            return Ok(None);
        }
        self.phase = Phase::Deciding { stream, publish: Some(transaction).filter(|t| *t != 0.0) };
        match publish_key(&self.app, &self.tc_url, name) {
            Some(publish) => Ok(Some(Event::Publish(publish))),
            None => {
                self.refuse("NetStream.Publish.BadName", "no stream key was given")?;
                Ok(None)
            }
        }
    }

    fn unpublish(&mut self, name: &str, transaction: f64) -> Result<Option<Event>, Error> {
        let Phase::Publishing { stream } = self.phase else { return Ok(None) };
        if name == "FCUnpublish" {
            let info = status("status", "NetStream.Unpublish.Success", "stopped");
            self.command(0, "onFCUnpublish", transaction, [Value::Null, info])?;
        }
        self.status(stream, "status", "NetStream.Unpublish.Success", "stopped")?;
        self.phase = Phase::Idle;
        self.aggregate = None;
        Ok(Some(Event::Unpublish))
    }

    /// Gives a connection that published the time to begin again.
    pub fn restart_setup(&mut self, now: Ts) {
        self.started = now;
    }

    fn status(&mut self, stream: u32, level: &str, code: &str, description: &str) -> Result<(), Error> {
        self.command(stream, "onStatus", 0.0, [Value::Null, status(level, code, description)])
    }

    fn command<const N: usize>(
        &mut self,
        stream: u32,
        name: &str,
        transaction: f64,
        arguments: [Value; N],
    ) -> Result<(), Error> {
        Ok(self.sender.command(stream, name, transaction, arguments)?)
    }

    fn send(&mut self, kind: u8, stream: u32, data: Bytes) -> Result<(), Error> {
        Ok(self.sender.send(kind, stream, data)?)
    }
}

/// The key of a `publish` command. It comes as the stream name (`KEY`, `KEY?query`), or, where the name is empty because the whole URL
/// went into `connect`, as the last part of the application or of `tcUrl`.
fn publish_key(app: &str, tc_url: &str, name: &str) -> Option<Publish> {
    let path_of = |url: &str| url.split('?').next().unwrap_or("").trim_matches('/').to_owned();
    let last = |path: &str| path.rsplit('/').next().unwrap_or("").trim().to_owned();
    let mut key = last(&path_of(name));
    if key.is_empty() && path_of(app).contains('/') {
        key = last(&path_of(app));
    }
    if key.is_empty() {
        // rtmp://host/app/KEY with an application that an encoder cut off before the key; rtmp://host/KEY.
        let path = tc_url.split_once("://").map_or(tc_url, |(_, rest)| rest);
        key = path_of(path).split_once('/').map(|(_, path)| last(path)).unwrap_or_default();
    }
    if key.is_empty() || key.len() > MAX_KEY {
        return None;
    }
    let takeover = [name, app, tc_url].iter().any(|text| {
        text.split_once('?').is_some_and(|(_, query)| {
            query.split('&').any(|p| matches!(p, "takeover" | "takeover=1" | "takeover=true"))
        })
    });
    Some(Publish { key: key.into(), takeover })
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
