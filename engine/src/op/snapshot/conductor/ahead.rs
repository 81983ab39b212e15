//! The walk, a few steps ahead of who deals with what it meets: looking at files waits for the system, comparing
//! them with the parent does not.
//!
//! Memory and handles: at most [`RUNS_AHEAD`] runs of [`RUN_EVENTS`] events, of [`RUN_DIRECTORIES`] directories each,
//! beside the one at hand.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::{Error, Result};
use crate::source::{Event, Walk, WalkContext};

/// One under way to the other thread, and one that is filled.
const RUNS_AHEAD: usize = 2;
/// Handing over one by one would cost more than most events do.
const RUN_EVENTS: usize = 64;
/// Each may keep a directory open.
const RUN_DIRECTORIES: usize = 16;

/// Every event of a walk, in its order, by the thread of the caller; the first error of `take` ends it.
pub fn walk(root: &Path, context: &WalkContext, take: impl FnMut(Event) -> Result<()>) -> Result<()> {
    std::thread::scope(|threads| {
        let (sender, receiver) = sync_channel(RUNS_AHEAD - 1);
        let walker = std::thread::Builder::new()
            .name("ballast-walk".into())
            .spawn_scoped(threads, move || run_ahead(Walk::new(root, context), &sender))
            .map_err(|e| Error::Internal(format!("no thread: {e}")))?;
        let taken = take_all(receiver, take);
        // Half a tree must not pass for a whole one.
        let walked = walker.join().map_err(|_| Error::Internal("the walk panicked".into()));
        taken.and(walked)
    })
}

/// Takes the receiver with it, so that the walk does not go on for nobody.
fn take_all(runs: Receiver<Vec<Event>>, take: impl FnMut(Event) -> Result<()>) -> Result<()> {
    runs.iter().flatten().try_for_each(take)
}

fn run_ahead(walk: impl Iterator<Item = Event>, runs: &SyncSender<Vec<Event>>) {
    let (mut run, mut directories) = (Vec::new(), 0);
    for event in walk {
        directories += usize::from(matches!(event, Event::EnterDir { .. }));
        run.push(event);
        if run.len() >= RUN_EVENTS || directories >= RUN_DIRECTORIES {
            directories = 0;
            if runs.send(std::mem::take(&mut run)).is_err() {
                return;
            }
        }
    }
    // Refused only where nobody wants it any more.
    let _ = runs.send(run);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::entropy::{Clock, SystemClock};
    use crate::source::{Exclude, Names};

    fn context(clock: Arc<dyn Clock>) -> WalkContext {
        WalkContext { exclude: Exclude::nothing(), names: Names::new(), clock, taken: BTreeSet::new() }
    }

    fn shown(event: &Event) -> String {
        match event {
            Event::EnterDir { at, .. } => format!("+{}", at.path().display()),
            Event::LeaveDir { path, .. } => format!("-{}", path.display()),
            Event::Item { at, .. } => at.path().display().to_string(),
            other => format!("{other:?}"),
        }
    }

    fn tree() -> (tempfile::TempDir, std::path::PathBuf) {
        let keep = tempfile::tempdir().unwrap();
        let top = keep.path().canonicalize().unwrap();
        for n in 0..90 {
            let dir = top.join(format!("{}/{n}", n % 7));
            std::fs::create_dir_all(&dir).unwrap();
            (0..n % 5).for_each(|f| drop(std::fs::File::create(dir.join(f.to_string())).unwrap()));
        }
        (keep, top)
    }

    #[test]
    fn the_order_is_the_walks_and_an_error_ends_it() {
        let (_keep, top) = tree();
        let context = context(Arc::new(SystemClock));
        let expected: Vec<String> = Walk::new(&top, &context).map(|event| shown(&event)).collect();
        let mut met = Vec::new();
        let take = |event: Event| {
            met.push(shown(&event));
            Ok(())
        };
        walk(&top, &context, take).unwrap();
        assert_eq!(met, expected);
        assert!(met.len() > 4 * RUN_EVENTS, "several runs");
        let mut left = 100;
        let stopped = walk(&top, &context, |_| {
            left -= 1;
            if left == 0 { Err(Error::Interrupted) } else { Ok(()) }
        });
        assert!(matches!(stopped, Err(Error::Interrupted)));
        assert_eq!(left, 0, "nothing is taken after it");
    }

    struct Broken;

    impl Clock for Broken {
        #[allow(clippy::panic, reason = "this is what is tested")]
        fn now_ns(&self) -> i64 {
            panic!("no time")
        }
    }

    #[test]
    fn a_walk_that_panics_is_an_error_not_half_a_tree() {
        let (_keep, top) = tree();
        let ended = walk(&top, &context(Arc::new(Broken)), |_| Ok(()));
        assert!(matches!(ended, Err(Error::Internal(_))), "{ended:?}");
    }
}
