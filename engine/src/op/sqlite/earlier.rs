//! The same database in an earlier snapshot.

use super::SqliteOptions;
use crate::error::{Error, Result};
use crate::format::tree::{Node, NodeKind};
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::Reader;
use crate::repo::snapshots::{Filter, Snapshot};

/// Earlier snapshots that are looked into, at most.
const LOOKED_INTO: usize = 30;

/// An earlier state.
pub struct Before {
    /// In this snapshot.
    pub snapshot: Snapshot,
    /// Its node there.
    pub node: Node,
}

/// In the snapshot that was asked for, else in the parent, else in the newest earlier one of the same host and paths that has a file at
/// that path.
pub fn find(
    repo: &Repository,
    reader: &Reader,
    of: &Snapshot,
    options: &SqliteOptions,
    progress: &dyn Progress,
) -> Result<Option<Before>> {
    if let Some(id) = options.since {
        let snapshot = repo.snapshot(id)?;
        let node = file_at(reader, &snapshot, &options.path)?;
        let what = || Error::NotFound { what: format!("that file in snapshot {}", id.short()) };
        return Ok(Some(Before { node: node.ok_or_else(what)?, snapshot }));
    }
    let ledger = repo.ledger(false)?;
    let committed: std::collections::HashSet<SnapshotId> = ledger.committed().into_iter().collect();
    if let Some(parent) = of.record.parent.filter(|id| committed.contains(id))
        && let Some(before) = within(repo.snapshot(parent), reader, options)?
    {
        return Ok(Some(before));
    }
    let filter = Filter {
        hosts: vec![of.record.host.0.clone()],
        paths: of.record.paths.iter().map(|path| path.0.clone()).collect(),
        ..Filter::default()
    };
    let (all, _) = repo.snapshots(&ledger, &filter)?;
    let earlier = all.into_iter().rev().filter(|s| s.record.time < of.record.time && s.id != of.id);
    for snapshot in earlier.take(LOOKED_INTO) {
        progress.check()?;
        if let Some(before) = within(Ok(snapshot), reader, options)? {
            return Ok(Some(before));
        }
    }
    Ok(None)
}

/// One that is damaged has nothing to compare with.
fn within(snapshot: Result<Snapshot>, reader: &Reader, options: &SqliteOptions) -> Result<Option<Before>> {
    let found = snapshot.and_then(|snapshot| {
        let node = file_at(reader, &snapshot, &options.path)?;
        Ok(node.map(|node| Before { snapshot, node }))
    });
    match found {
        Err(Error::Missing { .. } | Error::Corrupt { .. } | Error::Store(_) | Error::NotFound { .. }) => {
            Ok(None)
        }
        found => found,
    }
}

fn file_at(reader: &Reader, snapshot: &Snapshot, path: &[u8]) -> Result<Option<Node>> {
    match lookup::resolve(reader, snapshot.record.root, path, LastLink::Follow) {
        Ok(found) => Ok(found.node.filter(|n| n.kind == NodeKind::File && n.lost().is_none())),
        Err(Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
