//! Small records of verification and capture (`docs/format.md`, "Small records").

use serde::{Deserialize, Serialize};

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
