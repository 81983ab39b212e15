//! `snapshot`: the main job.

mod options;

pub use options::{Parent, SnapshotOptions, SnapshotReport};

use crate::error::Result;
use crate::progress::Progress;
use crate::repo::Repository;

/// Takes a snapshot.
pub fn run(
    _repo: &Repository,
    _options: &SnapshotOptions,
    _progress: &dyn Progress,
) -> Result<SnapshotReport> {
    Err(crate::error::Error::Internal("being built".into()))
}
