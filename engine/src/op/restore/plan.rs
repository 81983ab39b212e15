//! The plan: which steps a restore takes, in which order. Pure: from trees and patterns alone,
//! so that it can be printed (`--dry-run`) and tested without touching a file system.
//!
//! Steps come one at a time, depth first in the order of names, and a directory is entered
//! only once something in it is wanted. Memory: the nodes of the directories on the way to
//! the present one, never those of the whole snapshot.

use std::collections::{BTreeSet, VecDeque};
use std::vec::IntoIter;

use super::door;
use super::select::{Selection, Verdict};
use crate::error::{Error, Result, printable};
use crate::format::tree::{Node, NodeKind};
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

/// One step.
#[derive(Debug)]
pub enum Step {
    /// Make a directory if need be, and go on inside of it.
    Enter {
        /// The directory.
        node: Box<Node>,
        /// Wanted itself; else it only leads to something wanted.
        wanted: bool,
        /// See [`door::temp_salt`].
        temp_salt: u32,
    },
    /// The directory is complete: back to the one above.
    Leave,
    /// Anything but a directory.
    Leaf(Box<Node>),
    /// What is below the directory just entered cannot be known.
    Broken(Error),
    /// The repository lost part of this path; what follows is what is left of it, if anything.
    Lost {
        /// In the snapshot.
        path: Vec<u8>,
        /// How much.
        message: String,
    },
}

struct Level {
    nodes: IntoIter<Node>,
    /// Names in the directory, if one of its files has lost a part.
    taken: BTreeSet<Bytes>,
    verdict: Verdict,
    /// Length of `Walk::path` up to and with this directory.
    path_len: usize,
    /// What to enter it with, until something in it is wanted; the top needs none.
    pending: Option<Step>,
}

/// The walk that gives the steps.
pub struct Walk<'w, T: Trees> {
    trees: &'w T,
    selection: &'w Selection,
    levels: Vec<Level>,
    path: Vec<u8>,
    ready: VecDeque<Step>,
    top_salt: u32,
    salvage: bool,
}

impl<'w, T: Trees> Walk<'w, T> {
    /// Over the contents of a directory, which is at `path` in the snapshot.
    pub fn contents(trees: &'w T, selection: &'w Selection, tree: BlobId, path: &[u8]) -> Result<Self> {
        let nodes = trees.nodes(tree)?;
        Ok(Self::over(trees, selection, nodes, path))
    }

    /// Over these nodes, which are in the directory `path` of the snapshot.
    pub fn over(trees: &'w T, selection: &'w Selection, nodes: Vec<Node>, path: &[u8]) -> Self {
        let top_salt = door::temp_salt(nodes.iter().map(|n| &n.name[..]));
        let top = Level {
            taken: taken(&nodes),
            nodes: nodes.into_iter(),
            verdict: selection.at_top(),
            path_len: path.len(),
            pending: None,
        };
        // What lies above the top decides too: `--include /a` and a restore of `/a/b`.
        let mut walk = Self {
            trees,
            selection,
            levels: vec![top],
            path: path.to_vec(),
            ready: VecDeque::new(),
            top_salt,
            salvage: false,
        };
        walk.levels[0].verdict = walk.verdict_of_top();
        walk
    }

    /// Files that have lost a part come too, under another name.
    pub fn salvaging(self, salvage: bool) -> Self {
        Self { salvage, ..self }
    }

    fn verdict_of_top(&self) -> Verdict {
        let mut above = self.selection.at_top();
        let mut path = Vec::new();
        for name in self.path.split(|b| *b == b'/').filter(|n| !n.is_empty()) {
            path = join(&path, name);
            above = self.selection.judge(&path, true, above);
            if above == Verdict::Skip {
                break;
            }
        }
        above
    }

    /// Salt of temporary names in the top directory.
    pub fn top_salt(&self) -> u32 {
        self.top_salt
    }

    /// Path of the directory entered last.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The next step.
    pub fn next_step(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.ready.pop_front() {
                return Some(step);
            }
            let level = self.levels.last_mut()?;
            self.path.truncate(level.path_len);
            let above = level.verdict;
            let node = if above == Verdict::Skip { None } else { level.nodes.next() };
            let Some(node) = node else {
                let left = self.levels.pop()?;
                if left.pending.is_none() && !self.levels.is_empty() {
                    return Some(Step::Leave);
                }
                continue;
            };
            let is_dir = node.kind == NodeKind::Directory;
            let path = join(&self.path, &node.name);
            let verdict = self.selection.judge(&path, is_dir, above);
            if verdict == Verdict::Skip {
                continue;
            }
            match node.subtree() {
                None => {
                    self.enter_pending();
                    self.leaf(node, path);
                }
                Some(tree) => self.descend(node, tree, verdict, path),
            }
        }
    }

    fn leaf(&mut self, mut node: Node, path: Vec<u8>) {
        if let Some(lost) = node.lost() {
            let (bytes, size) = (lost.bytes(), node.size);
            let rest = if self.salvage {
                let taken = self.levels.last_mut().map(|level| &mut level.taken);
                node.name = free_name(&node.name, taken);
                format!("the rest is in {}, zeros in its place", printable(&node.name))
            } else {
                "not restored".into()
            };
            let message = format!("{bytes} of its {size} bytes are lost; {rest}");
            self.ready.push_back(Step::Lost { path, message });
            if !self.salvage {
                return;
            }
        }
        self.ready.push_back(Step::Leaf(Box::new(node)));
    }

    fn descend(&mut self, node: Node, tree: BlobId, verdict: Verdict, path: Vec<u8>) {
        let wanted = verdict == Verdict::Take;
        let (nodes, broken) = match self.trees.nodes(tree) {
            Ok(nodes) => (nodes, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let temp_salt = door::temp_salt(nodes.iter().map(|n| &n.name[..]));
        let lost = node.lost().map(|lost| match lost.names {
            0 => "what was in this directory is lost".to_owned(),
            names => format!("at least {names} names in this directory are lost"),
        });
        let enter = Step::Enter { node: Box::new(node), wanted, temp_salt };
        self.path = path.clone();
        let path_len = self.path.len();
        let taken = taken(&nodes);
        self.levels.push(Level { nodes: nodes.into_iter(), taken, verdict, path_len, pending: Some(enter) });
        if wanted || broken.is_some() || lost.is_some() {
            self.enter_pending();
        }
        self.ready.extend(lost.map(|message| Step::Lost { path, message }));
        self.ready.extend(broken.map(Step::Broken));
    }

    /// Something below is wanted: every directory on the way is entered now.
    fn enter_pending(&mut self) {
        let pending = self.levels.iter_mut().filter_map(|level| level.pending.take());
        self.ready.extend(pending);
    }
}

fn taken(nodes: &[Node]) -> BTreeSet<Bytes> {
    let any = nodes.iter().any(|node| node.kind == NodeKind::File && node.lost().is_some());
    if any { nodes.iter().map(|node| node.name.clone()).collect() } else { BTreeSet::new() }
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
