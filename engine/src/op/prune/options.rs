//! What a prune is told, and what it tells.

use serde::Serialize;

use crate::id::SessionId;
use crate::repo::Repository;

/// How much may stay that nothing needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// Percent of all that is stored afterwards.
    Percent(f64),
    /// Bytes.
    Bytes(u64),
    /// Any amount: only packs that nothing needs at all go.
    Unlimited,
}

impl MaxUnused {
    /// In bytes, where `used` are needed.
    pub fn bytes(self, used: u64) -> u64 {
        match self {
            Self::Percent(percent) if percent >= 100.0 => u64::MAX,
            // x of (used + x) are to be `percent`.
            Self::Percent(percent) => (used as f64 * percent.max(0.0) / (100.0 - percent)) as u64,
            Self::Bytes(bytes) => bytes,
            Self::Unlimited => u64::MAX,
        }
    }
}

/// How to prune.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Only find out what would be done.
    pub dry_run: bool,
    /// How much may stay that nothing needs.
    pub max_unused: MaxUnused,
    /// Packs to be read and written anew, together at most.
    pub max_repack_bytes: Option<u64>,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self { dry_run: false, max_unused: MaxUnused::Percent(5.0), max_repack_bytes: None }
    }
}

/// Kept free whatever is copied.
const MARGIN_BYTES: u64 = 48 << 20;

impl PruneOptions {
    /// How much may be written, where the store knows.
    pub(super) fn room(&self, repo: &Repository) -> Option<u64> {
        repo.store().free_bytes().map(|free| free.saturating_sub(MARGIN_BYTES))
    }
}

/// The plan in figures. Bytes are stored bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlanFigures {
    /// Snapshots that count.
    pub snapshots: u64,
    /// Packs that index objects name, that stand and are not condemned.
    pub packs: u64,
    /// Their size.
    pub bytes: u64,
    /// Blobs that snapshots need, and bases.
    pub needed_blobs: u64,
    /// What of the packs is needed.
    pub used_bytes: u64,
    /// What is not, trailers and padding among it.
    pub unused_bytes: u64,
    /// Further copies of blobs that are kept elsewhere.
    pub duplicate_bytes: u64,
    /// Packs of which nothing is needed: they go.
    pub dead_packs: u64,
    /// Their size.
    pub dead_bytes: u64,
    /// Packs of runs that never finished, named by no index object: they go.
    pub unlisted_packs: u64,
    /// Their size.
    pub unlisted_bytes: u64,
    /// Packs whose living part is copied to new ones before they go.
    pub repack_packs: u64,
    /// Their size.
    pub repack_bytes: u64,
    /// About how much of them is copied.
    pub copied_bytes: u64,
    /// About how much less is stored at the end.
    pub freed_bytes: u64,
    /// About how much that nothing needs is left.
    pub left_unused_bytes: u64,
    /// Packs of runs that are under way, left alone.
    pub live_packs: u64,
    /// Their size.
    pub live_bytes: u64,
    /// Blobs that are kept only because others are stored as their difference to them.
    pub base_blobs: u64,
    /// What these take.
    pub base_bytes: u64,
    /// Blobs that will be stored alone, as their bases cost more than the difference saves.
    pub unchained_blobs: u64,
    /// Index objects that are replaced.
    pub replaced_indexes: u64,
    /// Snapshot objects that were never committed: they go.
    pub dead_snapshots: u64,
    /// Packs that were condemned before and still stand.
    pub waiting_packs: u64,
    /// Their size.
    pub waiting_bytes: u64,
    /// Not all can be done at once: too little room to copy. Dead packs go first.
    pub short_of_room: bool,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PruneReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// What was planned at first.
    pub plan: PlanFigures,
    /// Packs whose living part was copied.
    pub repacked_packs: u64,
    /// New packs and index objects.
    pub new_bytes: u64,
    /// Packs condemned.
    pub condemned_packs: u64,
    /// Packs deleted, condemned now or before.
    pub deleted_packs: u64,
    /// Their size.
    pub deleted_bytes: u64,
    /// Index objects deleted.
    pub deleted_indexes: u64,
    /// Snapshot objects deleted: never committed, or forgotten.
    pub deleted_snapshots: u64,
    /// Temporary files and leases of dead runs deleted.
    pub deleted_leftovers: u64,
    /// Packs condemned that still stand.
    pub waiting_packs: u64,
    /// Their size.
    pub waiting_bytes: u64,
    /// Sessions that began before they were condemned: once these have ended, they go.
    pub waiting_for: Vec<Waiting>,
}

/// A session that deletion waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Waiting {
    /// Which.
    pub session: SessionId,
    /// Where; empty if its lease cannot be read.
    pub host: String,
    /// What it does.
    pub operation: String,
}

impl PruneReport {
    /// Adds what a round of deleting did.
    pub(super) fn absorb(&mut self, swept: Self) {
        self.deleted_packs += swept.deleted_packs;
        self.deleted_bytes += swept.deleted_bytes;
        self.deleted_indexes += swept.deleted_indexes;
        self.deleted_snapshots += swept.deleted_snapshots;
        self.deleted_leftovers += swept.deleted_leftovers;
        // The last round's are those that are left.
        self.waiting_packs = swept.waiting_packs;
        self.waiting_bytes = swept.waiting_bytes;
        self.waiting_for = swept.waiting_for;
    }
}
