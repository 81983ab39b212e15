//! What of a snapshot needs no repository, done while one is being opened: the walk begins while a core derives keys.
//!
//! What was walked so is no older than the derivation takes: whoever has to wait longer ([`FRESH`]) walks anew. A
//! snapshot's time is that of its first look. The repository's cache is not known yet; what was met in it is left
//! out when it is ([`Sieve`]).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::ahead::{Ahead, FRESH, RUN_DIRECTORIES};
use super::options::SnapshotOptions;
use crate::entropy::Clock;
use crate::error::Result;
use crate::source::{At, Event, Exclude, ExcludeOptions, Excluded, Names, Plan, WalkContext, Why};

/// Runs walked ahead at most: about 32,000 events, of less than a KiB each.
const RUNS: usize = 512;

/// Begun, before there is a repository.
pub struct Early {
    exclude: Exclude,
    walk: Option<Begun>,
}

struct Begun {
    at: Instant,
    /// The same by the clock of snapshots.
    at_ns: i64,
    ahead: Ahead,
}

impl Early {
    /// Reads what is to be left out, and nothing else.
    pub fn new(options: &SnapshotOptions) -> Result<Self> {
        let exclude = Exclude::new(&ExcludeOptions {
            patterns: options.excludes.clone(),
            files: options.exclude_files.clone(),
            any_case: options.any_case_excludes.clone(),
            any_case_files: options.any_case_exclude_files.clone(),
            caches: options.exclude_caches,
            if_present: options.exclude_if_present.clone(),
            larger_than: options.exclude_larger_than,
            one_file_system: options.one_file_system,
            own: Vec::new(),
        })?;
        Ok(Self { exclude, walk: None })
    }

    /// Begins to walk the first of what `options` (those it was made of) name, but not what lies at `own`: the
    /// repository. To be called when nothing but the derivation of keys is to be waited for; what cannot begin,
    /// begins later.
    pub fn begin(&mut self, options: &SnapshotOptions, own: Option<PathBuf>, clock: Arc<dyn Clock>) {
        if options.stream.is_some() {
            return;
        }
        let (at, at_ns) = (Instant::now(), clock.now_ns());
        let added = Plan::new().add(&options.paths, &options.cwd);
        let Some(root) = added.roots.first() else { return };
        let exclude = self.exclude.with_own(&Vec::from_iter(own));
        let context = WalkContext { exclude, names: Names::new(), clock, taken: BTreeSet::new() };
        let ahead = Ahead::begin(root, Arc::new(context), runs());
        self.walk = ahead.ok().map(|ahead| Begun { at, at_ns, ahead });
    }

    /// Waits until all is walked.
    #[cfg(any(test, feature = "testing"))]
    pub fn wait(&self) {
        self.walk.iter().for_each(|begun| begun.ahead.wait());
    }

    /// What is left out, but for the repository and its cache.
    pub(super) fn exclude(&self) -> &Exclude {
        &self.exclude
    }

    /// The walk, while it is fresh, and when its first look was.
    pub(super) fn take(&mut self) -> Option<(i64, Ahead)> {
        let begun = self.walk.take().filter(|begun| begun.at.elapsed() < FRESH)?;
        Some((begun.at_ns, begun.ahead))
    }
}

/// As many as there are descriptors for, if a quarter of them is spent on it.
fn runs() -> usize {
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let quarter = open_files.map_or(usize::MAX, |most| usize::try_from(most / 4).unwrap_or(usize::MAX));
    (quarter / RUN_DIRECTORIES).clamp(1, RUNS)
}

/// Leaves out of a walk what only became known as the repository's own after it had begun.
#[derive(Default)]
pub(super) struct Sieve {
    /// Directories entered since one that is the repository's own, and that one; 0: in none.
    depth: usize,
}

impl Sieve {
    /// What is to be made of an event.
    pub fn pass(&mut self, event: Event, exclude: &Exclude) -> Option<Event> {
        match &event {
            Event::EnterDir { .. } if self.depth > 0 => self.depth += 1,
            Event::EnterDir { at, stat, .. } if exclude.is_own(at.path(), Some(stat)) => {
                self.depth = 1;
                return Some(Event::Excluded(Excluded {
                    path: at.path().to_owned(),
                    why: Why::Own,
                    is_dir: true,
                    files: 0,
                    bytes: 0,
                    whole: false,
                }));
            }
            Event::LeaveDir { .. } if self.depth > 0 => self.depth -= 1,
            _ if self.depth == 0 => return Some(event),
            _ => {}
        }
        None
    }
}

/// Does a walk of `root` begin outside of what is the repository's own?
pub(super) fn begins_outside(root: &Path, exclude: &Exclude) -> bool {
    let stat = At::of_path(root).and_then(|at| at.stat());
    stat.is_ok_and(|stat| exclude.judge_root(root, &stat) != Some(Why::Own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SystemClock;

    fn begun() -> (tempfile::TempDir, Early) {
        let dir = tempfile::tempdir().unwrap();
        let options = SnapshotOptions { paths: vec![dir.path().to_owned()], ..SnapshotOptions::default() };
        let mut early = Early::new(&options).unwrap();
        early.begin(&options, None, Arc::new(SystemClock));
        (dir, early)
    }

    #[test]
    fn a_walk_that_waited_too_long_is_not_used() {
        let (dir, mut early) = begun();
        let (_, ahead) = early.take().unwrap();
        assert_eq!(ahead.root(), dir.path().canonicalize().unwrap());
        assert!(early.take().is_none(), "once");
        let (_dir, mut early) = begun();
        early.walk.as_mut().unwrap().at -= FRESH;
        assert!(early.take().is_none());
    }

    #[test]
    fn descriptors_bound_how_far_it_runs_ahead() {
        assert!((1..=RUNS).contains(&runs()));
    }
}
