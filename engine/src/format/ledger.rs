//! Ledger entries (`docs/format.md`, "Ledger"): the order of events.
//!
//! Entry n holds the BLAKE3 of entry n − 1 as it is stored; entry 1 holds zeros.
//! An unknown kind below 128 makes a repository read-only for a program, one from
//! 128 on is passed over.

use serde::{Deserialize, Serialize};

use crate::error::Malformed;
use crate::format::config::Features;
use crate::format::record::VerifiedV1;
use crate::format::wire::{self, Bytes, Extension, Record, Stamp, Text, seq};
use crate::id::{IndexId, PackId, SessionId, SnapshotId};

/// Kinds from here on may be passed over by who does not know them.
pub const FIRST_IGNORABLE_KIND: u8 = 128;

/// Plaintext of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntryV1 {
    /// Its number, also its name.
    pub number: u64,
    /// BLAKE3 of the sealed entry before.
    pub previous: [u8; 32],
    /// Who wrote it.
    pub session: SessionId,
    /// When, by the writer's clock.
    pub time: Stamp,
    /// Where.
    pub host: Text,
    /// Who.
    pub user: Text,
    /// Program and version.
    pub program: Text,
    /// What kind of event.
    pub kind: u8,
    /// The event: a record of its own.
    pub body: Bytes,
    /// For later versions.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl Record for LedgerEntryV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 64 << 20;
    const WHAT: &'static str = "ledger entry";
}

/// Kind 1: this snapshot counts from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitV1 {
    /// The snapshot.
    pub snapshot: SnapshotId,
}

/// Kind 2: these snapshots no longer count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgetV1 {
    /// The snapshots.
    #[serde(deserialize_with = "seq")]
    pub snapshots: Vec<SnapshotId>,
    /// Why, for people.
    pub reason: Text,
}

/// Kind 3: these objects will be deleted; nobody may rely on them any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CondemnV1 {
    /// Packs.
    #[serde(deserialize_with = "seq")]
    pub packs: Vec<PackId>,
    /// Index objects that were replaced.
    #[serde(deserialize_with = "seq")]
    pub indexes: Vec<IndexId>,
    /// Snapshots that were never committed.
    #[serde(deserialize_with = "seq")]
    pub snapshots: Vec<SnapshotId>,
}

/// Kind 5: the repository needs these features from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaiseV1 {
    /// Added to the config's.
    pub features: Features,
}

macro_rules! body_record {
    ($($name:ident $what:literal),*) => {$(
        impl Record for $name {
            const VERSION: u8 = 1;
            const LIMIT_BYTES: usize = 64 << 20;
            const WHAT: &'static str = $what;
        }
    )*};
}
body_record!(CommitV1 "commit", ForgetV1 "forget", CondemnV1 "condemnation", RaiseV1 "raising of features");

/// An entry's event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// 1.
    Commit(CommitV1),
    /// 2.
    Forget(ForgetV1),
    /// 3.
    Condemn(CondemnV1),
    /// 4.
    Verified(VerifiedV1),
    /// 5.
    Raise(RaiseV1),
    /// Any other number.
    Unknown(u8),
}

impl Event {
    /// Kind and body as they stand in an entry.
    pub fn encode(&self) -> (u8, Bytes) {
        let (kind, body) = match self {
            Self::Commit(b) => (1, wire::encode(b)),
            Self::Forget(b) => (2, wire::encode(b)),
            Self::Condemn(b) => (3, wire::encode(b)),
            Self::Verified(b) => (4, wire::encode(b)),
            Self::Raise(b) => (5, wire::encode(b)),
            Self::Unknown(kind) => (*kind, Vec::new()),
        };
        (kind, Bytes(body))
    }

    /// Reverse of [`Event::encode`].
    pub fn decode(kind: u8, body: &[u8]) -> Result<Self, Malformed> {
        Ok(match kind {
            1 => Self::Commit(wire::decode(body)?),
            2 => Self::Forget(wire::decode(body)?),
            3 => Self::Condemn(wire::decode(body)?),
            4 => Self::Verified(wire::decode(body)?),
            5 => Self::Raise(wire::decode(body)?),
            other => Self::Unknown(other),
        })
    }
}
