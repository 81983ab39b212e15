//! A dry run: the steps, counted and not taken. Of the target only names, sizes and times are looked at, so a file
//! that would be read and found right counts as one that would be written.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::delete::{self, Fate, Unsure};
use super::plan::{Kept, Step, Trees, Walk};
use super::run::{Trouble, is_replaced};
use super::select::Selection;
use super::{Overwrite, RestoreOptions, RestoreReport, door, meta};
use crate::error::{Problem, ProblemKind, Result, printable};
use crate::format::snapshot::KEPT_PROBLEMS;
use crate::format::tree::{CAPTURE_SQLITE, Node, NodeKind};
use crate::progress::Progress;
use crate::repo::lookup::join;

/// A directory that would be entered.
struct Level {
    /// What stands there, if it is a directory.
    dir: Option<File>,
    below: Vec<u8>,
    kept: Option<Box<Kept>>,
    troubled: bool,
    beyond: bool,
}

struct Rehearsal<'r> {
    options: &'r RestoreOptions,
    selection: &'r Selection,
    unsure: &'r Unsure,
    progress: &'r dyn Progress,
    report: RestoreReport,
    levels: Vec<Level>,
}

/// Counts the steps of `walk`.
pub fn run<T: Trees>(
    options: &RestoreOptions,
    selection: &Selection,
    unsure: &Unsure,
    mut walk: Walk<'_, T>,
    progress: &dyn Progress,
) -> Result<RestoreReport> {
    let report =
        RestoreReport { snapshot: Some(options.snapshot), dry_run: true, ..RestoreReport::default() };
    let dir = super::open_existing(&options.target).ok();
    let top = Level { dir, below: Vec::new(), kept: walk.top_kept(), troubled: false, beyond: false };
    let mut all = Rehearsal { options, selection, unsure, progress, report, levels: vec![top] };
    while let Some(step) = walk.next_step() {
        progress.check()?;
        all.take(step);
    }
    while !all.levels.is_empty() {
        all.leave();
    }
    Ok(all.report)
}

impl Rehearsal<'_> {
    fn take(&mut self, step: Step) {
        match step {
            Step::Enter { node, kept, .. } => {
                self.report.directories += 1;
                let Some(above) = self.levels.last() else { return };
                let dir = above.dir.as_ref().and_then(|above| door::open_dir(above, &node.name).ok());
                let is_mounted = || {
                    let here = above.dir.as_ref().map(|above| door::open_dir_here(above, &node.name));
                    matches!(here, Some(Err(rustix::io::Errno::XDEV)))
                };
                let beyond = above.beyond || (kept.is_some() && dir.is_some() && is_mounted());
                let below =
                    if above.below.is_empty() { node.name.to_vec() } else { join(&above.below, &node.name) };
                self.levels.push(Level { dir, below, kept, troubled: false, beyond });
            }
            Step::Leave => self.leave(),
            Step::Leaf { node, .. } => self.leaf(&node),
            Step::Broken { path, error } => self.problem(&printable(&path), &error.to_string()),
            Step::Lost { path, message } => self.problem(&printable(&path), &message),
        }
    }

    fn leaf(&mut self, node: &Node) {
        let is_file = node.kind == NodeKind::File;
        let size = if is_file { node.size } else { 0 };
        self.progress.advance(1, size);
        if self.is_left(node) {
            self.report.files_skipped += 1;
        } else if is_file {
            self.report.files += 1;
            self.report.bytes += size;
        } else {
            self.report.others += 1;
        }
    }

    /// By what can be seen without reading.
    fn is_left(&self, node: &Node) -> bool {
        let dir = self.levels.last().and_then(|level| level.dir.as_ref());
        let Some(stat) = dir.and_then(|dir| door::look(dir, &node.name).ok().flatten()) else { return false };
        !is_replaced(self.options.overwrite, node, &stat)
            || (self.options.overwrite == Overwrite::IfChanged
                && node.kind == NodeKind::File
                && node.capture != CAPTURE_SQLITE
                && door::type_of(&stat) == rustix::fs::FileType::RegularFile
                && stat.st_size as u64 == node.size
                && meta::same_mtime(&stat, node))
    }

    fn leave(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        let (Some(dir), Some(kept)) = (&level.dir, &level.kept) else { return };
        let sure = !level.troubled && !level.beyond && self.unsure.knows(kept);
        let mut fate = Saying(self);
        let selection = fate.0.selection;
        if let Err(Trouble::Say(_, message)) =
            delete::sweep(selection, dir, &level.below, kept, sure, &mut fate)
        {
            self.problem(&self.shown(&level.below), &message);
        }
    }

    fn shown(&self, below: &[u8]) -> String {
        let path = self.options.target.join(Path::new(std::ffi::OsStr::from_bytes(below)));
        printable(path.as_os_str().as_bytes()).to_string()
    }

    fn problem(&mut self, path: &str, message: &str) {
        let problem = Problem::new(ProblemKind::Damaged, path, message);
        self.progress.problem(&problem);
        self.report.problem_count += 1;
        if self.report.problems.len() < KEPT_PROBLEMS {
            self.report.problems.push(problem);
        }
        if let Some(level) = self.levels.last_mut() {
            level.troubled = true;
        }
    }
}

/// Names what would go.
struct Saying<'s, 'r>(&'s mut Rehearsal<'r>);

impl Fate for Saying<'_, '_> {
    fn gone(&mut self, below: &[u8]) {
        let path = self.0.shown(below);
        self.0.progress.note(&format!("would remove {path}"));
        self.0.report.deleted_count += 1;
        if self.0.report.deleted.len() < KEPT_PROBLEMS {
            self.0.report.deleted.push(path);
        }
    }

    fn stays(&mut self, below: &[u8], why: &str) {
        let path = self.0.shown(below);
        self.0.progress.note(&format!("{path} would not be removed: {why}"));
    }

    fn failed(&mut self, below: &[u8], trouble: Trouble) -> Result<(), Trouble> {
        match trouble {
            Trouble::Say(_, message) => {
                let path = self.0.shown(below);
                self.0.problem(&path, &message);
                Ok(())
            }
            trouble => Err(trouble),
        }
    }

    fn check(&self) -> Result<(), Trouble> {
        Ok(self.0.progress.check()?)
    }

    fn removes(&self) -> bool {
        false
    }
}
