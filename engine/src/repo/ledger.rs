//! The ledger of an opened repository: read whole, extended by one entry at a time
//! (design §3a).
//!
//! A listing is a hint; the end is found by asking for the next number until it is
//! absent. An entry that is missing in between, or whose link to the one before does
//! not hold, is damage and named. Where a store cannot create a name only-if-absent, an
//! entry's name also bears its session, and several entries may share a number.

mod copy;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::crypto::hash::object_name;
use crate::error::{Error, Result, StoreErrorKind};
use crate::format::MAX_RECORD_BYTES;
use crate::format::config::{Features, STORE_ATOMIC_CREATE};
use crate::format::ledger::{Event, FIRST_IGNORABLE_KIND, LedgerEntryV1};
use crate::format::wire::{Stamp, Text, check_extensions};
use crate::id::{IndexId, ObjectKind, ObjectName, PackId, SessionId, SnapshotId};
use crate::repo::{PROGRAM, Repository};
use crate::store::PutMode;

/// One entry, opened.
#[derive(Debug, Clone)]
pub struct Entry {
    /// BLAKE3 of its sealed bytes.
    pub hash: [u8; 32],
    /// Its record.
    pub record: LedgerEntryV1,
    /// Its event.
    pub event: Event,
}

/// Everything up to a head.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    entries: BTreeMap<u64, Vec<Entry>>,
    condemned: HashSet<PackId>,
    /// When a pack was last found good, and which were found bad since.
    verified: HashMap<PackId, (Stamp, u8)>,
    bad: HashMap<PackId, u8>,
    committed: Vec<SnapshotId>,
    gone: HashSet<SnapshotId>,
    condemned_snapshots: HashSet<SnapshotId>,
    condemned_indexes: HashSet<IndexId>,
    /// What was wrong with entries that were passed over: then the ledger is for reading only.
    damage: Vec<String>,
    /// The numbers where that was.
    damaged_at: Vec<u64>,
}

/// What became of an attempt to write the next entry.
#[derive(Debug, PartialEq, Eq)]
pub enum Append {
    /// It is in.
    Done,
    /// Another session took the number: read on, then decide again.
    Taken,
}

impl Ledger {
    /// Reads every entry where it is.
    pub fn read(repo: &Repository) -> Result<Self> {
        Self::default().complete(repo, &listed(repo)?)
    }

    /// Reads what can be read: entries that are damaged or missing are passed over and named by
    /// [`Ledger::damage`]. For who only reads: one bad entry must not hide every snapshot.
    pub fn read_leniently(repo: &Repository) -> Result<Self> {
        Self::default().complete_leniently(repo, &listed(repo)?)
    }

    /// As [`Ledger::read`], or [`Ledger::read_leniently`], but what this machine has read before and
    /// the listing still has need not be read again: damage that came to it since goes unseen.
    pub fn recall(repo: &Repository, leniently: bool) -> Result<Self> {
        let listed = listed(repo)?;
        let known = copy::recall(repo, &listed);
        let copied = known.head();
        let ledger = match leniently {
            true => known.complete_leniently(repo, &listed)?,
            false => known.complete(repo, &listed)?,
        };
        copy::keep(repo, &ledger, copied);
        Ok(ledger)
    }

    fn complete(mut self, repo: &Repository, listed: &Listed) -> Result<Self> {
        self.read_on(repo, listed)?;
        match listed.last_key_value() {
            Some((last, _)) if *last > self.head() => Err(missing(self.head() + 1, *last)),
            _ => Ok(self),
        }
    }

