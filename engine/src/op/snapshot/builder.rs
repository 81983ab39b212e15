//! Trees from the bottom up while files are still being read.
//!
//! Each directory that was entered has a place for every name in it; a file that is being read
//! leaves its place empty until its node arrives. A directory whose walk has ended and
//! whose places are filled becomes a tree, and its node goes to its own place one level up.

use std::collections::HashMap;
use std::path::PathBuf;

use super::ancestry::Ancestry;
use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::tree::{MARK_INCOMPLETE, Node};
use crate::id::BlobId;
use crate::repo::renew::OldTree;

type DirNumber = u64;

/// A place for a node: in a directory, or at the top.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// In a directory that was entered.
    In { dir: DirNumber, place: usize },
    /// A root of the walk.
    Root(PathBuf),
}

struct Dir {
    node: Node,
    /// What it was in the parent snapshot.
    before: Option<BlobId>,
    slot: Slot,
    places: Vec<Option<Node>>,
    /// Places still empty because their node is on its way.
    awaited: usize,
    left: bool,
}

/// The directories that are not finished yet.
#[derive(Default)]
pub struct Builder {
    dirs: HashMap<DirNumber, Dir>,
    open: Vec<DirNumber>,
    next: DirNumber,
    roots: Vec<(PathBuf, Node)>,
}

impl Builder {
    /// A place for what comes next in the walk; `path` is used if it is a root.
    pub fn place(&mut self, path: &std::path::Path) -> Slot {
        match self.open.last() {
            None => Slot::Root(path.to_owned()),
            Some(number) => {
                let dir = self.dirs.get_mut(number).expect("because an open directory is not finished");
                dir.places.push(None);
                dir.awaited += 1;
                Slot::In { dir: *number, place: dir.places.len() - 1 }
            }
        }
    }

    /// The walk enters a directory; `before` is its tree in the parent snapshot.
    pub fn enter(&mut self, path: &std::path::Path, node: Node, before: Option<BlobId>) {
        let slot = self.place(path);
        let number = self.next;
        self.next += 1;
        self.dirs.insert(number, Dir { node, before, slot, places: Vec::new(), awaited: 0, left: false });
        self.open.push(number);
    }

    /// The walk leaves the directory entered last.
    pub fn leave(&mut self, incomplete: bool, keeper: &Ancestry<'_>) -> Result<()> {
        let number = self.open.pop().ok_or_else(|| Error::Internal("a directory left twice".into()))?;
        let dir = self.dirs.get_mut(&number).expect("because it was open");
        dir.left = true;
        if incomplete {
            dir.node.marks |= MARK_INCOMPLETE;
        }
        self.settle(number, keeper)
    }

    /// The node for a place; `None` leaves the name out.
    pub fn fill(&mut self, slot: Slot, node: Option<Node>, keeper: &Ancestry<'_>) -> Result<()> {
        match slot {
            Slot::Root(path) => {
                self.roots.extend(node.map(|node| (path, node)));
                Ok(())
            }
            Slot::In { dir: number, place } => {
                let dir = self
                    .dirs
                    .get_mut(&number)
                    .ok_or_else(|| Error::Internal("a node for a finished directory".into()))?;
                dir.places[place] = node;
                dir.awaited -= 1;
                self.settle(number, keeper)
            }
        }
    }

    fn settle(&mut self, mut number: DirNumber, keeper: &Ancestry<'_>) -> Result<()> {
        loop {
            let done = self.dirs.get(&number).is_some_and(|d| d.left && d.awaited == 0);
            if !done {
                return Ok(());
            }
            let Some(dir) = self.dirs.remove(&number) else { return Ok(()) };
            let nodes = dir.places.into_iter().flatten().collect();
            let old = OldTree::of(dir.before);
            let id = keeper.session().renew_tree(nodes, &old, keeper.reader())?;
            let node = Node { content: vec![Entry::Tree { id }], ..dir.node };
            match dir.slot {
                Slot::Root(path) => {
                    self.roots.push((path, node));
                    return Ok(());
                }
                Slot::In { dir: above, place } => {
                    let dir = self.dirs.get_mut(&above).expect("because it awaits this one");
                    dir.places[place] = Some(node);
                    dir.awaited -= 1;
                    number = above;
                }
            }
        }
    }

    /// Roots that are finished, with their nodes.
    pub fn take_roots(&mut self) -> Vec<(PathBuf, Node)> {
        std::mem::take(&mut self.roots)
    }

    /// Is nothing awaited any more?
    pub fn is_settled(&self) -> bool {
        self.dirs.is_empty()
    }
}
