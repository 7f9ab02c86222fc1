//! Texts.
use super::event::Listed;
use crate::media::Ts;
use crate::package::Window;
use bytes::Bytes;

pub const MARK: char = '\u{1}';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Full,
    Delta,
    IFrames,
}

pub struct Report {
    pub name: String,
    pub msn: u64,
    pub part: Option<u32>,
}

pub fn media(_window: &Window, _kind: Kind, _from: u64, _marked: bool, _reports: &[Report]) -> String {
    todo!()
}
pub fn index(_renditions: &[Listed], _marked: bool) -> Option<String> {
    todo!()
}
pub fn manifest(_renditions: &[Listed], _since: Option<Ts>, _marked: bool, _now: Ts) -> Option<String> {
    todo!()
}
pub fn with_token(_text: &Bytes, _name: &str, _token: &str) -> String {
    todo!()
}
