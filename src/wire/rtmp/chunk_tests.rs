use super::*;
use proptest::prelude::*;

/// Writes chunks as a peer would, with control over every choice that peers make differently.
struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn basic(&mut self, format: u8, csid: u32) {
        match csid {
            2..=63 => self.out.push(format << 6 | csid as u8),
            64..=319 => self.out.extend([format << 6, (csid - 64) as u8]),
            _ => self.out.extend([format << 6 | 1, (csid - 64) as u8, ((csid - 64) >> 8) as u8]),
        }
    }

    fn full(&mut self, csid: u32, time: u32, length: u32, kind: u8, stream: u32) -> &mut Self {
        self.basic(0, csid);
        self.out.extend(&time.min(EXTENDED).to_be_bytes()[1..]);
        self.out.extend(&length.to_be_bytes()[1..]);
        self.out.push(kind);
        self.out.extend(stream.to_le_bytes());
        if time >= EXTENDED {
            self.out.extend(time.to_be_bytes());
        }
        self
    }

    fn delta(&mut self, csid: u32, delta: u32, length: u32, kind: u8) -> &mut Self {
        self.basic(1, csid);
        self.out.extend(&delta.min(EXTENDED).to_be_bytes()[1..]);
        self.out.extend(&length.to_be_bytes()[1..]);
        self.out.push(kind);
        if delta >= EXTENDED {
            self.out.extend(delta.to_be_bytes());
        }
        self
    }

    fn time_only(&mut self, csid: u32, delta: u32) -> &mut Self {
        self.basic(2, csid);
        self.out.extend(&delta.to_be_bytes()[1..]);
        self
    }

    fn none(&mut self, csid: u32) -> &mut Self {
        self.basic(3, csid);
        self
    }

    fn payload(&mut self, data: &[u8]) -> &mut Self {
        self.out.extend(data);
        self
    }

    fn control(&mut self, kind: u8, value: u32) -> &mut Self {
        self.full(2, 0, 4, kind, 0).payload(&value.to_be_bytes())
    }
}

fn writer() -> Writer {
    Writer { out: Vec::new() }
}

/// Feeds in pieces of `step` bytes, as a socket might.
fn read_in(data: &[u8], step: usize) -> Result<Vec<Message>, Error> {
    let mut reader = ChunkReader::new();
    let mut input = BytesMut::new();
    let mut found = Vec::new();
    for piece in data.chunks(step.max(1)) {
        input.extend_from_slice(piece);
        while let Some(message) = reader.next_message(&mut input)? {
            found.push(message);
        }
        assert!(input.len() < 18, "{} bytes stay unread", input.len());
    }
    Ok(found)
}

fn read(w: &Writer) -> Vec<Message> {
    let whole = read_in(&w.out, usize::MAX).unwrap();
    for step in [1, 2, 3, 7, 130] {
        assert_eq!(read_in(&w.out, step).unwrap(), whole, "in pieces of {step}");
    }
    whole
}

fn times(messages: &[Message]) -> Vec<u32> {
    messages.iter().map(|m| m.timestamp).collect()
}

#[test]
fn all_header_types_and_stream_id_forms() {
    for csid in [3, 63, 64, 319, 320, 65_599] {
        let mut w = writer();
        w.full(csid, 1000, 2, 8, 1).payload(&[1, 2]);
        w.delta(csid, 20, 3, 9).payload(&[3, 4, 5]);
        w.time_only(csid, 30).payload(&[6, 7, 8]);
        w.none(csid).payload(&[9, 10, 11]);
        let m = read(&w);
        assert_eq!(times(&m), [1000, 1020, 1050, 1080]);
        assert_eq!(m.iter().map(|m| m.kind).collect::<Vec<_>>(), [8, 9, 9, 9]);
        assert!(m.iter().all(|m| m.stream == 1));
        assert_eq!(m[3].data[..], [9, 10, 11]);
    }
}

#[test]
fn a_type_3_chunk_after_a_full_one_repeats_its_time_as_a_difference() {
    let mut w = writer();
    w.full(4, 40, 1, 8, 1).payload(&[1]).none(4).payload(&[2]);
    assert_eq!(times(&read(&w)), [40, 80]);
}

