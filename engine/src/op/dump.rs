//! `dump`: one file to a stream, every blob verified before it leaves.

use std::io::Write;

use crate::error::Result;
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;

/// Writes the file at `path` (absolute, inside the snapshot; links inside it are followed) to
/// `out`. Gives its length.
pub fn run(
    _repo: &Repository,
    _snapshot: SnapshotId,
    _path: &[u8],
    _out: &mut (dyn Write + Send),
    _progress: &dyn Progress,
) -> Result<u64> {
    Err(crate::error::Error::Internal("being built".into()))
}
