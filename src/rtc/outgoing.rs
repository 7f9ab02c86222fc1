//! One RTP stream to one peer: numbers, history for retransmission, sender reports.

use super::negotiate::{Picture, Sound};
use crate::media::{Dur, Ts};
use crate::wire::rtp::rtcp::{Report, SenderReport};
use crate::wire::rtp::{HEADER, Header};
use bytes::Bytes;
use std::collections::VecDeque;

/// Packets that can be sent again: 2 s at 5 Mbps. Their payloads are shared with all peers of the stream.
const HISTORY: usize = 1024;

/// A packet is not sent again more often than that, however often it is asked for.
const RESEND_INTERVAL: Dur = Dur::from_millis(15);

/// Sender reports that are remembered, to find the round trip when they are referred to.
const REPORTS: usize = 4;

/// Seconds from 1900 to 1970.
const NTP_UNIX: i64 = 2_208_988_800;

struct Sent {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Bytes,
    again: Ts,
}

struct Repair {
    ssrc: u32,
    payload: u8,
    sequence: u16,
}

/// A stream that we send.
pub struct Outgoing {
    ssrc: u32,
    payload: u8,
    rate: u32,
    sequence: u16,
    offset: u32,
    packets: u32,
    octets: u32,
    repair: Option<Repair>,
    history: VecDeque<Sent>,
    keeps: bool,
    reports: VecDeque<u32>,
    /// What the peer says: share lost, jitter.
    heard: Option<(f64, Dur)>,
}

/// A packet to be sealed.
pub struct Plain {
    /// Its header.
    pub header: Header,
    /// Header and payload.
    pub bytes: Vec<u8>,
}

impl Plain {
    fn new(header: Header, before: &[u8], payload: &[u8]) -> Plain {
        let mut bytes = Vec::with_capacity(HEADER + before.len() + payload.len());
        bytes.extend_from_slice(&header.write());
        bytes.extend_from_slice(before);
        bytes.extend_from_slice(payload);
        Plain { header, bytes }
    }
}

impl Outgoing {
    fn new(ssrc: u32, payload: u8, rate: u32, repair: Option<Repair>, keeps: bool) -> Outgoing {
        Outgoing {
            ssrc,
            payload,
            rate,
            // Below half of its range, so that a receiver's count of wraps starts right (RFC 3711 §3.3.1).
            sequence: rand::random::<u16>() >> 1,
            offset: rand::random(),
            packets: 0,
            octets: 0,
            repair,
            history: VecDeque::new(),
            keeps,
            reports: VecDeque::new(),
            heard: None,
        }
    }

    /// Of sound; none where we do not send.
    pub fn sound(plan: &Sound) -> Option<Outgoing> {
        Some(Outgoing::new(plan.send?, plan.payload, 48_000, None, false))
    }

    /// Of a picture; none where we do not send.
    pub fn picture(plan: &Picture) -> Option<Outgoing> {
        let (ssrc, again) = plan.send?;
        let repair = plan.rtx.map(|payload| Repair { ssrc: again, payload, sequence: rand::random::<u16>() >> 1 });
        Some(Outgoing::new(ssrc, plan.payload, 90_000, repair, true))
    }

    /// Its synchronisation source.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The RTP timestamp of an instant of the stream's timeline.
    pub fn timestamp(&self, at: Ts) -> u32 {
        // The low 32 bits are what is meant.
        self.offset.wrapping_add(at.to_scale(self.rate) as u32)
    }

    /// The next packet.
    pub fn packet(&mut self, at: Ts, marker: bool, payload: &Bytes) -> Plain {
        let timestamp = self.timestamp(at);
        let header = Header { marker, payload: self.payload, sequence: self.sequence, timestamp, ssrc: self.ssrc };
        self.sequence = self.sequence.wrapping_add(1);
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        if self.keeps {
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            let sent = Sent { sequence: header.sequence, timestamp, marker, payload: payload.clone(), again: Ts::ZERO };
            self.history.push_back(sent);
        }
        Plain::new(header, &[], payload)
    }

    /// A packet again: as a retransmission stream's where that is negotiated (RFC 4588), else as it was. None where it is
    /// gone, or was just sent.
    pub fn again(&mut self, sequence: u16, now: Ts) -> Option<Plain> {
        // The history is dense: its sequence numbers follow each other.
        let back = self.sequence.wrapping_sub(1).wrapping_sub(sequence);
        let index = self.history.len().checked_sub(1 + usize::from(back))?;
        let sent = self.history.get_mut(index).filter(|s| s.sequence == sequence)?;
        if now - sent.again < RESEND_INTERVAL {
            return None;
        }
        sent.again = now;
        let (timestamp, marker) = (sent.timestamp, sent.marker);
        Some(match &mut self.repair {
            Some(repair) => {
                let Repair { ssrc, payload, sequence } = *repair;
                repair.sequence = repair.sequence.wrapping_add(1);
                let header = Header { marker, payload, sequence, timestamp, ssrc };
                Plain::new(header, &sent.sequence.to_be_bytes(), &sent.payload)
            }
            None => {
                let header = Header { marker, payload: self.payload, sequence, timestamp, ssrc: self.ssrc };
                Plain::new(header, &[], &sent.payload)
            }
        })
    }

