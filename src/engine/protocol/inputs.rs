//! The fields of what inputs send, and what is found out about them.

use super::fields::{Reader, Writer};
use super::{InPacket, ProtocolError};
use crate::media::{Content, Dur, InputName, SoundMatch, Stretch, TrackId, Ts};

/// All but the data, which comes last.
pub(super) fn write_packet(w: &mut Writer, p: &InPacket) {
    w.u16(p.track.0).u32(p.epoch).i64(p.dts.flicks()).i64(p.pts.flicks()).bool(p.key).bool(p.decode_only);
}

pub(super) fn read_packet(r: &mut Reader) -> Result<InPacket, ProtocolError> {
    let (track, epoch) = (TrackId(r.u16()?), r.u32()?);
    let (dts, pts) = (Ts::from_flicks(r.i64()?), Ts::from_flicks(r.i64()?));
    let (key, decode_only) = (r.bool()?, r.bool()?);
    Ok(InPacket { track, epoch, dts, pts, key, decode_only, data: r.rest() })
}

pub(super) fn write_input(w: &mut Writer, input: InputName) {
    w.u8(input.index() as u8);
}

pub(super) fn read_input(r: &mut Reader) -> Result<InputName, ProtocolError> {
    InputName::ALL.get(usize::from(r.u8()?)).copied().ok_or(ProtocolError::Unknown("input"))
}

pub(super) fn write_match(w: &mut Writer, found: Option<SoundMatch>) {
    w.bool(found.is_some());
    if let Some(found) = found {
        w.i64(found.apart.flicks()).i64(found.at.flicks()).u32(found.epochs[0]).u32(found.epochs[1]);
    }
}

pub(super) fn read_match(r: &mut Reader) -> Result<Option<SoundMatch>, ProtocolError> {
    if !r.bool()? {
        return Ok(None);
    }
    let (apart, at) = (Dur::from_flicks(r.i64()?), Ts::from_flicks(r.i64()?));
    Ok(Some(SoundMatch { apart, at, epochs: [r.u32()?, r.u32()?] }))
}

pub(super) fn write_content(w: &mut Writer, content: &Content) {
    for stretch in [content.black, content.frozen, content.silent] {
        let (from, until) = stretch.map_or((0, 0), |s| (s.from.flicks(), s.until.flicks()));
        w.bool(stretch.is_some()).i64(from).i64(until);
    }
}

pub(super) fn read_content(r: &mut Reader) -> Result<Content, ProtocolError> {
    let mut stretch = || {
        let (is, from, until) = (r.bool()?, Ts::from_flicks(r.i64()?), Ts::from_flicks(r.i64()?));
        Ok(is.then_some(Stretch { from, until }))
    };
    Ok(Content { black: stretch()?, frozen: stretch()?, silent: stretch()? })
}
