//! Walks the source, hands out work, and takes in results: one thread, all state its own.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};

use rayon::ThreadPool;

use super::IN_FLIGHT_BYTES;
use super::ancestry::Ancestry;
use super::builder::Builder;
use super::database::{self, Databases, Fate, Parked, Refusal};
use super::large::{Before, ChunkDone, LargeFile, LargeReader, Windows};
use super::options::SnapshotOptions;
use super::parent::{Children, ParentSnapshot};
use super::reading::{self, Outcome, ToRead, Tools, WHOLE_FILE_BYTES};
use super::tally::{Compared, Tally};
use crate::chunk::Cutter;
use crate::error::{Error, Result};
use crate::format::tree::{CAPTURE_PLAIN_LIVE, CAPTURE_SQLITE, Node, NodeKind};
use crate::id::BlobId;
use crate::progress::Progress;
use crate::repo::session::Session;
use crate::source::sqlite::{NotCaptured, SQLITE_MAGIC, SqliteMode, reason_to_read};
use crate::source::{
    At, ChangePolicy, Event, Exclude, ExcludeOptions, Links, Names, Plan, Skeleton, Stat, Stored, Walk,
    WalkContext, Why, shown,
};

/// A run of neighbours: at most so many bytes of files.
const BATCH_BYTES: u64 = 2 << 20;
/// A run of neighbours: at most so many files.
const BATCH_FILES: usize = 64;
/// What a queued file counts for besides its length: it may keep a directory open, and
/// descriptors are few.
const QUEUED_FILE_BYTES: u64 = 128 << 10;

/// A large database that others change while it is read is captured anew so many times.
const CAPTURES: u32 = 3;

/// What comes back from the pool.
enum Done {
    Batch { bytes: u64, result: Result<Vec<Outcome>> },
    Chunk(ChunkDone),
}

/// What waits for the walk to have a hand free.
enum Later {
    /// A file beside a database that was not captured.
    Beside(Parked),
    /// A file that is too large to be read whole.
    Large(ToRead),
}

/// One directory of the parent, as deep as the walk is.
struct Level {
    children: Children,
}

/// The state of one walk through all roots.
pub struct Conductor<'a> {
    session: &'a Session,
    options: &'a SnapshotOptions,
    parent: &'a ParentSnapshot,
    ancestry: &'a Ancestry<'a>,
    progress: &'a dyn Progress,
    context: WalkContext,
    names: Names,
    policy: ChangePolicy,
    builder: Builder,
    levels: Vec<Level>,
    tally: Tally,
    excluded: (u64, u64),
    left_out: HashSet<PathBuf>,
    links: Links,
    batch: Vec<ToRead>,
    batch_bytes: u64,
    in_flight_bytes: u64,
    batches: usize,
    large: HashMap<u64, LargeFile>,
    next_large: u64,
    finished: BTreeMap<PathBuf, Node>,
    databases: Databases,
    later: Vec<Later>,
}

/// What a walk needs besides its own state: lives as long as the pool's scope.
struct Hands<'t, 'a> {
    tools: &'t Tools<'a>,
    reader: LargeReader<'t, 'a>,
    sender: Sender<Done>,
    receiver: Receiver<Done>,
}

