//! The config (`docs/format.md`, "Config"): what a repository is. Written once at
//! `init` and never changed; features are raised by the ledger. A copy is sealed
//! into every key file.

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::error::Malformed;
use crate::format::wire::{Extension, Record, Stamp, check_extensions, seq};
use crate::format::{MAX_FRAME_PLAIN_BYTES, MAX_PACK_BYTES};
use crate::id::RepoId;

/// Three sets of features, one bit each. Bits that a program does not know are
/// refused by number: `incompatible` at open, `read_only` before any write,
/// `compatible` never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Features {
    /// Unknown bit: do not open.
    pub incompatible: u64,
    /// Unknown bit: read, but no snapshot, prune or repair.
    pub read_only: u64,
    /// Unknown bit: no matter.
    pub compatible: u64,
}

impl Features {
    /// What this version knows: nothing beyond the base format.
    pub const KNOWN: Self = Self { incompatible: 0, read_only: 0, compatible: 0 };

    /// Both together.
    pub fn union(self, other: Self) -> Self {
        Self {
            incompatible: self.incompatible | other.incompatible,
            read_only: self.read_only | other.read_only,
            compatible: self.compatible | other.compatible,
        }
    }

    /// Names of the bits of `set` that are not in `known`: `incompatible feature 3, …`.
    pub fn names(word: &str, set: u64, known: u64) -> Option<String> {
        let unknown: Vec<_> = (0..64)
            .filter(|bit| (set & !known) >> bit & 1 == 1)
            .map(|bit| format!("{word} feature {bit}"))
            .collect();
        (!unknown.is_empty()).then(|| unknown.join(", "))
    }
}

/// How a store creates names.
pub const STORE_ATOMIC_CREATE: u8 = 1;
/// Packs are padded by Padmé.
pub const PADDING_PADME: u8 = 1;

/// Plaintext of the config.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigV1 {
    /// Random name of the repository; also in the clear in key files.
    pub repo_id: RepoId,
    /// When it was made.
    pub created: Stamp,
    /// Features from the start; the ledger may raise more.
    pub features: Features,
    /// Version of the cutter: what seams it sees and how it cuts.
    pub cutter_version: u16,
    /// Version of the derivation of the Gear table.
    pub table_version: u16,
    /// Smallest chunk, even.
    pub chunk_min_bytes: u32,
    /// Average chunk, even.
    pub chunk_avg_bytes: u32,
    /// Largest chunk, even.
    pub chunk_max_bytes: u32,
    /// Unit of SQLite databases.
    pub sqlite_unit_bytes: u32,
    /// Blobs below this share frames.
    pub small_blob_bytes: u32,
    /// Plaintext of a shared frame, at most.
    pub frame_target_bytes: u32,
    /// A data pack may close from here on.
    pub data_pack_min_bytes: u32,
    /// A data pack closes here.
    pub data_pack_max_bytes: u32,
    /// A metadata pack closes here.
    pub metadata_pack_max_bytes: u32,
    /// [`PADDING_PADME`], or 0 for none.
    pub padding: u8,
    /// [`STORE_ATOMIC_CREATE`], or 0 where a name cannot be created only-if-absent.
    pub store_mode: u8,
    /// Secret of the Gear table.
    pub cut_secret: [u8; 32],
    /// Secret of the blob ids.
    pub id_secret: [u8; 32],
    /// For later versions.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl Record for ConfigV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 800;
    const WHAT: &'static str = "config";
}

impl std::fmt::Debug for ConfigV1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigV1").field("repo_id", &self.repo_id).finish_non_exhaustive()
    }
}

impl Drop for ConfigV1 {
    fn drop(&mut self) {
        self.cut_secret.zeroize();
        self.id_secret.zeroize();
    }
}

impl ConfigV1 {
    /// Refuses sizes that no writer makes and no reader should follow.
    pub fn check(&self) -> Result<(), Malformed> {
        let even = |v: u32| v.is_multiple_of(2);
        let ok = self.chunk_min_bytes >= 64
            && self.chunk_min_bytes < self.chunk_avg_bytes
            && self.chunk_avg_bytes < self.chunk_max_bytes
            && self.chunk_max_bytes <= MAX_FRAME_PLAIN_BYTES
            && [self.chunk_min_bytes, self.chunk_avg_bytes, self.chunk_max_bytes].into_iter().all(even)
            && self.small_blob_bytes <= self.frame_target_bytes
            && self.frame_target_bytes <= MAX_FRAME_PLAIN_BYTES
            && self.data_pack_min_bytes <= self.data_pack_max_bytes
            && u64::from(self.data_pack_max_bytes) <= MAX_PACK_BYTES / 2
            && u64::from(self.metadata_pack_max_bytes) <= MAX_PACK_BYTES / 2
            && self.sqlite_unit_bytes >= 64 << 10
            && self.sqlite_unit_bytes <= MAX_FRAME_PLAIN_BYTES
            && self.padding <= PADDING_PADME
            && self.store_mode <= STORE_ATOMIC_CREATE;
        if !ok {
            return Err(Malformed::new("config holds sizes that cannot be"));
        }
        check_extensions(&self.extensions, &[], "config")
    }
}
