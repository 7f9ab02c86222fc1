//! `ftyp` and `moov` of a CMAF track file.

use super::timescale;
use crate::media::{AudioCodec, AudioFormat, Media, Track, TrackId, VideoCodec, VideoFormat};
use crate::wire::bitstream::{aac::AacConfig, h264::AvcConfig, h264::Colour, hevc::HevcConfig};
use crate::wire::language;
use mp4_atom::{
    Any, Atom, Audio, Av01, Av1c, Avc1, Avcc, Codec, Colr, DecodeMaybe, Dinf, Dops, Dref, DrefEntry, Encode, Esds,
    FourCC, Ftyp, Hdlr, Hvc1, Hvcc, Mdhd, Mdia, Minf, Moov, Mp4a, Mvex, Mvhd, Opus, Pasp, Smhd, Stbl, Stco, Stsd, Tkhd,
    Trak, Trex, Url, Visual, Vmhd, esds,
};
use std::io::Cursor;

/// Largest initialisation segment that is read back: parameter sets are some hundred bytes, avcC can hold 64 KiB each.
const MAX_INIT: usize = 1 << 20;

/// Why a track has no initialisation segment, or one could not be read.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The decoder configuration of the codec does not parse.
    #[error("{codec} configuration of {len} bytes: {source}")]
    Config {
        /// The codec.
        codec: &'static str,
        /// Bytes of the configuration.
        len: usize,
        /// What was wrong with it.
        source: mp4_atom::Error,
    },
    /// A codec that is not packaged: it has to go through the engine.
    #[error("{0} cannot be packaged as it is")]
    Unsupported(AudioCodec),
    /// Larger than the format can say.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// A box does not encode, or a stored file does not parse.
    #[error("initialisation segment: {0}")]
    Boxes(#[from] mp4_atom::Error),
    /// A stored file lacks what it must have.
    #[error("initialisation segment lacks {0}")]
    Missing(&'static str),
}

/// Decodes a box body that must be used up.
fn body<T: Atom>(codec: &'static str, config: &[u8]) -> Result<T, InitError> {
    T::decode_body(&mut Cursor::new(config)).map_err(|source| InitError::Config { codec, len: config.len(), source })
}

/// The initialisation segment of a track. `language` is its BCP 47 tag; empty for pictures. `bitrate` in bits per
/// second, 0 when not known, is what `esds` declares.
pub fn init(track: &Track, language: &str, bitrate: u64) -> Result<Vec<u8>, InitError> {
    let video = track.is_video();
    let mut tkhd = Tkhd { track_id: 1, enabled: true, in_movie: true, ..Default::default() };
    let mut minf =
        Minf { dinf: Dinf { dref: Dref { entries: vec![DrefEntry::Url(Url::default())] } }, ..Default::default() };
    let codec = match &track.media {
        Media::Video(format) => {
            let (width, height) = dimensions(format)?;
            (tkhd.width, tkhd.height) = (width.into(), height.into());
            minf.vmhd = Some(Vmhd::default());
            video_entry(format, width, height)?
        }
        Media::Audio(format) => {
            tkhd.volume = 1.into();
            tkhd.alternate_group = 1;
            minf.smhd = Some(Smhd::default());
            audio_entry(format, bitrate)?
        }
    };
    minf.stbl = Stbl { stsd: Stsd { codecs: vec![codec] }, stco: Some(Stco::default()), ..Default::default() };
    let language = if language.is_empty() { "und".into() } else { language::iso639_2(language) };
    let (handler, name) = if video { (b"vide", "Video") } else { (b"soun", "Audio") };
    let mdia = Mdia {
        mdhd: Mdhd { timescale: timescale(track), language: language.into_owned(), ..Default::default() },
        hdlr: Hdlr { handler: FourCC::new(handler), name: name.into() },
        minf,
    };
    let mut out = Vec::with_capacity(1024);
    // cmf2: version 1 of `trun`, so no edit list; cmfc: the CMAF base brand (ISO/IEC 23000-19 §7.2).
    let brands: &[&[u8; 4]] = &[b"iso6", b"cmf2", b"cmfc", b"mp41"];
    Ftyp {
        major_brand: FourCC::new(b"cmf2"),
        minor_version: 0,
        compatible_brands: brands.iter().map(|b| FourCC::new(b)).collect(),
    }
    .encode(&mut out)?;
    Moov {
        mvhd: Mvhd { timescale: 1000, next_track_id: 2, rate: 1.into(), volume: 1.into(), ..Default::default() },
        mvex: Some(Mvex {
            mehd: None,
            trex: vec![Trex { track_id: 1, default_sample_description_index: 1, ..Default::default() }],
        }),
        trak: vec![Trak { tkhd, mdia, ..Default::default() }],
        ..Default::default()
    }
    .encode(&mut out)?;
    Ok(out)
}

fn dimensions(format: &VideoFormat) -> Result<(u16, u16), InitError> {
    let side = |v: u32| u16::try_from(v).map_err(|_| InitError::Range("picture size"));
    Ok((side(format.width)?, side(format.height)?))
}

/// `colr` and `pasp` of what the parameter sets state. AV1 players read the sequence header, which `av1C` holds.
fn shown_as(format: &VideoFormat) -> (Option<Colr>, Option<Pasp>) {
    let (colour, aspect) = match format.codec {
        VideoCodec::H264 => match AvcConfig::parse(&format.config).and_then(|c| c.sps()) {
            Ok(sps) => (sps.colour, sps.sample_aspect),
            Err(_) => (None, None),
        },
        VideoCodec::Hevc => match HevcConfig::parse(&format.config).and_then(|c| c.sps()) {
            Ok(sps) => (sps.colour, sps.sample_aspect),
            Err(_) => (None, None),
        },
        VideoCodec::Av1 => (None, None),
    };
    let nclx = |c: Colour| Colr::Nclx {
        colour_primaries: c.primaries.into(),
        transfer_characteristics: c.transfer.into(),
        matrix_coefficients: c.matrix.into(),
        full_range_flag: c.full_range,
    };
    let aspect = aspect.filter(|&(h, v)| h > 0 && v > 0);
    (colour.map(nclx), aspect.map(|(h, v)| Pasp { h_spacing: h.into(), v_spacing: v.into() }))
}

fn video_entry(format: &VideoFormat, width: u16, height: u16) -> Result<Codec, InitError> {
    let visual = Visual { data_reference_index: 1, width, height, ..Default::default() };
    let (colr, pasp) = shown_as(format);
    Ok(match format.codec {
        VideoCodec::H264 => {
            let avcc: Avcc = body("H.264", &format.config)?;
            Avc1 { visual, avcc, btrt: None, colr, pasp, taic: None, fiel: None, spatial: None }.into()
        }
        VideoCodec::Hevc => {
            let hvcc: Hvcc = body("HEVC", &format.config)?;
            Hvc1 { visual, hvcc, colr, pasp, ..Default::default() }.into()
        }
        VideoCodec::Av1 => {
            let av1c: Av1c = body("AV1", &format.config)?;
            Av01 { visual, av1c, ..Default::default() }.into()
        }
    })
}

fn audio_entry(format: &AudioFormat, bitrate: u64) -> Result<Codec, InitError> {
    let audio = |rate: u32| Audio {
        data_reference_index: 1,
        channel_count: format.channels.into(),
        sample_size: 16,
        // A 16-bit field. Higher rates stand in the codec's own configuration alone.
        sample_rate: u16::try_from(rate).unwrap_or(0).into(),
    };
    let bitrate = u32::try_from(bitrate).unwrap_or(u32::MAX);
    let mp4a = |object: u8, specific: Option<esds::DecoderSpecific>| {
        let dec_config = esds::DecoderConfig {
            object_type_indication: object,
            // AudioStream (ISO/IEC 14496-1 table 6).
            stream_type: 5,
            up_stream: 0,
            buffer_size_db: Default::default(),
            max_bitrate: bitrate,
            avg_bitrate: bitrate,
            dec_specific: specific,
        };
        // ES_ID is 0 in files (ISO/IEC 14496-14 §4.1.2).
        let es_desc = esds::EsDescriptor { es_id: 0, dec_config, ..Default::default() };
        Codec::from(Mp4a { audio: audio(format.sample_rate), btrt: None, taic: None, esds: Esds { es_desc } })
    };
    match format.codec {
        AudioCodec::Aac if format.config.len() < 2 => {
            Err(InitError::Config { codec: "AAC", len: format.config.len(), source: mp4_atom::Error::OutOfBounds })
        }
        AudioCodec::Aac => {
            let specific = esds::DecoderSpecific { raw: format.config.to_vec(), ..Default::default() };
            Ok(mp4a(0x40, Some(specific)))
        }
        // MPEG-1 audio; it has no configuration.
        AudioCodec::Mp3 => Ok(mp4a(0x6B, None)),
        AudioCodec::Opus => Ok(Opus { audio: audio(48_000), dops: dops(format)?, btrt: None }.into()),
        AudioCodec::Ac3 => Err(InitError::Unsupported(format.codec)),
    }
}

/// `OpusSpecificBox` from an `OpusHead` (RFC 7845 §5.1): the same fields, big-endian, with version 0.
fn dops(format: &AudioFormat) -> Result<Dops, InitError> {
    let short = |source| InitError::Config { codec: "Opus", len: format.config.len(), source };
    let head = format.config.strip_prefix(b"OpusHead").unwrap_or(&format.config);
    let [_, channels, skip0, skip1, r0, r1, r2, r3, gain0, gain1, rest @ ..] = head else {
        return Err(short(mp4_atom::Error::OutOfBounds));
    };
    let mut boxed = vec![0, *channels, *skip1, *skip0, *r3, *r2, *r1, *r0, *gain1, *gain0];
    boxed.extend_from_slice(rest);
    body("Opus", &boxed)
}

/// Reads back what [`init`] wrote, for a rendition that is restored from disk. The configuration of AAC and of the
/// video codecs is as it was; that of Opus is built anew.
pub fn read_init(data: &[u8]) -> Result<Track, InitError> {
    if data.len() > MAX_INIT {
        return Err(InitError::Range("size"));
    }
    let mut cursor = Cursor::new(data);
    let mut moov = None;
    while let Some(atom) = Any::decode_maybe(&mut cursor)? {
        if let Any::Moov(found) = atom {
            moov = Some(found);
        }
    }
    let trak = moov.and_then(|m: Moov| m.trak.into_iter().next()).ok_or(InitError::Missing("a track"))?;
    let rate = trak.mdia.mdhd.timescale;
    let codec = trak.mdia.minf.stbl.stsd.codecs.into_iter().next().ok_or(InitError::Missing("a sample entry"))?;
    let video = |codec, visual: Visual, config: Vec<u8>| {
        Media::Video(VideoFormat {
            codec,
            config: config.into(),
            width: visual.width.into(),
            height: visual.height.into(),
            frame_rate: None,
            sample_aspect: None,
        })
    };
    let audio = |codec, channels: u16, config: Vec<u8>| {
        Media::Audio(AudioFormat {
            codec,
            config: config.into(),
            sample_rate: rate,
            channels: u8::try_from(channels).unwrap_or(u8::MAX),
        })
    };
    let media = match codec {
        Codec::Avc1(e) => video(VideoCodec::H264, e.visual, bytes_of(&e.avcc)?),
        Codec::Hvc1(e) => video(VideoCodec::Hevc, e.visual, bytes_of(&e.hvcc)?),
        Codec::Av01(e) => video(VideoCodec::Av1, e.visual, bytes_of(&e.av1c)?),
        Codec::Mp4a(e) => match e.esds.es_desc.dec_config.dec_specific {
            Some(specific) => {
                // Some writers say 2 in the sample entry whatever there is.
                let channels = AacConfig::parse(&specific.raw).ok().map(|c| c.channels.into()).filter(|&c| c > 0);
                audio(AudioCodec::Aac, channels.unwrap_or(e.audio.channel_count), specific.raw)
            }
            None => audio(AudioCodec::Mp3, e.audio.channel_count, Vec::new()),
        },
        Codec::Opus(e) => {
            let boxed = bytes_of(&e.dops)?;
            let [_, channels, skip0, skip1, r0, r1, r2, r3, gain0, gain1, rest @ ..] = boxed.as_slice() else {
                return Err(InitError::Missing("dOps"));
            };
            let mut head = b"OpusHead\x01".to_vec();
            head.extend([*channels, *skip1, *skip0, *r3, *r2, *r1, *r0, *gain1, *gain0]);
            head.extend_from_slice(rest);
            audio(AudioCodec::Opus, e.audio.channel_count, head)
        }
        _ => return Err(InitError::Missing("a codec of ours")),
    };
    let id = if matches!(media, Media::Video(_)) { TrackId::VIDEO } else { TrackId::audio(0) };
    Ok(Track { id, media })
}

/// A box's body.
fn bytes_of<T: Atom + Encode>(atom: &T) -> Result<Vec<u8>, InitError> {
    let mut out = Vec::new();
    atom.encode(&mut out)?;
    Ok(out.split_off(8))
}
