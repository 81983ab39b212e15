//! The plan: which steps a restore takes, in which order. Pure: from trees and patterns alone,
//! so that it can be printed (`--dry-run`) and tested without touching a file system.
//!
//! Steps come one at a time, depth first in the order of names, and a directory is entered
//! only once something in it is wanted. Memory: the nodes of the directories on the way to
//! the present one, never those of the whole snapshot.

use std::collections::VecDeque;
use std::vec::IntoIter;

use super::door;
use super::select::{Selection, Verdict};
use crate::error::{Error, Result};
use crate::format::tree::{Node, NodeKind};
use crate::id::BlobId;
use crate::repo::lookup::join;
use crate::repo::reader::Reader;

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
}

struct Level {
    nodes: IntoIter<Node>,
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
        };
        walk.levels[0].verdict = walk.verdict_of_top();
        walk
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
                    self.ready.push_back(Step::Leaf(Box::new(node)));
                }
                Some(tree) => self.descend(node, tree, verdict, path),
            }
        }
    }

    fn descend(&mut self, node: Node, tree: BlobId, verdict: Verdict, path: Vec<u8>) {
        let wanted = verdict == Verdict::Take;
        let (nodes, broken) = match self.trees.nodes(tree) {
            Ok(nodes) => (nodes, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let temp_salt = door::temp_salt(nodes.iter().map(|n| &n.name[..]));
        let enter = Step::Enter { node: Box::new(node), wanted, temp_salt };
        self.path = path;
        let path_len = self.path.len();
        self.levels.push(Level { nodes: nodes.into_iter(), verdict, path_len, pending: Some(enter) });
        if wanted || broken.is_some() {
            self.enter_pending();
        }
        self.ready.extend(broken.map(Step::Broken));
    }

    /// Something below is wanted: every directory on the way is entered now.
    fn enter_pending(&mut self) {
        let pending = self.levels.iter_mut().filter_map(|level| level.pending.take());
        self.ready.extend(pending);
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
