//! The walk, a few steps ahead of who deals with what it meets: looking at files waits for the system, comparing
//! them with the parent does not.
//!
//! Memory and handles: as many runs of [`RUN_EVENTS`] events, of [`RUN_DIRECTORIES`] directories each, as there is room
//! for, beside the one that is filled and the one at hand. Before anybody takes them that is what [`Ahead::begin`]
//! was given, afterwards what waits already and [`ROOM`]; [`WAITING_BYTES`] of it, and a run.
//!
//! Whatever waited longer than [`FRESH`] for its turn is looked at again: reading what comes before it may take hours.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::source::{Event, Walk, WalkContext};

/// How old a look at a file may be when its turn comes.
pub const FRESH: Duration = Duration::from_secs(2);

/// Runs that wait to be taken: more would only be older when their turn comes.
pub const ROOM: usize = 1;
/// Handing over one by one would cost more than most events do.
const RUN_EVENTS: usize = 64;
/// Each may keep a directory open.
pub const RUN_DIRECTORIES: usize = 16;
/// Nodes with large attributes make short runs.
const RUN_BYTES: usize = 256 << 10;
/// No further run is put behind more than this.
const WAITING_BYTES: usize = 32 << 20;

/// Events one after another.
struct Run {
    /// Before the first of them was looked at.
    since: Instant,
    events: Vec<Event>,
    bytes: usize,
    directories: usize,
}

impl Run {
    fn begin() -> Self {
        Self { since: Instant::now(), events: Vec::new(), bytes: 0, directories: 0 }
    }

    fn push(&mut self, event: Event) {
        self.directories += usize::from(matches!(event, Event::EnterDir { .. }));
        self.bytes += size_of::<Event>();
        if let Event::EnterDir { at, node, .. } | Event::Item { at, node, .. } = &event {
            self.bytes += 2 * at.path().as_os_str().len() + node.carried_len();
        }
        self.events.push(event);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= RUN_EVENTS || self.directories >= RUN_DIRECTORIES || self.bytes >= RUN_BYTES
    }
}

/// A walk under way, by a thread of its own.
pub struct Ahead {
    root: PathBuf,
    queue: Arc<Queue>,
    walker: Option<JoinHandle<()>>,
}

struct Queue {
    state: Mutex<State>,
    moved: Condvar,
}

struct State {
    runs: VecDeque<Run>,
    bytes: usize,
    room: usize,
    /// No more will come.
    ended: bool,
    /// Nobody wants any more.
    unwanted: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room; `false` if nobody wants it.
    fn put(&self, run: Run) -> bool {
        let full = |state: &mut State| {
            (state.runs.len() >= state.room || state.bytes >= WAITING_BYTES) && !state.unwanted
        };
        let mut state = self.moved.wait_while(self.lock(), full).unwrap_or_else(PoisonError::into_inner);
        if !state.unwanted {
            state.bytes += run.bytes;
            state.runs.push_back(run);
            self.moved.notify_all();
        }
        !state.unwanted
    }

    /// Waits for the next; `None` after the last.
    fn take(&self) -> Option<Run> {
        let none_yet = |state: &mut State| state.runs.is_empty() && !state.ended;
        let mut state = self.moved.wait_while(self.lock(), none_yet).unwrap_or_else(PoisonError::into_inner);
        let run = state.runs.pop_front();
        state.bytes -= run.as_ref().map_or(0, |run| run.bytes);
        self.moved.notify_all();
        run
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.moved.notify_all();
    }
}

/// Says so however the walk ends: whoever takes would wait for ever.
struct Ending(Arc<Queue>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.change(|state| state.ended = true);
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // It is not waited for: a server that does not answer must not keep a wrong password from being told.
        self.queue.change(|state| state.unwanted = true);
    }
}

