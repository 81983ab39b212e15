//! `tag`: other tags for snapshots that are there.
//!
//! Objects never change, so a snapshot with other tags is a new one that names its original. It is
//! committed first, then the old one is forgotten: killed in between, both count. A rerun finds
//! the new one by what it says and only forgets.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::snapshot::SnapshotV1;
use crate::format::wire::Text;
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::clerk::Clerk;
use crate::repo::snapshots::{Filter, Snapshot};

/// A snapshot whose base is condemned under its feet again and again is given up.
const ATTEMPTS: usize = 3;

/// What becomes of the tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// These join those that are there.
    Add,
    /// These are taken away.
    Remove,
    /// These take the place of those that are there.
    Set,
}

/// Which tags, and of which snapshots.
#[derive(Debug, Clone)]
pub struct TagOptions {
    /// These snapshots.
    pub snapshots: Vec<SnapshotId>,
    /// What becomes of their tags.
    pub change: Change,
    /// By these.
    pub tags: Vec<String>,
}

/// A snapshot that took the place of another.
#[derive(Debug, Clone, Serialize)]
pub struct Tagged {
    /// The one that was there.
    pub old: SnapshotId,
    /// The one that counts now.
    pub new: SnapshotId,
    /// Its tags.
    pub tags: Vec<String>,
}

/// What was done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct TagReport {
    /// Snapshots that have other tags now.
    pub changed: Vec<Tagged>,
    /// Those that had these tags already.
    pub unchanged: Vec<SnapshotId>,
    /// Those that another run forgot meanwhile.
    pub vanished: Vec<SnapshotId>,
    /// Objects of the old ones that could not be removed, with the reason. A later forget will.
    pub left_objects: Vec<(SnapshotId, String)>,
}

/// Changes tags.
pub fn run(repo: &Repository, options: &TagOptions, progress: &dyn Progress) -> Result<TagReport> {
    if options.snapshots.is_empty() {
        return Err(Error::Usage("no snapshot was named".into()));
    }
    if options.tags.is_empty() && options.change != Change::Set {
        return Err(Error::Usage("no tag was named".into()));
    }
    progress.phase("reading snapshots", None, None);
    let mut clerk = Clerk::begin(repo, "tag")?;
    let (all, mut unreadable) = repo.snapshots(clerk.ledger(), &Filter::default())?;
    let mut chosen: Vec<&Snapshot> = Vec::new();
    for id in &options.snapshots {
        match all.iter().find(|s| s.id == *id) {
            Some(found) if chosen.iter().all(|s| s.id != *id) => chosen.push(found),
            Some(_) => {}
            None => {
                let damaged = unreadable.iter().position(|(found, _)| found == id);
                let missing = Error::NotFound { what: format!("snapshot {}", id.short()) };
                return Err(damaged.map_or(missing, |at| unreadable.swap_remove(at).1));
            }
        }
    }
    progress.phase("writing snapshots", None, None);
    let mut report = TagReport::default();
    for snapshot in chosen {
        progress.check()?;
        let wanted = changed(snapshot, options);
        if wanted.tags == snapshot.record.tags {
            report.unchanged.push(snapshot.id);
            // A run that was killed left the one that this was made from.
            let left = all.iter().find(|s| s.id != snapshot.id && changed(s, options) == snapshot.record);
            report.changed.extend(left.map(|left| tagged(left.id, snapshot.id, &wanted)));
            continue;
        }
        let made = match all.iter().find(|s| s.record == wanted) {
            Some(twin) => Some(twin.id),
            None => commit(&mut clerk, &wanted, snapshot.id)?,
        };
        match made {
            Some(new) => report.changed.push(tagged(snapshot.id, new, &wanted)),
            None => report.vanished.push(snapshot.id),
        }
    }
    let pairs: Vec<_> = report.changed.iter().map(|t| (t.old, t.new)).collect();
    clerk.forget("other tags", &mut |ledger| {
        let counts = ledger.committed();
        Ok(pairs
            .iter()
            .filter(|(old, new)| counts.contains(old) && counts.contains(new))
            .map(|p| p.0)
            .collect())
    })?;
    report.left_objects = repo.sweep_forgotten(clerk.ledger())?.left;
    Ok(report)
}

fn tagged(old: SnapshotId, new: SnapshotId, record: &SnapshotV1) -> Tagged {
    Tagged { old, new, tags: record.tags.iter().map(|t| t.0.clone()).collect() }
}

/// The record with other tags.
fn changed(snapshot: &Snapshot, options: &TagOptions) -> SnapshotV1 {
    let mut record = snapshot.record.successor(snapshot.id);
    let given = || options.tags.iter().map(|t| Text(t.clone()));
    match options.change {
        Change::Add => record.tags.extend(given()),
        Change::Remove => record.tags.retain(|have| !options.tags.contains(&have.0)),
        Change::Set => record.tags = given().collect(),
    }
    record.tags.sort();
    record.tags.dedup();
    record
}

/// `None` if `old` was forgotten meanwhile: then nothing may stand on it.
fn commit(clerk: &mut Clerk, record: &SnapshotV1, old: SnapshotId) -> Result<Option<SnapshotId>> {
    let mut attempt = 1;
    loop {
        match clerk.commit(record, old) {
            Err(Error::Overtaken { .. }) if clerk.ledger().is_forgotten(&old) => return Ok(None),
            Err(Error::Overtaken { .. }) if attempt < ATTEMPTS => attempt += 1,
            result => return result.map(Some),
        }
    }
}
