//! `repair`: makes a damaged repository whole again, as far as the bytes exist.
//!
//! * [`index`]: what index objects say is made what packs really hold.
//! * [`packs`]: what can be read of bad packs goes to new ones; what was lost is looked for in files
//!   that still stand on disk.
//! * [`snapshots`]: snapshots that need what is lost for good get a successor that says so.
//! * [`config`]: the config object, from its copy in the key file.
//!
//! In this order: a later one refuses, or takes no harm, while an earlier one has work to do. All of
//! them add first and take away after (W4, then entries), so that a run that is killed leaves more
//! than before, never less, and the next goes on. None of them changes what can still be read.

pub mod config;
pub mod index;
pub mod packs;
pub mod snapshots;

mod judge;
mod look;
mod losses;

pub use losses::{SnapshotLosses, Touched};

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::format::ledger::Event;
use crate::id::{ObjectKind, PackId, SessionId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::holdings::Holdings;
use crate::repo::lease::Lease;
use crate::repo::ledger::{Append, Ledger};

/// So often a repair begins anew because others changed the repository meanwhile.
const ATTEMPTS: usize = 8;

/// One run that writes entries: lease and ledger (W1). Without a lease in a dry run.
struct Hand {
    repo: Repository,
    session: SessionId,
    lease: Option<Lease>,
    ledger: Ledger,
}

impl Hand {
    fn begin(repo: &Repository, dry: bool) -> Result<Self> {
        let session = SessionId(repo.surroundings().random()?);
        let mut lease = if dry { None } else { Some(Lease::take(repo, session, "repair")?) };
        let ledger = repo.whole_ledger(true)?;
        if let Some(lease) = &mut lease {
            lease.begin(ledger.head())?;
        }
        Ok(Self { repo: repo.clone(), session, lease, ledger })
    }

    /// Its own session, if it holds a lease.
    fn own(&self) -> Option<SessionId> {
        self.lease.as_ref().map(Lease::session)
    }

    /// Names in `data/`, then the ledger to its head, then every index object (P1).
    fn look(&mut self, progress: &dyn Progress) -> Result<(HashSet<PackId>, Holdings)> {
        let standing = crate::repo::index::list_ids(&self.repo, ObjectKind::Pack)?.into_iter().collect();
        self.ledger.refresh(&self.repo)?;
        let holdings = Holdings::read(&self.repo, &self.ledger, &standing, progress)?;
        Ok((standing, holdings))
    }

    /// Tries to write the next entry. `Taken`: it was read instead, so decide again.
    fn append(&mut self, event: &Event) -> Result<Append> {
        let new = self.ledger.append_or_read(&self.repo, self.session, event)?;
        Ok(if new.is_empty() { Append::Done } else { Append::Taken })
    }
}

fn too_busy() -> Error {
    Error::Overtaken { what: "others change the repository faster than it can be repaired".into() }
}

/// Is it this object that cannot be had, rather than the place or the user's patience?
fn is_damage(error: &Error) -> bool {
    match error {
        Error::Missing { .. } | Error::Corrupt { .. } => true,
        Error::Store(error) => !error.is_transient(),
        _ => false,
    }
}
