//! AMF0 (Action Message Format, Adobe 2007): the values of RTMP commands and FLV metadata.
//!
//! **Bounds.** A value nests at most [`MAX_DEPTH`] deep, a message holds at most [`MAX_VALUES`] values, and no count from the wire
//! reserves memory: what is kept is at most a small multiple of the message's own size.

use bytes::{BufMut, BytesMut};

/// Encoders send two levels (an object with a list in it); 16 leaves room and keeps recursion far from the stack's end.
pub const MAX_DEPTH: usize = 16;

/// Values in one message. The largest real `onMetaData` has some dozens; a list of single bytes (null) must not make each
/// byte received cost fifty in memory.
pub const MAX_VALUES: usize = 4096;

/// Why AMF0 could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The data ends inside a value.
    #[error("AMF0 ends inside a value")]
    Short,
    /// A marker that AMF0 does not have, or that no encoder sends (references, movie clips, AMF3 values).
    #[error("AMF0 type marker {0:#04x} is not supported")]
    Marker(u8),
    /// More than [`MAX_DEPTH`] levels.
    #[error("AMF0 nests deeper than {MAX_DEPTH} levels")]
    Depth,
    /// More than [`MAX_VALUES`] values.
    #[error("AMF0 message holds more than {MAX_VALUES} values")]
    Values,
}

/// A value. Strings that are not UTF-8 have the replacement character where they are wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A double.
    Number(f64),
    /// A boolean.
    Boolean(bool),
    /// A string, long string or XML document.
    String(String),
    /// An anonymous or typed object, its members in order.
    Object(Vec<(String, Value)>),
    /// An associative array, its members in order.
    EcmaArray(Vec<(String, Value)>),
    /// A list.
    StrictArray(Vec<Value>),
    /// Milliseconds since 1970.
    Date(f64),
    /// Null.
    Null,
    /// Undefined or unsupported.
    Undefined,
}

impl Value {
    /// A string value.
    pub fn string(text: impl Into<String>) -> Value {
        Value::String(text.into())
    }

    /// An object of the members.
    pub fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
        Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::String(s) => Some(s),
            _ => None,
        }
    }

    /// The value of a finite number; of a string that holds one too, which some encoders send.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(n) => Some(*n),
            Value::String(s) => s.trim().parse().ok(),
            _ => None,
        }
        .filter(|n: &f64| n.is_finite())
    }

    /// The members of an object or associative array.
    pub fn members(&self) -> &[(String, Value)] {
        match self {
            Value::Object(m) | Value::EcmaArray(m) => m,
            _ => &[],
        }
    }

    /// The member called `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.members().iter().find(|(k, _)| k == name).map(|(_, v)| v)
    }
}

mod marker {
    pub const NUMBER: u8 = 0;
    pub const BOOLEAN: u8 = 1;
    pub const STRING: u8 = 2;
    pub const OBJECT: u8 = 3;
    pub const NULL: u8 = 5;
    pub const UNDEFINED: u8 = 6;
    pub const ECMA_ARRAY: u8 = 8;
    pub const OBJECT_END: u8 = 9;
    pub const STRICT_ARRAY: u8 = 10;
    pub const DATE: u8 = 11;
    pub const LONG_STRING: u8 = 12;
    pub const UNSUPPORTED: u8 = 13;
    pub const XML: u8 = 15;
    pub const TYPED_OBJECT: u8 = 16;
}

/// Reads values one after the other.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    data: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    /// At the first value of a message.
    pub fn new(data: &'a [u8]) -> Reader<'a> {
        Reader { data, values: 0 }
    }

    /// The next value; none at the end.
    ///
    /// # Errors
    /// [`Error`]. The reader is at no useful place afterwards.
    pub fn next_value(&mut self) -> Result<Option<Value>, Error> {
        if self.data.is_empty() { Ok(None) } else { self.value(0).map(Some) }
    }

    /// All values up to the end. A broken tail is left out: what came before it is still good.
    pub fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next_value().ok().flatten()).collect()
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.data.split_at_checked(n).ok_or(Error::Short)?;
        self.data = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, tail) = self.data.split_first_chunk().ok_or(Error::Short)?;
        self.data = tail;
        Ok(*head)
    }

    fn number(&mut self) -> Result<f64, Error> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String, Error> {
        let length = u16::from_be_bytes(self.array()?);
        Ok(String::from_utf8_lossy(self.take(length.into())?).into_owned())
    }

    fn long_text(&mut self) -> Result<String, Error> {
        let length = u32::from_be_bytes(self.array()?);
        let length = usize::try_from(length).map_err(|_| Error::Short)?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn value(&mut self, depth: usize) -> Result<Value, Error> {
        if depth >= MAX_DEPTH {
            return Err(Error::Depth);
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Error::Values);
        }
        let [kind] = self.array()?;
        Ok(match kind {
            marker::NUMBER => Value::Number(self.number()?),
            marker::BOOLEAN => Value::Boolean(self.array::<1>()? != [0]),
            marker::STRING => Value::String(self.text()?),
            marker::OBJECT => Value::Object(self.members(depth)?),
            marker::TYPED_OBJECT => {
                self.text()?;
                Value::Object(self.members(depth)?)
            }
            marker::ECMA_ARRAY => {
                // The count is a hint that encoders leave at zero or wrong: the end marker rules.
                self.take(4)?;
                Value::EcmaArray(self.members(depth)?)
            }
            marker::STRICT_ARRAY => {
                let count = u32::from_be_bytes(self.array()?);
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.value(depth + 1)?);
                }
                Value::StrictArray(list)
            }
            marker::DATE => {
                let date = self.number()?;
                self.take(2)?;
                Value::Date(date)
            }
            marker::LONG_STRING | marker::XML => Value::String(self.long_text()?),
            marker::NULL => Value::Null,
            marker::UNDEFINED | marker::UNSUPPORTED => Value::Undefined,
            other => return Err(Error::Marker(other)),
        })
    }

    /// Members up to the end marker. Data that ends cleanly between two members ends the object too: some encoders leave the marker
    /// out at the end of `onMetaData`.
    fn members(&mut self, depth: usize) -> Result<Vec<(String, Value)>, Error> {
        let mut members = Vec::new();
        loop {
            if self.data.is_empty() {
                return Ok(members);
            }
            if self.data.starts_with(&[0, 0, marker::OBJECT_END]) {
                self.take(3)?;
                return Ok(members);
            }
            let name = self.text()?;
            members.push((name, self.value(depth + 1)?));
        }
    }
}

