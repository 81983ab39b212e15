//! `restore`: files, directories and whole snapshots, bit for bit (design §3.7).
//!
//! 1. The snapshot, and `path` in it, lead to a tree.
//! 2. `plan` walks it and gives steps: pure, and all that a dry run does.
//! 3. `work` takes the steps: `dir`ectories first, then what is in them, by several workers.
//! 4. Each `file` is written beside its place under a temporary name, verified chunk by
//!    chunk, renamed, then given its `meta`data; hard `links` and `special` files likewise.
//!    Where it is a database, what belonged to the one it replaces goes out of the way first (`aside`).
//! 5. A directory's metadata is set when the last thing in it is done.
//! 6. One `syncfs` at the end: what was reported is durable.
//!
//! Every step is relative to the handle of a directory (`door`) and follows no link, but for
//! the target as the user gave it. A lost blob costs the files that need it, each a Problem.

mod aside;
mod dir;
mod door;
mod file;
mod links;
mod meta;
mod options;
mod plan;
mod run;
mod select;
mod special;
mod team;
mod work;

pub use options::{MovedAside, Overwrite, RestoreOptions, RestoreReport};
pub use plan::DAMAGED;

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Instant;

use crate::error::{Error, Problem, ProblemKind, Result, printable};
use crate::format::tree::NodeKind;
use crate::format::wire::Bytes;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::Reader;
use plan::{Step, Walk};
use run::Run;
use select::Selection;

/// Restores.
pub fn run(repo: &Repository, options: &RestoreOptions, progress: &dyn Progress) -> Result<RestoreReport> {
    let begun = Instant::now();
    let selection = Selection::new(&options.include, &options.exclude)?;
    let snapshot = repo.snapshot(options.snapshot)?.record;
    let reader = Reader::open(repo)?;
    let asked = options.path.as_deref().unwrap_or(b"/");
    let found = lookup::resolve(&reader, snapshot.root, asked, LastLink::Follow)?;
    let (base, walk) = match (found.tree, found.node) {
        (Some(tree), _) => {
            let walk = Walk::contents(&reader, &selection, tree, &found.path)?;
            (found.path, walk.salvaging(options.salvage))
        }
        (None, Some(mut node)) => {
            // Under the name that was asked for, though a link may have led elsewhere.
            if let Some(name) = last_name(asked) {
                node.name = name;
            }
            let (base, _) = split_last(&found.path);
            let walk = Walk::over(&reader, &selection, vec![node], base);
            (base.to_vec(), walk.salvaging(options.salvage))
        }
        (None, None) => return Err(Error::Internal("a path without a node".into())),
    };
    let counts = &snapshot.counts;
    let totals = (base == b"/" && selection.is_everything())
        .then(|| (counts.files_new + counts.files_changed + counts.files_unchanged, counts.total_bytes));
    progress.phase("restoring", totals.map(|t| t.0), totals.map(|t| t.1));
    let mut report = if options.dry_run {
        rehearse(options, walk, progress)?
    } else {
        apply(&reader, options, progress, base, walk)?
    };
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

fn apply(
    reader: &Reader,
    options: &RestoreOptions,
    progress: &dyn Progress,
    base: Vec<u8>,
    walk: Walk<'_, Reader>,
) -> Result<RestoreReport> {
    let (top, fresh) = open_target(&options.target)?;
    let sync = top.try_clone().map_err(|e| Error::io(&options.target, e))?;
    let run = Run::new(reader, options, progress, base);
    work::go(&run, top, fresh, walk)?;
    let report = run.finish()?;
    if report.files + report.directories + report.others > 0 {
        progress.phase("making it durable", None, None);
        make_durable(&sync).map_err(|e| Error::io(&options.target, e))?;
    }
    Ok(report)
}

/// The steps, counted and not taken.
fn rehearse(
    options: &RestoreOptions,
    mut walk: Walk<'_, Reader>,
    progress: &dyn Progress,
) -> Result<RestoreReport> {
    let mut report =
        RestoreReport { snapshot: Some(options.snapshot), dry_run: true, ..RestoreReport::default() };
    let say = |problem: Problem, report: &mut RestoreReport| {
        progress.problem(&problem);
        report.problem_count += 1;
        report.problems.push(problem);
    };
    while let Some(step) = walk.next_step() {
        progress.check()?;
        match step {
            Step::Enter { .. } => report.directories += 1,
            Step::Leaf(node) if node.kind == NodeKind::File => {
                report.files += 1;
                report.bytes += node.size;
                progress.advance(1, node.size);
            }
            Step::Leaf(_) => report.others += 1,
            Step::Broken(error) => {
                say(Problem::new(ProblemKind::Damaged, printable(walk.path()), error), &mut report);
            }
            Step::Lost { path, message } => {
                say(Problem::new(ProblemKind::Damaged, printable(&path), message), &mut report);
            }
            Step::Leave => {}
        }
    }
    Ok(report)
}

/// The target as the user gave it: links in it are meant. `true`: it was made now, for us alone.
fn open_target(target: &Path) -> Result<(File, bool)> {
    let failed = |e| Error::io(target, e);
    let fresh = match std::fs::metadata(target) {
        Ok(_) => false,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(target).map_err(failed)?;
            true
        }
        Err(e) => return Err(failed(e)),
    };
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(target, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
    Ok((fd.into(), fresh))
}

fn make_durable(top: &File) -> std::io::Result<()> {
    #[cfg(target_os = "linux")]
    let done = rustix::fs::syncfs(top);
    #[cfg(not(target_os = "linux"))]
    let done = rustix::fs::fsync(top);
    Ok(done?)
}

fn last_name(path: &[u8]) -> Option<Bytes> {
    let name = path.split(|b| *b == b'/').rfind(|n| !n.is_empty())?;
    (name != b"." && name != b"..").then(|| name.into())
}

/// Directory and name of a path without links.
fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(0) | None => (b"/", path.strip_prefix(b"/").unwrap_or(path)),
        Some(at) => (&path[..at], &path[at + 1..]),
    }
}
