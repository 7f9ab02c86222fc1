//! RTCP (RFC 3550 §6, RFC 4585, RFC 5104): what peers report and ask for, and our own reports.

/// Bytes of reports that are read: an Ethernet frame holds no more.
const MAX_COMPOUND: usize = 1500;

/// Packets of one compound packet that are read.
const MAX_PACKETS: usize = 32;

/// A reception report (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The source that it is about.
    pub ssrc: u32,
    /// Lost since the report before, of 256.
    pub fraction: u8,
    /// Lost since the beginning; signed, for duplicates count against it.
    pub lost: i32,
    /// Highest sequence number received, extended.
    pub highest: u32,
    /// Interarrival jitter in the clock of the timestamps.
    pub jitter: u32,
    /// The middle 32 bits of the NTP time of the last sender report received; 0: none yet.
    pub last_report: u32,
    /// How long before this report that one came, in 1/65536 s.
    pub delay: u32,
}

/// A sender report (RFC 3550 §6.4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SenderReport {
    /// Its source.
    pub ssrc: u32,
    /// NTP time: seconds since 1900 in the upper 32 bits, fraction below.
    pub ntp: u64,
    /// The same instant on the source's RTP clock.
    pub rtp: u32,
    /// Packets sent.
    pub packets: u32,
    /// Bytes of payload sent.
    pub octets: u32,
    /// What it receives.
    pub reports: Vec<Report>,
}

/// One packet of a compound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A sender's.
    Sender(SenderReport),
    /// A receiver's.
    Receiver {
        /// Who reports.
        ssrc: u32,
        /// On what.
        reports: Vec<Report>,
    },
    /// Packets that are missed (RFC 4585 §6.2.1).
    Nack {
        /// The source that sent them.
        media: u32,
        /// Their sequence numbers.
        sequences: Vec<u16>,
    },
    /// The picture is broken (RFC 4585 §6.3.1).
    Pli {
        /// The source whose picture it is.
        media: u32,
    },
    /// A key frame is asked for (RFC 5104 §4.3.1).
    Fir {
        /// Sources and the numbers of the requests.
        requests: Vec<(u32, u8)>,
    },
    /// Sources that end (RFC 3550 §6.6).
    Bye(Vec<u32>),
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(data.get(at..at + 4)?.try_into().ok()?))
}

fn reports(body: &[u8], from: usize, count: usize) -> Option<Vec<Report>> {
    (0..count)
        .map(|n| {
            let at = from + 24 * n;
            let loss = word(body, at + 4)?;
            Some(Report {
                ssrc: word(body, at)?,
                fraction: (loss >> 24) as u8,
                // 24 bits, sign extended.
                lost: ((loss << 8) as i32) >> 8,
                highest: word(body, at + 8)?,
                jitter: word(body, at + 12)?,
                last_report: word(body, at + 16)?,
                delay: word(body, at + 20)?,
            })
        })
        .collect()
}

/// Reads a compound packet, reduced-size ones (RFC 5506) too. What is of another kind, or broken, is left out; what
/// follows a broken length is, too.
pub fn parse(data: &[u8]) -> Vec<Packet> {
    let mut rest = data.get(..data.len().min(MAX_COMPOUND)).unwrap_or_default();
    let mut found = Vec::new();
    for _ in 0..MAX_PACKETS {
        let Some((head, after)) = rest.split_first_chunk::<4>() else { break };
        let length = 4 * usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some(mut body) = after.get(..length) else { break };
        rest = &after[length..];
        if head[0] >> 6 != 2 {
            break;
        }
        if head[0] & 0x20 != 0 {
            let padding = body.last().map_or(0, |p| usize::from(*p));
            let Some(kept) = body.len().checked_sub(padding) else { continue };
            body = &body[..kept];
        }
        found.extend(packet(head[1], head[0] & 0x1f, body));
    }
    found
}

