//! The plan: which steps a restore takes, in which order. Pure: from trees and patterns alone,
//! so that it can be printed (`--dry-run`) and tested without touching a file system.
//!
//! Steps come one at a time, depth first in the order of names, and a directory is entered
//! only once something in it is wanted. Memory: the nodes of the directories on the way to
//! the present one, never those of the whole snapshot.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::vec::IntoIter;

use super::door;
use super::select::{Selection, Verdict};
use crate::error::{Error, Result, printable};
use crate::format::tree::{MARK_INCOMPLETE, Node, NodeKind};
use crate::format::wire::Bytes;
use crate::id::BlobId;
use crate::repo::lookup::join;
use crate::repo::reader::Reader;

/// Ends the name under which a file is restored that has lost a part: so nothing opens it unawares, and
/// no whole file of that name makes way for it.
pub const DAMAGED: &str = ".damaged";

/// Where the nodes of a directory come from.
pub trait Trees {
    /// Sorted by name.
    fn nodes(&self, tree: BlobId) -> Result<Vec<Node>>;
}

impl Trees for Reader {
    fn nodes(&self, tree: BlobId) -> Result<Vec<Node>> {
        self.tree(tree)
    }
}

/// A directory of the snapshot, and how it was judged.
#[derive(Debug)]
pub struct Origin {
    /// Its path.
    pub path: Vec<u8>,
    /// Its verdict.
    pub verdict: Verdict,
}

/// What the snapshot has in a directory, for `--delete` to know what else is there.
#[derive(Debug)]
pub struct Kept {
    /// All names, wanted or not.
    pub names: BTreeSet<Bytes>,
    /// The directories of the snapshot that it is made of: more than one only where leading names are left away.
    pub origins: Vec<Arc<Origin>>,
    /// The snapshot knows all that was there.
    pub whole: bool,
}

/// One step.
#[derive(Debug)]
pub enum Step {
    /// Make a directory if need be, and go on inside of it.
    Enter {
        /// The directory.
        node: Box<Node>,
        /// Its path in the snapshot.
        path: Vec<u8>,
        /// Wanted itself; else it only leads to something wanted.
        wanted: bool,
        /// See [`door::temp_salt`].
        temp_salt: u32,
        /// What is to stay in it, if all else is to go.
        kept: Option<Box<Kept>>,
    },
    /// The directory is complete: back to the one above.
    Leave,
    /// Anything but a directory.
    Leaf {
        /// Under the name that it is to have.
        node: Box<Node>,
        /// Its path in the snapshot, with that name.
        path: Vec<u8>,
    },
    /// What is below this directory of the snapshot cannot be known.
    Broken {
        /// Its path.
        path: Vec<u8>,
        /// Why.
        error: Error,
    },
    /// The repository lost part of this path; what follows is what is left of it, if anything.
    Lost {
        /// In the snapshot.
        path: Vec<u8>,
        /// How much.
        message: String,
    },
}

/// A node, where it is from, and other directories that share its name.
pub struct Item {
    /// The node.
    pub node: Node,
    /// The directory that it is in.
    pub from: Arc<Origin>,
    /// See [`super::strip`].
    pub also: Vec<Item>,
}

impl Item {
    /// Its path in the snapshot.
    pub fn path(&self) -> Vec<u8> {
        join(&self.from.path, &self.node.name)
    }
}

struct Level {
    items: IntoIter<Item>,
    /// Names in the directory, if one of its files has lost a part.
    taken: BTreeSet<Bytes>,
    /// What to enter it with, until something in it is wanted; the top needs none.
    pending: Option<Step>,
}

/// The walk that gives the steps.
pub struct Walk<'w, T: Trees> {
    pub(super) trees: &'w T,
    pub(super) selection: &'w Selection,
    levels: Vec<Level>,
    pub(super) ready: VecDeque<Step>,
    top: Vec<Item>,
    /// The directories that the top is made of; none if single nodes were asked for.
    pub(super) top_origins: Vec<Arc<Origin>>,
    pub(super) top_whole: bool,
    top_salt: u32,
    salvage: bool,
    deletes: bool,
}

