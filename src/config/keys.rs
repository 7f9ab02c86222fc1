//! The names of all keys, taken from the types themselves so that no list can go stale.

use super::Config;
use serde::de::{DeserializeOwned, Deserializer, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// A key with its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyPath {
    /// As in `[section]`.
    pub section: &'static str,
    /// The key in it.
    pub key: &'static str,
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.section, self.key)
    }
}

/// A deserializer that only notes which fields a struct asks for; serde hands them over before any input is read.
struct Fields<'a>(&'a mut &'static [&'static str]);

/// Ends the "deserialization" once the fields are noted.
#[derive(Debug)]
struct Noted;

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("fields noted")
    }
}
impl std::error::Error for Noted {}
impl serde::de::Error for Noted {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Noted
    }
}

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Noted;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Noted> {
        Err(Noted)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Noted> {
        *self.0 = fields;
        Err(Noted)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // The one outcome is `Noted`.
    drop(T::deserialize(Fields(&mut names)));
    names
}

/// The names of all sections.
pub(super) fn sections() -> &'static [&'static str] {
    fields::<Config>()
}

/// The keys of a section; none for a section that does not exist.
pub(super) fn keys_of(section: &str) -> &'static [&'static str] {
    match section {
        "store" => fields::<super::Store>(),
        "http" => fields::<super::Http>(),
        "tls" => fields::<super::Tls>(),
        "rtmp" => fields::<super::Rtmp>(),
        "srt" => fields::<super::Srt>(),
        "webrtc" => fields::<super::WebRtc>(),
        "metrics" => fields::<super::Metrics>(),
        "log" => fields::<super::Log>(),
        "outgoing" => fields::<super::Outgoing>(),
        "engine" => fields::<super::Engine>(),
        "programme" => fields::<super::Programme>(),
        "hls" => fields::<super::Hls>(),
        "origin" => fields::<super::Origin>(),
        "retention" => fields::<super::Retention>(),
        "drain" => fields::<super::Drain>(),
        _ => &[],
    }
}

/// Every key, in the order of the types.
pub fn keys() -> Vec<KeyPath> {
    sections().iter().flat_map(|section| keys_of(section).iter().map(move |key| KeyPath { section, key })).collect()
}

/// The value of every key that is set.
pub(super) fn values(config: &Config) -> BTreeMap<KeyPath, toml::Value> {
    // Every field is a string, number, list or table with string keys: all of TOML's own.
    let table = toml::Table::try_from(config).unwrap_or_default();
    keys().into_iter().filter_map(|k| Some((k, table.get(k.section)?.get(k.key)?.clone()))).collect()
}
