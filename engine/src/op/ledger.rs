//! `ledger`: what happened to the repository, in order.

use serde::Serialize;

use crate::error::Result;
use crate::format::ledger::Event;
use crate::format::record::VerifiedV1;
use crate::format::verified::{DATABASE_GOOD, EXT_DATABASES, VerifiedDatabaseV1, VerifiedDatabasesV1};
use crate::format::wire::{self, Bytes};
use crate::id::{ObjectName, SessionId, SnapshotId};
use crate::repo::Repository;
use crate::repo::ledger::Entry;

/// What an entry says.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A snapshot counts from here on.
    Commit {
        /// It.
        snapshot: SnapshotId,
        /// It counts no longer.
        forgotten: bool,
        /// What it was made of, its files and their bytes, if it still can be read.
        details: Option<Details>,
    },
    /// Snapshots count no longer.
    Forget {
        /// They.
        snapshots: Vec<SnapshotId>,
        /// Why.
        reason: String,
    },
    /// Objects will be deleted.
    Condemn {
        /// So many packs.
        packs: u64,
        /// Index objects.
        index_objects: u64,
        /// Snapshots that were never committed.
        dead_snapshots: u64,
    },
    /// Data was looked at.
    Verified {
        /// So many packs were whole.
        good: u64,
        /// So many were not.
        bad: u64,
        /// A snapshot whose databases were restored for it.
        snapshot: Option<SnapshotId>,
        /// What was found out about them.
        databases: Option<Databases>,
    },
    /// The repository needs these features from here on.
    Raise {
        /// Bits of the three sets.
        incompatible: u64,
        /// The second.
        read_only: u64,
        /// The third.
        compatible: u64,
    },
    /// An event of a later version.
    Unknown {
        /// Its number.
        kind: u8,
    },
    /// The entry is damaged, or some are missing from here on.
    Damaged {
        /// What is wrong.
        reason: String,
    },
}

/// What a snapshot holds.
#[derive(Debug, Clone, Serialize)]
pub struct Details {
    /// Paths.
    pub paths: Vec<Bytes>,
    /// Files in it.
    pub files: u64,
    /// Their length.
    pub total_bytes: u64,
    /// The snapshot it was made from.
    pub original: Option<SnapshotId>,
}

/// Databases of a snapshot, restored and asked for their integrity.
#[derive(Debug, Clone, Serialize)]
pub struct Databases {
    /// Where they were looked for.
    pub path: Bytes,
    /// How many were whole.
    pub good: u64,
    /// How many were not.
    pub bad: u64,
    /// How many could not be asked.
    pub unknown: u64,
    /// Those that were not whole or could not be asked, as far as they are recorded.
    pub failed: Vec<Failed>,
}

/// A database that was not whole, or could not be asked.
#[derive(Debug, Clone, Serialize)]
pub struct Failed {
    /// Its path in the snapshot.
    pub path: Bytes,
    /// The first finding.
    pub finding: String,
}

impl Databases {
    fn of(verified: &VerifiedV1) -> Option<Self> {
        let data = &verified.extensions.iter().find(|e| e.tag == EXT_DATABASES)?.data;
        let record: VerifiedDatabasesV1 = wire::decode(data).ok()?;
        let failed = record.databases.iter().filter(|one| one.verdict != DATABASE_GOOD);
        let named =
            |one: &VerifiedDatabaseV1| Failed { path: one.path.clone(), finding: one.finding.0.clone() };
        Some(Self {
            path: record.path.clone(),
            good: record.good,
            bad: record.bad,
            unknown: record.unknown,
            failed: failed.map(named).collect(),
        })
    }
}

/// Who wrote an entry, and when.
#[derive(Debug, Clone, Serialize)]
pub struct Writer {
    /// By the writer's clock, nanoseconds since 1970.
    pub time_ns: i64,
    /// Host.
    pub host: String,
    /// User.
    pub user: String,
    /// Program and version.
    pub program: String,
    /// Session.
    pub session: SessionId,
}

/// One entry, or the place of one that is damaged.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Its number.
    pub number: u64,
    /// Who and when; `None` for one that is damaged.
    #[serde(flatten)]
    pub writer: Option<Writer>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The history, oldest first.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryReport {
    /// Number of the last entry that can be read.
    pub head: u64,
    /// Entries, as many as were asked for.
    pub entries: Vec<Line>,
    /// How many places are damaged, in the whole of it.
    pub damaged: u64,
}

/// Reads the ledger, its last `last` entries or all. Damage is named in its place and does not end it.
pub fn run(repo: &Repository, last: Option<usize>) -> Result<HistoryReport> {
    let ledger = repo.whole_ledger(false)?;
    let mut lines: Vec<(u64, Result<&Entry, &str>)> =
        ledger.entries().map(|entry| (entry.record.number, Ok(entry))).collect();
    lines.extend(ledger.damage_by_number().map(|(number, reason)| (number, Err(reason))));
    lines.sort_by_key(|(number, _)| *number);
    let damaged = ledger.damage().len() as u64;
    let skipped = last.map_or(0, |last| lines.len().saturating_sub(last));
    let entries = lines
        .into_iter()
        .skip(skipped)
        .map(|(number, line)| match line {
            Err(reason) => {
                let name = format!("{} ", ObjectName::ledger(number));
                let reason = reason.strip_prefix(&name).unwrap_or(reason).to_owned();
                Line { number, writer: None, what: What::Damaged { reason } }
            }
            Ok(entry) => {
                let r = &entry.record;
                let writer = Writer {
                    time_ns: r.time.to_ns(),
                    host: r.host.0.clone(),
                    user: r.user.0.clone(),
                    program: r.program.0.clone(),
                    session: r.session,
                };
                let forgotten = |id: &SnapshotId| ledger.is_forgotten(id);
                Line { number, writer: Some(writer), what: what(repo, &entry.event, &forgotten) }
            }
        })
        .collect();
    Ok(HistoryReport { head: ledger.head(), entries, damaged })
}

fn what(repo: &Repository, event: &Event, forgotten: &dyn Fn(&SnapshotId) -> bool) -> What {
    let count = |len: usize| len as u64;
    match event {
        Event::Commit(commit) => {
            let forgotten = forgotten(&commit.snapshot);
            let details = if forgotten { None } else { details(repo, commit.snapshot) };
            What::Commit { snapshot: commit.snapshot, forgotten, details }
        }
        Event::Forget(forget) => {
            What::Forget { snapshots: forget.snapshots.clone(), reason: forget.reason.0.clone() }
        }
        Event::Condemn(c) => What::Condemn {
            packs: count(c.packs.len()),
            index_objects: count(c.indexes.len()),
            dead_snapshots: count(c.snapshots.len()),
        },
        Event::Verified(v) => {
            let databases = Databases::of(v);
            let (good, bad) = (count(v.good.len()), count(v.bad.len()));
            What::Verified { good, bad, snapshot: v.snapshot, databases }
        }
        Event::Raise(raise) => What::Raise {
            incompatible: raise.features.incompatible,
            read_only: raise.features.read_only,
            compatible: raise.features.compatible,
        },
        Event::Unknown(kind) => What::Unknown { kind: *kind },
    }
}

fn details(repo: &Repository, id: SnapshotId) -> Option<Details> {
    let record = repo.snapshot(id).ok()?.record;
    let c = &record.counts;
    Some(Details {
        paths: record.paths.clone(),
        files: c.files(),
        total_bytes: c.total_bytes,
        original: record.original(),
    })
}