/// Appends a value. Text longer than a short string's 65 535 bytes becomes a long string; member names are cut there.
pub fn write(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Number(n) => {
            out.put_u8(marker::NUMBER);
            out.put_f64(*n);
        }
        Value::Boolean(b) => out.put_slice(&[marker::BOOLEAN, u8::from(*b)]),
        Value::String(s) => match u16::try_from(s.len()) {
            Ok(length) => {
                out.put_u8(marker::STRING);
                out.put_u16(length);
                out.put_slice(s.as_bytes());
            }
            Err(_) => {
                out.put_u8(marker::LONG_STRING);
                out.put_u32(u32::try_from(s.len()).unwrap_or(u32::MAX));
                out.put_slice(s.as_bytes());
            }
        },
        Value::Object(members) => {
            out.put_u8(marker::OBJECT);
            write_members(out, members);
        }
        Value::EcmaArray(members) => {
            out.put_u8(marker::ECMA_ARRAY);
            out.put_u32(u32::try_from(members.len()).unwrap_or(0));
            write_members(out, members);
        }
        Value::StrictArray(list) => {
            out.put_u8(marker::STRICT_ARRAY);
            out.put_u32(u32::try_from(list.len()).unwrap_or(0));
            for v in list {
                write(out, v);
            }
        }
        Value::Date(ms) => {
            out.put_u8(marker::DATE);
            out.put_f64(*ms);
            out.put_u16(0);
        }
        Value::Null => out.put_u8(marker::NULL),
        Value::Undefined => out.put_u8(marker::UNDEFINED),
    }
}

fn write_members(out: &mut BytesMut, members: &[(String, Value)]) {
    for (name, value) in members {
        let name = &name.as_bytes()[..name.len().min(u16::MAX.into())];
        out.put_u16(name.len() as u16);
        out.put_slice(name);
        write(out, value);
    }
    out.put_slice(&[0, 0, marker::OBJECT_END]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<f64>().prop_filter("NaN is unequal to itself", |n| !n.is_nan()).prop_map(Value::Number),
            any::<bool>().prop_map(Value::Boolean),
            ".{0,20}".prop_map(Value::String),
            Just(Value::Null),
            Just(Value::Undefined),
            (0f64..1e13).prop_map(Value::Date),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            let members = prop::collection::vec(("[a-z]{1,8}", inner.clone()), 0..6);
            prop_oneof![
                members.clone().prop_map(Value::Object),
                members.prop_map(Value::EcmaArray),
                prop::collection::vec(inner, 0..6).prop_map(Value::StrictArray),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(list in prop::collection::vec(values(), 0..4)) {
            let mut out = BytesMut::new();
            list.iter().for_each(|v| write(&mut out, v));
            prop_assert_eq!(Reader::new(&out).rest(), list);
        }

        #[test]
        fn garbage_never_panics(data in prop::collection::vec(0u8..20, 0..300)) {
            let _ = Reader::new(&data).rest();
        }
    }

    #[test]
    fn nesting_ends_at_its_limit() {
        // Objects in objects: 03 00 01 'a' 03 00 01 'a' …
        let deep = [3, 0, 1, b'a'].repeat(100_000);
        assert_eq!(Reader::new(&deep).next_value(), Err(Error::Depth));
        let deep = [10, 0, 0, 0, 1].repeat(100_000);
        assert_eq!(Reader::new(&deep).next_value(), Err(Error::Depth));
    }

    #[test]
    fn a_count_reserves_nothing_and_values_are_limited() {
        assert_eq!(Reader::new(&[10, 0xff, 0xff, 0xff, 0xff]).next_value(), Err(Error::Short));
        let mut many = vec![10, 0, 1, 0, 0];
        many.resize(70_000, 5);
        assert_eq!(Reader::new(&many).next_value(), Err(Error::Values));
    }

    #[test]
    fn odd_encoders_are_understood() {
        // An associative array with a wrong count and no end marker.
        let data = [8, 0, 0, 0, 99, 0, 1, b'a', 1, 1];
        let value = Reader::new(&data).next_value().unwrap().unwrap();
        assert_eq!(value.get("a"), Some(&Value::Boolean(true)));
        // A typed object, a long string, an unknown marker after good values.
        let data = [16, 0, 1, b'T', 0, 1, b'n', 12, 0, 0, 0, 2, b'2', b'5', 0, 0, 9, 5, 0x11, 1];
        let mut reader = Reader::new(&data);
        let first = reader.next_value().unwrap().unwrap();
        assert_eq!(first.get("n").unwrap().as_number(), Some(25.0));
        assert_eq!(reader.clone().rest(), [Value::Null]);
        assert_eq!(reader.next_value(), Ok(Some(Value::Null)));
        assert_eq!(reader.next_value(), Err(Error::Marker(0x11)));
        assert_eq!(Value::Number(f64::NAN).as_number(), None);
    }
}
