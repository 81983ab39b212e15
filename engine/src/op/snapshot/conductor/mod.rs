//! Takes what the walk meets, hands out work, and takes in results: one thread, all state its own.

mod files;
mod stream;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rayon::ThreadPool;

use super::ahead::{Ahead, ROOM};
use super::ancestry::Ancestry;
use super::builder::Builder;
use super::database::{Databases, Parked};
use super::early::{Early, Sieve, begins_outside};
use super::large::{ChunkDone, LargeFile, LargeReader, Windows};
use super::options::SnapshotOptions;
use super::parent::{Children, ParentSnapshot};
use super::reading::{Outcome, ToRead, Tools};
use super::tally::Tally;
use crate::chunk::Cutter;
use crate::error::{Error, Result};
use crate::format::tree::{Node, NodeKind};
use crate::id::BlobId;
use crate::progress::Progress;
use crate::repo::session::Session;
use crate::source::gates::Gates;
use crate::source::{ChangePolicy, Event, Links, Names, Plan, Skeleton, Stored, WalkContext, Why};

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
    context: Arc<WalkContext>,
    /// When the first file was looked at, if that was before this.
    began_ns: Option<i64>,
    /// A walk that began before there was a repository.
    begun: Option<Ahead>,
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
        early: &mut Early,
    ) -> Self {
        let repo = session.repo();
        let own = repo.store().local_path().into_iter().chain(repo.cache().map(|c| c.path().to_owned()));
        let context = WalkContext {
            exclude: early.exclude().with_own(&Vec::from_iter(own)),
            names: Names::new(),
            clock: repo.surroundings().clock.clone(),
            taken: BTreeSet::new(),
        };
        let (began_ns, begun) = early.take().unzip();
        Self {
            session,
            options,
            parent,
            ancestry,
            progress,
            context: Arc::new(context),
            began_ns,
            begun,
            names: Names::new(),
            policy: ChangePolicy {
                ignore_inode: options.ignore_inode,
                ignore_ctime: options.ignore_ctime,
                other_host: parent.other_host().is_some(),
            },
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
        }
    }

    /// When the first file was looked at, if that was before this.
    pub fn began_ns(&self) -> Option<i64> {
        self.began_ns
    }

    /// Counts, and what was excluded (paths, bytes).
    pub fn finish(self) -> (Tally, (u64, u64)) {
        (self.tally, self.excluded)
    }

    /// Walks all roots, and where asked what links lead to outside of them; gives the tree of `/`.
    pub fn walk(&mut self, pool: &ThreadPool, cutter: &Cutter) -> Result<BlobId> {
        let names = Names::new();
        let gates = Gates::new(self.options.readers);
        let tools = Tools {
            session: self.session,
            ancestry: self.ancestry,
            cutter,
            names: &names,
            sqlite: &self.options.sqlite,
            gates: &gates,
            read_limit: self.options.read_limit.as_deref(),
            progress: self.progress,
        };
        let windows = Windows::new();
        pool.in_place_scope(|scope| {
            let (sender, receiver) = channel();
            let reader = LargeReader { tools: &tools, pool, windows };
            let hands = Hands { tools: &tools, reader, sender, receiver };
            match &self.options.stream {
                Some(stream) => self.read_stream(stream, &hands, scope),
                None => self.walk_roots(&hands, scope),
            }
        })
    }

    fn walk_roots<'s, 't: 's>(&mut self, hands: &Hands<'t, '_>, scope: &rayon::Scope<'s>) -> Result<BlobId> {
        let mut plan = Plan::new();
        let mut added = plan.add(&self.options.paths, &self.options.cwd);
        if added.roots.is_empty()
            && plan.links().next().is_none()
            && let Some(first) = added.problems.first()
        {
            return Err(Error::NothingThere { first: first.to_string(), more: added.problems.len() - 1 });
        }
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
                    self.context = Arc::new(WalkContext {
                        exclude: self.context.exclude.clone(),
                        names: Names::new(),
                        clock: self.context.clock.clone(),
                        taken: self.finished.keys().cloned().collect(),
                    });
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
        self.build(skeleton)
    }

    /// The tree of `/`.
    fn build(&mut self, skeleton: Skeleton) -> Result<BlobId> {
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
        let context = self.context.clone();
        // Only by the first root: any other's turn comes who knows when.
        let begun = self.begun.take().filter(|begun| begun.root() == root);
        let begun = begun.filter(|_| begins_outside(root, &context.exclude));
        let mut sieve = begun.is_some().then(Sieve::default);
        let walk = match begun {
            Some(begun) => begun,
            None => Ahead::begin(root, context.clone(), ROOM)?,
        };
        walk.each(&context, |event| {
            self.progress.check()?;
            let event = match &mut sieve {
                Some(sieve) => sieve.pass(event, &context.exclude),
                None => Some(event),
            };
            event.map_or(Ok(()), |event| self.event(event, root, roots, &context, hands, scope))
        })
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
                if matches!(excluded.why, Why::CacheTag | Why::Tag | Why::OtherFileSystem) {
                    self.left_out.insert(excluded.path);
                }
            }
        }
        Ok(())
    }

    /// What the parent snapshot has under this name.
    fn of_parent(&mut self, path: &Path, name: &[u8], root: &Path) -> Option<Node> {
        match self.levels.last_mut() {
            Some(level) => level.children.take(name),
            None if path == root => self.parent.node_at(path, self.session),
            None => None,
        }
    }
}
