//! The one door to the serialiser (`docs/format.md`, "Records").
//!
//! A record is one version byte and its fields in order: `u8` as it is; larger
//! integers as bincode's variable form (below 251 one byte; 251, 252, 253 then
//! 2, 4, 8 bytes little-endian; signed ones zigzag first); `bool` and `Option`
//! one byte 0 or 1; byte strings, text and sequences a count, then their
//! elements; fixed arrays their elements alone; an enum its tag as such an
//! integer, then its fields. Nothing may follow.
//!
//! Decoding borrows from the input: a length is compared with what is there
//! before anything is allocated for it; sequences grow as elements are really
//! read. So memory stays within a multiple of the input's length.

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::error::Malformed;

/// A record with a frozen layout.
pub trait Record: Serialize + DeserializeOwned {
    /// The byte in front.
    const VERSION: u8;
    /// Largest encoded form.
    const LIMIT_BYTES: usize;
    /// What it is, for messages.
    const WHAT: &'static str;
}

/// Serialiser's own bound on what it may claim; lengths are bounded by the input anyway.
const CLAIM_LIMIT_BYTES: usize = 256 << 20;

fn config() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_variable_int_encoding()
        .with_limit::<CLAIM_LIMIT_BYTES>()
}

/// Version byte and fields.
pub fn encode<R: Record>(record: &R) -> Vec<u8> {
    let mut out = vec![R::VERSION];
    out.extend(
        bincode::serde::encode_to_vec(record, config())
            .expect("because writing plain records to memory cannot fail"),
    );
    // What no reader would take is never written: better to end the run here than to commit it.
    assert!(out.len() <= R::LIMIT_BYTES, "{} of {} bytes is over the limit", R::WHAT, out.len());
    out
}

/// Reverse of [`encode`]; refuses other versions and anything left over.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R, Malformed> {
    if bytes.len() > R::LIMIT_BYTES {
        return Err(Malformed::new(format!("{} of {} bytes is over the limit", R::WHAT, bytes.len())));
    }
    match bytes.split_first() {
        None => Err(Malformed::new(format!("{} is empty", R::WHAT))),
        Some((version, _)) if *version != R::VERSION => Err(Malformed::new(format!(
            "{} has version {version}, this program knows {}",
            R::WHAT,
            R::VERSION
        ))),
        Some((_, body)) => {
            let (record, used) = bincode::serde::borrow_decode_from_slice::<R, _>(body, config())
                .map_err(|e| Malformed::new(format!("{}: {e}", R::WHAT)))?;
            if used == body.len() {
                Ok(record)
            } else {
                Err(Malformed::new(format!("{} has {} bytes too many", R::WHAT, body.len() - used)))
            }
        }
    }
}

/// Elements to make room for before the first is read, whatever the count claims.
const FIRST_ELEMENTS: usize = 16;

/// A sequence that grows as it is read: serde's own would take a count's word for up to a
/// mebibyte, at each level of nesting.
pub(super) fn seq<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Elements<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Elements<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a sequence")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut out = Vec::with_capacity(elements.size_hint().unwrap_or(0).min(FIRST_ELEMENTS));
            while let Some(element) = elements.next_element()? {
                out.push(element);
            }
            Ok(out)
        }
    }
    deserializer.deserialize_seq(Elements(PhantomData))
}

/// A byte string: names, link targets, extension data. Raw, not text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::borrow::Borrow<[u8]> for Bytes {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// For people and JSON: text; what is not UTF-8 as `{lossy, hex}`, so that nothing of it is lost.
impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if !s.is_human_readable() {
            return s.serialize_bytes(&self.0);
        }
        match std::str::from_utf8(&self.0) {
            Ok(text) => s.serialize_str(text),
            Err(_) => {
                let mut halves = s.serialize_struct("Bytes", 2)?;
                halves.serialize_field("lossy", &String::from_utf8_lossy(&self.0))?;
                halves.serialize_field("hex", &crate::id::to_hex(&self.0))?;
                halves.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, v: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(v.to_vec()))
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Bytes, E> {
                Ok(Bytes(v.as_bytes().to_vec()))
            }
        }
        d.deserialize_bytes(V)
    }
}

