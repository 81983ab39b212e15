//! Keys, config, ledger, snapshot objects and index objects: is each there, does it open?

use std::collections::HashSet;

use crate::error::{Error, Result};
use crate::id::ObjectName;
use crate::op::check::faults::Findings;
use crate::op::check::report::{CheckReport, FaultKind, Note, NoteKind, Repair};
use crate::op::check::scene::Scene;
use crate::repo::Repository;

/// Judges them.
pub fn judge(repo: &Repository, scene: &Scene, found: &mut Findings, report: &mut CheckReport) -> Result<()> {
    keys(repo, found, report)?;
    config(repo, found)?;
    ledger(repo, scene, found, report);
    snapshots(scene, found, report);
    index(scene, found, report);
    Ok(())
}

/// One whole key is enough; a spare one that is damaged is worth a note.
fn keys(repo: &Repository, found: &mut Findings, report: &mut CheckReport) -> Result<()> {
    let keys = repo.keys()?;
    report.counts.keys = keys.len() as u64;
    let whole = keys.iter().filter(|key| key.damage.is_none()).count();
    if whole == 0 {
        found.add(FaultKind::Keys, "keys/", "no key file is whole any more", None);
    }
    for key in keys.iter().filter(|_| whole > 0) {
        if let Some(damage) = &key.damage {
            let note = Note::new(NoteKind::SpareKey, format!("{damage}; another key is whole"));
            report.notes.push(Note { objects: vec![ObjectName::from(key.id).to_string()], ..note });
        }
    }
    Ok(())
}

fn config(repo: &Repository, found: &mut Findings) -> Result<()> {
    let reason = match repo.config_object() {
        Ok(_) => return Ok(()),
        Err(Error::Corrupt { reason, .. }) => reason,
        Err(Error::Store(e)) if e.is_transient() => return Err(e.into()),
        Err(Error::Store(e)) => e.reason,
        Err(error) => return Err(error),
    };
    found.add(FaultKind::Config, "config", reason, Some(Repair::Config));
    Ok(())
}

fn ledger(repo: &Repository, scene: &Scene, found: &mut Findings, report: &mut CheckReport) {
    let ledger = &scene.ledger;
    report.counts.ledger_entries = ledger.entries().count() as u64;
    let committed: HashSet<_> = ledger.committed().into_iter().collect();
    let unseen =
        |id: &&_| !committed.contains(*id) && !ledger.is_forgotten(id) && !ledger.is_condemned_snapshot(id);
    for damage in ledger.damage() {
        let (object, reason) = damage.split_once(" is damaged: ").unwrap_or(("ledger/", damage));
        let number = found.add(FaultKind::Ledger, object, reason, None);
        // Their commits may have stood there: then nobody lists them any more.
        for id in scene.listed_snapshots.iter().filter(unseen) {
            found.takes_snapshot(number, *id);
        }
    }
    if ledger.damage().is_empty()
        && let Some(Err(error)) = repo.cache().map(|cache| cache.compare_head(ledger))
    {
        found.add(FaultKind::Ledger, "ledger/", error.to_string(), None);
    }
}

fn snapshots(scene: &Scene, found: &mut Findings, report: &mut CheckReport) {
    report.counts.snapshots = (scene.snapshots.len() + scene.unreadable.len()) as u64;
    for (id, error) in &scene.unreadable {
        let reason = match error {
            Error::Corrupt { reason, .. } => reason.clone(),
            Error::Store(e) if e.is_not_found() => "is gone".to_owned(),
            error => error.to_string(),
        };
        let number = found.add(FaultKind::Snapshot, ObjectName::from(*id), reason, Some(Repair::Snapshots));
        found.takes_snapshot(number, *id);
    }
    let ledger = &scene.ledger;
    let committed: HashSet<_> = ledger.committed().into_iter().collect();
    let left = |wanted: bool| {
        let ids = scene.listed_snapshots.iter().filter(|id| !committed.contains(*id));
        ids.filter(move |id| ledger.is_forgotten(id) == wanted).map(|id| ObjectName::from(*id).to_string())
    };
    for (kind, forgotten, message) in [
        (NoteKind::UncommittedSnapshots, false, "never committed: a run was cut short, or is at work"),
        (NoteKind::ForgottenSnapshots, true, "forgotten, their objects not removed yet"),
    ] {
        let objects: Vec<_> = left(forgotten).collect();
        if !objects.is_empty() {
            let count = objects.len() as u64;
            let message = format!("{count} snapshot{} {message}", if count == 1 { "" } else { "s" });
            report.notes.push(Note { count, objects, ..Note::new(kind, message) });
        }
    }
}

fn index(scene: &Scene, found: &mut Findings, report: &mut CheckReport) {
    let holdings = &scene.holdings;
    report.counts.index_objects = (holdings.objects.len() + holdings.damaged.len()) as u64;
    for (id, error) in &holdings.damaged {
        let reason = match error {
            Error::Corrupt { reason, .. } => reason.clone(),
            error => error.to_string(),
        };
        found.add(FaultKind::Index, ObjectName::from(*id), reason, Some(Repair::Index));
    }
    for (pack, id) in &holdings.disputed {
        let reason = format!("says of {} what another index object does not", ObjectName::from(*pack));
        found.add(FaultKind::IndexWrong, ObjectName::from(*id), reason, Some(Repair::Index));
    }
}
