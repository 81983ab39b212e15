//! `snapshots`: which there are.

use serde::Serialize;

use crate::error::Result;
use crate::format::wire::Bytes;
use crate::id::SnapshotId;
use crate::repo::Repository;
use crate::repo::snapshots::{Filter, Snapshot};

/// One snapshot as listed.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotInfo {
    /// Its id.
    pub id: SnapshotId,
    /// When, nanoseconds since 1970.
    pub time_ns: i64,
    /// Distance of its wall clock from UTC.
    pub utc_offset_secs: i32,
    /// Host.
    pub host: String,
    /// User.
    pub user: String,
    /// Paths it was made of.
    pub paths: Vec<Bytes>,
    /// Tags.
    pub tags: Vec<String>,
    /// Free text.
    pub description: String,
    /// What it was compared with.
    pub parent: Option<SnapshotId>,
    /// The snapshot that it was made from by `tag` or `rewrite`.
    pub original: Option<SnapshotId>,
    /// Something is missing in it.
    pub partial: bool,
    /// Files in it.
    pub files: u64,
    /// Length of all files.
    pub total_bytes: u64,
    /// What it added to the repository.
    pub stored_bytes: u64,
    /// Problems met when it was made.
    pub problem_count: u64,
}

/// Snapshots, oldest first.
#[derive(Debug, Clone, Serialize)]
pub struct ListReport {
    /// Those that can be read.
    pub snapshots: Vec<SnapshotInfo>,
    /// Those that cannot, with the reason.
    pub unreadable: Vec<(SnapshotId, String)>,
}

/// Lists committed snapshots that fit.
pub fn run(repo: &Repository, filter: &Filter) -> Result<ListReport> {
    let ledger = repo.ledger(false)?;
    let (snapshots, unreadable) = repo.snapshots(&ledger, filter)?;
    Ok(ListReport {
        snapshots: snapshots.iter().map(info).collect(),
        unreadable: unreadable.into_iter().map(|(id, error)| (id, error.to_string())).collect(),
    })
}

fn info(snapshot: &Snapshot) -> SnapshotInfo {
    let r = &snapshot.record;
    let c = &r.counts;
    SnapshotInfo {
        id: snapshot.id,
        time_ns: r.time.to_ns(),
        utc_offset_secs: r.utc_offset_secs,
        host: r.host.0.clone(),
        user: r.user.0.clone(),
        paths: r.paths.clone(),
        tags: r.tags.iter().map(|t| t.0.clone()).collect(),
        description: r.description.0.clone(),
        parent: r.parent,
        original: r.original(),
        partial: r.partial,
        files: c.files(),
        total_bytes: c.total_bytes,
        stored_bytes: c.stored_bytes,
        problem_count: r.problem_count,
    }
}
