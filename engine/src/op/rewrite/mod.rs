//! `rewrite`: snapshots without files that should never have been in them.
//!
//! For each snapshot: [`strip`] finds out what the patterns leave out of it. If anything, a session
//! stores the trees on the way there, puts a snapshot that names its original and is else as it was,
//! and commits it, with the old one as the base it relies on (W5): overtaken, it begins anew.
//! At the end, if that was asked for, one entry forgets the old ones. Killed in between, both count; a
//! rerun finds the new ones by what they say and only forgets.
//!
//! The data of what was left out stays until a prune, and until every snapshot with it is forgotten.

mod strip;

use std::path::PathBuf;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::snapshot::{CountsV1, SnapshotV1};
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::clerk::Clerk;
use crate::repo::reader::Reader;
use crate::repo::session::Session;
use crate::repo::snapshots::{Filter, Snapshot};
use crate::source::{Exclude, ExcludeOptions};

pub use strip::Dropped;
use strip::{Keep, Strip};

/// A snapshot that is overtaken begins anew so many times.
const ATTEMPTS: usize = 3;

/// What to leave out of which snapshots.
#[derive(Debug, Clone, Default)]
pub struct RewriteOptions {
    /// These; none = all that fit `filter`.
    pub snapshots: Vec<SnapshotId>,
    /// See `snapshots`.
    pub filter: Filter,
    /// Patterns, as a snapshot has them.
    pub excludes: Vec<String>,
    /// Files of such patterns.
    pub exclude_files: Vec<PathBuf>,
    /// Patterns that do not mind case.
    pub any_case_excludes: Vec<String>,
    /// Files of such patterns.
    pub any_case_exclude_files: Vec<PathBuf>,
    /// Forget the snapshots that were rewritten.
    pub forget: bool,
    /// Find out what would be left out; write nothing.
    pub dry_run: bool,
}

/// A snapshot that has something to leave out.
#[derive(Debug, Clone, Serialize)]
pub struct Rewritten {
    /// It.
    pub old: SnapshotId,
    /// The one without; `None` in a dry run.
    pub new: Option<SnapshotId>,
    /// An earlier run had made it.
    pub found: bool,
    /// What is not in it.
    pub dropped: Dropped,
}

/// What was done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RewriteReport {
    /// Nothing was written.
    pub dry_run: bool,
    /// Snapshots with something to leave out.
    pub rewritten: Vec<Rewritten>,
    /// Those without.
    pub unchanged: Vec<SnapshotId>,
    /// Those that could not be rewritten, with the reason.
    pub failed: Vec<(SnapshotId, String)>,
    /// The old ones that count no longer.
    pub forgotten: Vec<SnapshotId>,
    /// Objects of them that could not be removed, with the reason. A later forget will.
    pub left_objects: Vec<(SnapshotId, String)>,
}

/// Rewrites snapshots.
pub fn run(repo: &Repository, options: &RewriteOptions, progress: &dyn Progress) -> Result<RewriteReport> {
    let exclude = Exclude::new(&ExcludeOptions {
        patterns: options.excludes.clone(),
        files: options.exclude_files.clone(),
        any_case: options.any_case_excludes.clone(),
        any_case_files: options.any_case_exclude_files.clone(),
        ..ExcludeOptions::default()
    })?;
    let any = [&options.excludes, &options.any_case_excludes].iter().any(|patterns| !patterns.is_empty());
    if !any && options.exclude_files.is_empty() && options.any_case_exclude_files.is_empty() {
        return Err(Error::Usage("nothing says what to leave out".into()));
    }
    progress.phase("reading snapshots", None, None);
    let ledger = repo.ledger(true)?;
    let (all, unreadable) = repo.snapshots(&ledger, &Filter::default())?;
    let mut report = RewriteReport { dry_run: options.dry_run, ..RewriteReport::default() };
    let chosen = choose(&all, options, |id| {
        let reason = unreadable.iter().find(|(found, _)| *found == id)?;
        Some(reason.1.to_string())
    })?;
    report.failed = chosen.1;
    if options.snapshots.is_empty() {
        report.failed = unreadable.iter().map(|(id, error)| (*id, error.to_string())).collect();
    }
    let mut strip = Strip::new(&exclude);
    let mut work: Vec<(&Snapshot, Dropped)> = Vec::new();
    {
        // While it lives it holds this machine's cache, which the sessions need.
        let reader = Reader::open_at(repo, &ledger)?;
        for snapshot in chosen.0 {
            progress.check()?;
            match strip.run(&reader, &snapshot.record, None, progress) {
                Ok((_, dropped)) if dropped.paths == 0 => report.unchanged.push(snapshot.id),
                Ok((_, dropped)) if leaves_nothing(&snapshot.record.counts, &dropped) => {
                    report.failed.push((snapshot.id, "the patterns leave nothing of it".into()));
                }
                Ok((_, dropped)) => work.push((snapshot, dropped)),
                Err(error) => report.failed.push((snapshot.id, passable(error)?)),
            }
        }
    }
    progress.phase("writing snapshots", None, None);
    for (old, dropped) in work {
        progress.check()?;
        let made =
            if options.dry_run { Ok((None, false)) } else { one(repo, old, &all, &mut strip, progress) };
        match made {
            Ok((new, found)) => report.rewritten.push(Rewritten { old: old.id, new, found, dropped }),
            Err(error) => report.failed.push((old.id, passable(error)?)),
        }
    }
    if options.forget && !options.dry_run && !report.rewritten.is_empty() {
        progress.phase("forgetting", None, None);
        let mut clerk = Clerk::begin(repo, "rewrite")?;
        let pairs: Vec<_> = report.rewritten.iter().filter_map(|r| Some((r.old, r.new?))).collect();
        let forgotten = clerk.forget("rewritten", &mut |ledger| {
            let counts = ledger.committed();
            let both = |p: &&(SnapshotId, SnapshotId)| counts.contains(&p.0) && counts.contains(&p.1);
            Ok(pairs.iter().filter(both).map(|p| p.0).collect())
        })?;
        report.forgotten = forgotten.ids;
        report.left_objects = repo.sweep_forgotten(clerk.ledger())?.left;
    }
    Ok(report)
}