impl<'a> Conductor<'a> {
    /// Ready to walk.
    pub fn new(
        session: &'a Session,
        options: &'a SnapshotOptions,
        parent: &'a ParentSnapshot,
        ancestry: &'a Ancestry<'a>,
        progress: &'a dyn Progress,
    ) -> Result<Self> {
        let repo = session.repo();
        let own = repo.store().local_path().into_iter().chain(repo.cache().map(|c| c.path().to_owned()));
        let exclude = Exclude::new(&ExcludeOptions {
            patterns: options.excludes.clone(),
            files: options.exclude_files.clone(),
            caches: options.exclude_caches,
            one_file_system: options.one_file_system,
            own: own.collect(),
        })?;
        let context = WalkContext {
            exclude,
            names: Names::new(),
            clock: repo.surroundings().clock.clone(),
            taken: BTreeSet::new(),
        };
        Ok(Self {
            session,
            options,
            parent,
            ancestry,
            progress,
            context,
            names: Names::new(),
            policy: ChangePolicy { ignore_inode: options.ignore_inode, ignore_ctime: options.ignore_ctime },
            builder: Builder::default(),
            levels: Vec::new(),
            tally: Tally::default(),
            excluded: (0, 0),
            left_out: HashSet::new(),
            links: Links::new(),
            batch: Vec::new(),
            batch_bytes: 0,
            in_flight_bytes: 0,
            batches: 0,
            large: HashMap::new(),
            next_large: 0,
            finished: BTreeMap::new(),
            databases: Databases::default(),
            later: Vec::new(),
        })
    }

    /// Counts, and what was excluded (paths, bytes).
    pub fn finish(self) -> (Tally, (u64, u64)) {
        (self.tally, self.excluded)
    }

    /// Walks all roots, and where asked what links lead to outside of them; gives the tree of `/`.
    pub fn walk(&mut self, pool: &ThreadPool, cutter: &Cutter) -> Result<BlobId> {
        let names = Names::new();
        let tools = Tools {
            session: self.session,
            ancestry: self.ancestry,
            cutter,
            names: &names,
            sqlite: &self.options.sqlite,
            progress: self.progress,
        };
        let windows = Windows::new();
        pool.in_place_scope(|scope| {
            let (sender, receiver) = channel();
            let reader = LargeReader { tools: &tools, pool, windows };
            let hands = Hands { tools: &tools, reader, sender, receiver };
            self.walk_roots(&hands, scope)
        })
    }

