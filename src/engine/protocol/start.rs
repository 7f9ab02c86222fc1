//! The fields of the start message and of tracks.

use super::fields::{Reader, Writer};
use super::{MAX_CONFIG, MAX_DIMENSION, MAX_SLATE, ProtocolError, Start};
use crate::engine::{AudioSpec, Channels, EngineConfig, Limits, RoomSpec, RungSpec, SlateConfig};
use crate::media::{AudioCodec, AudioFormat, Dur, Grid, Media, Track, TrackId, VideoCodec, VideoFormat};

pub(super) fn write_track(w: &mut Writer, track: &Track) {
    w.u16(track.id.0);
    match &track.media {
        Media::Video(v) => {
            let codec = match v.codec {
                VideoCodec::H264 => 0,
                VideoCodec::Hevc => 1,
                VideoCodec::Av1 => 2,
            };
            let (n, d) = v.frame_rate.unwrap_or((0, 0));
            let (wide, high) = v.sample_aspect.unwrap_or((0, 0));
            w.u8(codec).u32(v.width).u32(v.height).u32(n).u32(d).u16(wide).u16(high).bytes(&v.config);
        }
        Media::Audio(a) => {
            let codec = match a.codec {
                AudioCodec::Aac => 16,
                AudioCodec::Opus => 17,
                AudioCodec::Mp3 => 18,
                AudioCodec::Ac3 => 19,
            };
            w.u8(codec).u32(a.sample_rate).u8(a.channels).bytes(&a.config);
        }
    }
}

pub(super) fn read_track(r: &mut Reader) -> Result<Track, ProtocolError> {
    let id = TrackId(r.u16()?);
    let codec = r.u8()?;
    let media = if codec < 16 {
        let codec = match codec {
            0 => VideoCodec::H264,
            1 => VideoCodec::Hevc,
            2 => VideoCodec::Av1,
            _ => return Err(ProtocolError::Unknown("video codec")),
        };
        let (width, height, n, d) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let frame_rate = (d != 0).then_some((n, d));
        let (h, v) = (r.u16()?, r.u16()?);
        let sample_aspect = (h != 0 && v != 0).then_some((h, v));
        let config = r.bytes("configuration", MAX_CONFIG)?;
        Media::Video(VideoFormat { codec, width, height, frame_rate, sample_aspect, config })
    } else {
        let codec = match codec {
            16 => AudioCodec::Aac,
            17 => AudioCodec::Opus,
            18 => AudioCodec::Mp3,
            19 => AudioCodec::Ac3,
            _ => return Err(ProtocolError::Unknown("audio codec")),
        };
        let (sample_rate, channels) = (r.u32()?, r.u8()?);
        Media::Audio(AudioFormat { codec, sample_rate, channels, config: r.bytes("configuration", MAX_CONFIG)? })
    };
    Ok(Track { id, media })
}

pub(super) fn write_start(w: &mut Writer, s: &Start) {
    let c = &s.config;
    w.u32(c.grid.fps()).i64(c.clock_anchor.flicks()).i64(c.delay.flicks());
    w.list(&c.video, write_rung);
    write_audio(w, &c.audio);
    w.bool(c.room.is_some()).bool(c.stems);
    if let Some(room) = &c.room {
        write_rung(w, &room.video);
        w.u16(room.floor.0).u32(room.bitrate);
    }
    for v in c.slate.colour {
        w.u8(v);
    }
    w.text(&c.slate.text).bool(c.slate.picture.is_some());
    w.bytes(c.slate.picture.as_deref().unwrap_or(&[])).i64(c.slate.after.flicks());
    w.u64(c.limits.memory).i64(c.limits.hang.flicks()).bool(c.preview).bool(s.paced);
    write_numbers(w, &s.resume);
}

