//! The client's side of an RTMP connection that plays (RTMP 1.0 §7.2, and what servers do beyond it).
//!
//! **Data flow.** [`ClientSession::new`] begins the handshake; [`ClientSession::next_event`] takes received bytes and the time and
//! gives one [`Event`] at a time; what must be sent collects in [`ClientSession::take_output`]. connect → createStream → play go out
//! one after the other, each when the one before was answered.
//! **Bound.** The chunk reader's; [`MAX_OUTPUT`] bytes to send: a server that asks for more than that in one go is left.
//! [`ClientSession::timeout`] says when [`ClientSession::tick`] wants to be called; a server that does not get on is an error there.

use super::chunk::{self, ChunkReader, Message};
use super::kind;
use super::peer::{Aggregate, Received, Sender, Unwritable, WINDOW, amf_body, capabilities, metadata};
use super::server::{MAX_COMMAND, MAX_OUTPUT, SETUP_BYTES};
use crate::media::{Dur, Ts};
use crate::wire::amf0::{self, Value};
use bytes::{Bytes, BytesMut};
use rml_rtmp::handshake::{Handshake, HandshakeProcessResult, PeerType};

/// From the first byte to `play`: five round trips, and servers that ask elsewhere whether one may play.
pub const SETUP_TIMEOUT: Dur = Dur::from_secs(10);

/// How long the first sound or picture may take once the server lets us play: it may wait for its own source.
pub const FIRST_MEDIA_TIMEOUT: Dur = Dur::from_secs(15);

/// Without any sound or picture for so long, a server that played has stalled.
pub const MEDIA_TIMEOUT: Dur = Dur::from_secs(5);

/// Characters of a server's words that are kept: they are shown to people.
const MAX_WORDS: usize = 200;

/// The stream that a live client asks for: live, or recorded where there is none live (§7.2.2.1).
const START: f64 = -2000.0;

/// How much a client says it buffers, in milliseconds; servers send a key frame's worth at once by it.
const BUFFER_MILLIS: u32 = 1000;

const CONNECT: f64 = 1.0;
const CREATE_STREAM: f64 = 2.0;
const PLAY: f64 = 3.0;

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first bytes are not RTMP's.
    #[error("the server does not speak RTMP")]
    Handshake,
    /// The chunk stream is broken.
    #[error(transparent)]
    Chunk(#[from] chunk::Error),
    /// The server refused; its code and words, cut and without control characters.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server names another one to ask.
    #[error("the server redirects")]
    Redirect(String),
    /// Nothing came of the handshake or a command in time.
    #[error("the server did not answer within {SETUP_TIMEOUT}")]
    SetupTimeout,
    /// The server lets us play and sends nothing.
    #[error("connected, but nothing came for {FIRST_MEDIA_TIMEOUT}; is this stream being published there?")]
    NoMedia,
    /// No sound and no picture any more.
    #[error("no sound or picture for {MEDIA_TIMEOUT}")]
    Stalled,
    /// The server says that the stream is over.
    #[error("the server ended the stream")]
    Ended,
    /// More questions than a peer may ask at once.
    #[error("the server asked for more than {MAX_OUTPUT} bytes of answers at once")]
    Flood,
    /// A message could not be written.
    #[error("a message could not be written")]
    Unwritable,
}

impl From<Unwritable> for Error {
    fn from(_: Unwritable) -> Error {
        Error::Unwritable
    }
}

/// What to play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Play {
    /// The application: `live`.
    pub app: String,
    /// The address up to the application: `rtmp://host:1935/live`.
    pub tc_url: String,
    /// The stream's name, with its query. It may hold secrets.
    pub name: String,
}

impl Play {
    /// From the parts of `rtmp://host[:port]/app[/instance]/name[?query]`: as ffmpeg cuts them, an application has one part, or two
    /// where three follow, and the query goes with the name. None without a name.
    pub fn of(scheme: &str, authority: &str, path: &str, query: Option<&str>) -> Option<Play> {
        let path = path.trim_start_matches('/');
        let (first, rest) = path.split_once('/')?;
        let (app, name) = match rest.split_once('/') {
            Some((instance, name)) if !instance.contains(':') => (format!("{first}/{instance}"), name),
            _ => (first.to_owned(), rest),
        };
        if app.is_empty() || name.is_empty() {
            return None;
        }
        let tc_url = format!("{scheme}://{authority}/{app}");
        let name = query.map_or_else(|| name.to_owned(), |q| format!("{name}?{q}"));
        Some(Play { app, tc_url, name })
    }
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The server lets us play; media may take its time.
    Playing,
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
}