#[test]
fn interleaved_messages_come_out_whole() {
    let video: Vec<u8> = (0..300).map(|i| i as u8).collect();
    let audio = [7u8; 130];
    let mut w = writer();
    w.full(6, 0, 300, 9, 1).payload(&video[..128]);
    w.full(4, 10, 130, 8, 1).payload(&audio[..128]);
    w.none(6).payload(&video[128..256]);
    w.none(4).payload(&audio[128..]);
    w.none(6).payload(&video[256..]);
    let m = read(&w);
    assert_eq!((m[0].kind, &m[0].data[..]), (8, &audio[..]));
    assert_eq!((m[1].kind, &m[1].data[..]), (9, &video[..]));
}

#[test]
fn a_changed_chunk_size_rules_from_the_next_chunk_on() {
    let data = vec![5u8; 5000];
    let mut w = writer();
    w.full(6, 0, 200, 9, 1).payload(&data[..128]);
    w.control(kind::SET_CHUNK_SIZE, 5000);
    w.none(6).payload(&data[..72]);
    w.full(6, 0, 5000, 9, 1).payload(&data);
    // The first bit is to be ignored; a huge size is as good as none.
    w.control(kind::SET_CHUNK_SIZE, 0xffff_ffff);
    w.full(6, 0, 5000, 9, 1).payload(&data);
    let lengths: Vec<usize> = read(&w).iter().map(|m| m.data.len()).collect();
    assert_eq!(lengths, [4, 200, 5000, 4, 5000]);
    for value in [&[0u8, 0, 0, 0][..], &[0, 1]] {
        let mut w = writer();
        w.full(2, 0, value.len() as u32, kind::SET_CHUNK_SIZE, 0).payload(value);
        assert_eq!(read_in(&w.out, 99), Err(Error::ChunkSize));
    }
}

#[test]
fn abort_forgets_a_message_in_progress() {
    let mut w = writer();
    w.full(6, 0, 300, 9, 1).payload(&[1; 128]);
    w.control(kind::ABORT, 6);
    w.control(kind::ABORT, 77);
    w.full(6, 5, 2, 9, 1).payload(&[2, 3]);
    let m = read(&w);
    assert_eq!(m.last().map(|m| &m.data[..]), Some(&[2, 3][..]));
    assert_eq!(m.len(), 3);
}

#[test]
fn a_full_header_inside_a_message_gives_that_message_up() {
    let mut w = writer();
    w.full(6, 0, 300, 9, 1).payload(&[1; 128]);
    w.full(6, 5, 2, 9, 1).payload(&[2, 3]);
    assert_eq!(read(&w).iter().map(|m| m.data.len()).collect::<Vec<_>>(), [2]);
}

#[test]
fn extended_timestamps_with_and_without_repetition() {
    let time = 0x0100_0000u32;
    let data: Vec<u8> = (0..200).map(|i| i as u8 ^ 0x5a).collect();
    for repeat in [true, false] {
        let mut w = writer();
        w.full(6, time, 200, 9, 1).payload(&data[..128]).none(6);
        if repeat {
            w.payload(&time.to_be_bytes());
        }
        w.payload(&data[128..]);
        // A compressed message whose difference needs the extended field too.
        w.delta(6, time, 130, 9).payload(&data[..128]).none(6);
        if repeat {
            w.payload(&time.to_be_bytes());
        }
        w.payload(&data[..2]);
        w.time_only(6, 40).payload(&data[..128]).none(6).payload(&data[..2]);
        let m = read(&w);
        assert_eq!(times(&m), [time, 2 * time, 2 * time + 40], "repeat {repeat}");
        assert_eq!(m[0].data[..], data[..]);
        assert_eq!(m[1].data[128..], data[..2]);
    }
}

#[test]
fn an_absolute_time_in_a_type_3_chunk_is_recognised() {
    let mut w = writer();
    w.full(6, 5, 1, 9, 1).payload(&[0]);
    w.delta(6, 0x0100_0000, 130, 9).payload(&[1; 128]).none(6);
    w.payload(&0x0100_0005u32.to_be_bytes()).payload(&[2, 3]);
    assert_eq!(read(&w)[1].data[128..], [2, 3]);
}

#[test]
fn the_last_bytes_of_a_connection_are_not_waited_for_as_a_timestamp() {
    let mut w = writer();
    w.full(6, 0x0100_0000, 129, 9, 1).payload(&[1; 128]).none(6).payload(&[9]);
    assert_eq!(read(&w).len(), 1);
}