/// UTF-8 text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(pub String);

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct V;
        impl Visitor<'_> for V {
            type Value = Text;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }
            fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Text, E> {
                Ok(Text(v.to_owned()))
            }
        }
        d.deserialize_str(V)
    }
}

/// An entry that a later version may add to a record without a new layout. One
/// that is `critical` must be understood by whoever uses the record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Extension {
    /// What it is (`docs/format.md`, "Extension tags").
    pub tag: u16,
    /// Refuse the record if the tag is unknown.
    pub critical: bool,
    /// Its own layout.
    pub data: Bytes,
}

/// Refuses extensions that are critical and not in `known`.
pub fn check_extensions(extensions: &[Extension], known: &[u16], what: &str) -> Result<(), Malformed> {
    match extensions.iter().find(|e| e.critical && !known.contains(&e.tag)) {
        None => Ok(()),
        Some(e) => Err(Malformed::new(format!(
            "{what} has extension {} which this program does not know and must not ignore",
            e.tag
        ))),
    }
}

/// A moment: seconds since 1970-01-01 UTC and nanoseconds of that second.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Whole seconds, negative before 1970.
    pub secs: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

impl Stamp {
    /// From nanoseconds since 1970.
    pub fn from_ns(ns: i64) -> Self {
        let nanos = ns.rem_euclid(1_000_000_000);
        Self { secs: ns.div_euclid(1_000_000_000), nanos: u32::try_from(nanos).unwrap_or(0) }
    }

    /// Nanoseconds since 1970, saturating.
    pub fn to_ns(self) -> i64 {
        self.secs.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nanos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Probe {
        name: Bytes,
        text: Text,
        #[serde(deserialize_with = "seq")]
        list: Vec<u64>,
        #[serde(deserialize_with = "seq")]
        more: Vec<Extension>,
    }

    impl Record for Probe {
        const VERSION: u8 = 1;
        const LIMIT_BYTES: usize = 1 << 20;
        const WHAT: &'static str = "probe";
    }

    fn probe() -> Probe {
        Probe { name: b"a\xff"[..].into(), text: "t".into(), list: vec![1, 300, 1 << 40], more: vec![] }
    }

    #[test]
    fn layout_is_as_documented() {
        let bytes = encode(&probe());
        let expected =
            [&[1, 2, b'a', 0xff, 1, b't', 3, 1][..], &[251, 44, 1], &[253, 0, 0, 0, 0, 0, 1, 0, 0], &[0]]
                .concat();
        assert_eq!(bytes, expected);
        assert_eq!(decode::<Probe>(&bytes).unwrap(), probe());
    }

    #[test]
    fn nothing_may_follow_and_nothing_may_lack() {
        let bytes = encode(&probe());
        for cut in 0..bytes.len() {
            assert!(decode::<Probe>(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        assert!(decode::<Probe>(&[&bytes[..], &[0]].concat()).is_err());
        assert!(decode::<Probe>(&[&[2], &bytes[1..]].concat()).is_err());
    }

    #[test]
    fn lying_lengths_are_errors() {
        for lie in [&[253, 255, 255, 255, 255, 255, 255, 255, 127][..], &[252, 255, 255, 255, 15]] {
            assert!(decode::<Probe>(&[&[1], lie].concat()).is_err());
            assert!(decode::<Probe>(&[&[1, 0, 0], lie].concat()).is_err());
        }
    }

    #[test]
    fn stamps_before_1970() {
        let s = Stamp::from_ns(-1);
        assert_eq!(s, Stamp { secs: -1, nanos: 999_999_999 });
        assert_eq!(s.to_ns(), -1);
    }
}
