//! What all threads of one restore share: counts, findings, and the reason to stop.
//!
//! A [`Trouble`] is what became of one step: either the whole run ends, or a Problem is noted
//! and the run goes on.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{Dev, Stat, fstat};

use super::aside::Logs;
use super::delete::Unsure;
use super::meta::is_older;
use super::select::Selection;
use super::{MovedAside, Overwrite, RestoreOptions, RestoreReport};
use crate::error::printable;
use crate::error::{Error, Problem, ProblemKind, Result};
use crate::format::snapshot::KEPT_PROBLEMS;
use crate::format::tree::Node;
use crate::progress::Progress;
use crate::repo::reader::Reader;

/// Why a step was not done.
#[derive(Debug)]
pub enum Trouble {
    /// The run must end.
    Stop(Error),
    /// The target takes no more: the run must end too.
    Full(io::Error),
    /// This path has a Problem.
    Say(ProblemKind, String),
}

/// Result of a step.
pub type Done<T> = Result<T, Trouble>;

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error {
            Error::Missing { .. } | Error::Corrupt { .. } | Error::Store(_) | Error::NotFound { .. } => {
                Self::Say(ProblemKind::Damaged, error.to_string())
            }
            error => Self::Stop(error),
        }
    }
}

/// `what` failed on the target.
pub fn cannot(what: &str, error: impl Into<io::Error>) -> Trouble {
    use io::ErrorKind as K;
    let error = error.into();
    match error.kind() {
        K::StorageFull | K::QuotaExceeded | K::ReadOnlyFilesystem => Trouble::Full(error),
        _ => Trouble::Say(ProblemKind::Refused, format!("cannot {what}: {error}")),
    }
}

/// Is what stands there replaced by, or made like, what the snapshot has?
pub fn is_replaced(overwrite: Overwrite, node: &Node, stands: &Stat) -> bool {
    match overwrite {
        Overwrite::Always | Overwrite::IfChanged => true,
        Overwrite::IfNewer => is_older(stands, node),
        Overwrite::Never => false,
    }
}

/// Counts of a report, kept by many threads.
#[derive(Default)]
pub struct Counts {
    pub files: AtomicU64,
    pub directories: AtomicU64,
    pub others: AtomicU64,
    pub bytes: AtomicU64,
    pub reused: AtomicU64,
    pub skipped: AtomicU64,
    pub resumed: AtomicU64,
}

/// One more.
pub fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

#[derive(Default)]
struct Findings {
    count: u64,
    first: Vec<Problem>,
    /// Failures that come by the thousand: said once, with a count.
    repeated: BTreeMap<(String, u8), (ProblemKind, Vec<u8>, u64)>,
}

/// One restore.
pub struct Run<'r> {
    /// Where blobs come from.
    pub reader: &'r Reader,
    /// Who watches.
    pub progress: &'r dyn Progress,
    /// What was asked for.
    pub options: &'r RestoreOptions,
    /// Effective user and group of this process.
    pub me: (u32, u32),
    /// Counts.
    pub counts: Counts,
    /// See [`super::aside`].
    pub logs: Logs,
    /// What is wanted of the snapshot.
    pub selection: &'r Selection,
    /// Where the snapshot may lack what was there when it was taken.
    pub unsure: &'r Unsure,
    moved: Mutex<(u64, Vec<MovedAside>)>,
    deleted: Mutex<(u64, Vec<String>)>,
    findings: Mutex<Findings>,
    failure: Mutex<Option<Error>>,
    aborted: AtomicBool,
    owner_skipped: AtomicBool,
    /// Files without a name could not be given one.
    names_all: AtomicBool,
    /// File systems that something is written to.
    entered: Mutex<Vec<Entered>>,
}