/// Where in its life a connection is.
enum Phase {
    Handshake(Box<Handshake>),
    Connecting,
    Creating,
    /// `play` was sent; `since` then, or the newest media.
    Playing {
        stream: u32,
        media: bool,
        since: Ts,
    },
}

/// One connection.
pub struct ClientSession {
    play: Play,
    phase: Phase,
    reader: ChunkReader,
    sender: Sender,
    received: Received,
    started: Ts,
    aggregate: Option<Aggregate>,
}

impl ClientSession {
    /// A connection that was made at `now`; its first bytes to send are ready.
    ///
    /// # Errors
    /// When the handshake cannot be made.
    pub fn new(play: Play, now: Ts) -> Result<ClientSession, Error> {
        let mut handshake = Handshake::new(PeerType::Client);
        let mut sender = Sender::new();
        sender.raw(handshake.generate_outbound_p0_and_p1().map_err(|_| Error::Unwritable)?);
        let mut reader = ChunkReader::new();
        reader.set_limit(SETUP_BYTES);
        Ok(ClientSession {
            play,
            phase: Phase::Handshake(Box::new(handshake)),
            reader,
            sender,
            received: Received::new(),
            started: now,
            aggregate: None,
        })
    }

    /// What must be sent now.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.sender.take()
    }

    /// When [`ClientSession::tick`] must be called at the latest. It moves later as media comes.
    pub fn timeout(&self) -> Ts {
        match self.phase {
            Phase::Playing { media: true, since, .. } => since + MEDIA_TIMEOUT,
            Phase::Playing { media: false, since, .. } => since + FIRST_MEDIA_TIMEOUT,
            _ => self.started + SETUP_TIMEOUT,
        }
    }

    /// Looks whether the server got on.
    ///
    /// # Errors
    /// When it did not in time.
    pub fn tick(&mut self, now: Ts) -> Result<(), Error> {
        if now < self.timeout() {
            return Ok(());
        }
        Err(match self.phase {
            Phase::Playing { media: true, .. } => Error::Stalled,
            Phase::Playing { media: false, .. } => Error::NoMedia,
            _ => Error::SetupTimeout,
        })
    }

    /// Takes bytes from the front of `input` until something happened; none when all was used. Call it until it gives none, then send
    /// the output, then receive more. `fresh` is how many bytes `input` has grown since the last call.
    ///
    /// # Errors
    /// [`Error`]: close the connection.
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
                    self.connect()?;
                }
            }
        }
        self.received.acknowledge(&mut self.sender)?;
        loop {
            if self.sender.len() > MAX_OUTPUT {
                return Err(Error::Flood);
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

    fn next_of_aggregate(&mut self) -> Option<Message> {
        let message = self.aggregate.as_mut()?.next_message();
        if message.is_none() {
            self.aggregate = None;
        }
        message
    }

    fn message(&mut self, now: Ts, message: Message) -> Result<Option<Event>, Error> {
        let Message { kind, timestamp, data, .. } = message;
        match kind {
            kind::AUDIO | kind::VIDEO => {
                let Phase::Playing { media, since, .. } = &mut self.phase else { return Ok(None) };
                // Servers announce a track that has nothing yet by an empty message.
                if data.is_empty() {
                    return Ok(None);
                }
                (*media, *since) = (true, now);
                return Ok(Some(match kind {
                    kind::AUDIO => Event::Audio { timestamp, data },
                    _ => Event::Video { timestamp, data },
                }));
            }
            kind::AGGREGATE if matches!(self.phase, Phase::Playing { .. }) => {
                self.aggregate = Some(Aggregate::new(data, timestamp));
            }
            kind::WINDOW_ACK_SIZE => self.received.set_window(&data),
            // §5.4.5: a client answers with its own window.
            kind::SET_PEER_BANDWIDTH => {
                self.sender.send(kind::WINDOW_ACK_SIZE, 0, Bytes::copy_from_slice(&WINDOW.to_be_bytes()))?;
            }
            kind::USER_CONTROL => {
                self.sender.pong(&data)?;
                // Stream EOF (§7.1.7).
                if let ([0, 1, stream @ ..], Phase::Playing { stream: ours, .. }) = (&data[..], &self.phase)
                    && stream.first_chunk::<4>() == Some(&ours.to_be_bytes())
                {
                    return Err(Error::Ended);
                }
            }
            kind::DATA_AMF0 | kind::DATA_AMF3 if data.len() <= MAX_COMMAND => {
                if matches!(self.phase, Phase::Playing { .. }) {
                    return Ok(metadata(amf_body(kind, &data)).map(Event::Metadata));
                }
            }
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 if data.len() <= MAX_COMMAND => {
                return self.command(now, amf_body(kind, &data));
            }
            _ => {}
        }
        Ok(None)
    }

    fn command(&mut self, now: Ts, body: &[u8]) -> Result<Option<Event>, Error> {
        let mut reader = amf0::Reader::new(body);
        let Ok(Some(Value::String(name))) = reader.next_value() else { return Ok(None) };
        let arguments = reader.rest();
        let transaction = arguments.first().and_then(Value::as_number).unwrap_or(0.0);
        match name.as_str() {
            "_result" if transaction == CONNECT && matches!(self.phase, Phase::Connecting) => {
                self.phase = Phase::Creating;
                self.sender.command(0, "createStream", CREATE_STREAM, [Value::Null])?;
            }
            "_result" if transaction == CREATE_STREAM && matches!(self.phase, Phase::Creating) => {
                let stream = arguments.iter().skip(1).find_map(Value::as_number).unwrap_or(1.0);
                // A float that is no stream number becomes the nearest one.
                self.start(stream as u32, now)?;
            }
            "_error" if transaction == CONNECT || transaction == CREATE_STREAM || transaction == PLAY => {
                return Err(refusal(&arguments));
            }
            "onStatus" => {
                let info = arguments.iter().find(|v| v.get("code").is_some());
                let text = |name| info.and_then(|i| i.get(name)).and_then(Value::as_str).unwrap_or("");
                let code = text("code");
                if text("level") == "error" {
                    return Err(refusal(&arguments));
                }
                match code {
                    "NetStream.Play.Start" => return Ok(Some(Event::Playing)),
                    "NetStream.Play.Stop" | "NetStream.Play.Complete" | "NetStream.Play.UnpublishNotify" => {
                        return Err(Error::Ended);
                    }
                    _ => {}
                }
            }
            "close" => return Err(Error::Ended),
            // A server that measures the bandwidth waits for an answer.
            "_checkbw" | "onBWCheck" if transaction != 0.0 => {
                self.sender.command(0, "_result", transaction, [Value::Null, Value::Number(0.0)])?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// §7.2.1.1, and "Enhancing NetConnection connect Command" of Enhanced RTMP v2.
    fn connect(&mut self) -> Result<(), Error> {
        self.phase = Phase::Connecting;
        let mut object = vec![
            ("app".to_owned(), Value::string(self.play.app.as_str())),
            ("flashVer".to_owned(), Value::string("LNX 9,0,124,2")),
            ("tcUrl".to_owned(), Value::string(self.play.tc_url.as_str())),
            ("fpad".to_owned(), Value::Boolean(false)),
            ("capabilities".to_owned(), Value::Number(239.0)),
            // All sound and picture codecs of the original protocol (§7.2.1.1's tables).
            ("audioCodecs".to_owned(), Value::Number(4071.0)),
            ("videoCodecs".to_owned(), Value::Number(252.0)),
            ("videoFunction".to_owned(), Value::Number(1.0)),
            ("objectEncoding".to_owned(), Value::Number(0.0)),
        ];
        object.extend(capabilities());
        Ok(self.sender.command(0, "connect", CONNECT, [Value::Object(object)])?)
    }

    /// §7.2.2.1.
    fn start(&mut self, stream: u32, now: Ts) -> Result<(), Error> {
        self.phase = Phase::Playing { stream, media: false, since: now };
        self.reader.set_limit(chunk::MAX_BYTES);
        let name = Value::string(self.play.name.as_str());
        self.sender.command(stream, "play", PLAY, [Value::Null, name, Value::Number(START)])?;
        // User control: Set Buffer Length (§7.1.7).
        let buffer = [&[0, 3][..], &stream.to_be_bytes(), &BUFFER_MILLIS.to_be_bytes()].concat();
        Ok(self.sender.send(kind::USER_CONTROL, 0, buffer.into())?)
    }
}

/// What a server says when it refuses: `{code, description}`, and with a redirect `ex: {code: 302, redirect}`.
fn refusal(arguments: &[Value]) -> Error {
    let info = arguments.iter().find(|v| v.get("code").is_some() || v.get("description").is_some());
    let redirect = info.and_then(|i| i.get("ex")).and_then(|ex| ex.get("redirect")).and_then(Value::as_str);
    if let Some(url) = redirect {
        return Error::Redirect(url.to_owned());
    }
    let text = |name| info.and_then(|i| i.get(name)).and_then(Value::as_str).map(words).filter(|t| !t.is_empty());
    Error::Refused(match (text("code"), text("description")) {
        (Some(code), Some(description)) => format!("{description} ({code})"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => "it does not say why".to_owned(),
    })
}

/// A peer's text for people: one line, and not endless.
fn words(text: &str) -> String {
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MAX_WORDS).collect::<String>().trim().to_owned()
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
