//! Small records of verification, capture and loss (`docs/format.md`, "Small records").

use serde::{Deserialize, Serialize};

use crate::error::Malformed;
use crate::format::wire::{Extension, Record, Stamp, seq};
use crate::id::{PackId, SnapshotId};

/// Objects were compared with their names; no key needed.
pub const METHOD_NAMES: u8 = 1;
/// Every frame was opened, decoded, and every blob hashed.
pub const METHOD_DATA: u8 = 2;
/// A database was restored and asked for its own integrity.
pub const METHOD_DATABASE: u8 = 3;

/// Ledger kind 4: what was verified, and what was found bad.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedV1 {
    /// [`METHOD_NAMES`] and the like.
    pub method: u8,
    /// When it began.
    pub began: Stamp,
    /// Snapshot whose databases were verified, for [`METHOD_DATABASE`].
    pub snapshot: Option<SnapshotId>,
    /// Packs found good.
    #[serde(deserialize_with = "seq")]
    pub good: Vec<PackId>,
    /// Packs found bad.
    #[serde(deserialize_with = "seq")]
    pub bad: Vec<PackId>,
    /// For later versions.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl Record for VerifiedV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 64 << 20;
    const WHAT: &'static str = "verification";
}

/// Node extension 2: counters of a SQLite database as it was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqliteCaptureV1 {
    /// Bytes a page.
    pub page_size: u32,
    /// Pages of the image.
    pub pages: u32,
    /// File change counter.
    pub change_counter: u32,
    /// Schema cookie.
    pub schema_cookie: u32,
    /// `PRAGMA application_id`.
    pub application_id: u32,
    /// `PRAGMA user_version`.
    pub user_version: u32,
    /// Length of the write-ahead log beside it.
    pub wal_bytes: u64,
    /// Modification of the write-ahead log.
    pub wal_mtime: Stamp,
    /// BLAKE3 of the schema's text; zeros if it was not read.
    pub schema_hash: [u8; 32],
}

impl Record for SqliteCaptureV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 256;
    const WHAT: &'static str = "capture";
}

/// One look at a file: what tells whether it was touched since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookV1 {
    /// Length.
    pub size: u64,
    /// Change of content.
    pub mtime: Stamp,
    /// Change of metadata.
    pub ctime: Stamp,
    /// Inode number.
    pub inode: u64,
}

/// Node extension 5: the files of a captured SQLite database before they were read. The node's own size is
/// that of the image; its times and inode are the main file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SqliteFilesV1 {
    /// Length of the main file.
    pub main_bytes: u64,
    /// `-wal`.
    pub wal: Option<LookV1>,
    /// `-journal`.
    pub journal: Option<LookV1>,
}

impl Record for SqliteFilesV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 256;
    const WHAT: &'static str = "files of a capture";
}

/// Ranges that are told one by one; the last may then reach over what is not lost.
const MAX_LOST_RANGES: usize = 100_000;

/// Node extension 4: what the repository lost of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LostV1 {
    /// Of a file: offset and length of each stretch that is lost, ascending, apart from each other.
    #[serde(deserialize_with = "seq")]
    pub ranges: Vec<(u64, u64)>,
    /// Of a directory: how many names are lost for certain. 0 if nobody knows: its tree is lost.
    pub names: u64,
}

impl Record for LostV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 4 << 20;
    const WHAT: &'static str = "mark of loss";
}

impl LostV1 {
    /// Every byte of a file of this length.
    pub fn all(len: u64) -> Self {
        Self { ranges: vec![(0, len)], names: 0 }
    }

    /// How many bytes are lost.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().fold(0, |sum, (_, len)| sum.saturating_add(*len))
    }

    /// One more stretch; they come in order.
    pub fn push(&mut self, offset: u64, len: u64) {
        if let Some(last) = self.ranges.last_mut()
            && last.0.saturating_add(last.1) >= offset
        {
            last.1 = last.1.max(offset.saturating_add(len).saturating_sub(last.0));
        } else if len > 0 {
            self.ranges.push((offset, len));
        }
        if self.ranges.len() > MAX_LOST_RANGES
            && let (Some((offset, len)), Some(last)) = (self.ranges.pop(), self.ranges.last_mut())
        {
            last.1 = offset.saturating_add(len).saturating_sub(last.0);
        }
    }

    /// Both together.
    pub fn union(&self, other: Self) -> Self {
        let mut ranges: Vec<_> = self.ranges.iter().copied().chain(other.ranges).collect();
        ranges.sort_unstable();
        let mut all = Self { ranges: Vec::new(), names: self.names.saturating_add(other.names) };
        ranges.into_iter().for_each(|(offset, len)| all.push(offset, len));
        all
    }

    /// Ranges must ascend and lie within `len` bytes.
    pub(super) fn check(&self, len: u64) -> Result<(), Malformed> {
        let mut from = 0u64;
        for (offset, long) in &self.ranges {
            let end = offset.checked_add(*long).filter(|end| *end <= len && *long > 0 && *offset >= from);
            from = end.ok_or_else(|| Malformed::new("a mark of loss does not fit its node"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_ranges_are_joined_and_bounded() {
        let lost = |ranges: &[(u64, u64)]| LostV1 { ranges: ranges.to_vec(), names: 0 };
        let both = lost(&[(10, 5), (40, 1)]).union(lost(&[(0, 3), (15, 5), (41, 1)]));
        assert_eq!(both, lost(&[(0, 3), (10, 10), (40, 2)]));
        assert_eq!(both.bytes(), 15);
        assert!(both.check(42).is_ok() && both.check(41).is_err());
        for bad in [&[(5, 0)][..], &[(5, 5), (4, 1)], &[(u64::MAX, 2)], &[(5, 5), (9, 1)]] {
            assert!(lost(bad).check(u64::MAX).is_err(), "{bad:?}");
        }
        let mut many = LostV1::default();
        (0..MAX_LOST_RANGES as u64 + 10).for_each(|i| many.push(i * 3, 1));
        assert_eq!(many.ranges.len(), MAX_LOST_RANGES);
        let end = 3 * (MAX_LOST_RANGES as u64 + 9) + 1;
        assert!(many.check(end).is_ok() && many.check(end - 1).is_err());
    }
}
