//! What `forget` is asked for, and what it tells: the plan, group by group.

use std::collections::BTreeMap;

use serde::Serialize;

use super::policy::{KeepPolicy, Reason};
use crate::format::wire::Bytes;
use crate::id::SnapshotId;
use crate::repo::snapshots::{Filter, Snapshot};

/// By what snapshots are told apart before the policy looks at each group by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupBy {
    /// Host.
    pub host: bool,
    /// Paths.
    pub paths: bool,
    /// Tags.
    pub tags: bool,
}

impl Default for GroupBy {
    fn default() -> Self {
        Self { host: true, paths: true, tags: false }
    }
}

/// Which snapshots are to be forgotten.
#[derive(Debug, Clone, Default)]
pub struct ForgetOptions {
    /// These. Then there is no policy; they need not be readable.
    pub ids: Vec<SnapshotId>,
    /// Else all that this does not keep.
    pub policy: KeepPolicy,
    /// Of those that fit.
    pub filter: Filter,
    /// Each group by itself.
    pub group_by: GroupBy,
    /// A policy may leave nothing of a group.
    pub allow_empty: bool,
    /// Find out what would be forgotten; write nothing.
    pub dry_run: bool,
}

/// A snapshot in a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Planned {
    /// Its id.
    pub id: SnapshotId,
    /// When, nanoseconds since 1970; `None` if it cannot be read, as all that follows.
    pub time_ns: Option<i64>,
    /// Its host.
    pub host: Option<String>,
    /// What it was made of.
    pub paths: Vec<Bytes>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Why it is kept; nothing, if it is not.
    pub reasons: Vec<Reason>,
}

impl Planned {
    pub(super) fn readable(snapshot: &Snapshot, reasons: Vec<Reason>) -> Self {
        let record = &snapshot.record;
        Self {
            id: snapshot.id,
            time_ns: Some(record.time.to_ns()),
            host: Some(record.host.0.clone()),
            paths: record.paths.clone(),
            tags: record.tags.iter().map(|t| t.0.clone()).collect(),
            reasons,
        }
    }

    pub(super) fn unreadable(id: SnapshotId) -> Self {
        Self { id, time_ns: None, host: None, paths: Vec::new(), tags: Vec::new(), reasons: Vec::new() }
    }

    /// Is it kept?
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// What the snapshots of a group have in common; `None` where that was not asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GroupKey {
    /// Host.
    pub host: Option<String>,
    /// Paths.
    pub paths: Option<Vec<Bytes>>,
    /// Tags.
    pub tags: Option<Vec<String>>,
}

/// One group, oldest snapshot first.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Group {
    /// What they have in common.
    #[serde(flatten)]
    pub key: GroupKey,
    /// All of them.
    pub snapshots: Vec<Planned>,
}

/// What is kept and what not, and what was done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ForgetReport {
    /// Nothing was written.
    pub dry_run: bool,
    /// The plan.
    pub groups: Vec<Group>,
    /// Snapshots that stay because they cannot be read, with the reason.
    pub unreadable: Vec<(SnapshotId, String)>,
    /// How many are kept, those that cannot be read left aside.
    pub kept: u64,
    /// What was, or would be, forgotten.
    pub forgotten: Vec<SnapshotId>,
    /// The ledger entries that say so.
    pub entries: Vec<u64>,
    /// Objects of forgotten snapshots that were removed, of earlier runs too.
    pub removed_objects: u64,
    /// Those that could not be removed, with the reason. A later run will.
    pub left_objects: Vec<(SnapshotId, String)>,
}

/// Snapshots by group, in the order they come. Groups are told apart by raw bytes.
pub(super) fn grouped(snapshots: Vec<Snapshot>, by: GroupBy) -> Vec<(GroupKey, Vec<Snapshot>)> {
    let mut groups: BTreeMap<GroupKey, Vec<Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        let r = &snapshot.record;
        let key = GroupKey {
            host: by.host.then(|| r.host.0.clone()),
            paths: by.paths.then(|| r.paths.clone()),
            tags: by.tags.then(|| r.tags.iter().map(|t| t.0.clone()).collect()),
        };
        groups.entry(key).or_default().push(snapshot);
    }
    groups.into_iter().collect()
}
