//! P6: deletes what is condemned, now or by any earlier prune; repeatable.
//!
//! Entry k, when no live lease began before k, and a mark at the current head needs nothing of it.
//! The mark was made when the ledger ended at the caller's head; what was committed since is
//! marked here. Replaced index objects go first, then packs and snapshots: an index that names a
//! pack is then never read where the pack is gone on purpose.

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::format::ledger::Event;
use crate::id::{IndexId, ObjectKind, ObjectName, PackId, SessionId, SnapshotId};
use crate::op::prune::condemn;
use crate::op::prune::options::{PruneReport, Waiting};
use crate::op::prune::view::View;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::index;
use crate::repo::lease::{self, live_sessions};
use crate::repo::ledger::{Entry, Ledger};

/// Temporary files are left over when they are this old by the store's clock.
const LEFT_OVER_AFTER_NS: i64 = 24 * 3_600_000_000_000;

/// Sessions that some condemnation waits for, and the first entry that none of them began before.
struct Gate {
    waiting: Vec<(u64, Waiting)>,
}

impl Gate {
    fn read(repo: &Repository, own: Option<SessionId>) -> Result<Self> {
        let waiting = live_sessions(repo, own)?.into_iter().map(|(session, lease)| {
            let (host, operation) =
                lease.as_ref().map(|l| (l.host.0.clone(), l.operation.0.clone())).unwrap_or_default();
            // One that cannot be read may have begun at any time.
            (lease.map_or(0, |l| l.start), Waiting { session, host, operation })
        });
        Ok(Self { waiting: waiting.collect() })
    }

    fn is_open_for(&self, entry: u64) -> bool {
        self.waiting.iter().all(|(start, _)| *start >= entry)
    }

    fn holding(&self, entries: &[u64]) -> Vec<Waiting> {
        let last = entries.iter().max().copied().unwrap_or(0);
        self.waiting.iter().filter(|(start, _)| *start < last).map(|(_, w)| w.clone()).collect()
    }
}

/// For a dry run: whom what is, or would be, condemned waits for.
pub fn waiting(repo: &Repository, view: &View) -> Result<Vec<Waiting>> {
    Ok(Gate::read(repo, None)?.holding(&[view.ledger.head() + 1]))
}

/// P6. Every snapshot that is committed in `ledger` must be known to need nothing condemned in it.
pub fn run(
    repo: &Repository,
    session: SessionId,
    mut ledger: Ledger,
    progress: &dyn Progress,
) -> Result<PruneReport> {
    let mut report = PruneReport::default();
    progress.phase("deleting", None, None);
    let standing: HashSet<PackId> = index::list_ids(repo, ObjectKind::Pack)?.into_iter().collect();
    let gate = Gate::read(repo, Some(session))?;
    let mut new: Vec<Entry> = Vec::new();
    let needed: HashSet<PackId> = loop {
        new.extend(ledger.refresh(repo)?);
        ledger.refuse_writing(repo.config().features)?;
        let committed: Vec<SnapshotId> = new
            .iter()
            .filter_map(|entry| match &entry.event {
                Event::Commit(commit) => Some(commit.snapshot),
                _ => None,
            })
            .filter(|id| !ledger.is_forgotten(id))
            .collect();
        let condemned: Vec<PackId> =
            ledger.condemned().iter().filter(|p| standing.contains(*p)).copied().collect();
        // By the protocol nothing: its writer had read the entry. Asked all the same.
        match condemn::spare(repo, &ledger, &committed, &condemned, progress) {
            // Forgotten while it was looked at.
            Err(Error::NotWhole { .. }) if !ledger.clone().refresh(repo)?.is_empty() => {}
            spared => break spared?.iter().map(|p| p.id).collect(),
        }
    };
    // A pack that was found bad since may have been what the mark relied on: then what is condemned
    // is the last resort. The next run marks anew.
    let doubtful = new.iter().any(|e| matches!(&e.event, Event::Verified(v) if !v.bad.is_empty()));

    let listed: HashSet<IndexId> = index::list_ids(repo, ObjectKind::Index)?.into_iter().collect();
    let snapshots: HashSet<SnapshotId> = index::list_ids(repo, ObjectKind::Snapshot)?.into_iter().collect();
    let counting: HashSet<SnapshotId> = ledger.committed().into_iter().collect();
    let mut held = Vec::new();
    let (mut dead_packs, mut dead_indexes) = (Vec::new(), Vec::new());
    let mut dead_snapshots: Vec<SnapshotId> = Vec::new();
    for entry in ledger.entries() {
        let Event::Condemn(condemn) = &entry.event else { continue };
        let packs: Vec<PackId> =
            condemn.packs.iter().filter(|p| standing.contains(*p) && !needed.contains(*p)).copied().collect();
        let indexes: Vec<IndexId> = condemn.indexes.iter().filter(|i| listed.contains(*i)).copied().collect();
        if doubtful || !gate.is_open_for(entry.record.number) {
            if !packs.is_empty() || !indexes.is_empty() {
                held.push(entry.record.number);
                report.waiting_packs += packs.len() as u64;
                for pack in packs {
                    report.waiting_bytes += size_of(repo, pack)?;
                }
            }
            continue;
        }
        dead_packs.extend(packs);
        dead_indexes.extend(indexes);
        let gone = condemn.snapshots.iter().filter(|s| snapshots.contains(*s) && !counting.contains(*s));
        dead_snapshots.extend(gone.copied());
    }
    report.waiting_for = gate.holding(&held);
    // Objects of forgotten snapshots whose forget was killed before it removed them.
    dead_snapshots.extend(snapshots.iter().filter(|s| ledger.is_forgotten(s)).copied());
    dead_snapshots.sort();
    dead_snapshots.dedup();
    dead_packs.sort();
    dead_packs.dedup();
    dead_indexes.sort();
    dead_indexes.dedup();

    let total = (dead_indexes.len() + dead_packs.len() + dead_snapshots.len()) as u64;
    progress.phase("deleting", Some(total), None);
    let remove = |name: ObjectName| -> Result<()> {
        progress.check()?;
        repo.store().remove(&name)?;
        progress.advance(1, 0);
        Ok(())
    };
    for id in &dead_indexes {
        remove((*id).into())?;
        report.deleted_indexes += 1;
    }
    for id in &dead_packs {
        let size = size_of(repo, *id)?;
        remove((*id).into())?;
        report.deleted_packs += 1;
        report.deleted_bytes += size;
    }
    for id in &dead_snapshots {
        remove((*id).into())?;
        report.deleted_snapshots += 1;
    }
    // Another prune may have held this one for dead, and removed its lease: then nobody can say here
    // what time it is on the store's clock.
    if let Some(now) = lease::store_time(repo, session)? {
        report.deleted_leftovers = repo.store().sweep_temporaries(now.saturating_sub(LEFT_OVER_AFTER_NS))?;
        report.deleted_leftovers += lease::remove_dead(repo, session, now)?;
    }
    Ok(report)
}

fn size_of(repo: &Repository, pack: PackId) -> Result<u64> {
    match repo.store().stat(&pack.into()) {
        Ok(stat) => Ok(stat.size_bytes),
        Err(e) if e.is_not_found() => Ok(0),
        Err(e) => Err(e.into()),
    }
}
