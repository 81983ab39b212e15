//! What a restore is asked for, and what it tells.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Problem;
use crate::id::SnapshotId;

/// What becomes of files that are there already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overwrite {
    /// They are replaced.
    #[default]
    Always,
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
    /// Say what would be restored, write nothing.
    pub dry_run: bool,
    /// Also write files of which the repository lost a part, under their name and
    /// [`super::DAMAGED`], with zeros for what is lost. Else they are left out.
    pub salvage: bool,
    /// CPU threads; 0 = one for each core.
    pub threads: usize,
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
    /// Bytes of files written, verified on the way.
    pub bytes: u64,
    /// Files left as they were: already right, or `--overwrite never`.
    pub files_skipped: u64,
    /// Taken over from an interrupted restore.
    pub bytes_resumed: u64,
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