/// A file system that something is written to.
pub struct Entered {
    device: u64,
    /// A directory of it, opened before anything was written: errors of what is written later are told to it.
    pub handle: File,
    /// That directory, below the target.
    pub below: Vec<u8>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl<'r> Run<'r> {
    /// Nothing is done yet.
    pub fn new(
        reader: &'r Reader,
        options: &'r RestoreOptions,
        progress: &'r dyn Progress,
        selection: &'r Selection,
        unsure: &'r Unsure,
    ) -> Self {
        let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Self {
            reader,
            progress,
            options,
            me,
            counts: Counts::default(),
            logs: Logs::default(),
            selection,
            unsure,
            moved: Mutex::default(),
            deleted: Mutex::default(),
            findings: Mutex::default(),
            failure: Mutex::default(),
            aborted: AtomicBool::new(false),
            owner_skipped: AtomicBool::new(false),
            names_all: AtomicBool::new(false),
            entered: Mutex::default(),
        }
    }

    /// Something may be written into this directory, `below` the target.
    pub fn enters(&self, dir: &File, below: &[u8]) -> io::Result<()> {
        self.enters_device(dir, fstat(dir)?.st_dev, below)
    }

    /// As [`Run::enters`], where its device is known.
    #[allow(clippy::unnecessary_cast, reason = "signed, or of 32 bits, on some machines")]
    pub fn enters_device(&self, dir: &File, device: Dev, below: &[u8]) -> io::Result<()> {
        let device = device as u64;
        let mut entered = locked(&self.entered);
        if entered.iter().all(|known| known.device != device) {
            entered.push(Entered { device, handle: dir.try_clone()?, below: below.to_vec() });
        }
        Ok(())
    }

    /// What [`Run::enters`] was told.
    pub fn take_entered(&self) -> Vec<Entered> {
        std::mem::take(&mut *locked(&self.entered))
    }

    /// Does it end because the user asked for that, if it ends early? Else a failure elsewhere ends it.
    pub fn is_stopped(&self) -> bool {
        matches!(*locked(&self.failure), None | Some(Error::Interrupted))
    }

    /// May owners be given away?
    pub fn is_root(&self) -> bool {
        self.me.0 == 0
    }

    /// Is whatever is there replaced, even if nobody has looked at it?
    pub fn replaces_all(&self) -> bool {
        matches!(self.options.overwrite, Overwrite::Always | Overwrite::IfChanged)
    }

    /// Is what stands there replaced by, or made like, what the snapshot has?
    pub fn replaces(&self, node: &Node, stands: &Stat) -> bool {
        is_replaced(self.options.overwrite, node, stands)
    }

    /// Looked at between chunks and files: has the user, or a failure elsewhere, ended the run?
    pub fn check(&self) -> Done<()> {
        if self.is_aborted() { Err(Trouble::Stop(Error::Interrupted)) } else { Ok(self.progress.check()?) }
    }

    /// Is the run at its end before its time?
    pub fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// Ends the run; the first reason stands.
    pub fn abort(&self, error: Error) {
        locked(&self.failure).get_or_insert(error);
        self.aborted.store(true, Ordering::Relaxed);
    }

    /// Deals with what became of `path` (of the snapshot).
    pub fn settle(&self, path: &[u8], trouble: Trouble) {
        match trouble {
            Trouble::Stop(error) => self.abort(error),
            Trouble::Full(error) => {
                let what = format!("{} (for {})", self.options.target.display(), printable(path));
                self.abort(Error::io(what, error));
            }
            Trouble::Say(kind, message) => self.problem(kind, path, message),
        }
    }

    /// Notes a Problem.
    pub fn problem(&self, kind: ProblemKind, path: &[u8], message: impl std::fmt::Display) {
        self.note(Problem::new(kind, printable(path), message));
    }

    /// Notes a Problem that may come by the thousand: it is said at the end, once, with its count.
    pub fn repeated(&self, kind: ProblemKind, path: &[u8], message: String) {
        let mut findings = locked(&self.findings);
        let seen = findings.repeated.entry((message, kind as u8));
        seen.or_insert_with(|| (kind, path.to_vec(), 0)).2 += 1;
    }

    fn note(&self, problem: Problem) {
        self.progress.problem(&problem);
        let mut findings = locked(&self.findings);
        findings.count += 1;
        if findings.first.len() < KEPT_PROBLEMS {
            findings.first.push(problem);
        }
    }

    /// What belonged to a database that was replaced has another name now; both below the target.
    pub fn moved_aside(&self, from: &[u8], to: &[u8]) {
        let mut moved = locked(&self.moved);
        moved.0 += 1;
        if moved.1.len() < KEPT_PROBLEMS {
            moved.1.push(MovedAside { from: self.shown(from), to: self.shown(to) });
        }
    }

    /// This was removed; below the target.
    pub fn deleted(&self, below: &[u8]) {
        let mut deleted = locked(&self.deleted);
        deleted.0 += 1;
        if deleted.1.len() < KEPT_PROBLEMS {
            deleted.1.push(self.shown(below));
        }
    }

    /// A path below the target, printable.
    pub fn shown(&self, below: &[u8]) -> String {
        printable(self.options.target.join(OsStr::from_bytes(below)).as_os_str().as_bytes())
    }

    /// Owners are not set, since this is not root; said once.
    pub fn skip_owner(&self) {
        if !self.owner_skipped.swap(true, Ordering::Relaxed) {
            self.progress.note("owners are not restored: that takes root");
        }
    }

    /// May a file be written before it has any name?
    pub fn may_be_nameless(&self) -> bool {
        !self.names_all.load(Ordering::Relaxed)
    }

    /// From now on each has one from the first.
    pub fn name_all(&self) {
        self.names_all.store(true, Ordering::Relaxed);
    }

    /// What was done, or why it ended early.
    pub fn finish(self) -> Result<RestoreReport> {
        if let Some(error) = locked(&self.failure).take() {
            return Err(error);
        }
        let repeated = std::mem::take(&mut locked(&self.findings).repeated);
        for ((message, _), (kind, path, times)) in repeated {
            let more = if times > 1 { format!(" (and {} more)", times - 1) } else { String::new() };
            self.problem(kind, &path, format!("{message}{more}"));
        }
        let (moved_aside_count, moved_aside) = self.moved.into_inner().unwrap_or_else(|e| e.into_inner());
        let (deleted_count, deleted) = self.deleted.into_inner().unwrap_or_else(|e| e.into_inner());
        let findings = self.findings.into_inner().unwrap_or_else(|e| e.into_inner());
        let c = self.counts;
        Ok(RestoreReport {
            snapshot: Some(self.options.snapshot),
            files: c.files.into_inner(),
            directories: c.directories.into_inner(),
            others: c.others.into_inner(),
            bytes: c.bytes.into_inner(),
            bytes_reused: c.reused.into_inner(),
            files_skipped: c.skipped.into_inner(),
            bytes_resumed: c.resumed.into_inner(),
            ownership_skipped: self.owner_skipped.into_inner(),
            moved_aside_count,
            moved_aside,
            deleted_count,
            deleted,
            problem_count: findings.count,
            problems: findings.first,
            ..RestoreReport::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn a_full_target_ends_the_run_and_a_stubborn_file_does_not() {
        for full in [Errno::NOSPC, Errno::DQUOT, Errno::ROFS] {
            assert!(matches!(cannot("write", full), Trouble::Full(_)), "{full}");
        }
        for odd in [Errno::ACCESS, Errno::NAMETOOLONG, Errno::IO] {
            assert!(matches!(cannot("write", odd), Trouble::Say(ProblemKind::Refused, _)), "{odd}");
        }
        let lost = Error::Missing { blob: "chunk".into(), reason: "gone".into() };
        assert!(matches!(Trouble::from(lost), Trouble::Say(ProblemKind::Damaged, _)));
        assert!(matches!(Trouble::from(Error::Interrupted), Trouble::Stop(Error::Interrupted)));
    }
}
