//! What this machine has read of the ledger, sealed as one object of its own: thousands of entries
//! are then one file to read instead of as many (decision 26).
//!
//! Entries never change, and each holds the hash of the one before. So a copy whose last entry has
//! the hash of the one that stands in the repository is the history of that repository; and what the
//! listing lacks is not taken from here: it is missing, and said to be. Whatever is wrong with a copy
//! makes the entries be read where they are. Verbs that look for damage never ask for it.

use serde::{Deserialize, Serialize};

use super::{Entry, Ledger, Listed, atomic};
use crate::crypto::hash::object_name;
use crate::format::MAX_RECORD_BYTES;
use crate::format::ledger::LedgerEntryV1;
use crate::format::wire::Record;
use crate::id::{ObjectKind, ObjectName};
use crate::repo::Repository;

/// Its name in the cache directory.
const FILE: &str = "ledger";
/// It is written anew when so many entries are not in it. Short ledgers have none.
const STEP: u64 = 64;
/// Entries beyond so much are read where they are.
const LIMIT_BYTES: usize = 128 << 20;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Copy {
    /// From entry 1 on: the hash of its sealed bytes, and what they say.
    entries: Vec<([u8; 32], LedgerEntryV1)>,
}

impl Record for Copy {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = LIMIT_BYTES;
    const WHAT: &'static str = "copy of the ledger";
}

/// No ledger entry has this name, so neither can stand for the other.
fn name() -> ObjectName {
    ObjectName::new(ObjectKind::Ledger, "copy")
}

/// What is known here of the entries that are listed; nothing, where there is any doubt.
pub(super) fn recall(repo: &Repository, listed: &Listed) -> Ledger {
    let read = || repo.cache().filter(|_| atomic(repo))?.read(FILE, LIMIT_BYTES as u64);
    let Some(bytes) = read() else { return Ledger::default() };
    let known = repo.open_named::<Copy>(&name(), &bytes).ok().and_then(|copy| follow(repo, copy, listed));
    known.unwrap_or_else(|| {
        tracing::info!("the local copy of the ledger is of no use, reading the entries");
        Ledger::default()
    })
}

fn follow(repo: &Repository, mut copy: Copy, listed: &Listed) -> Option<Ledger> {
    let standing = (1..).zip(listed.keys()).take_while(|(number, listed)| *number == **listed).count();
    copy.entries.truncate(standing);
    let last = copy.entries.len() as u64;
    let bytes = repo.store().get(&ObjectName::ledger(last), MAX_RECORD_BYTES).ok()?;
    if copy.entries.last()?.0 != object_name(&bytes) {
        return None;
    }
    let (name, mut ledger) = (name(), Ledger::default());
    for (number, (hash, record)) in (1..).zip(copy.entries) {
        let entry = ledger.judge(&name, number, hash, record).ok()?;
        ledger.take_in(number, entry);
    }
    Some(ledger)
}

/// Writes the copy anew, if `ledger` has so much more than it that this spares something.
pub(super) fn keep(repo: &Repository, ledger: &Ledger, copied: u64) {
    let worth = atomic(repo) && ledger.damage().is_empty() && ledger.head() >= copied + STEP;
    let Some(cache) = repo.cache().filter(|_| worth) else { return };
    let mut room = LIMIT_BYTES / 2;
    let fits = |entry: &&Entry| {
        let bytes = entry.record.body.len() + 1024;
        room = room.saturating_sub(bytes);
        room > 0
    };
    let entries = ledger.entries().take_while(fits).map(|e| (e.hash, e.record.clone())).collect();
    match repo.seal_named(&name(), &Copy { entries }) {
        Ok(bytes) => cache.write(FILE, &bytes),
        Err(error) => tracing::info!(%error, "no local copy of the ledger"),
    }
}
