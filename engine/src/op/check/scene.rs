//! What there is, read in the order of design §3a, P1: names in `data/`, the ledger, snapshots, index
//! objects. So whatever a run that ends meanwhile had written before its commit is seen, and a prune
//! that deletes was condemned before or shows by the ledger's head.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::{BlobId, BlobRef, IndexId, ObjectKind, PackId, SnapshotId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::holdings::Holdings;
use crate::repo::index;
use crate::repo::index::inventory::FrameNumber;
use crate::repo::ledger::Ledger;

/// A repository at about one moment.
pub struct Scene {
    /// Everything up to a head.
    pub ledger: Ledger,
    /// Names in `snapshots/`.
    pub listed_snapshots: BTreeSet<SnapshotId>,
    /// Committed snapshots that can be read, in the order of their commits, with their trees.
    pub snapshots: Vec<(SnapshotId, BlobId)>,
    /// Committed snapshots that cannot.
    pub unreadable: Vec<(SnapshotId, Error)>,
    /// What index objects say.
    pub holdings: Arc<Holdings>,
    /// Packs that are to be deleted and still stand.
    pub condemned: Vec<PackId>,
    /// Frames whose bases cannot be had, with the first such base.
    pub unfounded: HashMap<FrameNumber, BlobRef>,
    seen_indexes: BTreeSet<IndexId>,
}

impl Scene {
    /// Reads it.
    pub fn read(repo: &Repository, progress: &dyn Progress) -> Result<Self> {
        progress.phase("reading the ledger", None, None);
        let standing: HashSet<_> = index::list_ids(repo, ObjectKind::Pack)?.into_iter().collect();
        let ledger = repo.whole_ledger(false)?;
        let listed_snapshots = index::list_ids(repo, ObjectKind::Snapshot)?;
        let (snapshots, unreadable) = read_snapshots(repo, &ledger, progress)?;
        let holdings = Holdings::read(repo, &ledger, &standing, progress)?;
        let mut condemned: Vec<_> = standing.into_iter().filter(|id| ledger.is_condemned(id)).collect();
        condemned.sort();
        let read = holdings.objects.iter().map(|o| o.id);
        let seen_indexes = read.chain(holdings.damaged.iter().map(|(id, _)| *id)).collect();
        Ok(Self {
            ledger,
            listed_snapshots,
            snapshots,
            unreadable,
            holdings: Arc::new(holdings),
            condemned,
            unfounded: HashMap::new(),
            seen_indexes,
        })
    }

    /// Did the ledger's head, or the set of index objects, move since?
    pub fn moved(&self, repo: &Repository) -> Result<bool> {
        let mut ledger = self.ledger.clone();
        let more = match ledger.refresh(repo) {
            Ok(new) => !new.is_empty(),
            // An entry that was damaged before stands at the end.
            Err(Error::Corrupt { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(more || index::list_ids::<IndexId>(repo, ObjectKind::Index)? != self.seen_indexes)
    }
}

type Snapshots = (Vec<(SnapshotId, BlobId)>, Vec<(SnapshotId, Error)>);

/// Every committed snapshot, in parallel.
fn read_snapshots(repo: &Repository, ledger: &Ledger, progress: &dyn Progress) -> Result<Snapshots> {
    let ids = ledger.committed();
    let threads = repo.store().concurrency().clamp(1, 16).min(ids.len().max(1));
    let read = |part: &[SnapshotId]| -> Result<Snapshots> {
        let (mut found, mut unreadable) = Snapshots::default();
        for id in part {
            progress.check()?;
            match repo.snapshot(*id) {
                Ok(snapshot) => found.push((*id, snapshot.record.root)),
                Err(Error::Store(e)) if e.is_transient() => return Err(e.into()),
                Err(error @ (Error::Corrupt { .. } | Error::Store(_))) => unreadable.push((*id, error)),
                Err(error) => return Err(error),
            }
        }
        Ok((found, unreadable))
    };
    let parts = std::thread::scope(|scope| {
        let handles: Vec<_> = ids
            .chunks(ids.len().div_ceil(threads).max(1))
            .map(|part| scope.spawn(move || read(part)))
            .collect();
        let gone = |_| Err(Error::Internal("a reading thread panicked".into()));
        handles.into_iter().map(|h| h.join().unwrap_or_else(gone)).collect::<Result<Vec<_>>>()
    })?;
    let mut all = Snapshots::default();
    for (found, unreadable) in parts {
        all.0.extend(found);
        all.1.extend(unreadable);
    }
    Ok(all)
}
