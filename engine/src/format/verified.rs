//! Which databases were verified: an extension of a verification (`docs/format.md`, "Small records").

use serde::{Deserialize, Serialize};

use crate::format::wire::{Bytes, Record, Text, seq};

/// Extension of a verification: databases, [`VerifiedDatabasesV1`].
pub const EXT_DATABASES: u16 = 1;
/// Databases that are recorded one by one.
pub const MAX_RECORDED_DATABASES: usize = 1000;

/// It was whole.
pub const DATABASE_GOOD: u8 = 0;
/// It was not.
pub const DATABASE_BAD: u8 = 1;
/// Nothing is known of it.
pub const DATABASE_UNKNOWN: u8 = 2;

/// Databases of one snapshot, each restored and asked for its own integrity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VerifiedDatabasesV1 {
    /// Where they were looked for, a path in the snapshot.
    pub path: Bytes,
    /// How many were whole.
    pub good: u64,
    /// How many were not.
    pub bad: u64,
    /// Of how many nothing is known.
    pub unknown: u64,
    /// The first [`MAX_RECORDED_DATABASES`] of them, those that were not whole before the others.
    #[serde(deserialize_with = "seq")]
    pub databases: Vec<VerifiedDatabaseV1>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedDatabaseV1 {
    /// Its path in the snapshot.
    pub path: Bytes,
    /// [`DATABASE_GOOD`] and the like.
    pub verdict: u8,
    /// The first finding, or why nothing is known; empty for one that was whole.
    pub finding: Text,
}

impl Record for VerifiedDatabasesV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 16 << 20;
    const WHAT: &'static str = "verification of databases";
}
