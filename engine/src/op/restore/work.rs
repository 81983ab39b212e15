//! Who does what: one thread walks the plan and makes directories, workers do all that is in them.
//!
//! Small files go in batches of neighbours, in the order in which the snapshot stored them, so
//! that a frame they share is decoded once. A large file goes to as many workers as are free
//! ([`super::team`]). Work is taken in order.
//!
//! Memory, beside the reader's cache: each worker holds one frame, stored and plain, and one buffer
//! to compare with: some 3 chunks (12 MiB with the usual sizes, 48 MiB at the format's limit).
//! The queue holds [`QUEUE_PER_WORKER`] jobs a worker, of at most [`BATCH_FILES`] nodes. Open
//! handles: [`BATCH_DIRS`] a job, and the depth of the tree.

use std::fs::File;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use super::dir::{Dir, Entry};
use super::file::Task;
use super::links::{self, First, Groups, Linked, Role};
use super::plan::{Step, Trees, Walk};
use super::run::{Run, Trouble, count};
use super::special;
use super::team::Team;
use crate::error::printable;
use crate::error::{Error, ProblemKind, Result};
use crate::format::tree::{Node, NodeKind, check_name};

/// More do not pay, and their handles count.
const MAX_WORKERS: usize = 16;
const QUEUE_PER_WORKER: usize = 2;
const BATCH_FILES: usize = 64;
const BATCH_DIRS: usize = 8;
const BATCH_BYTES: u64 = 512 << 10;
/// Files from here on are worked on together.
pub const TOGETHER_FROM_BYTES: u64 = 8 << 20;

enum Job<'r> {
    Batch(Vec<Item<'r>>),
    Together(Arc<Team<'r>>),
}

/// One name.
struct Item<'r> {
    task: Task<'r>,
    /// The name it is to be linked to.
    link: Option<Arc<First>>,
}

/// Takes every step of `walk` below `top`, which stands for `base` of the snapshot.
pub fn go<T: Trees>(
    run: &Run<'_>,
    top: File,
    fresh: bool,
    base: Vec<u8>,
    mut walk: Walk<'_, T>,
) -> Result<()> {
    let wanted = match run.options.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let workers = wanted.clamp(1, MAX_WORKERS);
    let root = top.try_clone().map_err(|e| Error::io(&run.options.target, e))?;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(workers * QUEUE_PER_WORKER);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..workers {
            let (receiver, root) = (receiver.clone(), &root);
            std::thread::Builder::new()
                .name("ballast-restore".into())
                .spawn_scoped(scope, move || serve(&receiver, root))
                .map_err(|e| Error::Internal(format!("no thread: {e}")))?;
        }
        drop(receiver);
        let kept = walk.top_kept().filter(|_| !fresh);
        let dir = Dir::top(run, top, fresh, base, walk.top_salt(), kept);
        let mut conductor = Conductor::new(run, dir, sender, workers);
        while let Some(step) = walk.next_step() {
            if run.check().is_err() {
                run.abort(Error::Interrupted);
                break;
            }
            conductor.take(step);
        }
        conductor.flush();
        Ok(())
    })
}

fn serve(receiver: &Mutex<Receiver<Job<'_>>>, root: &File) {
    loop {
        let next = receiver.lock().unwrap_or_else(|e| e.into_inner()).recv();
        match next {
            Err(_) => return,
            Ok(Job::Together(team)) => team.help(),
            Ok(Job::Batch(items)) => items.into_iter().for_each(|item| work(item, root)),
        }
    }
}

fn work(item: Item<'_>, root: &File) {
    let Item { task, link } = item;
    let run = task.dir.run;
    let done = run.check().and_then(|()| {
        if task.node.kind != NodeKind::File {
            return special::restore(&task.dir, &task.node, &task.path);
        }
        let linked = link.map_or(Linked::No, |first| links::link(root, &task.dir, &task.node, &first));
        match linked {
            Linked::No => return task.restore(),
            Linked::Yes => {
                count(&run.counts.others, 1);
                run.progress.advance(1, task.node.size);
            }
            Linked::Already => task.leave(),
        }
        Ok(())
    });
    if let Err(trouble) = done {
        task.failed(trouble);
    }
}