fn write_rung(w: &mut Writer, v: &RungSpec) {
    w.u16(v.id.0).text(&v.name).u32(v.width).u32(v.height).u32(v.bitrate);
    w.bool(v.profile.is_some()).text(v.profile.as_deref().unwrap_or("")).text(&v.preset).text(&v.encoder);
}

fn read_rung(r: &mut Reader) -> Result<RungSpec, ProtocolError> {
    let (id, name) = (TrackId(r.u16()?), r.text()?);
    let (width, height, bitrate) = (r.u32()?, r.u32()?, r.u32()?);
    let size = width.max(height) as usize;
    if size > MAX_DIMENSION as usize {
        return Err(ProtocolError::Size { what: "picture", size, most: MAX_DIMENSION as usize });
    }
    let (has, profile) = (r.bool()?, r.text()?);
    let profile = has.then_some(profile);
    Ok(RungSpec { id, name, width, height, bitrate, profile, preset: r.text()?, encoder: r.text()? })
}

pub(super) fn write_audio(w: &mut Writer, audio: &[AudioSpec]) {
    w.list(audio, |w, a| {
        w.u16(a.id.0).text(&a.name).u16(a.source).u32(a.bitrate).bool(a.interpreted);
        w.bool(a.realtime.is_some()).u16(a.realtime.map_or(0, |t| t.0));
        w.bool(a.channels.is_some()).u8(a.channels.map_or(0, |c| c.left)).u8(a.channels.map_or(0, |c| c.right));
    });
}

pub(super) fn read_audio(r: &mut Reader) -> Result<Vec<AudioSpec>, ProtocolError> {
    r.list("sound renditions", |r| {
        let (id, name, source, bitrate) = (TrackId(r.u16()?), r.text()?, r.u16()?, r.u32()?);
        let (interpreted, has, realtime) = (r.bool()?, r.bool()?, TrackId(r.u16()?));
        let realtime = has.then_some(realtime);
        let (has, left, right) = (r.bool()?, r.u8()?, r.u8()?);
        let channels = has.then_some(Channels { left, right });
        Ok(AudioSpec { id, name, source, channels, bitrate, interpreted, realtime })
    })
}

pub(super) fn write_numbers(w: &mut Writer, numbers: &[(TrackId, i64)]) {
    w.list(numbers, |w, (id, number)| {
        w.u16(id.0).i64(*number);
    });
}

pub(super) fn read_numbers(r: &mut Reader) -> Result<Vec<(TrackId, i64)>, ProtocolError> {
    r.list("resume points", |r| Ok((TrackId(r.u16()?), r.i64()?)))
}

pub(super) fn read_start(r: &mut Reader) -> Result<Start, ProtocolError> {
    let grid = Grid::new(r.u32()?).ok_or(ProtocolError::Unknown("frame rate"))?;
    let (clock_anchor, delay) = (Dur::from_flicks(r.i64()?), Dur::from_flicks(r.i64()?));
    let video = r.list("rungs", read_rung)?;
    let audio = read_audio(r)?;
    let (has_room, stems) = (r.bool()?, r.bool()?);
    let room = match has_room {
        true => Some(RoomSpec { video: read_rung(r)?, floor: TrackId(r.u16()?), bitrate: r.u32()? }),
        false => None,
    };
    let colour = [r.u8()?, r.u8()?, r.u8()?];
    let (text, has) = (r.text()?, r.bool()?);
    let picture = r.bytes("slate", MAX_SLATE)?;
    let slate = SlateConfig { colour, text, picture: has.then_some(picture), after: Dur::from_flicks(r.i64()?) };
    let limits = Limits { memory: r.u64()?, hang: Dur::from_flicks(r.i64()?) };
    let (preview, paced) = (r.bool()?, r.bool()?);
    let resume = read_numbers(r)?;
    let config = EngineConfig {
        event: String::new(),
        grid,
        clock_anchor,
        delay,
        video,
        audio,
        room,
        stems,
        slate,
        limits,
        preview,
        program: None,
    };
    Ok(Start { config, resume, paced })
}
