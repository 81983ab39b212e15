//! What a snapshot is asked for, and what it tells.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::ancestry::Named;
use crate::error::Problem;
use crate::id::SnapshotId;
use crate::limit::Limiter;
use crate::source::sqlite::SqliteOptions;
use crate::source::stream::Tap;

/// Which snapshot to compare with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Parent {
    /// The newest of the same host and paths, else of the same paths.
    #[default]
    Automatic,
    /// This one.
    Given(SnapshotId),
    /// None: every file is new.
    None,
}

/// Bytes from a pipe, to be stored as a file.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Absolute path of that file. Its directories need not exist.
    pub path: PathBuf,
    /// Where the bytes come from.
    pub tap: Tap,
}

/// What to take and how.
#[derive(Debug, Clone, Default)]
pub struct SnapshotOptions {
    /// What to take; relative ones from `cwd`. Nothing, if there is a `stream`.
    pub paths: Vec<PathBuf>,
    /// Take this instead of files.
    pub stream: Option<StreamOptions>,
    /// Where relative paths begin.
    pub cwd: PathBuf,
    /// Patterns to leave out, in the syntax of gitignore.
    pub excludes: Vec<String>,
    /// Files of such patterns.
    pub exclude_files: Vec<PathBuf>,
    /// Patterns to leave out that do not mind case.
    pub any_case_excludes: Vec<String>,
    /// Files of such patterns.
    pub any_case_exclude_files: Vec<PathBuf>,
    /// Leave out the content of directories that hold one of these: `NAME` or `NAME:HEADER`.
    pub exclude_if_present: Vec<String>,
    /// Leave out files longer than this.
    pub exclude_larger_than: Option<u64>,
    /// Leave out directories that are tagged as caches.
    pub exclude_caches: bool,
    /// Stay on the file system of each path.
    pub one_file_system: bool,
    /// Take in what links inside lead to outside.
    pub follow_outside: bool,
    /// What to compare with.
    pub parent: Parent,
    /// Where new content finds what it is stored as the difference to, instead of in recent
    /// snapshots.
    pub base: Option<Named>,
    /// Read every file, whatever the parent says.
    pub force: bool,
    /// A changed inode number alone is no change.
    pub ignore_inode: bool,
    /// A changed ctime alone is no change.
    pub ignore_ctime: bool,
    /// How databases are captured.
    pub sqlite: SqliteOptions,
    /// Find out what would be stored, and store nothing.
    pub dry_run: bool,
    /// Tags.
    pub tags: Vec<String>,
    /// Host name to record instead of this one.
    pub host: Option<String>,
    /// Free text to record.
    pub description: String,
    /// Time to record instead of now, nanoseconds since 1970.
    pub time_ns: Option<i64>,
    /// Distance of the wall clock from UTC, for printing.
    pub utc_offset_secs: i32,
    /// Files read at once; 0 = as the device allows.
    pub readers: usize,
    /// How fast files are read at most.
    pub read_limit: Option<Arc<Limiter>>,
    /// CPU threads; 0 = one for each core.
    pub threads: usize,
}

/// What was done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SnapshotReport {
    /// The snapshot; `None` in a dry run.
    pub snapshot: Option<SnapshotId>,
    /// What it was compared with.
    pub parent: Option<SnapshotId>,
    /// The host that made it, if there was none of this host.
    pub parent_host: Option<String>,
    /// Nothing was written.
    pub dry_run: bool,
    /// Files without a counterpart in the parent.
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
    /// Plaintext that was new to the repository.
    pub new_bytes: u64,
    /// Bytes written to the repository.
    pub stored_bytes: u64,
    /// Finished packs of an interrupted run that were taken over.
    pub adopted_packs: u64,
    /// Plaintext in them.
    pub adopted_bytes: u64,
    /// Why files were read though the parent has them: cause → files.
    pub read_again: BTreeMap<String, u64>,
    /// Paths left out by a rule.
    pub excluded: u64,
    /// Their size, as far as it was looked at.
    pub excluded_bytes: u64,
    /// Links that lead outside of what was stored.
    pub outside_links: u64,
    /// Size of what they lead to, as far as it was looked at.
    pub outside_bytes: u64,
    /// How many problems there were.
    pub problem_count: u64,
    /// The first of them.
    pub problems: Vec<Problem>,
    /// Time taken.
    pub seconds: f64,
    /// Room left in the repository, where the store knows.
    pub free_bytes: Option<u64>,
}
