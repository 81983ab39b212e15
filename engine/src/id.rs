//! Names of things: object kinds, blob kinds, and one type for each id.
//!
//! Ids are bytes inside and lower-case hexadecimal at the edges: in file names,
//! JSON and messages.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Malformed;

/// Lower-case hexadecimal of `bytes`.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
    out
}

/// In [`DIGITS`]: no digit of ours.
const NO_DIGIT: u8 = 0x80;

/// What each byte stands for as a hexadecimal digit.
const DIGITS: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// Reverse of [`to_hex`]; lower case only, so that each id has one spelling.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = text.as_bytes();
    if bytes.len() != 2 * N {
        return None;
    }
    let mut out = [0; N];
    let mut wrong = 0;
    for (slot, pair) in out.iter_mut().zip(bytes.chunks_exact(2)) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        wrong |= high | low;
        *slot = high << 4 | low & 15;
    }
    if wrong & NO_DIGIT != 0 {
        return None;
    }
    Some(out)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }

            /// Lower-case hexadecimal.
            pub fn to_hex(&self) -> String {
                to_hex(&self.0)
            }

            /// The first eight digits, for people.
            pub fn short(&self) -> String {
                to_hex(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = Malformed;
            fn from_str(text: &str) -> Result<Self, Malformed> {
                from_hex(text)
                    .map(Self)
                    .ok_or_else(|| Malformed::new(concat!("not a ", stringify!($name))))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                if s.is_human_readable() { s.serialize_str(&self.to_hex()) } else { self.0.serialize(s) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                if d.is_human_readable() {
                    let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; $len]>::deserialize(d).map(Self)
                }
            }
        }
    };
}

id_type!(
    /// Keyed BLAKE3 of a blob's plaintext; one key per [`BlobKind`].
    BlobId, 32
);
id_type!(
    /// BLAKE3 of a pack's bytes.
    PackId, 32
);
id_type!(
    /// BLAKE3 of an index object's bytes.
    IndexId, 32
);
id_type!(
    /// BLAKE3 of a snapshot object's bytes.
    SnapshotId, 32
);
id_type!(
    /// BLAKE3 of a key file's bytes.
    KeyId, 32
);
id_type!(
    /// Random name of a repository.
    RepoId, 32
);
id_type!(
    /// Random name of one run that writes.
    SessionId, 16
);

/// What a stored object is; the number stands in its envelope (`docs/format.md`, "Envelope").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectKind {
    /// `config`.
    Config = 1,
    /// `keys/<KeyId>`.
    Key = 2,
    /// `data/<PackId>`.
    Pack = 3,
    /// `index/<IndexId>`.
    Index = 4,
    /// `snapshots/<SnapshotId>`.
    Snapshot = 5,
    /// `ledger/<n>`.
    Ledger = 6,
    /// `locks/<SessionId>`.
    Lease = 7,
}

impl ObjectKind {
    /// Every kind, in the order a copy of a repository should be made.
    pub const ALL: [Self; 7] =
        [Self::Config, Self::Key, Self::Pack, Self::Index, Self::Snapshot, Self::Ledger, Self::Lease];

    /// Directory of this kind in a repository; `config` is a single object.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Pack => "data",
            Self::Index => "index",
            Self::Snapshot => "snapshots",
            Self::Ledger => "ledger",
            Self::Lease => "locks",
        }
    }

    /// The word for one of them in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "key file",
            Self::Pack => "pack",
            Self::Index => "index object",
            Self::Snapshot => "snapshot",
            Self::Ledger => "ledger entry",
            Self::Lease => "lease",
        }
    }
}

/// Kind and name of one stored object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Its kind.
    pub kind: ObjectKind,
    /// Its name inside that kind: hexadecimal, a decimal number, or `config`.
    pub name: String,
}

impl ObjectName {
    /// Any name.
    pub fn new(kind: ObjectKind, name: impl fmt::Display) -> Self {
        Self { kind, name: name.to_string() }
    }

    /// The one config object.
    pub fn config() -> Self {
        Self::new(ObjectKind::Config, "config")
    }

    /// A ledger entry.
    pub fn ledger(number: u64) -> Self {
        Self::new(ObjectKind::Ledger, number)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ObjectKind::Config => f.write_str("config"),
            kind => write!(f, "{}/{}", kind.directory(), self.name),
        }
    }
}

impl From<PackId> for ObjectName {
    fn from(id: PackId) -> Self {
        Self::new(ObjectKind::Pack, id)
    }
}
impl From<IndexId> for ObjectName {
    fn from(id: IndexId) -> Self {
        Self::new(ObjectKind::Index, id)
    }
}
impl From<SnapshotId> for ObjectName {
    fn from(id: SnapshotId) -> Self {
        Self::new(ObjectKind::Snapshot, id)
    }
}
impl From<KeyId> for ObjectName {
    fn from(id: KeyId) -> Self {
        Self::new(ObjectKind::Key, id)
    }
}
impl From<SessionId> for ObjectName {
    fn from(id: SessionId) -> Self {
        Self::new(ObjectKind::Lease, id)
    }
}

/// What a blob is; the number stands in frame records and edges. 5–255 are reserved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BlobKind {
    /// A piece of one file's content.
    Chunk = 0,
    /// A stretch of a content list.
    List = 1,
    /// A directory.
    Tree = 2,
    /// A stretch of a large directory.
    TreePart = 3,
    /// Names and places of the tensors of a file.
    Seams = 4,
}

impl BlobKind {
    /// Every kind known to this version.
    pub const ALL: [Self; 5] = [Self::Chunk, Self::List, Self::Tree, Self::TreePart, Self::Seams];

    /// From its number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// The word for it in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Chunk => "chunk",
            Self::List => "content list",
            Self::Tree => "tree",
            Self::TreePart => "tree part",
            Self::Seams => "seam table",
        }
    }

    /// Chunks go to data packs, all else to metadata packs.
    pub fn is_metadata(self) -> bool {
        self != Self::Chunk
    }
}

/// Kind and id of a blob: what the index is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobRef {
    /// Its kind.
    pub kind: BlobKind,
    /// Its id.
    pub id: BlobId,
}

impl BlobRef {
    /// Both together.
    pub fn new(kind: BlobKind, id: BlobId) -> Self {
        Self { kind, id }
    }
}

impl fmt::Display for BlobRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.word(), self.id.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_has_one_spelling() {
        let id = BlobId([0xa5; 32]);
        assert_eq!(id.to_hex().parse::<BlobId>().unwrap(), id);
        assert!(id.to_hex().to_uppercase().parse::<BlobId>().is_err());
        assert!("a5".parse::<BlobId>().is_err());
        assert_eq!(from_hex::<2>("0aff"), Some([10, 255]));
        assert_eq!(from_hex::<2>("0afg"), None);
    }

    #[test]
    fn blob_kinds_know_their_numbers() {
        for kind in BlobKind::ALL {
            assert_eq!(BlobKind::from_byte(kind as u8), Some(kind));
        }
        assert_eq!(BlobKind::from_byte(5), None);
    }
}
