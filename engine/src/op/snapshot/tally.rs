//! What a snapshot counts while it goes on.

use std::collections::{BTreeMap, HashSet};

use crate::error::{Problem, ProblemKind};
use crate::format::snapshot::{CountsV1, KEPT_PROBLEMS, ProblemV1};
use crate::progress::Progress;
use crate::source::OutsideReport;

/// Counts and findings of one run; only the conductor touches it.
#[derive(Default)]
pub struct Tally {
    pub counts: CountsV1,
    pub read_again: BTreeMap<String, u64>,
    pub problem_count: u64,
    pub problems: Vec<Problem>,
    /// A problem means that something is not in the snapshot as it was.
    pub gaps: bool,
    pub outside_links: u64,
    pub outside_bytes: u64,
    live_databases: HashSet<String>,
}

/// Does a problem of this kind mean that something is not in the snapshot as it was?
fn leaves_gaps(kind: ProblemKind) -> bool {
    !matches!(kind, ProblemKind::LiveDatabase | ProblemKind::OutsideLink | ProblemKind::Metadata)
}

/// How a file compares with the parent snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compared {
    /// The parent has no file there.
    New,
    /// It differs, or could not be taken over.
    Changed,
    /// Taken over.
    Unchanged,
}

impl Tally {
    /// Reports a problem and keeps the first ones.
    pub fn problem(&mut self, problem: Problem, progress: &dyn Progress) {
        // A live database is met twice: by its own header and by its journal.
        if problem.kind == ProblemKind::LiveDatabase && !self.live_databases.insert(problem.path.clone()) {
            return;
        }
        progress.problem(&problem);
        self.problem_count += 1;
        self.gaps |= leaves_gaps(problem.kind);
        if self.problems.len() < KEPT_PROBLEMS {
            self.problems.push(problem);
        }
    }

    /// A file was dealt with.
    pub fn file(&mut self, compared: Compared, size: u64, read_bytes: u64) {
        match compared {
            Compared::New => self.counts.files_new += 1,
            Compared::Changed => self.counts.files_changed += 1,
            Compared::Unchanged => self.counts.files_unchanged += 1,
        }
        self.counts.total_bytes += size;
        self.counts.read_bytes += read_bytes;
    }

    /// Why a file is read though the parent has one there.
    pub fn read_again(&mut self, reason: &str) {
        *self.read_again.entry(reason.to_owned()).or_default() += 1;
    }

    /// Links that lead outside. A problem if what they lead to outweighs what is stored: then
    /// this snapshot is not the backup that somebody thinks it is. Else a note.
    pub fn outside(&mut self, report: &OutsideReport, progress: &dyn Progress) {
        self.outside_links = report.links.len() as u64;
        self.outside_bytes = report.bytes;
        let Some(problem) = report.problem() else { return };
        if report.bytes > self.counts.total_bytes {
            self.problem(problem, progress);
        } else {
            progress.note(&problem.to_string());
        }
    }

    /// Nothing at all was stored: nobody means that.
    pub fn refuse_silence(&mut self, progress: &dyn Progress) {
        if self.counts.total_bytes == 0 {
            let message = "this snapshot holds no bytes of any file";
            self.problem(Problem::new(ProblemKind::Empty, "snapshot", message), progress);
        }
    }

    /// Problems as the snapshot records them.
    pub fn recorded(&self) -> Vec<ProblemV1> {
        self.problems
            .iter()
            .map(|p| ProblemV1 {
                path: p.path.as_bytes().into(),
                kind: p.kind as u8,
                message: p.message.as_str().into(),
            })
            .collect()
    }

    /// Words for a reason that is not about the file but about the repository.
    pub const MISSING_DATA: &'static str = "stored data is no longer in the repository";

    /// Words for a run that was asked to.
    pub const FORCED: &'static str = "reading was forced";
}
