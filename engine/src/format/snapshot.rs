//! Snapshot objects (`docs/format.md`, "Snapshot"): sealed, named by their bytes. One
//! counts once a ledger entry commits it.

use serde::{Deserialize, Serialize};

use crate::format::wire::{Bytes, Extension, Record, Stamp, Text, seq};
use crate::id::{BlobId, SnapshotId};

/// Problems that are kept in the snapshot itself; the rest is only counted.
pub const KEPT_PROBLEMS: usize = 100;

/// Extension: the snapshot that this one was made from by `tag` or `rewrite`, 32 bytes. If that one
/// was made from another itself, the first of them all: it stands in the ledger even when its
/// object is gone.
pub const EXT_ORIGINAL: u16 = 1;

/// A problem, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProblemV1 {
    /// Path, raw bytes.
    pub path: Bytes,
    /// Number of a [`crate::error::ProblemKind`].
    pub kind: u8,
    /// Cause.
    pub message: Text,
}

/// What a snapshot counted. New counts go into extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CountsV1 {
    /// Files that have no counterpart in the parent.
    pub files_new: u64,
    /// Files that differ from the parent's.
    pub files_changed: u64,
    /// Files taken over from the parent.
    pub files_unchanged: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, devices.
    pub others: u64,
    /// Length of all files.
    pub total_bytes: u64,
    /// Bytes read from files.
    pub read_bytes: u64,
    /// Plaintext of blobs that were new to the repository.
    pub new_bytes: u64,
    /// Bytes written to the repository.
    pub stored_bytes: u64,
    /// Paths left out by a rule.
    pub excluded: u64,
    /// Their size.
    pub excluded_bytes: u64,
}

impl CountsV1 {
    /// Files in the snapshot. A record may say anything: never more than there are numbers.
    pub fn files(&self) -> u64 {
        self.files_new.saturating_add(self.files_changed).saturating_add(self.files_unchanged)
    }
}

/// Plaintext of a snapshot object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotV1 {
    /// When it was begun, or what `--time` said.
    pub time: Stamp,
    /// The wall clock's distance from UTC in seconds, for printing.
    pub utc_offset_secs: i32,
    /// Host name.
    pub host: Text,
    /// User name.
    pub user: Text,
    /// Absolute paths that were asked for, as given but made absolute.
    #[serde(deserialize_with = "seq")]
    pub paths: Vec<Bytes>,
    /// Tags, sorted.
    #[serde(deserialize_with = "seq")]
    pub tags: Vec<Text>,
    /// Free text.
    pub description: Text,
    /// The snapshot it was compared with.
    pub parent: Option<SnapshotId>,
    /// Program and version that made it.
    pub program: Text,
    /// Something is missing in it (see problems).
    pub partial: bool,
    /// Tree of `/`.
    pub root: BlobId,
    /// Counts.
    pub counts: CountsV1,
    /// How many problems there were.
    pub problem_count: u64,
    /// The first [`KEPT_PROBLEMS`] of them.
    #[serde(deserialize_with = "seq")]
    pub problems: Vec<ProblemV1>,
    /// For later versions.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl SnapshotV1 {
    /// The snapshot that this one was made from, if it is not a first one.
    pub fn original(&self) -> Option<SnapshotId> {
        let found = self.extensions.iter().find(|e| e.tag == EXT_ORIGINAL)?;
        found.data.0.as_slice().try_into().ok().map(SnapshotId)
    }

    /// A copy that says what it was made from: this snapshot, whose id is `id`, or its original.
    pub fn successor(&self, id: SnapshotId) -> Self {
        let mut copy = self.clone();
        if self.original().is_none() {
            let data = id.as_bytes()[..].into();
            copy.extensions.retain(|e| e.tag != EXT_ORIGINAL);
            copy.extensions.push(Extension { tag: EXT_ORIGINAL, critical: false, data });
        }
        copy
    }
}

impl Record for SnapshotV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 16 << 20;
    const WHAT: &'static str = "snapshot";
}