type Chosen<'a> = (Vec<&'a Snapshot>, Vec<(SnapshotId, String)>);

fn choose<'a>(
    all: &'a [Snapshot],
    options: &RewriteOptions,
    unreadable: impl Fn(SnapshotId) -> Option<String>,
) -> Result<Chosen<'a>> {
    if options.snapshots.is_empty() {
        return Ok((all.iter().filter(|s| options.filter.fits(&s.record)).collect(), Vec::new()));
    }
    let (mut chosen, mut failed): Chosen<'a> = (Vec::new(), Vec::new());
    for id in &options.snapshots {
        match all.iter().find(|s| s.id == *id) {
            Some(found) if chosen.iter().all(|s| s.id != *id) => chosen.push(found),
            Some(_) => {}
            None => match unreadable(*id) {
                Some(reason) => failed.push((*id, reason)),
                None => return Err(Error::NotFound { what: format!("snapshot {}", id.short()) }),
            },
        }
    }
    Ok((chosen, failed))
}

/// What keeps one snapshot from being rewritten, and not the others.
fn passable(error: Error) -> Result<String> {
    match error {
        Error::Missing { .. } | Error::Corrupt { .. } | Error::Overtaken { .. } => Ok(error.to_string()),
        error => Err(error),
    }
}

/// Rewrites one snapshot; gives the one without, and whether it was there already.
fn one(
    repo: &Repository,
    old: &Snapshot,
    all: &[Snapshot],
    strip: &mut Strip<'_>,
    progress: &dyn Progress,
) -> Result<(Option<SnapshotId>, bool)> {
    let mut attempt = 1;
    loop {
        let mut session = Session::begin(repo, "rewrite", false, progress)?;
        let counts = session.ledger().committed();
        if !counts.contains(&old.id) {
            return Err(Error::Overtaken {
                what: format!("snapshot {}, forgotten meanwhile", old.id.short()),
            });
        }
        let vouched = session.index().vouches_for(&old.record.root);
        let reader = Reader::with_index(repo, session.index().clone());
        let keep = Keep { session: &session, reader: &reader, vouched };
        let (root, dropped) = strip.run(&reader, &old.record, Some(&keep), progress)?;
        let wanted =
            SnapshotV1 { root, counts: less(old.record.counts, &dropped), ..old.record.successor(old.id) };
        if let Some(twin) = all.iter().find(|s| s.record == wanted && counts.contains(&s.id)) {
            return Ok((Some(twin.id), true));
        }
        let flushed = session.flush()?;
        match session.commit(&wanted, Some(old.id), flushed) {
            Err(Error::Overtaken { .. }) if attempt < ATTEMPTS => attempt += 1,
            result => return Ok((Some(result?), false)),
        }
    }
}

fn files(counts: &CountsV1) -> u64 {
    counts.files_new.saturating_add(counts.files_changed).saturating_add(counts.files_unchanged)
}

fn leaves_nothing(counts: &CountsV1, dropped: &Dropped) -> bool {
    dropped.files + dropped.others > 0 && dropped.files >= files(counts) && dropped.others >= counts.others
}

/// The counts without what was left out. Which files were new or changed is not known of each: first
/// the unchanged ones go, then the changed, then the new.
fn less(mut counts: CountsV1, dropped: &Dropped) -> CountsV1 {
    let mut files = dropped.files;
    for count in [&mut counts.files_unchanged, &mut counts.files_changed, &mut counts.files_new] {
        let taken = files.min(*count);
        *count -= taken;
        files -= taken;
    }
    counts.directories = counts.directories.saturating_sub(dropped.directories);
    counts.others = counts.others.saturating_sub(dropped.others);
    counts.total_bytes = counts.total_bytes.saturating_sub(dropped.bytes);
    counts.excluded = counts.excluded.saturating_add(dropped.paths);
    counts.excluded_bytes = counts.excluded_bytes.saturating_add(dropped.bytes);
    counts
}
