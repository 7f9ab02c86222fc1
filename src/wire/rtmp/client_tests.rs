use super::*;
use crate::wire::rtmp::peer::status;
use crate::wire::rtmp::server::ServerSession;
use proptest::prelude::*;

fn play() -> Play {
    Play::of("rtmp", "host:1935", "/live/stream", Some("token=x")).expect("a name")
}

/// A server made of the parts of ours: handshake, chunk reader and writer.
struct Server {
    handshake: Option<Handshake>,
    reader: ChunkReader,
    sender: Sender,
    input: BytesMut,
    heard: Vec<(String, Vec<Value>)>,
}

impl Server {
    fn new() -> Server {
        Server {
            handshake: Some(Handshake::new(PeerType::Server)),
            reader: ChunkReader::new(),
            sender: Sender::new(),
            input: BytesMut::new(),
            heard: Vec::new(),
        }
    }

    /// Hears what the client sent; commands collect.
    fn hear(&mut self, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        if let Some(handshake) = &mut self.handshake {
            let taken = self.input.split();
            match handshake.process_bytes(&taken).expect("a handshake") {
                HandshakeProcessResult::InProgress { response_bytes } => return self.sender.raw(response_bytes),
                HandshakeProcessResult::Completed { response_bytes, remaining_bytes } => {
                    self.sender.raw(response_bytes);
                    self.input.extend_from_slice(&remaining_bytes);
                    self.handshake = None;
                }
            }
        }
        while let Some(message) = self.reader.next_message(&mut self.input).expect("chunks") {
            if message.kind == kind::COMMAND_AMF0 {
                let mut values = amf0::Reader::new(&message.data).rest();
                let name = values.remove(0).as_str().expect("a name").to_owned();
                self.heard.push((name, values));
            }
        }
    }

    fn answer(&mut self, name: &str, transaction: f64, values: [Value; 2]) {
        assert!(self.sender.command(0, name, transaction, values).is_ok());
    }
}

/// Client and server talk until both are silent; what happened at the client.
fn talk(client: &mut ClientSession, server: &mut Server, now: Ts) -> Result<Vec<Event>, Error> {
    let mut events = Vec::new();
    loop {
        let out = client.take_output();
        server.hear(&out);
        let mut input = BytesMut::from(&server.sender.take()[..]);
        if out.is_empty() && input.is_empty() {
            return Ok(events);
        }
        let mut fresh = input.len();
        while let Some(event) = client.next_event(now, &mut input, std::mem::take(&mut fresh))? {
            events.push(event);
        }
    }
}

/// As far as `play`.
fn playing() -> (ClientSession, Server) {
    let (mut client, mut server) = (ClientSession::new(play(), Ts::ZERO).expect("begins"), Server::new());
    talk(&mut client, &mut server, Ts::ZERO).expect("handshake");
    server.answer("_result", CONNECT, [Value::Null, status("status", "NetConnection.Connect.Success", "")]);
    talk(&mut client, &mut server, Ts::ZERO).expect("connected");
    server.answer("_result", CREATE_STREAM, [Value::Null, Value::Number(7.0)]);
    talk(&mut client, &mut server, Ts::ZERO).expect("created");
    (client, server)
}

#[test]
fn it_connects_with_what_it_can_creates_a_stream_and_plays() {
    let (_, server) = playing();
    let names: Vec<&str> = server.heard.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["connect", "createStream", "play"]);
    let object = &server.heard[0].1[1];
    assert_eq!(object.get("app").and_then(Value::as_str), Some("live"));
    assert_eq!(object.get("tcUrl").and_then(Value::as_str), Some("rtmp://host:1935/live"));
    let Some(Value::StrictArray(codes)) = object.get("fourCcList") else { panic!("no fourCcList: {object:?}") };
    for code in ["hvc1", "av01", "Opus", "mp4a"] {
        assert!(codes.iter().any(|c| c.as_str() == Some(code)), "{code}");
    }
    assert_eq!(server.heard[2].1[2].as_str(), Some("stream?token=x"));
}