    fn complete_leniently(mut self, repo: &Repository, listed: &Listed) -> Result<Self> {
        let mut number = self.head() + 1;
        loop {
            let mut present = false;
            for name in names_of(repo, number, listed) {
                let entry = match repo.store().get(&name, MAX_RECORD_BYTES) {
                    Ok(bytes) => self.open_entry(repo, &name, number, &bytes),
                    Err(e) if e.is_not_found() => continue,
                    Err(e) if listed.contains_key(&number) => Err(e.into()),
                    Err(e) => return Err(e.into()),
                };
                present = true;
                match entry {
                    Ok(entry) => self.take_in(number, entry),
                    Err(error) => self.pass_over(number, &error),
                }
            }
            let next = listed.range(number + 1..).next().map(|(next, _)| *next);
            number = match (present, next) {
                (true, _) => number + 1,
                (false, Some(next)) => {
                    self.pass_over(number, &missing(number, next));
                    next
                }
                (false, None) => return Ok(self),
            };
        }
    }

    /// What was wrong with entries that were passed over.
    pub fn damage(&self) -> &[String] {
        &self.damage
    }

    /// The same, each with the number where it was. A stretch of missing entries stands once, at the
    /// first of them.
    pub fn damage_by_number(&self) -> impl Iterator<Item = (u64, &str)> {
        self.damaged_at.iter().copied().zip(self.damage.iter().map(String::as_str))
    }

    fn pass_over(&mut self, number: u64, error: &Error) {
        self.damage.push(error.to_string());
        self.damaged_at.push(number);
    }

    /// Reads what was added since; gives the new entries.
    pub fn refresh(&mut self, repo: &Repository) -> Result<Vec<Entry>> {
        let listed = if atomic(repo) { Listed::new() } else { listed(repo)? };
        let before = self.head();
        self.read_on(repo, &listed)?;
        Ok(self.entries.range(before + 1..).flat_map(|(_, e)| e.iter().cloned()).collect())
    }

    fn read_on(&mut self, repo: &Repository, listed: &Listed) -> Result<()> {
        loop {
            let number = self.head() + 1;
            let mut found = Vec::new();
            for name in names_of(repo, number, listed) {
                match repo.store().get(&name, MAX_RECORD_BYTES) {
                    Ok(bytes) => found.push(self.open_entry(repo, &name, number, &bytes)?),
                    Err(e) if e.is_not_found() => {}
                    Err(e) => return Err(e.into()),
                }
            }
            if found.is_empty() {
                return Ok(());
            }
            for entry in found {
                self.take_in(number, entry);
            }
        }
    }

    fn open_entry(&self, repo: &Repository, name: &ObjectName, number: u64, bytes: &[u8]) -> Result<Entry> {
        let record: LedgerEntryV1 = repo.open_named(name, bytes)?;
        self.judge(name, number, object_name(bytes), record)
    }

    /// Is it what comes next, and can it be understood?
    fn judge(&self, name: &ObjectName, number: u64, hash: [u8; 32], record: LedgerEntryV1) -> Result<Entry> {
        if record.number != number {
            return Err(Error::corrupt(name, format!("says it is entry {}", record.number)));
        }
        let linked = match self.entries.get(&(number - 1)) {
            // What follows an entry that was passed over cannot be held against it.
            None if !self.damage.is_empty() => true,
            None => number == 1 && record.previous == [0; 32],
            Some(before) => before.iter().any(|e| e.hash == record.previous),
        };
        if !linked {
            return Err(Error::corrupt(name, "does not follow the entry before it"));
        }
        check_extensions(&record.extensions, &[], "ledger entry").map_err(|e| e.of(name))?;
        let event = Event::decode(record.kind, &record.body).map_err(|e| e.of(name))?;
        Ok(Entry { hash, record, event })
    }

