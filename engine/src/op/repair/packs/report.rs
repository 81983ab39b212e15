//! What a repair of packs is told, and what it tells.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::error::Problem;
use crate::id::{PackId, SnapshotId};
use crate::op::repair::losses::SnapshotLosses;

/// What to repair.
#[derive(Debug, Clone, Default)]
pub struct PacksOptions {
    /// These packs. None: those the ledger calls bad, and those whose size is not the index's.
    pub packs: Vec<PackId>,
    /// Every pack is read and judged.
    pub read_data: bool,
    /// Files and directories, absolute, that may hold what is lost.
    pub from: Vec<PathBuf>,
    /// Change nothing.
    pub dry_run: bool,
}

/// What became of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// Nothing is wrong with it.
    Whole,
    /// All that was needed of it is elsewhere now; `prune` deletes it.
    Condemned,
    /// Snapshots need what nobody can read of it.
    Stays,
    /// Nothing says what is in it: neither its end nor an index object.
    Unknown,
    /// It does not stand any more, or was condemned before.
    Gone,
}

/// One pack.
#[derive(Debug, Clone, Serialize)]
pub struct PackReport {
    /// Which.
    pub pack: PackId,
    /// What is wrong with it.
    pub faults: Vec<String>,
    /// What became of it.
    pub fate: Fate,
    /// Frames that it should hold.
    pub frames: u64,
    /// Frames that cannot be read.
    pub lost_frames: u64,
    /// Blobs that were copied from it, or stored again.
    pub saved_blobs: u64,
}

/// What was found and done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PacksReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Packs that were read.
    pub read_packs: u64,
    /// Those among them that are not whole, and those that were asked for.
    pub packs: Vec<PackReport>,
    /// New packs and index objects.
    pub new_bytes: u64,
    /// Files that were read for what is lost.
    pub searched_files: u64,
    /// Chunks found in them.
    pub healed_chunks: u64,
    /// Their length.
    pub healed_bytes: u64,
    /// Files that could not be read.
    pub problems: Vec<Problem>,
    /// Blobs that snapshots need and that cannot be read, by kind.
    pub lost: BTreeMap<String, u64>,
    /// What that does to snapshots.
    pub snapshots: Vec<SnapshotLosses>,
    /// Snapshots that cannot be judged, with the reason.
    pub unreadable: Vec<(SnapshotId, String)>,
}

impl PacksReport {
    /// Is anything left that snapshots need and that is lost?
    pub fn is_short(&self) -> bool {
        !self.lost.is_empty() || !self.unreadable.is_empty()
    }
}