#[test]
fn media_is_handed_out_also_from_aggregates_and_pings_are_answered() {
    let (mut client, mut server) = playing();
    assert!(server.sender.send(kind::VIDEO, 7, Bytes::from_static(&[0x17, 1, 0, 0, 0])).is_ok());
    assert!(server.sender.send(kind::AUDIO, 7, Bytes::new()).is_ok());
    // Two tags of sound, 20 ms apart.
    let tag = |at: u8| [&[8, 0, 0, 2, 0, 0, at, 0, 0, 0, 0, 0xaf, at][..], &[0, 0, 0, 13]].concat();
    assert!(server.sender.send(kind::AGGREGATE, 7, [tag(100), tag(120)].concat().into()).is_ok());
    assert!(server.sender.send(kind::USER_CONTROL, 0, Bytes::from_static(&[0, 6, 1, 2, 3, 4])).is_ok());
    let mut input = BytesMut::from(&server.sender.take()[..]);
    let mut times = Vec::new();
    while let Some(event) = client.next_event(Ts::from_millis(5), &mut input, 0).expect("goes on") {
        match event {
            Event::Video { timestamp, data } => times.push((timestamp, data.len())),
            Event::Audio { timestamp, data } => times.push((timestamp, data.len())),
            other => panic!("{other:?}"),
        }
    }
    // An aggregate's timestamp, 0 here, stands for its first tag's.
    assert_eq!(times, [(0, 5), (0, 2), (20, 2)]);
    let out = client.take_output();
    assert!(out.windows(6).any(|w| w == [0, 7, 1, 2, 3, 4]), "pong: {out:?}");
}

#[test]
fn what_the_server_says_against_it_is_told_in_its_words() {
    let refused = |at: usize, name: &str, info: Value| {
        let (mut client, mut server) = (ClientSession::new(play(), Ts::ZERO).expect("begins"), Server::new());
        talk(&mut client, &mut server, Ts::ZERO).expect("handshake");
        if at > 0 {
            server.answer("_result", CONNECT, [Value::Null, Value::Null]);
            talk(&mut client, &mut server, Ts::ZERO).expect("connected");
            server.answer("_result", CREATE_STREAM, [Value::Null, Value::Number(1.0)]);
            talk(&mut client, &mut server, Ts::ZERO).expect("created");
        }
        let transaction = if name == "onStatus" { 0.0 } else { CONNECT };
        server.answer(name, transaction, [Value::Null, info]);
        talk(&mut client, &mut server, Ts::ZERO).expect_err("ends")
    };
    let error = refused(1, "onStatus", status("error", "NetStream.Play.StreamNotFound", "no\nsuch stream"));
    assert_eq!(error.to_string(), "the server refuses: no such stream (NetStream.Play.StreamNotFound)");
    let error = refused(0, "_error", status("error", "NetConnection.Connect.Rejected", &"x".repeat(5000)));
    assert!(error.to_string().len() < 300 && error.to_string().contains("Rejected"), "{error}");
    assert_eq!(refused(1, "onStatus", status("status", "NetStream.Play.UnpublishNotify", "")), Error::Ended);
    let away = Value::object([
        ("code", Value::string("NetConnection.Connect.Rejected")),
        ("ex", Value::object([("code", Value::Number(302.0)), ("redirect", Value::string("rtmp://10.0.0.1/live"))])),
    ]);
    assert_eq!(refused(0, "_error", away), Error::Redirect("rtmp://10.0.0.1/live".to_owned()));
}

