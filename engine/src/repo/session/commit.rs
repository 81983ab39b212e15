//! W5 and W6: what others did meanwhile, the snapshot, and its commit.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::format::index::IndexObject;
use crate::format::ledger::{CommitV1, Event};
use crate::format::snapshot::SnapshotV1;
use crate::id::{BlobId, IndexId, ObjectKind, PackId, SnapshotId};
use crate::progress::Silent;
use crate::repo::copier::{Copier, Nearby};
use crate::repo::holdings::Holdings;
use crate::repo::index::{self, Places};
use crate::repo::ledger::Entry;
use crate::repo::outbox::Outbox;
use crate::repo::reach::Reach;
use crate::repo::reader::Reader;
use crate::repo::session::{Session, locked};
use crate::store::PutMode;

/// So often a commit copies what others condemned meanwhile.
const RESCUES: u32 = 3;

impl Session {
    /// Does an entry take away what this run relied on? What was taken over from a parent is safe while
    /// that is not forgotten: the prune had marked it. Once rescued, it relies on packs that were not
    /// noted one by one.
    fn overtaken(&self, new: &[Entry]) -> Option<String> {
        let rescued = self.rescues > 0;
        let relied: HashSet<PackId> = {
            let own = self.outbox.as_ref().map(Outbox::packs).unwrap_or_default();
            let relied = locked(&self.relied);
            relied.iter().filter_map(|n| self.index.pack(*n)).map(|p| p.id).chain(own).collect()
        };
        new.iter().find_map(|entry| match &entry.event {
            Event::Condemn(condemned) => condemned
                .packs
                .iter()
                .find(|pack| rescued || relied.contains(pack))
                .map(|pack| format!("pack {}, ledger entry {}", pack.short(), entry.record.number)),
            _ => None,
        })
    }

    /// W5: whatever the tree `root` needs and that is in no pack outside of D any more is copied from
    /// the condemned pack, if that still stands. [`Error::Overtaken`] if it does not: then the
    /// source must be read again. Everything of this run must be durable and listed.
    fn rescue(&mut self, root: BlobId, what: String) -> Result<()> {
        let Some(outbox) = &mut self.outbox else { return Ok(()) };
        tracing::info!(%what, "overtaken by a prune; copying what it condemned");
        let standing: HashSet<PackId> = index::list_ids(&self.repo, ObjectKind::Pack)?.into_iter().collect();
        let holdings = Arc::new(Holdings::read(&self.repo, &self.ledger, &standing, &Silent)?);
        let reader = Reader::with_places(&self.repo, holdings.clone());
        // What is copied may be the base of something else, or have been: until nothing is amiss.
        let reach = Reach::new(&holdings, &reader);
        reach.walk(&[root], &Silent)?;
        reach.settle(|copy| copy, &HashSet::new());
        {
            let copier = Copier::new(&holdings, &reader, outbox);
            let mut near = Nearby::default();
            for gap in reach.gaps() {
                copier.blob(gap.blob, &mut near).map_err(|error| match error {
                    Error::Missing { .. } | Error::Corrupt { .. } => Error::Overtaken { what: what.clone() },
                    other => other,
                })?;
            }
            copier.finish(near)?;
        }
        outbox.flush().map(drop)
    }

    /// W5: what others wrote since. Once nothing of it touches what this run relied on, or that was
    /// rescued, the snapshot may be committed.
    fn catch_up(&mut self, mut new: Vec<Entry>, parent: Option<SnapshotId>, root: BlobId) -> Result<()> {
        loop {
            // What was made from it must not outlive it: who made it decides what to do.
            if let Some(parent) = parent.filter(|parent| self.ledger.is_forgotten(parent)) {
                let what = format!("snapshot {}, forgotten meanwhile", parent.short());
                return Err(Error::Overtaken { what });
            }
            if let Some(what) = self.overtaken(&new) {
                if self.rescues == RESCUES {
                    return Err(Error::Overtaken { what });
                }
                self.rescues += 1;
                self.rescue(root, what)?;
            }
            // A rescue takes time, in which more may have happened.
            new = self.ledger.refresh(&self.repo)?;
            if new.is_empty() {
                return Ok(());
            }
        }
    }

    /// W5 and W6: puts the snapshot and commits it. `parent` is the snapshot whose ids were taken
    /// over without a look-up, if any. The session must have been flushed.
    pub fn commit(
        &mut self,
        snapshot: &SnapshotV1,
        parent: Option<SnapshotId>,
        flushed: Vec<(IndexId, IndexObject)>,
    ) -> Result<SnapshotId> {
        let mut put: Option<SnapshotId> = None;
        let mut new = self.ledger.refresh(&self.repo)?;
        let id = loop {
            self.catch_up(new, parent, snapshot.root)?;
            // A prune that held this session for dead may have condemned the object, and will delete
            // it: the same record under another name takes its place.
            let id = match put.filter(|id| !self.ledger.is_condemned_snapshot(id)) {
                Some(id) => id,
                None => {
                    let (id, bytes) = self.repo.seal_snapshot(snapshot)?;
                    self.repo.store().put(&id.into(), &bytes, PutMode::New)?;
                    self.extra_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    *put.insert(id)
                }
            };
            let event = Event::Commit(CommitV1 { snapshot: id });
            new = self.ledger.append_or_read(&self.repo, self.id, &event)?;
            if new.is_empty() {
                break id;
            }
        };
        // Committed. What follows is only this machine's own memory of it.
        let vouched = (self.rescues == 0).then_some(snapshot.root);
        if let Err(error) = self.index.absorb(flushed, vouched) {
            tracing::warn!(%error, "local index not brought up to date");
        }
        self.lease = None;
        Ok(id)
    }
}
