//! Stream ids: what a caller asks for, in plain form or as the access control guidelines of libsrt write it.
//!
//! `#!::r=KEY,m=publish` (libsrt, `docs/features/access-control.md`): pairs of a name and a value, with commas between them. What
//! is not of that form is the key itself. Values may be percent-encoded, as some encoders copy them out of a URL.

use secrecy::SecretString;

/// `SRTO_STREAMID`: characters that a handshake can carry.
pub const MAX_LENGTH: usize = 512;

/// What begins the form with names.
const HEADER: &str = "#!::";

/// What a caller wants to do (`m`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// To send. The guidelines make `request` the default, but encoders that leave `m` out mean this.
    #[default]
    Publish,
    /// To receive.
    Request,
    /// Both ways.
    Bidirectional,
}

/// A stream id, read.
#[derive(Debug)]
pub struct StreamId {
    /// The resource (`r`), which is a stream key.
    pub key: SecretString,
    /// What for.
    pub mode: Mode,
    /// The caller asks to replace the present publisher (`takeover=1`).
    pub takeover: bool,
}

/// Why a stream id cannot be used. Never shows any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none.
    #[error("no stream id: set it to the stream key")]
    Missing,
    /// Too long for a handshake.
    #[error("the stream id is longer than {MAX_LENGTH} characters")]
    Long,
    /// Of the form with names, but broken.
    #[error("the stream id is not of the form #!::r=KEY,m=publish")]
    Malformed,
    /// No `r`.
    #[error("the stream id names no resource: write #!::r=KEY,m=publish")]
    NoResource,
    /// A mode that does not exist.
    #[error("the stream id's mode is none of publish, request and bidirectional")]
    Mode,
    /// A type other than a stream.
    #[error("the stream id's type is not stream")]
    Type,
}

impl StreamId {
    /// Reads one.
    ///
    /// # Errors
    /// When it names no key, or not in a way that can be understood.
    pub fn parse(text: &str) -> Result<StreamId, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::Missing);
        }
        if text.len() > MAX_LENGTH {
            return Err(Error::Long);
        }
        // Encoders that take a URL may hand its text over as it stands: then all of it is encoded, else the values alone.
        let whole = if text.starts_with(HEADER) { None } else { Some(decode(text).ok_or(Error::Malformed)?) };
        let Some(pairs) = whole.as_deref().unwrap_or(text).strip_prefix(HEADER) else {
            return Ok(StreamId { key: whole.unwrap_or_default().into(), mode: Mode::Publish, takeover: false });
        };
        let (mut key, mut mode, mut takeover) = (None, Mode::default(), false);
        for pair in pairs.split(',').filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(Error::Malformed)?;
            let value = if whole.is_some() { value.to_owned() } else { decode(value).ok_or(Error::Malformed)? };
            match name {
                "r" if !value.is_empty() => key = Some(SecretString::from(value)),
                "m" => {
                    mode = match value.as_str() {
                        "publish" => Mode::Publish,
                        "request" => Mode::Request,
                        "bidirectional" => Mode::Bidirectional,
                        _ => return Err(Error::Mode),
                    }
                }
                "t" if value != "stream" => return Err(Error::Type),
                "takeover" => takeover = matches!(value.as_str(), "1" | "true"),
                // User, session and host say nothing that the key does not; others are the caller's own.
                _ => {}
            }
        }
        Ok(StreamId { key: key.ok_or(Error::NoResource)?, mode, takeover })
    }
}

/// Undoes percent-encoding (RFC 3986 §2.1); none where it is broken. A text without a `%` comes back as it is.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                (digit()? << 4 | digit()?) as u8
            }
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    fn read(text: &str) -> Result<(String, Mode, bool), Error> {
        StreamId::parse(text).map(|id| (id.key.expose_secret().to_owned(), id.mode, id.takeover))
    }

    #[test]
    fn both_forms_are_read() {
        let publish = |key: &str| Ok((key.to_owned(), Mode::Publish, false));
        assert_eq!(read("k3y"), publish("k3y"));
        assert_eq!(read(" k3y\n"), publish("k3y"));
        assert_eq!(read("a%20b"), publish("a b"));
        assert_eq!(read("#!::r=k3y,m=publish"), publish("k3y"));
        assert_eq!(read("#!::r=k3y"), publish("k3y"));
        assert_eq!(read("#!::u=anna,h=live.example,s=1,t=stream,m=publish,r=k%2C3y,bmd_name=x"), publish("k,3y"));
        assert_eq!(read("%23!::r=k3y,m=publish"), publish("k3y"));
        assert_eq!(read("%23%21%3A%3Ar%3Dk3y%2Cm%3Dpublish"), publish("k3y"));
        assert_eq!(read("#!::r=k3y,m=request").map(|r| r.1), Ok(Mode::Request));
        assert_eq!(read("#!::m=bidirectional,r=k").map(|r| r.1), Ok(Mode::Bidirectional));
        assert_eq!(read("#!::r=k,takeover=1").map(|r| r.2), Ok(true));
    }

    #[test]
    fn what_cannot_be_understood_says_why() {
        for (text, error) in [
            ("", Error::Missing),
            ("  ", Error::Missing),
            (&"k".repeat(513), Error::Long),
            ("#!::", Error::NoResource),
            ("#!::m=publish", Error::NoResource),
            ("#!::r=", Error::NoResource),
            ("#!::r", Error::Malformed),
            ("#!::r=%4", Error::Malformed),
            ("100%", Error::Malformed),
            ("#!::r=k,m=write", Error::Mode),
            ("#!::r=k,t=file", Error::Type),
        ] {
            assert_eq!(read(text).err(), Some(error), "{text}");
        }
        let shown = format!("{:?}", StreamId::parse("#!::r=sekrit").ok());
        assert!(!shown.contains("sekrit"), "{shown}");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text in "(#!::)?\\PC{0,40}") {
            let _ = StreamId::parse(&text);
        }

        #[test]
        fn keys_come_back(key in "[!-~]{1,60}") {
            let encoded: String = key.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(read(&format!("#!::r={encoded},m=publish")).unwrap().0, key);
        }
    }
}
