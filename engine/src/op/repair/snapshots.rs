//! `repair snapshots`: where what a snapshot needs is lost for good, a successor that says so takes its
//! place.
//!
//! Nothing is invented, and nothing left out that can be read: a file that lost a part keeps its node,
//! its length and every other byte, is marked, and has a hole where the part was; a directory whose
//! names are lost is there, marked. The successor says all else that the old one said, and names it as
//! its original. It is committed first; then the old one is forgotten. Killed in between both count,
//! and the next run finds the successor by what it says.
//!
//! It refuses while anything that looks lost is only out of the index, or stands in a bad pack: what it
//! would mark could still be saved.

mod rebuild;

use serde::Serialize;

use crate::error::{Error, ProblemKind, Result};
use crate::format::ledger::{Event, ForgetV1};
use crate::format::snapshot::{KEPT_PROBLEMS, ProblemV1, SnapshotV1};
use crate::format::wire::{Bytes, Text};
use crate::id::{BlobKind, BlobRef, SnapshotId};
use crate::op::repair::judge::Judge;
use crate::op::repair::look::Looker;
use crate::op::repair::losses::{self, Losses, SnapshotLosses};
use crate::op::repair::{ATTEMPTS, Hand, index, too_busy};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::ledger::Append;
use crate::repo::reader::Reader;
use crate::repo::session::Session;
use crate::repo::snapshots::{Filter, Snapshot};

/// What to repair.
#[derive(Debug, Clone, Default)]
pub struct SnapshotsOptions {
    /// These; none: all.
    pub snapshots: Vec<SnapshotId>,
    /// Forget those of which nothing can be read.
    pub forget_unreadable: bool,
    /// Change nothing.
    pub dry_run: bool,
}

/// A snapshot that has a successor, or would get one.
#[derive(Debug, Clone, Serialize)]
pub struct Repaired {
    /// It.
    pub old: SnapshotId,
    /// The one that says what is lost; `None` in a dry run.
    pub new: Option<SnapshotId>,
    /// What is lost.
    pub losses: SnapshotLosses,
}

/// What was found and done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SnapshotsReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// Snapshots that were looked at.
    pub snapshots: u64,
    /// Those that lost something.
    pub repaired: Vec<Repaired>,
    /// Those of which nothing can be read, with the reason: they can only be forgotten.
    pub unreadable: Vec<(SnapshotId, String)>,
    /// Those that this program cannot judge, with the reason. They are left as they are.
    pub failed: Vec<(SnapshotId, String)>,
    /// Those that count no longer.
    pub forgotten: Vec<SnapshotId>,
}

/// Repairs snapshots.
pub fn run(
    repo: &Repository,
    options: &SnapshotsOptions,
    progress: &dyn Progress,
) -> Result<SnapshotsReport> {
    let mut hand = Hand::begin(repo, options.dry_run)?;
    for _ in 0..ATTEMPTS {
        match once(&mut hand, options, progress) {
            Err(Error::Overtaken { .. }) => {}
            result => return result,
        }
    }
    Err(too_busy())
}

fn once(hand: &mut Hand, options: &SnapshotsOptions, progress: &dyn Progress) -> Result<SnapshotsReport> {
    let (_, holdings) = hand.look(progress)?;
    let holdings = std::sync::Arc::new(holdings);
    let reader = Reader::with_places(&hand.repo, holdings.clone());
    let judge = Judge::new(&holdings, &reader);
    let committed = hand.ledger.committed();
    let ids: Vec<SnapshotId> = match options.snapshots.is_empty() {
        true => committed,
        false => {
            if let Some(id) = options.snapshots.iter().find(|id| !committed.contains(id)) {
                return Err(Error::NotFound { what: format!("snapshot {}", id.short()) });
            }
            options.snapshots.clone()
        }
    };
    let mut report = SnapshotsReport { dry_run: options.dry_run, ..SnapshotsReport::default() };
    report.snapshots = ids.len() as u64;
    let (roots, unreadable) = losses::roots(&hand.repo, &ids)?;
    report.unreadable = unreadable;
    let (losses, mut looker) = losses::find(&judge, &roots, progress)?;
    refuse_what_can_be_saved(hand, &holdings, &losses)?;
    report.failed = losses.failed;
    // Successors that a run which was killed has committed.
    let (all, _) = hand.repo.snapshots(&hand.ledger, &Filter::default())?;
    for hit in losses.snapshots {
        if hit.whole {
            report.unreadable.push((hit.snapshot, "its top directory is lost, and so is everything".into()));
            continue;
        }
        progress.check()?;
        let new = match options.dry_run {
            true => None,
            false => Some(succeed(hand, &mut looker, &all, &hit, progress)?),
        };
        report.repaired.push(Repaired { old: hit.snapshot, new, losses: hit });
    }
    if !options.dry_run {
        report.forgotten = forget(hand, &report, options.forget_unreadable)?;
    }
    Ok(report)
}

