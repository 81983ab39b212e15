//! One run that writes entries and snapshot objects, but no packs: `forget` and `tag`
//! (design §3a, W1, W5 and W6). It needs no index, so it is quick however large the repository is.
//!
//! An entry is created only if its number is free, and whatever stands before it was read: so each
//! decision is made on exactly the state that it changes.

use crate::error::{Error, Result};
use crate::format::ledger::{CommitV1, Event, ForgetV1};
use crate::format::snapshot::SnapshotV1;
use crate::format::wire::Text;
use crate::id::{SessionId, SnapshotId};
use crate::repo::Repository;
use crate::repo::lease::Lease;
use crate::repo::ledger::{Append, Ledger};
use crate::store::PutMode;

/// Ids in one forget entry: some 3 MiB, where an entry may have 64.
pub const MAX_FORGOTTEN_IDS: usize = 100_000;

/// What was forgotten.
#[derive(Debug, Clone, Default)]
pub struct Forgotten {
    /// Numbers of the entries that say so.
    pub entries: Vec<u64>,
    /// The snapshots.
    pub ids: Vec<SnapshotId>,
}

/// A session without packs. Dropping it removes its lease.
#[derive(Debug)]
pub struct Clerk {
    repo: Repository,
    lease: Lease,
    ledger: Ledger,
}

impl Clerk {
    /// W1: lease, every entry, lease again.
    pub fn begin(repo: &Repository, operation: &str) -> Result<Self> {
        let session = SessionId(repo.surroundings().random()?);
        let mut lease = Lease::take(repo, session, operation)?;
        let ledger = repo.ledger(true)?;
        lease.begin(ledger.head())?;
        Ok(Self { repo: repo.clone(), lease, ledger })
    }

    /// Everything up to the last entry that was read or written.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Tries to write the next entry. `Taken`: it was read instead, so decide again.
    pub fn append(&mut self, event: &Event) -> Result<Append> {
        let new = self.ledger.append_or_read(&self.repo, self.lease.session(), event)?;
        Ok(if new.is_empty() { Append::Done } else { Append::Taken })
    }

    /// W5 and W6 for a snapshot that needs nothing but what the committed snapshot `base` needs.
    /// Condemnations need no look: while `base` counts, a prune keeps a copy of all it needs. Once it
    /// is forgotten that is so no more, and the run is overtaken.
    pub fn commit(&mut self, snapshot: &SnapshotV1, base: SnapshotId) -> Result<SnapshotId> {
        let (id, bytes) = self.repo.seal_snapshot(snapshot)?;
        self.ledger.refresh(&self.repo)?;
        self.still_stands(base, id)?;
        self.repo.store().put(&id.into(), &bytes, PutMode::New)?;
        while self.append(&Event::Commit(CommitV1 { snapshot: id }))? == Append::Taken {
            self.still_stands(base, id)?;
        }
        Ok(id)
    }

    fn still_stands(&self, base: SnapshotId, own: SnapshotId) -> Result<()> {
        if self.ledger.is_forgotten(&base) {
            return Err(Error::Overtaken { what: format!("snapshot {}, forgotten meanwhile", base.short()) });
        }
        if self.ledger.is_condemned_snapshot(&own) {
            // Its object may be gone; the next attempt makes another one.
            return Err(Error::Overtaken { what: format!("the new snapshot {}", own.short()) });
        }
        Ok(())
    }

    /// Forgets what `decide` says, in as many entries as that takes. It is asked again whenever another
    /// run wrote an entry in between; what this run has forgotten by then no longer counts.
    pub fn forget(
        &mut self,
        reason: &str,
        decide: &mut dyn FnMut(&Ledger) -> Result<Vec<SnapshotId>>,
    ) -> Result<Forgotten> {
        let mut forgotten = Forgotten::default();
        'anew: loop {
            let ids = decide(&self.ledger)?;
            for part in ids.chunks(MAX_FORGOTTEN_IDS) {
                let event = Event::Forget(ForgetV1 { snapshots: part.to_vec(), reason: Text::from(reason) });
                if self.append(&event)? == Append::Taken {
                    continue 'anew;
                }
                forgotten.entries.push(self.ledger.head());
                forgotten.ids.extend_from_slice(part);
            }
            return Ok(forgotten);
        }
    }
}
