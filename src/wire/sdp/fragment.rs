//! The body of a trickle-ICE or ICE-restart request: `application/trickle-ice-sdpfrag` (RFC 8840 §9).

use super::{Error, MAX_LINES, MAX_SIZE, is_ice};

/// What a fragment says to an ICE-lite agent. Its candidates are only counted: a lite agent sends to where the peer's
/// checks come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fragment {
    /// The peer's user fragment; one that differs from the session's asks for an ICE restart.
    pub ufrag: Option<String>,
    /// The password that goes with it.
    pub pwd: Option<String>,
    /// Candidates listed.
    pub candidates: usize,
}

impl Fragment {
    /// Reads a fragment.
    ///
    /// # Errors
    /// A line that is none, credentials of the wrong form, or too much of it.
    pub fn parse(text: &str) -> Result<Fragment, Error> {
        if text.len() > MAX_SIZE {
            return Err(Error::TooLong);
        }
        let mut fragment = Fragment::default();
        for (index, line) in text.lines().enumerate() {
            if index >= MAX_LINES {
                return Err(Error::TooLong);
            }
            let line = line.trim_end();
            let fail = |what| Error::Line { line: index + 1, what };
            match line.split_once('=') {
                None if line.is_empty() => {}
                Some(("a", value)) => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    let value = value.trim();
                    match name {
                        "ice-ufrag" if is_ice(value, 4) => {
                            fragment.ufrag.get_or_insert_with(|| value.to_owned());
                        }
                        "ice-pwd" if is_ice(value, 22) => {
                            fragment.pwd.get_or_insert_with(|| value.to_owned());
                        }
                        "ice-ufrag" | "ice-pwd" => return Err(fail("ICE credentials of the wrong form")),
                        "candidate" => fragment.candidates += 1,
                        _ => {}
                    }
                }
                Some((key, _)) if key.len() == 1 => {}
                _ => return Err(fail("no type of line")),
            }
        }
        Ok(fragment)
    }
}