    fn take_in(&mut self, number: u64, entry: Entry) {
        match &entry.event {
            Event::Commit(commit) => self.committed.push(commit.snapshot),
            Event::Forget(forget) => self.gone.extend(forget.snapshots.iter().copied()),
            Event::Condemn(condemn) => {
                self.condemned.extend(condemn.packs.iter().copied());
                self.condemned_snapshots.extend(condemn.snapshots.iter().copied());
                self.condemned_indexes.extend(condemn.indexes.iter().copied());
            }
            Event::Verified(verified) => {
                // What one method found bad only one as thorough finds good again.
                let method = verified.method;
                for pack in &verified.good {
                    if self.bad.get(pack).is_none_or(|bad| *bad <= method) {
                        self.bad.remove(pack);
                    }
                    if self.verified.get(pack).is_none_or(|(_, before)| *before <= method) {
                        self.verified.insert(*pack, (verified.began, method));
                    }
                }
                for pack in &verified.bad {
                    self.verified.remove(pack);
                    self.bad.insert(*pack, method);
                }
            }
            Event::Raise(_) | Event::Unknown(_) => {}
        }
        self.entries.entry(number).or_default().push(entry);
    }

    /// Number of the last entry; 0 when there is none.
    pub fn head(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(n, _)| *n)
    }

    /// Hashes of the entries of a number (one, but in a store without atomic creation).
    pub fn hashes_at(&self, number: u64) -> Option<impl Iterator<Item = &[u8; 32]>> {
        self.entries.get(&number).map(|entries| entries.iter().map(|e| &e.hash))
    }

    /// Every entry, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().flatten()
    }

    /// D(head): packs that nobody may rely on any more.
    pub fn condemned(&self) -> &HashSet<PackId> {
        &self.condemned
    }

    /// Is the pack in D(head)?
    pub fn is_condemned(&self, pack: &PackId) -> bool {
        self.condemned.contains(pack)
    }

    /// Was the pack found bad, and never good since? Then its blobs count as absent for who
    /// writes, and are the last resort of who reads.
    pub fn is_bad(&self, pack: &PackId) -> bool {
        self.bad.contains_key(pack)
    }

    /// Packs that were found bad and never good since.
    pub fn bad(&self) -> impl Iterator<Item = &PackId> {
        self.bad.keys()
    }

    /// When the pack was last found good, and by which method.
    pub fn verified(&self, pack: &PackId) -> Option<(Stamp, u8)> {
        self.verified.get(pack).copied()
    }

    /// Snapshots that were condemned without ever being committed.
    pub fn condemned_snapshots(&self) -> &HashSet<SnapshotId> {
        &self.condemned_snapshots
    }

    /// Snapshots that were forgotten.
    pub fn forgotten(&self) -> &HashSet<SnapshotId> {
        &self.gone
    }

    /// Was this index object replaced, so that it will be deleted?
    pub fn is_condemned_index(&self, id: &IndexId) -> bool {
        self.condemned_indexes.contains(id)
    }

    /// Was this snapshot condemned without ever being committed?
    pub fn is_condemned_snapshot(&self, id: &SnapshotId) -> bool {
        self.condemned_snapshots.contains(id)
    }

    /// Snapshots that count, in the order of their commits.
    pub fn committed(&self) -> Vec<SnapshotId> {
        let mut seen = HashSet::new();
        self.committed.iter().copied().filter(|id| !self.gone.contains(id) && seen.insert(*id)).collect()
    }

    /// Which commit made this snapshot count, from 0 on; known of forgotten ones too.
    pub fn commit_order(&self, id: &SnapshotId) -> Option<usize> {
        self.committed.iter().position(|committed| committed == id)
    }

    /// Was this snapshot forgotten?
    pub fn is_forgotten(&self, id: &SnapshotId) -> bool {
        self.gone.contains(id)
    }

    /// Features of the config and all that were raised since.
    pub fn features(&self, config: Features) -> Features {
        self.entries().fold(config, |all, entry| match &entry.event {
            Event::Raise(raise) => all.union(raise.features),
            _ => all,
        })
    }

    /// May this program write here?
    pub fn refuse_writing(&self, config: Features) -> Result<()> {
        let all = self.features(config);
        if let Some(names) = Features::names("incompatible", all.incompatible, Features::KNOWN.incompatible) {
            return Err(Error::UnknownFeatures { names });
        }
        let set = all.read_only;
        if let Some(names) = Features::names("read-only", set, Features::KNOWN.read_only) {
            return Err(Error::ReadOnlyFeatures { names });
        }
        let unknown = self.entries().find_map(|e| match e.event {
            Event::Unknown(kind) if kind < FIRST_IGNORABLE_KIND => Some((e.record.number, kind)),
            _ => None,
        });
        match unknown {
            None => Ok(()),
            Some((number, kind)) => {
                Err(Error::ReadOnlyFeatures { names: format!("ledger entry {number} is of kind {kind}") })
            }
        }
    }

    /// Tries to write the next entry after this head, and reads what took its number instead: those
    /// entries. None: it is written.
    pub fn append_or_read(
        &mut self,
        repo: &Repository,
        session: SessionId,
        event: &Event,
    ) -> Result<Vec<Entry>> {
        if self.append(repo, session, event)? == Append::Done {
            return Ok(Vec::new());
        }
        let new = self.refresh(repo)?;
        if new.is_empty() {
            let taken = ObjectName::ledger(self.head() + 1);
            return Err(Error::corrupt(taken, "its name is taken, but it cannot be found"));
        }
        Ok(new)
    }

    /// Tries to write the next entry after this head. What was read since the run began may forbid it:
    /// a newer program's entries may take away what this one relies on.
    pub fn append(&mut self, repo: &Repository, session: SessionId, event: &Event) -> Result<Append> {
        self.refuse_writing(repo.config().features)?;
        let number = self.head() + 1;
        let previous = self.hashes_at(self.head()).and_then(|mut h| h.next().copied()).unwrap_or([0; 32]);
        let (kind, body) = event.encode();
        let record = LedgerEntryV1 {
            number,
            previous,
            session,
            time: Stamp::from_ns(repo.surroundings().clock.now_ns()),
            host: Text(repo.identity().host.clone()),
            user: Text(repo.identity().user.clone()),
            program: PROGRAM.into(),
            kind,
            body,
            extensions: Vec::new(),
        };
        let name = if atomic(repo) {
            ObjectName::ledger(number)
        } else {
            ObjectName::new(ObjectKind::Ledger, format!("{number}-{session}"))
        };
        let bytes = repo.seal_named(&name, &record)?;
        match repo.store().put(&name, &bytes, PutMode::New) {
            Ok(()) => {
                self.take_in(number, Entry { hash: object_name(&bytes), record, event: event.clone() });
                if let Some(cache) = repo.cache() {
                    cache.remember_head(self);
                }
                Ok(Append::Done)
            }
            Err(e) if e.kind == StoreErrorKind::AlreadyExists => Ok(Append::Taken),
            Err(e) => Err(e.into()),
        }
    }
}

fn atomic(repo: &Repository) -> bool {
    repo.config().store_mode == STORE_ATOMIC_CREATE
}

fn number_of(name: &str) -> Option<u64> {
    name.split_once('-').map_or(name, |(number, _)| number).parse().ok()
}

fn missing(number: u64, later: u64) -> Error {
    Error::corrupt(ObjectName::ledger(number), format!("it is missing, though entry {later} is there"))
}

/// Names that a listing has, by their numbers, sorted.
type Listed = BTreeMap<u64, BTreeSet<String>>;

fn listed(repo: &Repository) -> Result<Listed> {
    let mut all = Listed::new();
    for name in repo.store().list(ObjectKind::Ledger)? {
        if let Some(number) = number_of(&name) {
            all.entry(number).or_default().insert(name);
        }
    }
    Ok(all)
}

/// Names that entries of `number` may have.
fn names_of(repo: &Repository, number: u64, listed: &Listed) -> Vec<ObjectName> {
    if atomic(repo) {
        return vec![ObjectName::ledger(number)];
    }
    let names = listed.get(&number).into_iter().flatten();
    names.map(|name| ObjectName::new(ObjectKind::Ledger, name)).collect()
}