/// What is only out of the index, or in a bad pack, is not lost.
fn refuse_what_can_be_saved(
    hand: &Hand,
    holdings: &crate::repo::holdings::Holdings,
    losses: &Losses,
) -> Result<()> {
    let refuse = |what: String| Err(Error::NotWhole { what });
    let is_lost = |kind: u8, id: &crate::id::BlobId| {
        BlobKind::from_byte(kind).is_some_and(|kind| losses.lost.contains(&BlobRef::new(kind, *id)))
    };
    if !losses.lost.is_empty()
        && let Some(pack) = index::unlisted_with(&hand.repo, holdings, is_lost)?
    {
        return refuse(format!(
            "pack {} holds data that seems lost, and is out of the index: run `repair index` first",
            pack.short()
        ));
    }
    match losses.frail.len() {
        0 => Ok(()),
        n => refuse(format!(
            "{n} blobs that snapshots need can be read, but only from bad packs: run `repair packs` first"
        )),
    }
}

/// Commits the successor of a snapshot, unless it is there.
fn succeed(
    hand: &mut Hand,
    looker: &mut Looker<'_>,
    all: &[Snapshot],
    hit: &SnapshotLosses,
    progress: &dyn Progress,
) -> Result<SnapshotId> {
    let repo = &hand.repo.clone();
    let old = repo.snapshot(hit.snapshot)?;
    let mut session = Session::begin(repo, "repair", false, progress)?;
    // What was found out holds, unless somebody took data away, or a snapshot.
    let new = hand.ledger.refresh(repo)?;
    if new.iter().any(|entry| !matches!(entry.event, Event::Commit(_))) {
        return Err(Error::Overtaken { what: "another run condemned or forgot something".into() });
    }
    // No tree that the index has is relied on before it was read.
    session.be_wary();
    let root = rebuild::tree(looker, &session, old.record.root)?;
    let wanted = SnapshotV1 { root, ..with_problems(old.record.successor(old.id), hit) };
    if let Some(twin) = all.iter().find(|snapshot| snapshot.record == wanted) {
        return Ok(twin.id);
    }
    let flushed = session.flush()?;
    session.commit(&wanted, Some(old.id), flushed)
}

/// The record, saying what was lost.
fn with_problems(mut record: SnapshotV1, hit: &SnapshotLosses) -> SnapshotV1 {
    // A lost seam table costs nobody anything: then nothing is missing.
    record.partial |= hit.files + hit.directories > 0;
    record.problem_count = record.problem_count.saturating_add(hit.files + hit.directories);
    for touched in &hit.first {
        if record.problems.len() >= KEPT_PROBLEMS {
            break;
        }
        let message = match touched.directory {
            true => "names in it were lost in the repository".to_owned(),
            false => format!("{} of {} bytes were lost in the repository", touched.lost_bytes, touched.size),
        };
        record.problems.push(ProblemV1 {
            path: Bytes(touched.raw.clone()),
            kind: ProblemKind::Damaged as u8,
            message: Text(message),
        });
    }
    record
}

/// Forgets those that have a successor that counts and, if that was asked for, those of which nothing
/// can be read. The entry first, the objects after.
fn forget(hand: &mut Hand, report: &SnapshotsReport, unreadable: bool) -> Result<Vec<SnapshotId>> {
    loop {
        hand.ledger.refresh(&hand.repo)?;
        let counts = hand.ledger.committed();
        let succeeded = report.repaired.iter().filter(|r| r.new.is_some_and(|new| counts.contains(&new)));
        let mut ids: Vec<SnapshotId> = succeeded.map(|r| r.old).collect();
        if unreadable {
            ids.extend(report.unreadable.iter().map(|(id, _)| *id));
        }
        ids.retain(|id| counts.contains(id));
        if ids.is_empty() {
            return Ok(ids);
        }
        let event = Event::Forget(ForgetV1 { snapshots: ids.clone(), reason: "repaired".into() });
        if hand.append(&event)? == Append::Taken {
            continue;
        }
        for (id, reason) in hand.repo.sweep_forgotten(&hand.ledger)?.left {
            tracing::warn!(%id, reason, "a forgotten snapshot's object stays; prune removes it");
        }
        return Ok(ids);
    }
}