fn packet(kind: u8, count: u8, body: &[u8]) -> Option<Packet> {
    let many = usize::from(count);
    match (kind, count) {
        (200, _) => Some(Packet::Sender(SenderReport {
            ssrc: word(body, 0)?,
            ntp: (u64::from(word(body, 4)?) << 32) | u64::from(word(body, 8)?),
            rtp: word(body, 12)?,
            packets: word(body, 16)?,
            octets: word(body, 20)?,
            reports: reports(body, 24, many)?,
        })),
        (201, _) => Some(Packet::Receiver { ssrc: word(body, 0)?, reports: reports(body, 4, many)? }),
        (203, _) => (0..many).map(|n| word(body, 4 * n)).collect::<Option<_>>().map(Packet::Bye),
        (205, 1) => {
            let mut sequences = Vec::new();
            for item in body.get(8..)?.chunks_exact(4) {
                let first = u16::from_be_bytes([item[0], item[1]]);
                let mask = u16::from_be_bytes([item[2], item[3]]);
                sequences.push(first);
                let more = (0..16).filter(|bit| mask & (1 << bit) != 0);
                sequences.extend(more.map(|bit| first.wrapping_add(bit + 1)));
            }
            Some(Packet::Nack { media: word(body, 4)?, sequences })
        }
        (206, 1) => Some(Packet::Pli { media: word(body, 4)? }),
        (206, 4) => {
            let requests = body.get(8..)?.chunks_exact(8);
            let requests = requests.map(|r| (u32::from_be_bytes([r[0], r[1], r[2], r[3]]), r[4])).collect();
            Some(Packet::Fir { requests })
        }
        _ => None,
    }
}

/// A compound packet that is being written.
#[derive(Clone, Debug, Default)]
pub struct Compound(Vec<u8>);

impl Compound {
    /// An empty one.
    pub fn new() -> Compound {
        Compound::default()
    }