    fn walk_roots<'s, 't: 's>(&mut self, hands: &Hands<'t, '_>, scope: &rayon::Scope<'s>) -> Result<BlobId> {
        let mut plan = Plan::new();
        let mut added = plan.add(&self.options.paths, &self.options.cwd);
        loop {
            added.problems.drain(..).for_each(|p| self.tally.problem(p, self.progress));
            let stored_roots: BTreeSet<PathBuf> = plan.roots().map(Path::to_owned).collect();
            for root in &added.roots {
                self.walk_root(root, &stored_roots, hands, scope)?;
            }
            self.drain(hands, scope)?;
            self.finished.extend(self.builder.take_roots());
            let exclude = &self.context.exclude;
            let stored = Stored { roots: &stored_roots, exclude, left_out: &self.left_out };
            let outside = self.links.outside(&stored);
            let further = if self.options.follow_outside { outside.further() } else { Vec::new() };
            if !further.is_empty() {
                added = plan.add(&further, Path::new("/"));
                if !added.roots.is_empty() {
                    self.context.taken = self.finished.keys().cloned().collect();
                    continue;
                }
            }
            self.tally.outside(&outside, self.progress);
            break;
        }
        let mut skeleton = Skeleton::new();
        let (links, problems) = plan.link_nodes(&self.names);
        let found = problems.into_iter().collect::<Vec<_>>();
        for (path, node) in links.into_iter().chain(std::mem::take(&mut self.finished)) {
            skeleton.insert(&path, node);
        }
        let found = found.into_iter().chain(skeleton.complete(&self.names));
        found.for_each(|p| self.tally.problem(p, self.progress));
        let session = self.session;
        let mut trees = 0;
        let root = skeleton.build(|_, nodes| {
            trees += 1;
            session.store_tree(nodes)
        })?;
        self.tally.counts.directories += trees;
        Ok(root)
    }

    fn walk_root<'s, 't: 's>(
        &mut self,
        root: &Path,
        roots: &BTreeSet<PathBuf>,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()> {
        // The context moves out for the walk, which borrows it.
        let context = std::mem::replace(
            &mut self.context,
            WalkContext {
                exclude: Exclude::nothing(),
                names: Names::new(),
                clock: self.session.repo().surroundings().clock.clone(),
                taken: BTreeSet::new(),
            },
        );
        let result = Walk::new(root, &context).try_for_each(|event| {
            self.progress.check()?;
            self.event(event, root, roots, &context, hands, scope)
        });
        self.context = context;
        result
    }

    fn event<'s, 't: 's>(
        &mut self,
        event: Event,
        root: &Path,
        roots: &BTreeSet<PathBuf>,
        context: &WalkContext,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()> {
        match event {
            Event::EnterDir { at, node, .. } => {
                let known = self.of_parent(at.path(), at.name(), root);
                let children = self.parent.children(known.as_ref(), self.session);
                let children = if at.path() == Path::new("/") {
                    self.parent.root_children(self.session)
                } else {
                    children
                };
                self.levels.push(Level { children });
                let before = known.as_ref().and_then(Node::subtree);
                self.builder.enter(at.path(), node, before);
                self.tally.counts.directories += 1;
            }
            Event::LeaveDir { incomplete, .. } => {
                self.levels.pop();
                self.builder.leave(incomplete, self.ancestry)?;
            }
            Event::Item { at, stat, node } if stat.kind == NodeKind::File => {
                self.file(at, stat, node, root, hands, scope)?;
            }
            Event::Item { at, node, .. } => {
                if let Some(target) = node.link_target() {
                    let stored = Stored { roots, exclude: &context.exclude, left_out: &self.left_out };
                    self.links.note(at.path(), target, &stored);
                }
                self.tally.counts.others += 1;
                let slot = self.builder.place(at.path());
                self.builder.fill(slot, Some(node), self.ancestry)?;
            }
            Event::Taken { path } => {
                let slot = self.builder.place(&path);
                let node = self.finished.remove(&path);
                self.builder.fill(slot, node, self.ancestry)?;
            }
            Event::Problem(problem) => self.tally.problem(problem, self.progress),
            Event::Excluded(excluded) => {
                self.excluded.0 += 1;
                self.excluded.1 += excluded.bytes;
                if matches!(excluded.why, Why::CacheTag | Why::OtherFileSystem) {
                    self.left_out.insert(excluded.path);
                }
            }
        }
        Ok(())
    }

    /// What the parent snapshot has under this name.
    fn of_parent(&mut self, path: &Path, name: &[u8], root: &Path) -> Option<Node> {
        match self.levels.last_mut() {
            Some(level) => level.children.remove(name),
            None if path == root => self.parent.node_at(path, self.session),
            None => None,
        }
    }

    fn file<'s, 't: 's>(
        &mut self,
        at: At,
        stat: Stat,
        node: Node,
        root: &Path,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()> {
        let known = self.of_parent(at.path(), at.name(), root).filter(|n| n.kind == NodeKind::File);
        let slot = self.builder.place(at.path());
        let fate = self.databases.fate(&at, &stat);
        let file = Parked { at, stat, node, known, slot };
        match fate {
            Fate::File => self.known_file(file, hands, scope)?,
            Fate::Dropped => self.builder.fill(file.slot, None, self.ancestry)?,
            Fate::Waits(database) => self.databases.park(database, file),
        }
        self.catch_up(hands, scope)
    }

    /// Does what waits for the walk.
    fn catch_up<'s, 't: 's>(&mut self, hands: &Hands<'t, '_>, scope: &rayon::Scope<'s>) -> Result<()> {
        while let Some(later) = self.later.pop() {
            match later {
                Later::Beside(file) => self.known_file(file, hands, scope)?,
                Later::Large(file) => self.read_large(file, hands, scope)?,
            }
        }
        Ok(())
    }

    /// It is known whether this file was captured: what belongs to it is settled with it.
    fn decided(&mut self, path: &Path, captured: bool) -> Result<()> {
        for file in self.databases.decided(path, captured) {
            match captured {
                true => self.builder.fill(file.slot, None, self.ancestry)?,
                false => self.later.push(Later::Beside(file)),
            }
        }
        Ok(())
    }

    /// A file that is to be stored, with what the parent has in its place.
    fn known_file<'s, 't: 's>(
        &mut self,
        file: Parked,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()> {
        let Parked { at, stat, mut node, mut known, slot } = file;
        self.progress.found(1, stat.size);
        let compared = match &known {
            None => Compared::New,
            Some(old) => match self.take_over(old, &at, &stat)? {
                Ok(()) => Compared::Unchanged,
                Err(words) => {
                    self.tally.read_again(words);
                    Compared::Changed
                }
            },
        };
        if let Some(database) = reading::journal_of(&at) {
            self.tally.problem(database, self.progress);
        }
        if compared == Compared::Unchanged
            && let Some(old) = known.take()
        {
            node.content = old.content;
            node.seams = old.seams;
            node.capture = old.capture;
            if old.capture == CAPTURE_PLAIN_LIVE
                && let Some(problem) = reading::live_database(&at, SQLITE_MAGIC)
            {
                self.tally.problem(problem, self.progress);
            }
            if old.capture == CAPTURE_SQLITE {
                node.size = old.size;
                database::keep(&mut node, &old.extensions);
            }
            self.decided(at.path(), old.capture == CAPTURE_SQLITE)?;
            self.tally.file(Compared::Unchanged, node.size, 0);
            self.progress.advance(1, stat.size);
            return self.builder.fill(slot, Some(node), self.ancestry);
        }
        self.databases.await_file(at.path(), &self.options.sqlite);
        let size = stat.size;
        let file = ToRead { before: known, at, stat, node, slot, compared, refused: None };
        if size > WHOLE_FILE_BYTES {
            // What came before in the walk goes first, so that neighbours stay neighbours.
            self.send_batch(hands, scope);
            return self.read_large(file, hands, scope);
        }
        self.batch.push(file);
        self.batch_bytes += size + QUEUED_FILE_BYTES;
        let read_bytes = self.batch_bytes - self.batch.len() as u64 * QUEUED_FILE_BYTES;
        if read_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_FILES {
            self.send_batch(hands, scope);
        }
        self.take_results(hands, IN_FLIGHT_BYTES)
    }

    /// May the parent's content be taken over? Otherwise why not.
    fn take_over(&self, old: &Node, at: &At, stat: &Stat) -> Result<std::result::Result<(), &'static str>> {
        if self.options.force {
            return Ok(Err(Tally::FORCED));
        }
        if old.lost().is_some() {
            // What stands for the lost bytes are not the file's.
            return Ok(Err(Tally::MISSING_DATA));
        }
        if let Some(words) = reason_to_read(old, at, stat, &self.policy, self.options.sqlite.mode) {
            return Ok(Err(words));
        }
        Ok(if self.parent.still_stored(old, self.session)? { Ok(()) } else { Err(Tally::MISSING_DATA) })
    }

    fn send_batch<'s, 't: 's>(&mut self, hands: &Hands<'t, '_>, scope: &rayon::Scope<'s>) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.batch_bytes);
        self.in_flight_bytes += bytes;
        self.batches += 1;
        let (tools, sender) = (hands.tools, hands.sender.clone());
        scope.spawn(move |_| {
            thread_local! {
                static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
            }
            let read = || BUFFER.with_borrow_mut(|buffer| reading::read_batch(tools, batch, buffer));
            let result = reading::or_panicked(read);
            drop(sender.send(Done::Batch { bytes, result }));
        });
    }

    fn read_large<'s, 't: 's>(
        &mut self,
        mut file: ToRead,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()> {
        self.progress.current(&shown(file.at.path()));
        let before = file.before.take();
        let (familiar, trusted) = self.parent.familiar(before.as_ref(), hands.tools.cutter.params());
        let before = Before { node: before.as_ref(), familiar: &familiar, trusted };
        for capture in 1.. {
            let number = self.next_large;
            self.next_large += 1;
            let source = match reading::open(hands.tools, file, false) {
                Err(outcome) => return self.take_in(*outcome),
                Ok(opened) => opened,
            };
            let large =
                hands.reader.read(number, source.0, source.1, &before, &hands.sender, Done::Chunk, scope)?;
            let Some(why) = large.spoiled() else {
                self.large.insert(number, large);
                self.settle_large(number, hands)?;
                return self.take_results(hands, IN_FLIGHT_BYTES);
            };
            // Its chunks come back for a number that nobody knows any more.
            file = large.into_file();
            database::forget(&mut file.node);
            if capture == CAPTURES {
                let mode = self.options.sqlite.mode;
                file.refused = Some(Refusal::new(&file.at, mode, NotCaptured { why, live: true }));
            }
        }
        Ok(())
    }

    fn settle_large(&mut self, number: u64, hands: &Hands<'_, '_>) -> Result<()> {
        if self.large.get(&number).is_some_and(LargeFile::is_done)
            && let Some(large) = self.large.remove(&number)
        {
            let outcome = large.finish(hands.tools)?;
            self.take_in(outcome)?;
        }
        Ok(())
    }

    fn take_in(&mut self, outcome: Outcome) -> Result<()> {
        if let Some(file) = outcome.postponed {
            self.later.push(Later::Large(*file));
            return Ok(());
        }
        let settled = match &outcome.node {
            Some(node) => node.capture == CAPTURE_SQLITE,
            // Without the database, what lies beside it is of no use.
            None => self.options.sqlite.mode == SqliteMode::Require,
        };
        self.decided(&outcome.path, settled)?;
        outcome.problems.into_iter().for_each(|p| self.tally.problem(p, self.progress));
        if let Some(node) = &outcome.node {
            self.tally.file(outcome.compared, node.size, outcome.read_bytes);
        }
        self.builder.fill(outcome.slot, outcome.node, self.ancestry)
    }

    fn handle(&mut self, done: Done, hands: &Hands<'_, '_>) -> Result<()> {
        match done {
            Done::Batch { bytes, result } => {
                self.in_flight_bytes -= bytes;
                self.batches -= 1;
                result?.into_iter().try_for_each(|outcome| self.take_in(outcome))
            }
            Done::Chunk((number, part, id)) => {
                let id = id?;
                if let Some(large) = self.large.get_mut(&number) {
                    large.chunk_done(part, id);
                }
                self.settle_large(number, hands)
            }
        }
    }

    /// Takes in what is there, and waits while more than `limit` is under way.
    fn take_results(&mut self, hands: &Hands<'_, '_>, limit: u64) -> Result<()> {
        loop {
            let done = if self.in_flight_bytes > limit {
                hands.receiver.recv().map_err(|_| Error::Internal("the workers are gone".into()))?
            } else {
                match hands.receiver.try_recv() {
                    Ok(done) => done,
                    Err(_) => return Ok(()),
                }
            };
            self.handle(done, hands)?;
        }
    }

    /// Waits for everything under way.
    fn drain<'s, 't: 's>(&mut self, hands: &Hands<'t, '_>, scope: &rayon::Scope<'s>) -> Result<()> {
        loop {
            self.send_batch(hands, scope);
            while self.batches > 0 || !self.large.is_empty() {
                let done =
                    hands.receiver.recv().map_err(|_| Error::Internal("the workers are gone".into()))?;
                self.handle(done, hands)?;
            }
            if self.later.is_empty() {
                break;
            }
            self.catch_up(hands, scope)?;
        }
        debug_assert!(self.builder.is_settled());
        Ok(())
    }
}
