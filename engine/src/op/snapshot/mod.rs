//! `snapshot`: the main job (design §3, §3a).
//!
//! 1. A session begins: lease, ledger, index, finished packs of dead sessions.
//! 2. One thread walks the source in the order of trees. A file that is as the parent snapshot
//!    has it is taken over; small ones that must be read are handed to the CPU pool in runs of
//!    neighbours ([`reading`]), large ones go through windows ([`large`]).
//! 3. Nodes come back in any order; directories become trees from the bottom up ([`builder`]).
//! 4. Everything is flushed, the snapshot put and committed.
//!
//! Memory: the session's packs, the windows of [`large`], [`IN_FLIGHT_BYTES`] of small files
//! queued (not read yet), one buffer of a whole small file for each worker, and the nodes of
//! the directories that are not finished.

mod ahead;
mod ancestry;
mod builder;
mod conductor;
mod database;
mod early;
mod elements;
mod familiar;
mod kin;
mod large;
mod likeness;
mod options;
mod parent;
mod reading;
mod seams;
mod tally;
mod units;

pub use ancestry::Named;
pub use early::Early;
pub use options::{Parent, SnapshotOptions, SnapshotReport, StreamOptions};

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::chunk::Cutter;
use crate::error::{Error, Result};
use crate::format::snapshot::SnapshotV1;
use crate::format::wire::{Bytes, Stamp, Text};
use crate::progress::Progress;
use crate::repo::session::Session;
use crate::repo::{PROGRAM, Repository};

use ancestry::Ancestry;
use conductor::Conductor;
use parent::ParentSnapshot;

/// Small files queued for reading, by length and a surcharge for each.
const IN_FLIGHT_BYTES: u64 = 64 << 20;
/// A run that a prune overtook begins anew so many times; what it stored is adopted.
const ATTEMPTS: usize = 3;

/// Paths recorded in a snapshot, in bytes; all of it must stay well within its limit of 16 MiB.
const RECORDED_BYTES: usize = 4 << 20;
/// What a path takes beside its bytes, at most.
const PATH_COST: usize = 9;

/// Takes a snapshot. Files that cannot be read are problems in the report; an error means that
/// there is no snapshot.
pub fn run(repo: &Repository, options: &SnapshotOptions, progress: &dyn Progress) -> Result<SnapshotReport> {
    run_begun(repo, options, Early::new(options)?, progress)
}

/// The same, of which something was done before there was a repository: `early` was made of these `options`, and
/// knows what they leave out.
pub fn run_begun(
    repo: &Repository,
    options: &SnapshotOptions,
    mut early: Early,
    progress: &dyn Progress,
) -> Result<SnapshotReport> {
    if options.paths.is_empty() && options.stream.is_none() {
        return Err(Error::Usage("nothing to snapshot: name at least one path".into()));
    }
    let mut attempt = 1;
    loop {
        match run_once(repo, options, &mut early, progress) {
            // What came out of a pipe does not come again.
            Err(Error::Overtaken { what }) if attempt < ATTEMPTS && options.stream.is_none() => {
                progress
                    .note(&format!("another run removed data this one relied on ({what}); going on anew"));
                attempt += 1;
            }
            result => return result,
        }
    }
}

