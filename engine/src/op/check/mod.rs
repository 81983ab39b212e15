//! `check`: is everything there, and is it what it should be?
//!
//! 1. `scene` reads what there is in the order of design §3a, P1: names in `data/`, the ledger,
//!    snapshots, index objects.
//! 2. `records` judges keys, config, ledger, snapshots and index objects; `packs` judges packs by
//!    what the index and the store say of them.
//! 3. `select` chooses packs to be read, `data` reads each of them once, whole; without a wish to read
//!    data only those that were found bad before, so that what is lost with them is known.
//! 4. `needs` walks from the snapshots to every blob, and finds who is to blame for what is lost.
//! 5. `touches` names the files that are hit, only where there is damage.
//! 6. `remember` writes to the ledger which packs were found good or bad.
//!
//! No lease is taken, and nothing is written but step 6. Others may write meanwhile: a fault counts
//! only if neither the ledger's head nor the set of index objects moved since it was looked for.
//!
//! `scrub` is the same question asked by who has the storage and no key.
//!
//! Memory: holdings and reach (see there), one byte and four a copy; while data is read two packs'
//! length a thread; while touched files are named [`touches::MAX_PATHS`] hashes.

mod data;
mod faults;
mod needs;
mod notes;
mod options;
mod packs;
mod records;
mod remember;
mod report;
mod scene;
mod scrub;
mod select;
mod touches;

pub use options::{CheckOptions, Subset};
pub use report::{CheckReport, Counts, Fault, FaultKind, Method, Note, NoteKind, Repair, Touched, Touches};
pub use scrub::scrub;

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::format::wire::Stamp;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::reach::Reach;
use crate::repo::reader::Reader;
use data::Readings;
use faults::Findings;
use scene::Scene;

/// A repository that changes under every look is looked at so often.
const ATTEMPTS: u32 = 4;

/// Checks.
pub fn run(repo: &Repository, options: &CheckOptions, progress: &dyn Progress) -> Result<CheckReport> {
    let begun = Instant::now();
    let began = Stamp::from_ns(repo.surroundings().clock.now_ns());
    let mut readings = Readings::default();
    let outcome = settle(repo, options, &mut readings, progress);
    // Also of a run that is interrupted: what was read need not be read again.
    let remembered = remember::verified(repo, &readings, began);
    // All that they say is judged here.
    drop(repo.take_notices());
    let mut report = outcome?;
    match remembered {
        Ok(entries) => report.ledger_entries = entries,
        Err(error) => report.notes.push(Note::new(
            NoteKind::NotRemembered,
            format!("what was read is not remembered in the repository: {error}"),
        )),
    }
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// Looks until there is no fault, or nothing changed while it was looked for.
fn settle(
    repo: &Repository,
    options: &CheckOptions,
    readings: &mut Readings,
    progress: &dyn Progress,
) -> Result<CheckReport> {
    let mut before: Option<Vec<Fault>> = None;
    let mut attempt = 1;
    loop {
        let scene = Scene::read(repo, progress)?;
        let last = attempt == ATTEMPTS;
        let (mut report, moved) = examine(repo, options, scene, readings, last, progress)?;
        report.attempts = attempt;
        if !moved {
            return Ok(report);
        }
        if last {
            // What two looks saw, one after the other, is no passing state of another run.
            report.faults.retain(|fault| before.iter().flatten().any(|old| old.is_same(fault)));
            report.notes.push(Note::new(
                NoteKind::Moving,
                "other runs changed the repository all the time; check again when they are done".into(),
            ));
            return Ok(report);
        }
        before = Some(report.faults);
        attempt += 1;
    }
}

/// One look. `true`: there are faults, and something changed meanwhile.
fn examine(
    repo: &Repository,
    options: &CheckOptions,
    mut scene: Scene,
    readings: &mut Readings,
    last: bool,
    progress: &dyn Progress,
) -> Result<(CheckReport, bool)> {
    let mut found = Findings::default();
    let mut report = CheckReport::new(repo, options);
    records::judge(repo, &scene, &mut found, &mut report)?;
    packs::judge(repo, &mut scene, &mut found, &mut report, progress)?;
    let chosen = readings.choose(repo, options, &scene)?;
    let reader = Reader::with_places(repo, scene.holdings.clone());
    data::read(&reader, &scene.holdings, &chosen, options, readings, progress)?;
    drop(reader);
    data::judge(&mut scene, readings, &mut found, &mut report)?;
    packs::judge_remembered(&mut scene, readings, &mut found)?;
    needs::mark_unfounded(repo, &mut scene)?;

    let reader = Reader::with_places(repo, scene.holdings.clone());
    let holdings = scene.holdings.clone();
    let reach = Reach::new(&holdings, &reader);
    let roots: Vec<_> = scene.snapshots.iter().map(|(_, root)| *root).collect();
    progress.phase("walking snapshots", None, None);
    progress.unit("trees and lists");
    reach.walk(&roots, progress)?;
    needs::blame(repo, &scene, &reader, &reach.gaps(), &mut found)?;
    notes::count(repo, &scene, &reach, &mut report);
    drop(reach);
    let moved = !found.is_empty() && scene.moved(repo)?;
    if !moved || last {
        found.gather();
        touches::name(&scene, &reader, &mut found, &mut report, progress)?;
    }
    report.faults = found.into_faults();
    Ok((report, moved))
}

/// The holdings, while nobody else looks at them.
fn alone<T>(shared: &mut Arc<T>) -> Result<&mut T> {
    Arc::get_mut(shared).ok_or_else(|| Error::Internal("holdings are still in use".into()))
}