    /// A sender report: `now` is `shown` on the stream's timeline, as for every other stream of the peer, by which the
    /// peer plays them together.
    pub fn report(&mut self, now: Ts, shown: Ts, reports: Vec<Report>) -> Option<SenderReport> {
        if self.packets == 0 && reports.is_empty() {
            return None;
        }
        let ntp = ntp(now);
        if self.reports.len() == REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back((ntp >> 16) as u32);
        let (packets, octets) = (self.packets, self.octets);
        Some(SenderReport { ssrc: self.ssrc, ntp, rtp: self.timestamp(shown), packets, octets, reports })
    }

    /// What the peer says of this stream; the round trip, where it refers to a report of ours (RFC 3550 §6.4.1).
    pub fn heard(&mut self, report: &Report, now: Ts) -> Option<Dur> {
        let jitter = Dur::from_scale(report.jitter.into(), self.rate);
        self.heard = Some((f64::from(report.fraction) / 256.0, jitter));
        if report.last_report == 0 || !self.reports.contains(&report.last_report) {
            return None;
        }
        let middle = (ntp(now) >> 16) as u32;
        let trip = middle.wrapping_sub(report.last_report).wrapping_sub(report.delay);
        // Negative where the peer's clock is coarse.
        Some(Dur::from_scale(i64::from(trip as i32).max(0), 65_536))
    }

    /// The share lost and the jitter, as the peer says.
    pub fn quality(&self) -> Option<(f64, Dur)> {
        self.heard
    }
}

/// NTP time of a Unix time (RFC 5905 §6).
pub fn ntp(at: Ts) -> u64 {
    let scaled = at.to_scale(1 << 30);
    // 2^30 per second: two bits short of the format's precision, which is far below a nanosecond's error.
    ((scaled + (NTP_UNIX << 30)) as u64) << 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(rtx: Option<u8>) -> Outgoing {
        let plan = Picture { payload: 102, rtx, send: Some((7, 8)), receive: false, sets: vec![] };
        Outgoing::picture(&plan).unwrap()
    }

    #[test]
    fn ntp_time_counts_from_1900() {
        let at = Ts::from_millis(1_700_000_000_500);
        assert_eq!(ntp(at), ((1_700_000_000 + 2_208_988_800u64) << 32) | 0x8000_0000);
    }

    #[test]
    fn what_was_sent_can_be_sent_again_for_a_while() {
        let mut out = picture(Some(103));
        let now = Ts::from_millis(1_700_000_000_000);
        let sent: Vec<Header> = (0..HISTORY as i64 + 10)
            .map(|n| out.packet(now + Dur::from_millis(n), n % 2 == 0, &Bytes::from(vec![n as u8; 3])).header)
            .collect();
        assert!(out.again(sent[9].sequence, now).is_none(), "too old");
        let again = out.again(sent[10].sequence, now).unwrap();
        assert_eq!((again.header.ssrc, again.header.payload, again.header.timestamp), (8, 103, sent[10].timestamp));
        assert_eq!(again.bytes[HEADER..HEADER + 2], sent[10].sequence.to_be_bytes());
        assert_eq!(again.bytes[HEADER + 2..], [10; 3]);
        assert!(out.again(sent[10].sequence, now + Dur::from_millis(5)).is_none(), "just sent");
        assert!(out.again(sent[10].sequence, now + Dur::from_millis(20)).is_some());
        assert!(out.again(sent.last().unwrap().sequence.wrapping_add(1), now).is_none(), "not sent yet");
        let mut plain = picture(None);
        let header = plain.packet(now, true, &Bytes::from_static(b"abc")).header;
        assert_eq!(plain.again(header.sequence, now).unwrap().header, header);
    }

    #[test]
    fn the_round_trip_is_what_the_report_took_less_what_it_waited() {
        let mut out = picture(None);
        let now = Ts::from_millis(1_700_000_000_000);
        out.packet(now, true, &Bytes::from_static(b"abc"));
        let sent = out.report(now, now, vec![]).unwrap();
        let report = Report {
            ssrc: 7,
            fraction: 64,
            last_report: (sent.ntp >> 16) as u32,
            delay: 65_536 / 2,
            jitter: 900,
            ..Report::default()
        };
        let rtt = out.heard(&report, now + Dur::from_millis(580)).unwrap();
        assert!((rtt - Dur::from_millis(80)).abs() < Dur::from_millis(1), "{rtt}");
        assert_eq!(out.quality(), Some((0.25, Dur::from_millis(10))));
        assert_eq!(out.heard(&Report { last_report: 5, ..report }, now), None);
    }
}
