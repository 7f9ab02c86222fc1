use super::*;
use proptest::prelude::*;
use rml_rtmp::chunk_io::ChunkSerializer;
use rml_rtmp::messages::MessagePayload;
use rml_rtmp::time::RtmpTimestamp;
use secrecy::ExposeSecret;

const NOW: Ts = Ts::from_flicks(0);

/// A peer: our serialiser's counterpart reads the answers.
struct Peer {
    session: ServerSession,
    input: BytesMut,
    serializer: ChunkSerializer,
    answers: ChunkReader,
    answer_bytes: BytesMut,
}

impl Peer {
    fn connected() -> Peer {
        let mut peer = Peer {
            session: ServerSession::new(NOW),
            input: BytesMut::new(),
            serializer: ChunkSerializer::new(),
            answers: ChunkReader::new(),
            answer_bytes: BytesMut::new(),
        };
        let mut client = Handshake::new(PeerType::Client);
        let mut bytes = client.generate_outbound_p0_and_p1().unwrap();
        loop {
            assert!(peer.feed(&bytes).unwrap().is_empty());
            match client.process_bytes(&peer.session.take_output()).unwrap() {
                HandshakeProcessResult::InProgress { response_bytes } => bytes = response_bytes,
                HandshakeProcessResult::Completed { response_bytes, .. } => {
                    assert!(peer.feed(&response_bytes).unwrap().is_empty());
                    return peer;
                }
            }
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Error> {
        self.input.extend_from_slice(bytes);
        let mut fresh = bytes.len();
        let mut events = Vec::new();
        while let Some(event) = self.session.next_event(NOW, &mut self.input, std::mem::take(&mut fresh))? {
            events.push(event);
        }
        Ok(events)
    }

    fn message(&mut self, kind: u8, timestamp: u32, data: &[u8]) -> Vec<u8> {
        let message = MessagePayload {
            timestamp: RtmpTimestamp::new(timestamp),
            type_id: kind,
            message_stream_id: 1,
            data: Bytes::copy_from_slice(data),
        };
        self.serializer.serialize(&message, false, false).unwrap().bytes
    }

    fn send(&mut self, kind: u8, timestamp: u32, data: &[u8]) -> Result<Vec<Event>, Error> {
        let bytes = self.message(kind, timestamp, data);
        self.feed(&bytes)
    }

    fn command(&mut self, name: &str, transaction: f64, arguments: &[Value]) -> Result<Vec<Event>, Error> {
        let mut body = BytesMut::new();
        amf0::write(&mut body, &Value::string(name));
        amf0::write(&mut body, &Value::Number(transaction));
        arguments.iter().for_each(|a| amf0::write(&mut body, a));
        self.send(kind::COMMAND_AMF0, 0, &body)
    }

    fn connect(&mut self, app: &str, tc_url: &str) {
        let object = Value::object([("app", Value::string(app)), ("tcUrl", Value::string(tc_url))]);
        assert!(self.command("connect", 1.0, &[object]).unwrap().is_empty());
    }

    /// What was answered: message type, and for commands their values.
    fn answers(&mut self) -> Vec<(u8, Vec<Value>)> {
        let out = self.session.take_output();
        self.answer_bytes.extend_from_slice(&out);
        let mut found = Vec::new();
        while let Some(m) = self.answers.next_message(&mut self.answer_bytes).unwrap() {
            let command = m.kind == kind::COMMAND_AMF0;
            found.push((m.kind, if command { amf0::Reader::new(&m.data).rest() } else { vec![] }));
        }
        found
    }

    /// The names of the answered commands, with the code of a status.
    fn commands(&mut self) -> Vec<(String, String)> {
        let command = |(_, v): (u8, Vec<Value>)| {
            let code = v.iter().find_map(|v| v.get("code")?.as_str()).unwrap_or("");
            Some((v.first()?.as_str()?.to_owned(), code.to_owned()))
        };
        self.answers().into_iter().filter_map(command).collect()
    }

    fn publishing() -> Peer {
        let mut peer = Peer::connected();
        peer.connect("live", "rtmp://host/live");
        peer.command("createStream", 2.0, &[Value::Null]).unwrap();
        let events = peer.command("publish", 3.0, &[Value::Null, Value::string("KEY"), Value::string("live")]).unwrap();
        assert!(matches!(events[..], [Event::Publish(_)]));
        peer.session.accept(NOW).unwrap();
        peer.answers();
        peer
    }
}

#[test]
fn the_way_of_an_encoder_to_publishing() {
    let mut peer = Peer::connected();
    peer.connect("live", "rtmp://host/live");
    let answers = peer.answers();
    let kinds: Vec<u8> = answers.iter().map(|a| a.0).collect();
    assert_eq!(kinds, [kind::WINDOW_ACK_SIZE, kind::SET_PEER_BANDWIDTH, kind::SET_CHUNK_SIZE, 20, 20]);
    let result = &answers[3].1;
    assert_eq!((result[0].as_str(), result[1].as_number()), (Some("_result"), Some(1.0)));
    assert_eq!(result[3].get("code").unwrap().as_str(), Some("NetConnection.Connect.Success"));
    assert_eq!(result[3].get("capsEx"), None);
    for (name, transaction) in [("releaseStream", 2.0), ("FCPublish", 3.0), ("_checkbw", 4.0)] {
        peer.command(name, transaction, &[Value::Null, Value::string("KEY")]).unwrap();
        assert_eq!(peer.commands(), [("_result".to_owned(), String::new())], "{name}");
    }
    peer.command("createStream", 5.0, &[Value::Null]).unwrap();
    let answers = peer.answers();
    assert_eq!(answers[0].1[3], Value::Number(1.0));
    let events = peer.command("publish", 6.0, &[Value::Null, Value::string("KEY?x=1"), Value::string("live")]).unwrap();
    let [Event::Publish(publish)] = &events[..] else { panic!("no publish") };
    assert_eq!((publish.key.expose_secret(), publish.takeover), ("KEY", false));
    assert!(peer.commands().is_empty(), "nothing is said before the owner decides");
    peer.session.accept(NOW).unwrap();
    assert_eq!(
        peer.commands(),
        [("onFCPublish", "NetStream.Publish.Start"), ("onStatus", "NetStream.Publish.Start")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    let events = peer.send(kind::VIDEO, 40, &[1, 2, 3]).unwrap();
    assert!(matches!(&events[..], [Event::Video { timestamp: 40, data }] if data[..] == [1, 2, 3]));
    let events = peer.command("FCUnpublish", 7.0, &[Value::Null, Value::string("KEY")]).unwrap();
    assert!(matches!(events[..], [Event::Unpublish]));
    assert!(peer.command("deleteStream", 8.0, &[Value::Null, Value::Number(1.0)]).unwrap().is_empty());
    let events = peer.command("publish", 9.0, &[Value::Null, Value::string("KEY")]).unwrap();
    assert!(matches!(events[..], [Event::Publish(_)]), "a connection can publish again");
}

#[test]
fn enhanced_capabilities_are_answered_only_to_those_who_ask() {
    let mut peer = Peer::connected();
    let list = Value::StrictArray(vec![Value::string("hvc1")]);
    peer.command("connect", 1.0, &[Value::object([("app", Value::string("live")), ("fourCcList", list)])]).unwrap();
    assert!(peer.session.enhanced());
    let answers = peer.answers();
    for object in &answers[3].1[2..4] {
        assert_eq!(object.get("capsEx"), Some(&Value::Number(14.0)));
        let hevc = object.get("videoFourCcInfoMap").and_then(|m| m.get("hvc1"));
        assert_eq!(hevc, Some(&Value::Number(5.0)));
        assert!(matches!(object.get("fourCcList"), Some(Value::StrictArray(l)) if l.len() == 7));
    }
}

#[test]
fn a_refusal_says_its_code_before_the_end() {
    let mut peer = Peer::connected();
    peer.connect("live", "");
    peer.answers();
    peer.command("publish", 5.0, &[Value::Null, Value::string("KEY")]).unwrap();
    peer.session.refuse("NetStream.Publish.BadName", "no such key").unwrap();
    assert_eq!(
        peer.commands(),
        [("_error", "NetStream.Publish.BadName"), ("onStatus", "NetStream.Publish.BadName")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
    );
    assert!(peer.send(kind::VIDEO, 0, &[1; 400]).unwrap().is_empty());
    assert!(peer.input.is_empty());
}

#[test]
fn what_came_behind_publish_is_kept_until_the_decision() {
    let mut peer = Peer::connected();
    peer.connect("live", "");
    let mut body = BytesMut::new();
    for v in [Value::string("publish"), Value::Number(0.0), Value::Null, Value::string("KEY")] {
        amf0::write(&mut body, &v);
    }
    let mut bytes = peer.message(kind::COMMAND_AMF0, 0, &body);
    bytes.extend(peer.message(kind::VIDEO, 7, &[9; 300]));
    assert!(matches!(peer.feed(&bytes).unwrap()[..], [Event::Publish(_)]));
    peer.session.accept(NOW).unwrap();
    assert!(matches!(peer.feed(&[]).unwrap()[..], [Event::Video { timestamp: 7, .. }]));
}

#[test]
fn the_forms_of_a_key() {
    let key = |app: &str, tc_url: &str, name: &str| {
        publish_key(app, tc_url, name).map(|p| (p.key.expose_secret().to_owned(), p.takeover))
    };
    let some = |key: &str| Some((key.to_owned(), false));
    assert_eq!(key("live", "rtmp://h/live", "KEY"), some("KEY"));
    assert_eq!(key("live/", "rtmp://h/live/", "/KEY/"), some("KEY"));
    assert_eq!(key("live", "rtmp://h/live", "KEY?a=b/c"), some("KEY"));
    assert_eq!(key("live", "rtmp://h/live", "x/KEY"), some("KEY"));
    assert_eq!(key("live/KEY", "rtmp://h/live/KEY", ""), some("KEY"));
    assert_eq!(key("live/KEY?a=b/c", "rtmp://h/live/KEY?a=b", ""), some("KEY"));
    assert_eq!(key("live", "rtmp://h:1935/live/KEY?x=1", ""), some("KEY"));
    assert_eq!(key("KEY", "rtmp://h/KEY", ""), some("KEY"));
    assert_eq!(key("live", "rtmp://h", ""), None);
    assert_eq!(key("", "", ""), None);
    assert_eq!(key("live", "", &"k".repeat(600)), None);
    assert_eq!(key("live", "", "KEY?takeover=1"), Some(("KEY".to_owned(), true)));
    assert_eq!(key("live?takeover", "", "KEY?a=1"), Some(("KEY".to_owned(), true)));
    assert_eq!(key("live", "", "KEY?takeover=0"), some("KEY"));
}

#[test]
fn metadata_in_all_its_forms_and_never_fatal() {
    let mut peer = Peer::publishing();
    let object = Value::EcmaArray(vec![("width".to_owned(), Value::Number(1280.0))]);
    let write = |values: &[Value]| {
        let mut body = BytesMut::new();
        values.iter().for_each(|v| amf0::write(&mut body, v));
        body.to_vec()
    };
    let with = write(&[Value::string("@setDataFrame"), Value::string("onMetaData"), object.clone()]);
    let bare = write(&[Value::string("onMetaData"), object.clone()]);
    let amf3 = [&[0], &with[..]].concat();
    for (kind, body) in [(18, &with), (18, &bare), (15, &amf3), (15, &bare)] {
        let events = peer.send(kind, 0, body).unwrap();
        assert!(matches!(&events[..], [Event::Metadata(v)] if v.get("width").is_some()), "type {kind}");
    }
    let deep = [&[2, 0, 10][..], b"onMetaData", &[3, 0, 1, b'a'].repeat(10_000)].concat();
    for body in [&[][..], &[2, 0, 99, 1], &[0xff; 40], &deep, &vec![0; MAX_COMMAND + 1]] {
        assert!(peer.send(kind::DATA_AMF0, 0, body).unwrap().is_empty());
        assert!(peer.send(kind::COMMAND_AMF0, 0, body).unwrap().is_empty());
        assert!(peer.send(kind::COMMAND_AMF3, 0, body).unwrap().is_empty());
    }
    assert_eq!(peer.send(kind::AUDIO, 3, &[1]).unwrap().len(), 1, "the session goes on");
}

#[test]
fn short_and_odd_messages_before_connect_do_no_harm() {
    let mut peer = Peer::connected();
    for kind in 0..=255u8 {
        // A chunk size and an abort without their value are the reader's business.
        if kind == kind::SET_CHUNK_SIZE {
            continue;
        }
        for body in [&[][..], &[0], &[0, 6], &[2, 0, 1, b'x'], &[5; 12]] {
            assert!(peer.send(kind, 0, body).unwrap().is_empty(), "type {kind}");
            peer.session.take_output();
        }
    }
    peer.connect("live", "");
    assert!(!peer.session.take_output().is_empty());
}

#[test]
fn strangers_cannot_fill_the_memory() {
    let large = vec![0; SETUP_BYTES + 1];
    let mut peer = Peer::connected();
    let result = peer.send(kind::VIDEO, 0, &large);
    assert!(matches!(result, Err(Error::Chunk(chunk::Error::TooLong { limit: SETUP_BYTES, .. }))));
    assert_eq!(Peer::publishing().send(kind::VIDEO, 0, &large).unwrap().len(), 1);
}

#[test]
fn pings_and_acknowledgements() {
    let mut peer = Peer::publishing();
    peer.send(kind::USER_CONTROL, 0, &[0, 6, 1, 2, 3, 4]).unwrap();
    assert_eq!(peer.answers(), [(kind::USER_CONTROL, vec![])]);
    peer.send(kind::WINDOW_ACK_SIZE, 0, &20_000u32.to_be_bytes()).unwrap();
    peer.send(kind::VIDEO, 0, &[0; 25_000]).unwrap();
    assert_eq!(peer.answers(), [(kind::ACKNOWLEDGEMENT, vec![])]);
    peer.send(kind::VIDEO, 0, &[0; 10_000]).unwrap();
    assert!(peer.answers().is_empty());
    assert_eq!(peer.session.rtt(), None);
    peer.session.tick(NOW + PING_INTERVAL).unwrap();
    assert_eq!(peer.answers(), [(kind::USER_CONTROL, vec![])]);
    peer.input.clear();
    let pong = peer.message(kind::USER_CONTROL, 0, &[&[0, 7][..], &10_000u32.to_be_bytes()].concat());
    let mut input = BytesMut::from(&pong[..]);
    peer.session.next_event(NOW + PING_INTERVAL + Dur::from_millis(80), &mut input, 0).unwrap();
    assert_eq!(peer.session.rtt(), Some(Dur::from_millis(80)));
}

#[test]
fn who_does_not_get_on_is_told_so() {
    let mut fresh = ServerSession::new(NOW);
    assert_eq!(fresh.timeout(), NOW + SETUP_TIMEOUT);
    assert!(fresh.tick(NOW + Dur::from_secs(14)).is_ok());
    assert!(matches!(fresh.tick(NOW + SETUP_TIMEOUT), Err(Error::SetupTimeout)));
    let mut peer = Peer::publishing();
    assert_eq!(peer.session.timeout(), NOW + PING_INTERVAL);
    peer.session.tick(NOW + PING_INTERVAL).unwrap();
    assert_eq!(peer.session.timeout(), NOW + MEDIA_TIMEOUT);
    assert!(matches!(peer.session.tick(NOW + MEDIA_TIMEOUT), Err(Error::MediaTimeout)));
}

#[test]
fn floods_and_players_are_cut_off() {
    let mut peer = Peer::connected();
    let mut body = BytesMut::new();
    for v in [Value::string("x"), Value::Number(1.0)] {
        amf0::write(&mut body, &v);
    }
    let bytes: Vec<u8> = (0..5000).flat_map(|_| peer.message(kind::COMMAND_AMF0, 0, &body)).collect();
    assert!(matches!(peer.feed(&bytes), Err(Error::Flood)));
    let mut peer = Peer::connected();
    peer.connect("live", "");
    peer.answers();
    assert!(matches!(peer.command("play", 0.0, &[Value::Null, Value::string("KEY")]), Err(Error::Play)));
    assert_eq!(peer.commands(), [("onStatus".to_owned(), "NetStream.Play.Failed".to_owned())]);
    let mut peer = Peer::connected();
    peer.connect("live", "");
    peer.answers();
    (0..MAX_STREAMS + 3).for_each(|_| drop(peer.command("createStream", 2.0, &[Value::Null]).unwrap()));
    let errors = peer.commands().iter().filter(|c| c.0 == "_error").count();
    assert_eq!(errors, 3);
}

#[test]
fn http_on_the_port_is_no_handshake() {
    let mut session = ServerSession::new(NOW);
    let mut input = BytesMut::from(&b"GET / HTTP/1.1\r\n\r\n"[..]);
    assert!(matches!(session.next_event(NOW, &mut input, 18), Err(Error::Handshake)));
}

#[test]
fn aggregates_are_taken_apart() {
    let mut peer = Peer::publishing();
    let tag = |kind: u8, time: u8, body: &[u8]| {
        [&[kind, 0, 0, body.len() as u8, 0, 0, time, 0, 0, 0, 0], body, &[0, 0, 0, 11 + body.len() as u8]].concat()
    };
    let data = [tag(8, 100, &[1]), tag(9, 140, &[2, 3]), vec![9, 0, 0, 99]].concat();
    let events = peer.send(kind::AGGREGATE, 5000, &data).unwrap();
    assert!(matches!(
        &events[..],
        [Event::Audio { timestamp: 5000, .. }, Event::Video { timestamp: 5040, data }] if data[..] == [2, 3]
    ));
}

proptest! {
    #[test]
    fn garbage_after_the_handshake_never_panics(data in prop::collection::vec(any::<u8>(), 0..1500)) {
        let _ = Peer::connected().feed(&data);
        let _ = Peer::publishing().feed(&data);
    }

    #[test]
    fn garbage_messages_never_end_a_session(
        list in prop::collection::vec((8u8..23, prop::collection::vec(0u8..20, 0..80)), 0..30),
    ) {
        let mut peer = Peer::publishing();
        for (kind, body) in list {
            prop_assert!(peer.send(kind, 0, &body).is_ok());
            peer.session.take_output();
        }
    }
}
