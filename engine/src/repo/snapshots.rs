//! Snapshots of a repository: which there are, and which one a person means.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::snapshot::SnapshotV1;
use crate::format::wire::{self, check_extensions};
use crate::id::{ObjectKind, ObjectName, SnapshotId};
use crate::repo::Repository;
use crate::repo::ledger::Ledger;

/// A snapshot and its name.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its name.
    pub id: SnapshotId,
    /// What it says.
    pub record: SnapshotV1,
}

impl Snapshot {
    /// Would it have the path (absolute, raw bytes), if that had been there?
    pub fn covers(&self, path: &[u8]) -> bool {
        self.record.paths.iter().any(|root| {
            let root = root.strip_suffix(b"/").unwrap_or(root);
            path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }
}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Filter {
    /// Only of these hosts.
    pub hosts: Vec<String>,
    /// Only with all of these tags.
    pub tags: Vec<String>,
    /// Only those made of every one of these paths.
    pub paths: Vec<Vec<u8>>,
    /// Only those taken before this moment, nanoseconds since 1970.
    pub before_ns: Option<i64>,
    /// Only those taken then or later.
    pub since_ns: Option<i64>,
}

impl Filter {
    /// Does the snapshot fit?
    pub fn fits(&self, snapshot: &SnapshotV1) -> bool {
        let time_ns = snapshot.time.to_ns();
        self.before_ns.is_none_or(|end| time_ns < end)
            && self.since_ns.is_none_or(|start| start <= time_ns)
            && (self.hosts.is_empty() || self.hosts.contains(&snapshot.host.0))
            && self.tags.iter().all(|t| snapshot.tags.iter().any(|have| have.0 == *t))
            && self.paths.iter().all(|p| snapshot.paths.iter().any(|have| have.0 == *p))
    }
}

/// Snapshots that could not be read, with the reason.
pub type Unreadable = Vec<(SnapshotId, Error)>;

/// What became of the objects of forgotten snapshots.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Swept {
    /// So many are gone.
    pub removed: u64,
    /// These could not be removed, with the reason; they do no harm.
    pub left: Vec<(SnapshotId, String)>,
}

impl Repository {
    /// One snapshot.
    pub fn snapshot(&self, id: SnapshotId) -> Result<Snapshot> {
        let name: ObjectName = id.into();
        let plain = self.read_by_bytes(&name)?;
        let record: SnapshotV1 = wire::decode(&plain).map_err(|e| e.of(&name))?;
        check_extensions(&record.extensions, &[], "snapshot").map_err(|e| e.of(&name))?;
        Ok(Snapshot { id, record })
    }

    /// Committed snapshots that fit, oldest first, and those that cannot be read.
    pub fn snapshots(&self, ledger: &Ledger, filter: &Filter) -> Result<(Vec<Snapshot>, Unreadable)> {
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        for id in ledger.committed() {
            match self.snapshot(id) {
                Ok(snapshot) if filter.fits(&snapshot.record) => found.push(snapshot),
                Ok(_) => {}
                Err(error @ (Error::Corrupt { .. } | Error::Store(_))) => unreadable.push((id, error)),
                Err(error) => return Err(error),
            }
        }
        // By time; the order of commits decides among equals.
        found.sort_by_key(|s| s.record.time);
        Ok((found, unreadable))
    }

    /// The newest snapshot that fits, or the one so many `back` from it.
    pub fn newest_snapshot(&self, ledger: &Ledger, filter: &Filter, back: usize) -> Result<Snapshot> {
        let (mut found, unreadable) = self.snapshots(ledger, filter)?;
        for (id, error) in unreadable {
            self.notice(format!("snapshot {} was passed over: {error}", id.short()));
        }
        let missing = || Error::NotFound { what: "a snapshot that fits".into() };
        let at = found.len().checked_sub(back.saturating_add(1)).ok_or_else(missing)?;
        Ok(found.swap_remove(at))
    }

    /// The snapshot that `word` means: `latest` among those that fit, or the beginning of an id.
    pub fn find_snapshot(&self, ledger: &Ledger, word: &str, filter: &Filter) -> Result<Snapshot> {
        if word == "latest" {
            return self.newest_snapshot(ledger, filter, 0);
        }
        self.snapshot(self.find_committed(ledger, word)?)
    }

    /// The committed snapshot whose id begins with `word`; it need not be readable.
    pub fn find_committed(&self, ledger: &Ledger, word: &str) -> Result<SnapshotId> {
        let fits: Vec<SnapshotId> =
            ledger.committed().into_iter().filter(|id| id.to_hex().starts_with(word)).collect();
        match fits.as_slice() {
            [one] if word.len() >= 4 => Ok(*one),
            [_] => Err(Error::Usage(format!("\"{word}\" is too short to name a snapshot: give four digits"))),
            [] => Err(Error::NotFound { what: format!("snapshot {word}") }),
            many => Err(Error::Ambiguous {
                prefix: word.to_owned(),
                candidates: many.iter().take(5).map(SnapshotId::short).collect::<Vec<_>>().join(", "),
            }),
        }
    }

    /// Removes what is left in `snapshots/` of forgotten ones: the entry that forgets comes first, so a
    /// run that is killed leaves objects that nobody counts any more. What was forgotten stays so:
    /// the ledger may be an old one.
    pub fn sweep_forgotten(&self, ledger: &Ledger) -> Result<Swept> {
        let mut swept = Swept::default();
        for name in self.store().list(ObjectKind::Snapshot)? {
            let Ok(id) = name.parse::<SnapshotId>() else { continue };
            if ledger.is_forgotten(&id) {
                match self.store().remove(&id.into()) {
                    Ok(()) => swept.removed += 1,
                    Err(error) => swept.left.push((id, error.to_string())),
                }
            }
        }
        Ok(swept)
    }
}
