//! Content lists: what a file is made of, in order (`docs/format.md`, "Content").
//!
//! A node carries a short list itself; a long one is cut, by content, into list
//! blobs, and lists of lists, so that an unchanged stretch of a huge file costs
//! nothing. The cut is a function of the entries' ids: a stretch ends after an
//! entry whose id, taken as a little-endian number, is 0 modulo [`LIST_MEAN`],
//! once it has [`LIST_MIN`] entries, and at [`LIST_MAX`].

use serde::{Deserialize, Serialize};

use crate::error::Malformed;
use crate::format::wire::{Bytes, Extension, Record, seq};
use crate::id::BlobId;

/// Longest list a node carries itself.
pub const INLINE_ENTRIES: usize = 24;
/// Longest content that is kept inside its entry instead of as a blob.
pub const INLINE_BYTES: usize = 40;
/// Entries of a list blob: at least.
pub const LIST_MIN: usize = 64;
/// Entries of a list blob: on average beyond the least; a power of two.
pub const LIST_MEAN: u64 = 256;
/// Entries of a list blob: at most.
pub const LIST_MAX: usize = 1024;
/// Deepest nesting of lists: far beyond any file.
pub const MAX_LIST_DEPTH: usize = 8;

/// One entry of a content list. The order of the variants is their tag on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Entry {
    /// 0: the bytes of a chunk.
    Chunk {
        /// Its id.
        id: BlobId,
        /// Its length.
        len: u32,
    },
    /// 1: the content that a list blob describes.
    List {
        /// Its id.
        id: BlobId,
        /// Length of all its content.
        len: u64,
    },
    /// 2: zeros that take no space.
    Hole {
        /// How many.
        len: u64,
    },
    /// 3: these bytes.
    Inline {
        /// The bytes.
        bytes: Bytes,
    },
    /// 4: of a directory: its tree.
    Tree {
        /// Its id.
        id: BlobId,
    },
}

impl Entry {
    /// How many bytes of content it stands for.
    pub fn content_len(&self) -> u64 {
        match self {
            Self::Chunk { len, .. } => u64::from(*len),
            Self::List { len, .. } | Self::Hole { len } => *len,
            Self::Inline { bytes } => bytes.len() as u64,
            Self::Tree { .. } => 0,
        }
    }

    /// Does a stretch of a list end after it?
    fn ends_stretch(&self) -> bool {
        match self {
            Self::Chunk { id, .. } | Self::List { id, .. } => {
                let mut low = [0; 8];
                low.copy_from_slice(&id.as_bytes()[..8]);
                u64::from_le_bytes(low).is_multiple_of(LIST_MEAN)
            }
            _ => false,
        }
    }
}

/// Length of a file's content; refuses what overflows, and trees, which no file contains.
pub fn total_len(entries: &[Entry]) -> Result<u64, Malformed> {
    if entries.iter().any(|e| matches!(e, Entry::Tree { .. })) {
        return Err(Malformed::new("a tree stands in the content of a file"));
    }
    entries
        .iter()
        .try_fold(0u64, |sum, e| sum.checked_add(e.content_len()))
        .ok_or_else(|| Malformed::new("content longer than any file"))
}

/// Where a long list is cut: ends of the stretches.
pub fn cut(entries: &[Entry]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut start = 0;
    for (i, entry) in entries.iter().enumerate() {
        let len = i + 1 - start;
        if len >= LIST_MAX || (len >= LIST_MIN && entry.ends_stretch()) {
            ends.push(i + 1);
            start = i + 1;
        }
    }
    if start < entries.len() {
        ends.push(entries.len());
    }
    ends
}

/// Plaintext of a list blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListV1 {
    /// In order; no trees. Writers put inline bytes into nodes only.
    #[serde(deserialize_with = "seq")]
    pub entries: Vec<Entry>,
    /// For later versions.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl Record for ListV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 16 << 20;
    const WHAT: &'static str = "content list";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::wire;

    fn chunk(n: u64) -> Entry {
        Entry::Chunk { id: BlobId(*blake3::hash(&n.to_le_bytes()).as_bytes()), len: 1000 }
    }

    #[test]
    fn an_unchanged_stretch_keeps_its_cuts() {
        let old: Vec<_> = (0..5000).map(chunk).collect();
        let mut new = old.clone();
        new.insert(2500, chunk(99_999));
        let stretches = |e: &[Entry]| {
            let mut start = 0;
            cut(e)
                .into_iter()
                .map(|end| {
                    let list = ListV1 { entries: e[start..end].to_vec(), extensions: vec![] };
                    start = end;
                    *blake3::hash(&wire::encode(&list)).as_bytes()
                })
                .collect::<std::collections::BTreeSet<_>>()
        };
        let (a, b) = (stretches(&old), stretches(&new));
        assert!(a.len() > 8);
        assert!(b.difference(&a).count() <= 3, "only the stretch around the change is new");
    }

    #[test]
    fn stretches_are_bounded() {
        let same: Vec<_> = (0..5000).map(|_| chunk(1)).collect();
        let ends = cut(&same);
        assert_eq!(*ends.last().unwrap(), 5000);
        let mut last = 0;
        for e in ends {
            assert!(e - last <= LIST_MAX);
            last = e;
        }
        assert!(cut(&[]).is_empty());
        assert!(total_len(&[Entry::Hole { len: u64::MAX }, chunk(1)]).is_err());
        assert!(total_len(&[Entry::Tree { id: BlobId([0; 32]) }]).is_err());
    }
}
