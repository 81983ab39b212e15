//! The header's JSON, streamed by serde_json: no tree of values is built, and nothing is read
//! that a header may not hold. Nesting is three deep at most, by the shape of what is asked for.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Dtype, MAX_DIMENSIONS, MAX_TENSORS};

/// The one name that is not a tensor's.
const METADATA: &str = "__metadata__";

/// One entry of a header.
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<u64>,
    /// From the end of the header.
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Entry {
    /// How many bytes its elements take.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.dtype.bytes_of(&self.shape)
    }
}

/// The entries of a header in its order; `None` if there is anything in it that should not be.
pub(super) fn tensors(json: &[u8]) -> Option<Vec<Entry>> {
    serde_json::from_slice::<Head>(json).ok().map(|head| head.0)
}

struct Head(Vec<Entry>);

/// Type, shape and place of a tensor, before its name is put to them.
struct Info(Dtype, Vec<u64>, (u64, u64));

/// A map of string to string, of which only that is wanted to be known.
struct Metadata;

/// A string that is not kept.
struct Passed;

/// A visitor of one kind of value.
struct Of<T>(PhantomData<T>);

impl<T> Of<T> {
    const NEW: Self = Self(PhantomData);
}

impl<'de> Deserialize<'de> for Head {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Of::<Self>::NEW)
    }
}

impl<'de> Visitor<'de> for Of<Head> {
    type Value = Head;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a header")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head, A::Error> {
        let mut tensors = Vec::new();
        let mut has_metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(Error::custom("metadata twice"));
                }
                let Metadata = map.next_value()?;
                continue;
            }
            if tensors.len() == MAX_TENSORS {
                return Err(Error::custom("too many tensors"));
            }
            let Info(dtype, shape, (begin, end)) = map.next_value()?;
            tensors.push(Entry { name, dtype, shape, begin, end });
        }
        Ok(Head(tensors))
    }
}

impl<'de> Deserialize<'de> for Info {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Of::<Self>::NEW)
    }
}

impl<'de> Visitor<'de> for Of<Info> {
    type Value = Info;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("type, shape and offsets of a tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Info, A::Error> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        while let Some(key) = map.next_key::<String>()? {
            let twice = match key.as_str() {
                "dtype" => dtype.replace(map.next_value::<Dtype>()?).is_some(),
                "shape" => shape.replace(map.next_value::<Shape>()?.0).is_some(),
                "data_offsets" => offsets.replace(map.next_value::<(u64, u64)>()?).is_some(),
                _ => true,
            };
            if twice {
                return Err(Error::custom("a field that is unknown, or there twice"));
            }
        }
        match (dtype, shape, offsets) {
            (Some(dtype), Some(shape), Some(offsets)) => Ok(Info(dtype, shape, offsets)),
            _ => Err(Error::custom("a field is missing")),
        }
    }
}

struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Of::<Self>::NEW)
    }
}

impl<'de> Visitor<'de> for Of<Shape> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dimensions")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
        let mut shape = Vec::new();
        while let Some(dimension) = seq.next_element()? {
            if shape.len() == MAX_DIMENSIONS {
                return Err(Error::custom("too many dimensions"));
            }
            shape.push(dimension);
        }
        Ok(Shape(shape))
    }
}

impl<'de> Deserialize<'de> for Dtype {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Of::<Self>::NEW)
    }
}

impl Visitor<'_> for Of<Dtype> {
    type Value = Dtype;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an element type")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Dtype, E> {
        Dtype::from_word(word).ok_or_else(|| E::custom("an unknown element type"))
    }
}

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Of::<Self>::NEW)
    }
}

impl<'de> Visitor<'de> for Of<Metadata> {
    type Value = Metadata;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of string to string")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        while map.next_entry::<Passed, Passed>()?.is_some() {}
        Ok(Metadata)
    }
}

impl<'de> Deserialize<'de> for Passed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Of::<Self>::NEW)
    }
}

impl Visitor<'_> for Of<Passed> {
    type Value = Passed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, _text: &str) -> Result<Passed, E> {
        Ok(Passed)
    }
}
