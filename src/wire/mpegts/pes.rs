//! PES packets (ISO/IEC 13818-1 §2.4.3.6): put together from the payloads of a stream's packets.

use mpeg2ts_reader::pes::{PesContents, PesHeader, PesLength, PtsDts};

/// Bytes of a picture's PES packet: ten times a key frame of 2160p at 50 Mbps.
pub const MAX_PICTURE: usize = 8 << 20;

/// Bytes of a sound PES packet, whose length has 16 bits.
pub const MAX_SOUND: usize = 64 << 10;

/// A whole PES packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pes {
    /// Presentation time, 90 kHz in 33 bits.
    pub pts: Option<u64>,
    /// Decoding time, where it differs.
    pub dts: Option<u64>,
    /// The adaptation field said that decoding can begin here.
    pub random_access: bool,
    /// The payload.
    pub data: Vec<u8>,
}

/// Puts the packets of one stream together.
#[derive(Debug)]
pub struct Assembler {
    most: usize,
    present: Option<Pes>,
    /// Bytes that the header announced; none where it left that open.
    length: Option<usize>,
}

impl Assembler {
    /// For a picture or for sound.
    pub fn new(video: bool) -> Assembler {
        Assembler { most: if video { MAX_PICTURE } else { MAX_SOUND }, present: None, length: None }
    }

    /// Forgets what is there; until the next beginning everything is ignored.
    pub fn reset(&mut self) {
        self.present = None;
    }

    /// The first payload of a packet. One without a readable header is left out whole.
    pub fn begin(&mut self, payload: &[u8], random_access: bool) {
        self.present = None;
        let Some(header) = PesHeader::from_bytes(payload) else { return };
        let PesContents::Parsed(Some(parsed)) = header.contents() else { return };
        let (pts, dts) = match parsed.pts_dts() {
            Ok(PtsDts::PtsOnly(Ok(pts))) => (Some(pts.value()), None),
            Ok(PtsDts::Both { pts: Ok(pts), dts: Ok(dts) }) => (Some(pts.value()), Some(dts.value())),
            _ => (None, None),
        };
        let data = parsed.payload();
        self.length = match header.pes_packet_length() {
            PesLength::Unbounded => None,
            // Counted from behind the field, which is the sixth byte.
            PesLength::Bounded(n) => {
                Some((usize::from(n.get()) + 6).saturating_sub(payload.len().saturating_sub(data.len())))
            }
        };
        let data = data.get(..self.length.unwrap_or(usize::MAX)).unwrap_or(data).to_vec();
        self.present = Some(Pes { pts, dts, random_access, data });
    }

    /// The next payload. False when the packet is larger than any can be; it is forgotten.
    pub fn push(&mut self, payload: &[u8]) -> bool {
        let Some(present) = &mut self.present else { return true };
        let room = self.length.map_or(usize::MAX, |l| l.saturating_sub(present.data.len()));
        let payload = payload.get(..room).unwrap_or(payload);
        if present.data.len() + payload.len() > self.most {
            self.present = None;
            return false;
        }
        present.data.extend_from_slice(payload);
        true
    }

    /// Whether all announced bytes are there.
    pub fn is_whole(&self) -> bool {
        matches!((&self.present, self.length), (Some(present), Some(length)) if present.data.len() >= length)
    }

    /// The packet as it is: complete if its length was left open, else only when it is whole.
    pub fn finish(&mut self) -> Option<Pes> {
        let present = self.present.take()?;
        (self.length.is_none_or(|l| present.data.len() >= l) && !present.data.is_empty()).then_some(present)
    }
}