#[test]
fn times_wrap() {
    let mut w = writer();
    w.full(6, u32::MAX - 10, 1, 9, 1).payload(&[0]).delta(6, 20, 1, 9).payload(&[0]);
    assert_eq!(times(&read(&w)), [u32::MAX - 10, 9]);
}

#[test]
fn hostile_sizes_and_counts_end_the_connection() {
    let mut w = writer();
    w.full(6, 0, 0xff_ffff, 9, 1);
    assert_eq!(read_in(&w.out, 99), Err(Error::TooLong { csid: 6, length: 0xff_ffff, limit: MAX_BYTES }));

    let mut w = writer();
    for csid in 3..13 {
        w.full(csid, 0, 1000, 9, 1).payload(&[0; 128]);
    }
    assert_eq!(read_in(&w.out, 99), Err(Error::TooManyPartial));

    let mut w = writer();
    for csid in 3..80 {
        w.full(csid, 0, 1, 9, 1).payload(&[0]);
    }
    assert_eq!(read_in(&w.out, 99), Err(Error::TooManyStreams));

    for format in [2, 3] {
        assert_eq!(read_in(&[format << 6 | 5; 9], 99), Err(Error::NoHeader { csid: 5, format }));
    }
    let mut w = writer();
    w.control(kind::SET_CHUNK_SIZE, 8 << 20);
    w.full(5, 0, 8 << 20, 9, 1).payload(&vec![0; 8 << 20]);
    assert!(read_in(&w.out, 1 << 20).is_ok());
    let mut w = writer();
    w.control(kind::SET_CHUNK_SIZE, 6 << 20);
    w.full(5, 0, 7 << 20, 9, 1).payload(&vec![0; 6 << 20]);
    w.full(6, 0, 7 << 20, 9, 1).payload(&vec![0; 6 << 20]);
    assert_eq!(read_in(&w.out, 1 << 20), Err(Error::TooManyBytes { limit: MAX_BYTES }));
}

#[test]
fn memory_grows_with_what_was_received() {
    let mut w = writer();
    w.control(kind::SET_CHUNK_SIZE, 8 << 20);
    w.full(6, 0, 8 << 20, 9, 1).payload(&[0; 100]);
    let mut reader = ChunkReader::new();
    let mut input = BytesMut::from(&w.out[..]);
    while reader.next_message(&mut input).unwrap().is_some() {}
    let partial = reader.streams[&6].partial.as_ref().unwrap();
    assert!(partial.capacity() <= FIRST_RESERVE, "{} bytes reserved", partial.capacity());
    assert_eq!(reader.pending(), 100);
}

#[test]
fn an_empty_message_is_a_message() {
    let mut w = writer();
    w.full(6, 3, 0, 9, 1).full(6, 4, 0, 8, 1);
    assert_eq!(times(&read(&w)), [3, 4]);
}

proptest! {
    #[test]
    fn garbage_never_panics(data in prop::collection::vec(any::<u8>(), 0..2000), step in 1usize..300) {
        let _ = read_in(&data, step);
    }

    /// Random messages through rml_rtmp's serialiser come back as they were.
    #[test]
    fn what_another_serialiser_writes_is_read(
        list in prop::collection::vec((0u32..0x0200_0000, 8u8..10, prop::collection::vec(any::<u8>(), 1..600)), 1..20),
        size in 1u32..700,
    ) {
        use rml_rtmp::{chunk_io::ChunkSerializer, messages::MessagePayload, time::RtmpTimestamp};
        let mut s = ChunkSerializer::new();
        let mut out = s.set_max_chunk_size(size, RtmpTimestamp::new(0)).unwrap().bytes;
        for (time, kind, data) in &list {
            let message = MessagePayload {
                timestamp: RtmpTimestamp::new(*time), type_id: *kind, message_stream_id: 1, data: data.clone().into(),
            };
            out.extend(s.serialize(&message, false, false).unwrap().bytes);
        }
        let found = read_in(&out, 997).unwrap();
        prop_assert_eq!(found.len(), list.len() + 1);
        for (m, (time, kind, data)) in found[1..].iter().zip(&list) {
            prop_assert_eq!((m.timestamp, m.kind, &m.data[..]), (*time, *kind, &data[..]));
        }
    }
}