impl Ahead {
    /// Begins to walk `root`, so many runs ahead at first.
    pub fn begin(root: &Path, context: Arc<WalkContext>, room: usize) -> Result<Self> {
        let state =
            State { runs: VecDeque::new(), bytes: 0, room: room.max(ROOM), ended: false, unwanted: false };
        let queue = Arc::new(Queue { state: Mutex::new(state), moved: Condvar::new() });
        let (root, ending) = (root.to_owned(), Ending(queue.clone()));
        let of = root.clone();
        let walker = std::thread::Builder::new()
            .name("ballast-walk".into())
            .spawn(move || run_ahead(Walk::new(&of, &context), &ending.0))
            .map_err(|e| Error::Internal(format!("no thread: {e}")))?;
        Ok(Self { root, queue, walker: Some(walker) })
    }

    /// Waits until all is walked: for ever, if there is no room for it.
    #[cfg(any(test, feature = "testing"))]
    pub fn wait(&self) {
        let walking = |state: &mut State| !state.ended;
        drop(self.queue.moved.wait_while(self.queue.lock(), walking));
    }

    /// What is walked.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Every event, in the walk's order, by the thread of the caller; the first error of `take` ends it. The walk is
    /// over then. What is looked at again is so in `context`.
    pub fn each(mut self, context: &WalkContext, mut take: impl FnMut(Event) -> Result<()>) -> Result<()> {
        self.queue.change(|state| state.room = ROOM);
        let taken = std::iter::from_fn(|| self.queue.take()).try_for_each(|run| {
            let since = run.since;
            run.events.into_iter().try_for_each(|event| match event {
                Event::Item { at, stat, .. } if since.elapsed() >= FRESH => {
                    let is_root = at.path() == self.root;
                    Walk::again(at, &stat, is_root, context).try_for_each(&mut take)
                }
                event => take(event),
            })
        });
        self.queue.change(|state| state.unwanted = true);
        // Half a tree must not pass for a whole one.
        let walked = match self.walker.take().map(JoinHandle::join) {
            Some(Err(_)) => Err(Error::Internal("the walk panicked".into())),
            _ => Ok(()),
        };
        taken.and(walked)
    }
}