    /// The bytes; empty where nothing was added.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, count: u8, kind: u8, body: &[u8]) {
        let words = (body.len() / 4) as u16;
        self.0.extend_from_slice(&[0x80 | (count & 0x1f), kind]);
        self.0.extend_from_slice(&words.to_be_bytes());
        self.0.extend_from_slice(body);
    }

    fn blocks(body: &mut Vec<u8>, reports: &[Report]) -> u8 {
        let reports = reports.get(..reports.len().min(31)).unwrap_or_default();
        for r in reports {
            body.extend_from_slice(&r.ssrc.to_be_bytes());
            let loss = (u32::from(r.fraction) << 24) | (r.lost as u32 & 0x00ff_ffff);
            for value in [loss, r.highest, r.jitter, r.last_report, r.delay] {
                body.extend_from_slice(&value.to_be_bytes());
            }
        }
        reports.len() as u8
    }

    /// A sender report, with at most 31 reception reports.
    pub fn sender(&mut self, report: &SenderReport) {
        let mut body = Vec::with_capacity(52);
        body.extend_from_slice(&report.ssrc.to_be_bytes());
        body.extend_from_slice(&report.ntp.to_be_bytes());
        for value in [report.rtp, report.packets, report.octets] {
            body.extend_from_slice(&value.to_be_bytes());
        }
        let count = Self::blocks(&mut body, &report.reports);
        self.push(count, 200, &body);
    }

    /// A receiver report, with at most 31 reception reports.
    pub fn receiver(&mut self, ssrc: u32, reports: &[Report]) {
        let mut body = ssrc.to_be_bytes().to_vec();
        let count = Self::blocks(&mut body, reports);
        self.push(count, 201, &body);
    }

    /// A source's canonical name (RFC 3550 §6.5.1), of at most 255 bytes.
    pub fn name(&mut self, ssrc: u32, cname: &str) {
        let name = cname.as_bytes().get(..cname.len().min(255)).unwrap_or_default();
        let mut body = ssrc.to_be_bytes().to_vec();
        body.extend_from_slice(&[1, name.len() as u8]);
        body.extend_from_slice(name);
        // At least one zero ends the list of items.
        body.resize((body.len() + 1).next_multiple_of(4), 0);
        self.push(1, 202, &body);
    }

    /// Asks for missed packets: ascending sequence numbers.
    pub fn nack(&mut self, sender: u32, media: u32, sequences: &[u16]) {
        let mut items: Vec<(u16, u16)> = Vec::new();
        for &s in sequences {
            match items.last_mut() {
                Some((first, mask)) if (1..=16).contains(&s.wrapping_sub(*first)) => {
                    *mask |= 1 << (s.wrapping_sub(*first) - 1);
                }
                _ => items.push((s, 0)),
            }
        }
        let mut body = [sender.to_be_bytes(), media.to_be_bytes()].concat();
        for (first, mask) in items {
            body.extend_from_slice(&first.to_be_bytes());
            body.extend_from_slice(&mask.to_be_bytes());
        }
        self.push(1, 205, &body);
    }

    /// Says that the picture is broken.
    pub fn pli(&mut self, sender: u32, media: u32) {
        self.push(1, 206, &[sender.to_be_bytes(), media.to_be_bytes()].concat());
    }

    /// Ends sources.
    pub fn bye(&mut self, sources: &[u32]) {
        let body: Vec<u8> = sources.iter().take(31).flat_map(|s| s.to_be_bytes()).collect();
        self.push((body.len() / 4) as u8, 203, &body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn report() -> impl Strategy<Value = Report> {
        (any::<[u32; 6]>(), any::<u8>(), -0x80_0000i32..0x80_0000).prop_map(|(w, fraction, lost)| Report {
            ssrc: w[0],
            fraction,
            lost,
            highest: w[1],
            jitter: w[2],
            last_report: w[3],
            delay: w[4],
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(words: [u32; 4], ntp: u64, reports in prop::collection::vec(report(), 0..4),
                                   missing in prop::collection::btree_set(0u16..400, 1..40), start: u16) {
            let mut compound = Compound::new();
            let sender = SenderReport { ssrc: words[0], ntp, rtp: words[1], packets: words[2], octets: words[3],
                                        reports: reports.clone() };
            let sequences: Vec<u16> = missing.iter().map(|m| start.wrapping_add(*m)).collect();
            compound.sender(&sender);
            compound.name(words[0], "boothcast");
            compound.receiver(words[1], &reports);
            compound.nack(1, 2, &sequences);
            compound.pli(1, 3);
            compound.bye(&[5, 6]);
            let expected = vec![
                Packet::Sender(sender),
                Packet::Receiver { ssrc: words[1], reports },
                Packet::Nack { media: 2, sequences },
                Packet::Pli { media: 3 },
                Packet::Bye(vec![5, 6]),
            ];
            prop_assert_eq!(parse(&compound.finish()), expected);
        }

        #[test]
        fn any_bytes_are_read_or_left_out(mut data in prop::collection::vec(any::<u8>(), 0..200)) {
            parse(&data);
            if data.len() > 4 {
                // With lengths that fit, so that the bodies are looked at.
                let words = (data.len() / 4 - 1) as u8;
                (data[0], data[2], data[3]) = (0x80 | (data[0] & 0x1f), 0, words);
                for kind in 200..=207 {
                    data[1] = kind;
                    parse(&data);
                }
            }
        }
    }

    #[test]
    fn requests_of_a_browser_are_read() {
        // FIR as RFC 5104 §4.3.1.1 draws it.
        let fir = [0x84, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 7, 0, 0, 0];
        assert_eq!(parse(&fir), [Packet::Fir { requests: vec![(9, 7)] }]);
        // An empty receiver report first, then a PLI.
        let pli = [0x80, 201, 0, 1, 0, 0, 0, 1, 0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 9];
        assert_eq!(parse(&pli), [Packet::Receiver { ssrc: 1, reports: vec![] }, Packet::Pli { media: 9 }]);
    }
}
