//! `ls`: what is in a snapshot.

use crate::error::Result;
use crate::format::tree::Node;
use crate::id::SnapshotId;
use crate::repo::Repository;

/// One path of a snapshot.
#[derive(Debug)]
pub struct Listed<'a> {
    /// Absolute path inside the snapshot, raw bytes.
    pub path: &'a [u8],
    /// Its node.
    pub node: &'a Node,
}

/// Gives every node at or below `path` (absolute; `None` is everything) to `each`, in the order
/// of names, directories before what is in them. Not `recursive`: only the direct entries.
pub fn run(
    _repo: &Repository,
    _snapshot: SnapshotId,
    _path: Option<&[u8]>,
    _recursive: bool,
    _each: &mut dyn FnMut(&Listed<'_>) -> Result<()>,
) -> Result<()> {
    Err(crate::error::Error::Internal("being built".into()))
}
