//! `restore`: files, directories and whole snapshots, bit for bit (design §3.7).
//!
//! 1. The snapshot, and `path` in it, lead to a tree.
//! 2. `plan` walks it and gives steps: pure, and all that a dry run does.
//! 3. `work` takes the steps: `dir`ectories first, then what is in them, by several workers.
//! 4. Each `file` takes its `course`: what stands there is compared, and gives the chunks that it has; all is
//!    written to a `sink`, beside its place under a temporary name, verified chunk by chunk, renamed, then given its
//!    `meta`data; hard `links` and `special` files likewise.
//!    Where it is a database, what belonged to the one it replaces goes out of the way first (`aside`).
//! 5. When the last thing in a directory is done, what the snapshot does not have in it goes, if that was asked
//!    for (`delete`), and its metadata is set.
//! 6. A large file is on the disk before it has its name and its time ([`sink`]); one `syncfs` for each file system at the
//!    end: what was reported is durable.
//!
//! Every step is relative to the handle of a directory (`door`) and follows no link, but for
//! the target as the user gave it. A lost blob costs the files that need it, each a Problem.

mod aside;
mod course;
mod delete;
mod dir;
mod door;
mod file;
mod line;
mod links;
mod meta;
mod options;
mod plan;
mod rehearse;
mod run;
mod select;
mod sink;
mod special;
mod strip;
mod team;
mod work;

#[cfg(feature = "testing")]
pub use door::{REFUSES_FLUSHES_OF, REFUSES_LINKS};
pub use options::{MovedAside, Overwrite, RestoreOptions, RestoreReport};
pub use plan::DAMAGED;

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Instant;

use crate::error::{Error, Result, printable};
use crate::format::snapshot::SnapshotV1;
use crate::format::tree::MARK_INCOMPLETE;
use crate::format::wire::Bytes;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::Reader;
use delete::Unsure;
use plan::Walk;
use run::{Entered, Run};
use select::Selection;

/// Restores.
pub fn run(repo: &Repository, options: &RestoreOptions, progress: &dyn Progress) -> Result<RestoreReport> {
    let begun = Instant::now();
    refuse_delete_of_all(options)?;
    let selection = Selection::new(&options.include, &options.exclude)?;
    let snapshot = repo.snapshot(options.snapshot)?.record;
    let reader = Reader::open(repo)?;
    refuse_delete_of_strangers(options, &reader, &snapshot)?;
    let asked = options.path.as_deref().unwrap_or(b"/");
    let found = lookup::resolve(&reader, snapshot.root, asked, LastLink::Follow)?;
    let (base, walk) = match (found.tree, found.node) {
        (Some(tree), node) => {
            let mut walk = Walk::contents(&reader, &selection, tree, &found.path)?;
            if let Some(node) = node {
                walk.not_whole(node.lost().is_some() || node.marks & MARK_INCOMPLETE != 0);
            }
            (found.path, walk)
        }
        (None, Some(mut node)) => {
            // Under the name that was asked for, though a link may have led elsewhere.
            if let Some(name) = last_name(asked) {
                node.name = name;
            }
            let (base, _) = split_last(&found.path);
            let walk = Walk::over(&reader, &selection, vec![node], base);
            (base.to_vec(), walk)
        }
        (None, None) => return Err(Error::Internal("a path without a node".into())),
    };
    let walk = walk.salvaging(options.salvage).deleting(options.delete);
    let walk = walk.stripped(options.strip_components)?;
    let unsure = Unsure::of(&snapshot);
    let counts = &snapshot.counts;
    let totals = (base == b"/" && selection.is_everything()).then(|| (counts.files(), counts.total_bytes));
    progress.phase("restoring", totals.map(|t| t.0), totals.map(|t| t.1));
    let mut report = if options.dry_run {
        rehearse::run(options, &selection, &unsure, walk, progress)?
    } else {
        let run = Run::new(&reader, options, progress, &selection, &unsure);
        apply(run, base, walk)?
    };
    let stripped = options.strip_components;
    if stripped > 0 && report.files + report.directories + report.others + report.files_skipped == 0 {
        progress.note(&format!("nothing is left of any path without its first {stripped} names"));
    }
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

fn apply(run: Run<'_>, base: Vec<u8>, walk: Walk<'_, Reader>) -> Result<RestoreReport> {
    let (options, progress) = (run.options, run.progress);
    let (top, fresh) = open_target(&options.target)?;
    run.enters(&top, b"").map_err(|e| Error::io(&options.target, e))?;
    work::go(&run, top, fresh, base, walk)?;
    let entered = run.take_entered();
    let report = run.finish()?;
    if report.files + report.directories + report.others + report.deleted_count > 0 {
        progress.phase("making it durable", None, None);
        for Entered { handle, below, .. } in entered {
            let path = || options.target.join(OsStr::from_bytes(&below));
            make_durable(&handle).map_err(|e| Error::io(path(), e))?;
        }
    }
    Ok(report)
}

/// Removing all that a snapshot does not have from `/` is never meant: a snapshot has what it was made of.
fn refuse_delete_of_all(options: &RestoreOptions) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let is_root = || identity(&options.target).is_some_and(|target| Some(target) == identity(Path::new("/")));
    if options.delete && options.path.is_none() && is_root() {
        let message = "--delete with / as the target would remove all that the snapshot does not have";
        return Err(Error::Usage(message.into()));
    }
    Ok(())
}

/// A whole snapshot lies below the target at its absolute paths. Who forgets the path after the snapshot, and restores
/// `/srv` to `/srv`, would lose all that is there: nothing of it is `/srv/srv`.
fn refuse_delete_of_strangers(
    options: &RestoreOptions,
    reader: &Reader,
    snapshot: &SnapshotV1,
) -> Result<()> {
    if !options.delete || options.path.is_some() || options.strip_components > 0 {
        return Ok(());
    }
    let Ok(mut there) = std::fs::read_dir(&options.target) else { return Ok(()) };
    let nodes = reader.tree(snapshot.root)?;
    let of_snapshot =
        |entry: &std::fs::DirEntry| nodes.iter().any(|node| node.name[..] == *entry.file_name().as_bytes());
    let mut any = false;
    if there.by_ref().flatten().any(|entry| {
        any = true;
        of_snapshot(&entry)
    }) || !any
    {
        return Ok(());
    }
    let target = printable(options.target.as_os_str().as_bytes());
    let message = format!(
        "--delete would remove all that is in {target}: nothing of it is in the snapshot, whose paths begin at /"
    );
    Err(Error::Usage(message))
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
    Ok((open_existing(target).map_err(failed)?, fresh))
}

fn open_existing(target: &Path) -> std::io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(target, flags, Mode::empty())?.into())
}

/// For tests: devices of file systems that were flushed.
#[cfg(feature = "testing")]
pub static FLUSHED_DEVICES: std::sync::Mutex<Vec<u64>> = std::sync::Mutex::new(Vec::new());

fn make_durable(top: &File) -> std::io::Result<()> {
    #[cfg(feature = "testing")]
    {
        use std::os::unix::fs::MetadataExt;
        FLUSHED_DEVICES.lock().unwrap_or_else(|e| e.into_inner()).push(top.metadata()?.dev());
    }
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