fn run_ahead(walk: impl Iterator<Item = Event>, queue: &Queue) {
    let mut run = Run::begin();
    for event in walk {
        run.push(event);
        if run.is_full() {
            if !queue.put(run) {
                return;
            }
            run = Run::begin();
        }
    }
    // Refused only where nobody wants it any more.
    queue.put(run);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;
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
        let context = Arc::new(context(Arc::new(SystemClock)));
        let expected: Vec<String> = Walk::new(&top, &context).map(|event| shown(&event)).collect();
        let mut met = Vec::new();
        let take = |event: Event| {
            met.push(shown(&event));
            Ok(())
        };
        Ahead::begin(&top, context.clone(), ROOM).unwrap().each(&context, take).unwrap();
        assert_eq!(met, expected);
        assert!(met.len() > 4 * RUN_EVENTS, "several runs");
        let mut left = 100;
        let stopped = Ahead::begin(&top, context.clone(), ROOM).unwrap().each(&context, |_| {
            left -= 1;
            if left == 0 { Err(Error::Interrupted) } else { Ok(()) }
        });
        assert!(matches!(stopped, Err(Error::Interrupted)));
        assert_eq!(left, 0, "nothing is taken after it");
    }

    #[test]
    fn what_waited_long_for_its_turn_is_looked_at_again() {
        let keep = tempfile::tempdir().unwrap();
        let top = keep.path().canonicalize().unwrap();
        let create = |name: &str| std::fs::File::create(top.join(name)).unwrap();
        let write = |name: &str, text: &str| create(name).write_all(text.as_bytes()).unwrap();
        ["gone", "replaced", "same", "tree"].iter().for_each(|name| write(name, "before"));
        let context = Arc::new(context(Arc::new(SystemClock)));
        let met = |late: bool| {
            let ahead = Ahead::begin(&top, context.clone(), 1000).unwrap();
            ahead.wait();
            write("new", if late { "yet another one" } else { "another" });
            std::fs::rename(top.join("new"), top.join("replaced")).unwrap();
            let _ = std::fs::remove_file(top.join("gone"));
            if late {
                std::fs::remove_file(top.join("tree")).unwrap();
                std::fs::create_dir(top.join("tree")).unwrap();
                write("tree/within", "");
                ahead.queue.change(|state| state.runs.iter_mut().for_each(|run| run.since -= FRESH));
            }
            let mut met = Vec::new();
            ahead
                .each(&context, |event| {
                    met.push(match &event {
                        Event::Item { stat, at, .. } if at.name() == b"replaced" => format!("{}", stat.size),
                        Event::Problem(problem) => format!("{:?}", problem.kind),
                        other => shown(other).replace(&format!("{}/", top.display()), ""),
                    });
                    Ok(())
                })
                .unwrap();
            met[1..met.len() - 1].to_vec()
        };
        assert_eq!(met(false), ["gone", "6", "same", "tree"]);
        write("gone", "");
        assert_eq!(met(true), ["Vanished", "15", "same", "+tree", "tree/within", "-tree"]);
    }

    #[test]
    fn large_attributes_bound_what_waits() {
        let (_keep, top) = tree();
        let context = Arc::new(context(Arc::new(SystemClock)));
        let heavy = Walk::new(&top, &context).map(|mut event| {
            if let Event::Item { node, .. } = &mut event {
                node.extensions = vec![crate::format::wire::Extension {
                    tag: 1,
                    critical: false,
                    data: vec![7; 1 << 20].into(),
                }];
            }
            event
        });
        let queue = Queue {
            state: Mutex::new(State {
                runs: VecDeque::new(),
                bytes: 0,
                room: 1000,
                ended: false,
                unwanted: false,
            }),
            moved: Condvar::new(),
        };
        let all = std::thread::scope(|scope| {
            let walker = scope.spawn(|| run_ahead(heavy, &queue));
            let mut all = 0;
            std::thread::sleep(std::time::Duration::from_millis(100));
            while !walker.is_finished() || !queue.lock().runs.is_empty() {
                assert!(queue.lock().bytes <= WAITING_BYTES + RUN_BYTES + (1 << 21));
                let waits = !queue.lock().runs.is_empty();
                all += if waits { queue.take().unwrap().events.len() } else { 0 };
            }
            all
        });
        assert_eq!(all, Walk::new(&top, &context).count());
        assert_eq!(queue.lock().bytes, 0);
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
        let context = Arc::new(context(Arc::new(Broken)));
        let ended = Ahead::begin(&top, context.clone(), ROOM).unwrap().each(&context, |_| Ok(()));
        assert!(matches!(ended, Err(Error::Internal(_))), "{ended:?}");
    }

    #[test]
    fn it_runs_as_far_ahead_as_there_is_room_and_no_further() {
        let (_keep, top) = tree();
        let context = Arc::new(context(Arc::new(SystemClock)));
        let all = Walk::new(&top, &context).count();
        let begun = |room| Ahead::begin(&top, context.clone(), room).unwrap();
        let waiting = |ahead: &Ahead| ahead.queue.lock().runs.len();
        let until = |ahead: &Ahead, wanted: &dyn Fn(&Ahead) -> bool| {
            (0..1000).any(|_| {
                wanted(ahead) || {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    false
                }
            })
        };
        let far = begun(1000);
        assert!(until(&far, &|ahead| ahead.queue.lock().ended), "all of it before anybody takes");
        let mut taken = 0;
        far.each(&context, |_| {
            taken += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(taken, all);
        let near = begun(3);
        assert!(until(&near, &|ahead| waiting(ahead) == 3));
        let queue = near.queue.clone();
        let mut seen = Vec::new();
        near.each(&context, |_| {
            seen.push(queue.lock().runs.len());
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.len(), all);
        assert!(seen.iter().skip(4 * RUN_EVENTS).all(|waiting| *waiting <= ROOM), "{seen:?}");
        let dropped = begun(3);
        let queue = dropped.queue.clone();
        drop(dropped);
        let ended = (0..1000).any(|_| {
            queue.lock().ended || {
                std::thread::sleep(std::time::Duration::from_millis(10));
                false
            }
        });
        assert!(ended, "nobody wants it");
    }
}