#[test]
fn a_server_that_does_not_get_on_is_left_in_time() {
    let at = |seconds| Ts::ZERO + Dur::from_secs(seconds);
    let mut client = ClientSession::new(play(), Ts::ZERO).expect("begins");
    assert_eq!(client.timeout(), Ts::ZERO + SETUP_TIMEOUT);
    assert_eq!(client.tick(at(9)), Ok(()));
    assert_eq!(client.tick(at(10)), Err(Error::SetupTimeout));
    let (mut client, mut server) = playing();
    assert_eq!(client.tick(at(14)), Ok(()));
    assert_eq!(client.tick(at(15)), Err(Error::NoMedia));
    assert!(server.sender.send(kind::VIDEO, 7, Bytes::from_static(&[0x17, 1, 0, 0, 0])).is_ok());
    talk(&mut client, &mut server, at(15)).expect("media");
    assert_eq!((client.tick(at(19)), client.tick(at(20))), (Ok(()), Err(Error::Stalled)));
}

#[test]
fn no_message_larger_than_a_command_is_taken_before_it_plays() {
    let (mut client, mut server) = (ClientSession::new(play(), Ts::ZERO).expect("begins"), Server::new());
    talk(&mut client, &mut server, Ts::ZERO).expect("handshake");
    let mut input = BytesMut::from(&[0x03, 0, 0, 0, 0x7f, 0xff, 0xff, 20, 0, 0, 0, 0][..]);
    let error = client.next_event(Ts::ZERO, &mut input, 12).expect_err("refused");
    assert!(matches!(error, Error::Chunk(chunk::Error::TooLong { .. })), "{error}");
}

#[test]
fn addresses_are_cut_as_ffmpeg_does() {
    let cut = |path: &str| Play::of("rtmp", "h:1", path, None).map(|p| (p.app, p.name, p.tc_url));
    let is = |app: &str, name: &str| Some((app.to_owned(), name.to_owned(), format!("rtmp://h:1/{app}")));
    assert_eq!(cut("/live/stream"), is("live", "stream"));
    assert_eq!(cut("/live/instance/stream"), is("live/instance", "stream"));
    assert_eq!(cut("/vod/mp4:a/b.mp4"), is("vod", "mp4:a/b.mp4"));
    assert_eq!(cut("/a/b/c/d"), is("a/b", "c/d"));
    assert_eq!((cut("/live"), cut("/live/"), cut("/"), cut("")), (None, None, None, None));
}

#[test]
fn our_own_server_does_not_let_it_play() {
    let (mut client, mut server) =
        (ClientSession::new(play(), Ts::ZERO).expect("begins"), ServerSession::new(Ts::ZERO));
    let error = (0..10).find_map(|_| {
        let mut input = BytesMut::from(&client.take_output()[..]);
        let fresh = input.len();
        let _ = server.next_event(Ts::ZERO, &mut input, fresh);
        let mut input = BytesMut::from(&server.take_output()[..]);
        let fresh = input.len();
        client.next_event(Ts::ZERO, &mut input, fresh).err()
    });
    assert!(error.as_ref().is_some_and(|e| e.to_string().contains("only publishing is served")), "{error:?}");
}

proptest! {
    #[test]
    fn garbage_ends_in_an_error_or_waits(data in prop::collection::vec(any::<u8>(), 0..4000), step in 1usize..500) {
        let mut client = ClientSession::new(play(), Ts::ZERO).expect("begins");
        let mut input = BytesMut::new();
        for piece in data.chunks(step) {
            input.extend_from_slice(piece);
            if client.next_event(Ts::ZERO, &mut input, piece.len()).is_err() {
                break;
            }
        }
    }

    #[test]
    fn garbage_after_the_set_up_does_no_more(data in prop::collection::vec(any::<u8>(), 0..4000)) {
        let (mut client, _) = playing();
        let mut input = BytesMut::from(&data[..]);
        let mut fresh = data.len();
        while let Ok(Some(_)) = client.next_event(Ts::ZERO, &mut input, std::mem::take(&mut fresh)) {}
        prop_assert!(client.take_output().len() <= MAX_OUTPUT + 8192);
    }
}