struct Conductor<'r> {
    run: &'r Run<'r>,
    sender: SyncSender<Job<'r>>,
    workers: usize,
    dirs: Vec<Arc<Dir<'r>>>,
    /// Directories entered below one that could not be made.
    lost: usize,
    groups: Groups,
    batch: Vec<Item<'r>>,
    batch_bytes: u64,
    batch_dirs: usize,
}

impl<'r> Conductor<'r> {
    fn new(run: &'r Run<'r>, top: Arc<Dir<'r>>, sender: SyncSender<Job<'r>>, workers: usize) -> Self {
        Self {
            run,
            sender,
            workers,
            dirs: vec![top],
            lost: 0,
            groups: Groups::default(),
            batch: Vec::new(),
            batch_bytes: 0,
            batch_dirs: 0,
        }
    }

    fn take(&mut self, step: Step) {
        let Some(dir) = self.dirs.last().cloned() else { return };
        match step {
            Step::Enter { .. } if self.lost > 0 => self.lost += 1,
            Step::Enter { node, path, wanted, temp_salt, kept } => {
                self.run.progress.current(&printable(&path));
                match dir.enter(Entry { node, path: path.clone(), wanted, temp_salt, kept }) {
                    Ok(below) => self.dirs.push(below),
                    Err(trouble) => {
                        dir.settle(&path, trouble);
                        self.lost = 1;
                    }
                }
            }
            Step::Leave if self.lost > 0 => self.lost -= 1,
            Step::Leave => drop(self.dirs.pop()),
            Step::Broken { path, error } => dir.settle(&path, error.into()),
            Step::Leaf { .. } if self.lost > 0 => {}
            Step::Lost { path, message } => {
                dir.settle(&path, Trouble::Say(ProblemKind::Damaged, message));
            }
            Step::Leaf { node, path } => self.leaf(dir, *node, path),
        }
    }

    fn leaf(&mut self, dir: Arc<Dir<'r>>, node: Node, path: Vec<u8>) {
        if let Err(e) = check_name(&node.name) {
            return dir.settle(&dir.path(), Trouble::Say(ProblemKind::Refused, e.0));
        }
        let (announce, link) = match self.groups.role(&node) {
            Role::Alone => (None, None),
            Role::First(announce) => (Some(announce), None),
            Role::Later(first) => (None, Some(first)),
        };
        let size = if node.kind == NodeKind::File { node.size } else { 0 };
        let task = Task { dir, node, path, announce };
        if size >= TOGETHER_FROM_BYTES && link.is_none() {
            return self.together(task);
        }
        if self.batch.last().is_none_or(|last| !Arc::ptr_eq(&last.task.dir, &task.dir)) {
            self.batch_dirs += 1;
        }
        self.batch.push(Item { task, link });
        self.batch_bytes += size;
        if self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES || self.batch_dirs >= BATCH_DIRS
        {
            self.flush();
        }
    }

    fn together(&mut self, task: Task<'r>) {
        self.flush();
        match self.run.reader.pieces(&task.node.content) {
            Err(error) => task.failed(error.into()),
            Ok((pieces, len)) => {
                let team = Arc::new(Team::new(task, pieces, len));
                for _ in 0..self.workers.min(team.room()).max(1) {
                    self.send(Job::Together(team.clone()));
                }
            }
        }
    }

    fn flush(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.send(Job::Batch(batch));
        }
        self.batch_bytes = 0;
        self.batch_dirs = 0;
    }

    fn send(&self, job: Job<'r>) {
        if self.sender.send(job).is_err() {
            self.run.abort(Error::Internal("the restoring threads are gone".into()));
        }
    }
}
