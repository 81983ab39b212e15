//! What a restore is asked for, and what it tells.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::error::Problem;
use crate::id::SnapshotId;
use crate::limit::Limiter;

/// What becomes of files that are there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overwrite {
    /// They are replaced, unless their content is the same.
    #[default]
    Always,
    /// They are replaced, unless their size and time are the same: then they are not read.
    IfChanged,
    /// Those that are older than in the snapshot are replaced.
    IfNewer,
    /// They are left as they are.
    Never,
}

/// What to restore and where.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Absolute path inside it: a directory's contents, or a file under its own name, go to
    /// `target`. `None`: everything, below the target at its absolute paths.
    pub path: Option<Vec<u8>>,
    /// Directory to restore into; it is made if need be.
    pub target: PathBuf,
    /// Only what fits one of these patterns (syntax of gitignore).
    pub include: Vec<String>,
    /// Not what fits one of these patterns.
    pub exclude: Vec<String>,
    /// What becomes of files that are there already.
    pub overwrite: Overwrite,
    /// Write files that are there in place, only where they differ, for want of room: **killed in between, such
    /// a file is neither the old nor the new one**; run again, it becomes the new one.
    pub in_place: bool,
    /// Remove from the directories that are restored what the snapshot does not have in them.
    pub delete: bool,
    /// Leave away so many names at the beginning of each path, and what has no more than those.
    pub strip_components: usize,
    /// Say what would be restored, write nothing.
    pub dry_run: bool,
    /// Also write files of which the repository lost a part, under their name and
    /// [`super::DAMAGED`], with zeros for what is lost. Else they are left out.
    pub salvage: bool,
    /// CPU threads; 0 = one for each core.
    pub threads: usize,
    /// How fast files are written.
    pub limit: Option<Arc<Limiter>>,
}

impl RestoreOptions {
    /// Everything in a snapshot, into `target`.
    pub fn new(snapshot: SnapshotId, target: PathBuf) -> Self {
        Self {
            snapshot,
            path: None,
            target,
            include: Vec::new(),
            exclude: Vec::new(),
            overwrite: Overwrite::Always,
            in_place: false,
            delete: false,
            strip_components: 0,
            dry_run: false,
            salvage: false,
            threads: 0,
            limit: None,
        }
    }
}

/// A file that belonged to a database which was replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedAside {
    /// Where it was; printable.
    pub from: String,
    /// Where it is.
    pub to: String,
}

/// What was restored.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RestoreReport {
    /// From which snapshot.
    pub snapshot: Option<SnapshotId>,
    /// Nothing was written.
    pub dry_run: bool,
    /// Files written.
    pub files: u64,
    /// Directories made or updated.
    pub directories: u64,
    /// Symbolic links, hard links, pipes, devices.
    pub others: u64,
    /// Bytes of files written out of the repository, verified on the way.
    pub bytes: u64,
    /// Bytes of files written that were in their place before: copied from the file that is replaced, or left
    /// there where it is written in place.
    pub bytes_reused: u64,
    /// Files left as they were: already right, or to be left by what [`Overwrite`] says.
    pub files_skipped: u64,
    /// Taken over from an interrupted restore.
    pub bytes_resumed: u64,
    /// What was removed, since the snapshot does not have it: files, directories and all else.
    pub deleted_count: u64,
    /// The first of it: paths below the target; printable.
    pub deleted: Vec<String>,
    /// Owners could not be set: not run as root.
    pub ownership_skipped: bool,
    /// How many logs of replaced databases were moved out of the way.
    pub moved_aside_count: u64,
    /// The first of them.
    pub moved_aside: Vec<MovedAside>,
    /// How many problems there were.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
    /// Time taken.
    pub seconds: f64,
}
