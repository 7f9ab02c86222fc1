//! Fields of messages: fixed-width little-endian numbers, strings and byte strings with a u32 length.

use super::{Frame, MAX_TEXT, MAX_TRACKS, ProtocolError};
use bytes::{Buf, Bytes};

pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn new(kind: u8) -> Writer {
        Writer(vec![0, 0, 0, 0, kind])
    }
    pub(super) fn u8(&mut self, v: u8) -> &mut Self {
        self.0.push(v);
        self
    }
    pub(super) fn bool(&mut self, v: bool) -> &mut Self {
        self.u8(u8::from(v))
    }
    pub(super) fn u16(&mut self, v: u16) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    pub(super) fn u32(&mut self, v: u32) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    pub(super) fn u64(&mut self, v: u64) -> &mut Self {
        self.0.extend_from_slice(&v.to_le_bytes());
        self
    }
    pub(super) fn i64(&mut self, v: i64) -> &mut Self {
        self.u64(v as u64)
    }
    pub(super) fn f32(&mut self, v: f32) -> &mut Self {
        self.u32(v.to_bits())
    }
    pub(super) fn f64(&mut self, v: f64) -> &mut Self {
        self.u64(v.to_bits())
    }
    /// At most [`MAX_TRACKS`] items.
    pub(super) fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Writer, &T)) -> &mut Self {
        let items = &items[..items.len().min(MAX_TRACKS)];
        self.u32(items.len() as u32);
        for i in items {
            item(self, i);
        }
        self
    }
    pub(super) fn bytes(&mut self, v: &[u8]) -> &mut Self {
        self.u32(v.len() as u32);
        self.0.extend_from_slice(v);
        self
    }
    pub(super) fn text(&mut self, v: &str) -> &mut Self {
        self.bytes(clip(v).as_bytes())
    }
    pub(super) fn end(self) -> Frame {
        self.end_with(Bytes::new())
    }
    pub(super) fn end_with(mut self, tail: Bytes) -> Frame {
        let n = (self.0.len() - 4 + tail.len()) as u32;
        self.0[..4].copy_from_slice(&n.to_le_bytes());
        Frame { head: self.0, tail }
    }
}

/// At most [`MAX_TEXT`] bytes of a string, cut between characters.
fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    pub(super) fn need(&self, n: usize) -> Result<(), ProtocolError> {
        if self.0.remaining() < n { Err(ProtocolError::Short) } else { Ok(()) }
    }
    pub(super) fn u8(&mut self) -> Result<u8, ProtocolError> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }
    pub(super) fn bool(&mut self) -> Result<bool, ProtocolError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(ProtocolError::Unknown("flag")),
        }
    }
    pub(super) fn u16(&mut self) -> Result<u16, ProtocolError> {
        self.need(2)?;
        Ok(self.0.get_u16_le())
    }
    pub(super) fn u32(&mut self) -> Result<u32, ProtocolError> {
        self.need(4)?;
        Ok(self.0.get_u32_le())
    }
    pub(super) fn u64(&mut self) -> Result<u64, ProtocolError> {
        self.need(8)?;
        Ok(self.0.get_u64_le())
    }
    pub(super) fn i64(&mut self) -> Result<i64, ProtocolError> {
        Ok(self.u64()? as i64)
    }
    pub(super) fn f32(&mut self) -> Result<f32, ProtocolError> {
        Ok(f32::from_bits(self.u32()?))
    }
    pub(super) fn f64(&mut self) -> Result<f64, ProtocolError> {
        Ok(f64::from_bits(self.u64()?))
    }
    pub(super) fn size(&mut self, what: &'static str, most: usize) -> Result<usize, ProtocolError> {
        let size = self.u32()? as usize;
        if size > most { Err(ProtocolError::Size { what, size, most }) } else { Ok(size) }
    }
    pub(super) fn bytes(&mut self, what: &'static str, most: usize) -> Result<Bytes, ProtocolError> {
        let n = self.size(what, most)?;
        self.need(n)?;
        Ok(self.0.split_to(n))
    }
    pub(super) fn text(&mut self) -> Result<String, ProtocolError> {
        let bytes = self.bytes("text", MAX_TEXT)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| ProtocolError::Unknown("text encoding"))
    }
    /// A list whose items each take at least one byte, so that its length cannot ask for more than the message holds.
    pub(super) fn list<T>(
        &mut self,
        what: &'static str,
        mut item: impl FnMut(&mut Reader) -> Result<T, ProtocolError>,
    ) -> Result<Vec<T>, ProtocolError> {
        let n = self.size(what, MAX_TRACKS)?;
        (0..n).map(|_| item(self)).collect()
    }
    pub(super) fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }
    pub(super) fn end<T>(self, value: T) -> Result<T, ProtocolError> {
        if self.0.is_empty() { Ok(value) } else { Err(ProtocolError::Trailing(self.0.len())) }
    }
}