impl<'w, T: Trees> Walk<'w, T> {
    /// Over the contents of a directory, which is at `path` in the snapshot.
    pub fn contents(trees: &'w T, selection: &'w Selection, tree: BlobId, path: &[u8]) -> Result<Self> {
        let nodes = trees.nodes(tree)?;
        let mut walk = Self::over(trees, selection, nodes, path);
        walk.top_origins = walk.top.first().map(|item| item.from.clone()).into_iter().collect();
        if walk.top.is_empty() {
            walk.top_origins.push(origin_of(selection, path));
        }
        Ok(walk)
    }

    /// Over these nodes, which are in the directory `path` of the snapshot.
    pub fn over(trees: &'w T, selection: &'w Selection, nodes: Vec<Node>, path: &[u8]) -> Self {
        let from = origin_of(selection, path);
        let mut walk = Self {
            trees,
            selection,
            levels: Vec::new(),
            ready: VecDeque::new(),
            top: Vec::new(),
            top_origins: Vec::new(),
            top_whole: true,
            top_salt: 0,
            salvage: false,
            deletes: false,
        };
        walk.begin_with(
            nodes.into_iter().map(|node| Item { node, from: from.clone(), also: Vec::new() }).collect(),
        );
        walk
    }

    /// What is at the top, not yet begun.
    pub(super) fn take_top(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.top)
    }

    /// That is at the top.
    pub(super) fn begin_with(&mut self, items: Vec<Item>) {
        self.top_salt = door::temp_salt(items.iter().map(|item| &item.node.name[..]));
        self.top = items;
    }

    /// The snapshot may not know all that was at the top.
    pub fn not_whole(&mut self, unsure: bool) {
        self.top_whole &= !unsure;
    }

    /// Files that have lost a part come too, under another name.
    pub fn salvaging(self, salvage: bool) -> Self {
        Self { salvage, ..self }
    }

    /// Steps say what is to stay in a directory.
    pub fn deleting(self, deletes: bool) -> Self {
        Self { deletes, ..self }
    }

    /// Salt of temporary names in the top directory.
    pub fn top_salt(&self) -> u32 {
        self.top_salt
    }

    /// What is to stay in the top directory, if all else is to go: to be asked for before the first step.
    pub fn top_kept(&self) -> Option<Box<Kept>> {
        let is_known = self.deletes && !self.top_origins.is_empty();
        is_known.then(|| self.kept(&self.top, self.top_origins.clone(), self.top_whole))
    }

    fn kept(&self, items: &[Item], origins: Vec<Arc<Origin>>, whole: bool) -> Box<Kept> {
        Box::new(Kept { names: items.iter().map(|item| item.node.name.clone()).collect(), origins, whole })
    }

    /// The next step.
    pub fn next_step(&mut self) -> Option<Step> {
        if !self.top.is_empty() {
            let items = self.take_top();
            self.levels.push(Level { taken: taken(&items), items: items.into_iter(), pending: None });
        }
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Some(step);
            }
            let level = self.levels.last_mut()?;
            let Some(mut item) = level.items.next() else {
                let left = self.levels.pop()?;
                if left.pending.is_none() && !self.levels.is_empty() {
                    return Some(Step::Leave);
                }
                continue;
            };
            if item.node.kind != NodeKind::Directory {
                if self.judge(&item) != Verdict::Skip {
                    self.enter_pending();
                    let path = item.path();
                    self.leaf(item.node, path, &item.from);
                }
                continue;
            }
            let also = std::mem::take(&mut item.also);
            let parts = std::iter::once(item).chain(also).map(|part| (self.judge(&part), part));
            let parts: Vec<_> = parts.filter(|(verdict, _)| *verdict != Verdict::Skip).collect();
            if !parts.is_empty() {
                self.descend(parts);
            }
        }
    }

    /// What is wanted of a node?
    pub(super) fn judge(&self, item: &Item) -> Verdict {
        match item.from.verdict {
            Verdict::Skip => Verdict::Skip,
            above => self.selection.judge(&item.path(), item.node.kind == NodeKind::Directory, above),
        }
    }

    fn leaf(&mut self, mut node: Node, mut path: Vec<u8>, from: &Origin) {
        if let Some(lost) = node.lost() {
            let (bytes, size) = (lost.bytes(), node.size);
            let lost_path = path.clone();
            let rest = if self.salvage {
                let taken = self.levels.last_mut().map(|level| &mut level.taken);
                node.name = free_name(&node.name, taken);
                path = join(&from.path, &node.name);
                format!("the rest is in {}, zeros in its place", printable(&node.name))
            } else {
                "not restored".into()
            };
            let message = format!("{bytes} of its {size} bytes are lost; {rest}");
            self.ready.push_back(Step::Lost { path: lost_path, message });
            if !self.salvage {
                return;
            }
        }
        self.ready.push_back(Step::Leaf { node: Box::new(node), path });
    }

    /// The nodes of a directory, with what is to be said of it.
    pub(super) fn open(
        &self,
        part: &Item,
        verdict: Verdict,
        said: &mut Vec<Step>,
    ) -> (Vec<Item>, Arc<Origin>) {
        let path = part.path();
        if let Some(lost) = part.node.lost() {
            let message = match lost.names {
                0 => "what was in this directory is lost".to_owned(),
                names => format!("at least {names} names in this directory are lost"),
            };
            said.push(Step::Lost { path: path.clone(), message });
        }
        let nodes = part.node.subtree().map_or_else(|| Ok(Vec::new()), |tree| self.trees.nodes(tree));
        let nodes = nodes.unwrap_or_else(|error| {
            said.push(Step::Broken { path: path.clone(), error });
            Vec::new()
        });
        let from = Arc::new(Origin { path, verdict });
        let item = |node| Item { node, from: from.clone(), also: Vec::new() };
        (nodes.into_iter().map(item).collect(), from)
    }

    fn descend(&mut self, mut parts: Vec<(Verdict, Item)>) {
        let (mut items, mut origins, mut said) = (Vec::new(), Vec::new(), Vec::new());
        for (verdict, part) in &parts {
            let (below, from) = self.open(part, *verdict, &mut said);
            items.extend(below);
            origins.push(from);
        }
        if parts.len() > 1 {
            items = super::strip::merged(items);
        }
        let whole = said.is_empty() && parts.iter().all(|(_, part)| part.node.marks & MARK_INCOMPLETE == 0);
        let kept = self.deletes.then(|| self.kept(&items, origins, whole));
        let temp_salt = door::temp_salt(items.iter().map(|item| &item.node.name[..]));
        let first = parts.iter().position(|(verdict, _)| *verdict == Verdict::Take);
        let (verdict, part) = parts.swap_remove(first.unwrap_or(0));
        let wanted = verdict == Verdict::Take;
        let enter = Step::Enter { path: part.path(), node: Box::new(part.node), wanted, temp_salt, kept };
        self.levels.push(Level { taken: taken(&items), items: items.into_iter(), pending: Some(enter) });
        if wanted || !said.is_empty() {
            self.enter_pending();
        }
        self.ready.extend(said);
    }

    /// Something below is wanted: every directory on the way is entered now.
    fn enter_pending(&mut self) {
        let pending = self.levels.iter_mut().filter_map(|level| level.pending.take());
        self.ready.extend(pending);
    }
}

/// A directory that a walk begins in. What lies above decides too: `--include /a` and a restore of `/a/b`.
fn origin_of(selection: &Selection, path: &[u8]) -> Arc<Origin> {
    let mut verdict = selection.at_top();
    let mut at = Vec::new();
    for name in path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
        at = join(&at, name);
        verdict = selection.judge(&at, true, verdict);
        if verdict == Verdict::Skip {
            break;
        }
    }
    Arc::new(Origin { path: path.to_vec(), verdict })
}

fn taken(items: &[Item]) -> BTreeSet<Bytes> {
    let any = items.iter().any(|item| item.node.kind == NodeKind::File && item.node.lost().is_some());
    if any { items.iter().map(|item| item.node.name.clone()).collect() } else { BTreeSet::new() }
}

/// `name` and [`DAMAGED`], as often as it takes.
fn free_name(name: &[u8], taken: Option<&mut BTreeSet<Bytes>>) -> Bytes {
    let mut name = Bytes::from([name, DAMAGED.as_bytes()].concat());
    if let Some(taken) = taken {
        while !taken.insert(name.clone()) {
            name.0.extend_from_slice(DAMAGED.as_bytes());
        }
    }
    name
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
