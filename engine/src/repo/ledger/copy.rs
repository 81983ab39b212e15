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
/// Of that, what is around the entries takes less than this,
const ENVELOPE_BYTES: usize = 4 << 10;
/// and what of an entry, or an extension of it, is of fixed length less than this.
const FIELDS_BYTES: usize = 256;

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
    let stands = |number: &u64| listed.get(number).is_some_and(|names| names.contains(&number.to_string()));
    let standing = (1..).take_while(stands).count();
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
    let mut room = LIMIT_BYTES - ENVELOPE_BYTES;
    let fits = |entry: &&Entry| {
        let left = room.checked_sub(most_bytes(&entry.record));
        room = left.unwrap_or(0);
        left.is_some()
    };
    let entries: Vec<_> = ledger.entries().take_while(fits).map(|e| (e.hash, e.record.clone())).collect();
    if (entries.len() as u64) < copied + STEP {
        return;
    }
    match repo.seal_named(&name(), &Copy { entries }) {
        Ok(bytes) => cache.write(FILE, &bytes),
        Err(error) => tracing::info!(%error, "no local copy of the ledger"),
    }
}

/// An entry takes no more room than this.
fn most_bytes(record: &LedgerEntryV1) -> usize {
    let texts = record.host.0.len() + record.user.0.len() + record.program.0.len();
    let extensions: usize = record.extensions.iter().map(|e| e.data.len() + FIELDS_BYTES).sum();
    record.body.len() + texts + extensions + FIELDS_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::wire::{self, Bytes, Extension, Text};
    use crate::id::SessionId;

    /// Writing a copy that is too long would end the program.
    #[test]
    fn an_entry_takes_no_more_room_than_it_is_given() {
        for long in [0, 1, 251, 70_000] {
            let extension = Extension { tag: u16::MAX, critical: false, data: Bytes(vec![7; long]) };
            let record = LedgerEntryV1 {
                number: u64::MAX,
                previous: [0xff; 32],
                session: SessionId([0xff; 16]),
                time: wire::Stamp { secs: i64::MIN, nanos: 999_999_999 },
                host: Text("h".repeat(long)),
                user: Text("u".repeat(long)),
                program: Text("p".repeat(long)),
                kind: 255,
                body: Bytes(vec![9; long]),
                extensions: vec![extension; 3],
            };
            let most = most_bytes(&record);
            let copy = Copy { entries: vec![([0xff; 32], record); 20] };
            let is = wire::encode(&copy).len();
            assert!(is <= 20 * most + ENVELOPE_BYTES / 2, "{is} bytes for {most}");
            assert!(is >= 20 * 7 * long);
        }
    }
}