fn run_once(
    repo: &Repository,
    options: &SnapshotOptions,
    early: &mut Early,
    progress: &dyn Progress,
) -> Result<SnapshotReport> {
    let clock = repo.surroundings().clock.clone();
    let started_ns = clock.now_ns();
    progress.phase("opening", None, None);
    let mut session = Session::begin(repo, "snapshot", options.dry_run, progress)?;
    let cutter = Cutter::new(&repo.config().cut_secret, repo.config().table_version, repo.cut_params())
        .map_err(|e| e.of("config"))?;
    let host = options.host.clone().unwrap_or_else(|| repo.identity().host.clone());
    let paths = recorded_paths(options);
    let parent = ParentSnapshot::choose(&session, options, &host, &paths)?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .thread_name(|n| format!("ballast-cpu-{n}"))
        .build()
        .map_err(|e| Error::Internal(format!("no CPU pool: {e}")))?;

    progress.phase("reading", None, None);
    let ancestry = Ancestry::new(&session, &parent, options.base.clone());
    let mut conductor = Conductor::new(&session, options, &parent, &ancestry, progress, early);
    let began_ns = conductor.began_ns().unwrap_or(started_ns);
    let root = conductor.walk(&pool, &cutter)?;
    let (mut tally, excluded) = conductor.finish();
    tally.refuse_silence(progress);

    progress.phase("finishing", None, None);
    let flushed = session.flush()?;
    let stats = session.stats();
    let mut counts = tally.counts;
    counts.new_bytes = stats.new_bytes;
    counts.stored_bytes = stats.stored_bytes;
    counts.excluded = excluded.0;
    counts.excluded_bytes = excluded.1;
    let relied_on = parent.relied_on();
    let parent_id = parent.id();
    let mut tags: Vec<Text> = options.tags.iter().map(|t| Text(t.clone())).collect();
    tags.sort();
    tags.dedup();
    let snapshot = SnapshotV1 {
        time: Stamp::from_ns(options.time_ns.unwrap_or(began_ns)),
        utc_offset_secs: options.utc_offset_secs,
        host: Text(host),
        user: Text(repo.identity().user.clone()),
        paths,
        tags,
        description: Text(options.description.clone()),
        parent: parent_id,
        program: PROGRAM.into(),
        partial: tally.gaps,
        root,
        counts,
        problem_count: tally.problem_count,
        problems: tally.recorded(),
        extensions: Vec::new(),
    };
    let id = match options.dry_run {
        true => None,
        false => Some(session.commit(&snapshot, relied_on, flushed)?),
    };
    let stats = session.stats();
    Ok(SnapshotReport {
        snapshot: id,
        parent: parent_id,
        parent_host: parent.other_host().map(str::to_owned),
        dry_run: options.dry_run,
        files_new: counts.files_new,
        files_changed: counts.files_changed,
        files_unchanged: counts.files_unchanged,
        directories: counts.directories,
        others: counts.others,
        total_bytes: counts.total_bytes,
        read_bytes: counts.read_bytes,
        new_bytes: stats.new_bytes,
        stored_bytes: stats.stored_bytes,
        adopted_packs: stats.adopted_packs,
        adopted_bytes: stats.adopted_bytes,
        read_again: tally.read_again,
        excluded: counts.excluded,
        excluded_bytes: counts.excluded_bytes,
        outside_links: tally.outside_links,
        outside_bytes: tally.outside_bytes,
        problem_count: tally.problem_count,
        problems: tally.problems,
        seconds: (clock.now_ns() - started_ns) as f64 / 1e9,
        free_bytes: repo.store().free_bytes(),
    })
}

/// The arguments, absolute and without `.` and `..`, sorted: what the snapshot records and by
/// what its successor finds it.
fn recorded_paths(options: &SnapshotOptions) -> Vec<Bytes> {
    let given = options.stream.as_ref().map_or(&options.paths[..], |s| std::slice::from_ref(&s.path));
    let mut paths: Vec<Bytes> =
        given.iter().map(|p| Bytes::from(absolute(&options.cwd, p).as_os_str().as_bytes())).collect();
    paths.sort();
    paths.dedup();
    shorten(&mut paths, RECORDED_BYTES);
    paths
}

/// Paths that take more than `limit` bytes are recorded by the directories above them: a list of a million
/// files must not make the snapshot too large to be one. What is stored is still what was listed.
fn shorten(paths: &mut Vec<Bytes>, limit: usize) {
    while paths.len() > 1 && paths.iter().map(|path| path.len() + PATH_COST).sum::<usize>() > limit {
        for path in paths.iter_mut() {
            let above = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0).max(1);
            *path = Bytes::from(&path[..above]);
        }
        paths.sort();
        paths.dedup();
    }
}

fn absolute(cwd: &Path, path: &Path) -> PathBuf {
    let mut out = PathBuf::from("/");
    for component in cwd.join(path).components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => drop(out.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_recorded_in_one_spelling() {
        let options = SnapshotOptions {
            paths: ["b/../a/./x", "/srv//m/", "..", "a/x"].map(PathBuf::from).to_vec(),
            cwd: "/home/u".into(),
            ..SnapshotOptions::default()
        };
        let paths: Vec<_> =
            recorded_paths(&options).iter().map(|p| String::from_utf8_lossy(p).into_owned()).collect();
        assert_eq!(paths, ["/home", "/home/u/a/x", "/srv/m"]);
    }

    #[test]
    fn a_list_too_long_to_record_is_recorded_by_directories() {
        let mut paths: Vec<Bytes> =
            (0..300).map(|n| Bytes::from(format!("/d/{}/f{n}", n % 3).as_bytes())).collect();
        shorten(&mut paths, 300 * (9 + PATH_COST));
        assert_eq!(paths.len(), 300, "it fits");
        shorten(&mut paths, 300);
        assert_eq!(paths, ["/d/0", "/d/1", "/d/2"].map(|p| Bytes::from(p.as_bytes())));
        shorten(&mut paths, 1);
        assert_eq!(paths, [Bytes::from(&b"/d"[..])]);
    }
}
