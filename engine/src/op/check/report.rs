//! What a check found.

use serde::Serialize;

use crate::format::wire::Bytes;
use crate::id::{PackId, SnapshotId};
use crate::op::check::options::CheckOptions;
use crate::repo::Repository;

/// How thoroughly it was looked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Everything that snapshots need is where the index says, as far as sizes tell.
    #[default]
    Structure,
    /// And packs were read.
    Data,
    /// Objects were compared with their names, without a key.
    Names,
}

/// What kind of damage. The order is that of their weight where they touch the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// No key file is whole.
    Keys,
    /// An entry of the ledger is missing or damaged, or the ledger was set back.
    Ledger,
    /// A snapshot object is missing or damaged.
    Snapshot,
    /// A pack that is needed, or was named, is not there.
    PackGone,
    /// A pack has another length than the index says.
    PackLength,
    /// A pack cannot be read, or not all of it.
    PackDamaged,
    /// A pack was found bad by an earlier check.
    PackBad,
    /// Needed blobs stand only in packs that are to be deleted.
    Condemned,
    /// Blobs that no index object names; packs that stand hold them.
    Unindexed,
    /// Blobs that no index object names, and no pack holds.
    Missing,
    /// A frame whose base cannot be had below it.
    Base,
    /// A directory or list that says impossible things.
    Content,
    /// An index object is damaged.
    Index,
    /// The index says something else than another index object, or than the pack itself.
    IndexWrong,
    /// The config is damaged; its copy in the key file is used.
    Config,
}

/// What mends it; the command line program knows how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// Write the config anew.
    Config,
    /// Make the index anew from the packs.
    Index,
    /// Save what can be read of damaged packs.
    Packs,
    /// Take out of snapshots what is lost.
    Snapshots,
}

/// One path that is hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// A snapshot that has it, the newest.
    pub snapshot: SnapshotId,
    /// The path in it, raw bytes; it ends in `/` where a directory's list of names is lost.
    pub path: Bytes,
}

/// What is hit by a fault.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Touches {
    /// Snapshots with at least one path that is hit, the whole ones too.
    pub snapshots: u64,
    /// Snapshots of which nothing can be read.
    pub whole_snapshots: Vec<SnapshotId>,
    /// Paths that are hit, in whatever snapshot, each once.
    pub files: u64,
    /// There are more: counting stopped.
    pub at_least: bool,
    /// The first few.
    pub first: Vec<Touched>,
}

/// Damage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// Objects with this same fault, by their full names.
    pub objects: Vec<String>,
    /// What is wrong.
    pub reason: String,
    /// Blobs that snapshots need and that are lost by it.
    pub lost_blobs: u64,
    /// What is hit.
    pub touches: Touches,
    /// What mends it, in this order.
    pub repair: Vec<Repair>,
    /// The packs it is about.
    pub packs: Vec<PackId>,
}

impl Fault {
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind && self.objects.iter().any(|o| other.objects.contains(o))
    }
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoteKind {
    /// A key file other than the one in use is damaged.
    SpareKey,
    /// Packs that no index object names.
    UnlistedPacks,
    /// Snapshots that were never committed.
    UncommittedSnapshots,
    /// Objects of forgotten snapshots.
    ForgottenSnapshots,
    /// Packs that are to be deleted and still stand.
    CondemnedPacks,
    /// What no snapshot needs.
    Unreferenced,
    /// Blobs that are stored more than once.
    Duplicates,
    /// Frames or blobs that this program does not know how to judge.
    Unknown,
    /// The verification could not be written to the ledger.
    NotRemembered,
    /// Others changed the repository all the time.
    Moving,
}

/// Something to know that is no damage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What it is about.
    pub kind: NoteKind,
    /// In words, without numbers of bytes.
    pub message: String,
    /// How many.
    pub count: u64,
    /// How much is stored of it.
    pub bytes: u64,
    /// The first few objects.
    pub objects: Vec<String>,
}

impl Note {
    pub(super) fn new(kind: NoteKind, message: String) -> Self {
        Self { kind, message, count: 1, bytes: 0, objects: Vec::new() }
    }
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Key files.
    pub keys: u64,
    /// Entries of the ledger.
    pub ledger_entries: u64,
    /// Committed snapshots.
    pub snapshots: u64,
    /// Index objects.
    pub index_objects: u64,
    /// Packs that are listed and not condemned.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Different blobs in them.
    pub blobs: u64,
    /// Those that snapshots need.
    pub needed_blobs: u64,
    /// Packs that were read whole.
    pub packs_read: u64,
    /// Bytes that were read of packs.
    pub bytes_read: u64,
    /// Plaintext whose ids were recomputed.
    pub plain_bytes: u64,
    /// Packs that were to be read, had the run a reason to: [`CheckOptions::subset`] and the like
    /// leave out the others.
    pub packs_left_out: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CheckReport {
    /// How thoroughly it was looked.
    pub method: Method,
    /// What was looked at.
    pub counts: Counts,
    /// Damage, the heaviest first.
    pub faults: Vec<Fault>,
    /// What is hit by all of it together.
    pub touches: Touches,
    /// No damage, but worth a line.
    pub notes: Vec<Note>,
    /// Numbers of the ledger entries that remember this verification.
    pub ledger_entries: Vec<u64>,
    /// How often it was looked until nothing moved.
    pub attempts: u32,
    /// How long it took.
    pub seconds: f64,
}

impl CheckReport {
    pub(super) fn new(_repo: &Repository, options: &CheckOptions) -> Self {
        let method = if options.reads_data() { Method::Data } else { Method::Structure };
        Self { method, ..Self::default() }
    }

    /// Is there no damage?
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }
}
