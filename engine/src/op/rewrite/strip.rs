//! A snapshot's tree without what patterns leave out.
//!
//! Directories in which nothing is left out keep their trees, so that only the way down to what goes is
//! stored anew. Memory: the nodes of the directories on the way to the present one, and a path for
//! each directory that is known to stay whole.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::vec::IntoIter;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::snapshot::SnapshotV1;
use crate::format::tree::{EXT_FOLLOWED, Node, NodeKind};
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::progress::Progress;
use crate::repo::reader::Reader;
use crate::repo::session::Session;
use crate::source::Exclude;

/// Links that one argument may have led through.
const MAX_FOLLOWED: usize = 40;

/// What was left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Paths that a pattern fits, what is below them not counted.
    pub paths: u64,
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, devices.
    pub others: u64,
    /// Length of the files.
    pub bytes: u64,
    /// Directories among them that could not be read, so that nothing below them is counted.
    pub unread: u64,
}

/// Leaves out what fits, in one snapshot after the other.
pub struct Strip<'a> {
    exclude: &'a Exclude,
    /// Trees at their paths in which nothing fits, whichever snapshot they belong to.
    whole: HashSet<(BlobId, PathBuf)>,
}

struct Level {
    path: PathBuf,
    tree: BlobId,
    /// The directory itself; none for `/`.
    node: Option<Node>,
    rest: IntoIter<Node>,
    kept: Vec<Node>,
    changed: bool,
}

impl Level {
    fn open(reader: &Reader, path: PathBuf, tree: BlobId, node: Option<Node>) -> Result<Self> {
        let rest = reader.tree(tree)?.into_iter();
        Ok(Self { path, tree, node, rest, kept: Vec::new(), changed: false })
    }
}

impl<'a> Strip<'a> {
    /// By these patterns.
    pub fn new(exclude: &'a Exclude) -> Self {
        Self { exclude, whole: HashSet::new() }
    }

    /// The new root, and what was left out. With a `store` the trees are stored, and `store` is asked about
    /// everything that is taken over; without one the root means nothing.
    pub fn run(
        &mut self,
        reader: &Reader,
        snapshot: &SnapshotV1,
        store: Option<&Keep<'_>>,
        progress: &dyn Progress,
    ) -> Result<(BlobId, Dropped)> {
        let above = above_roots(reader, snapshot)?;
        let mut dropped = Dropped::default();
        let mut levels = vec![Level::open(reader, PathBuf::from("/"), snapshot.root, None)?];
        while let Some(level) = levels.last_mut() {
            let Some(node) = level.rest.next() else {
                let Some(mut level) = levels.pop() else { break };
                let tree = self.close(&mut level, &above, store)?;
                match (levels.last_mut(), level.node) {
                    (Some(parent), Some(node)) => {
                        parent.changed |= level.changed;
                        parent.kept.push(Node { content: vec![Entry::Tree { id: tree }], ..node });
                    }
                    _ => return Ok((tree, dropped)),
                }
                continue;
            };
            let path = level.path.join(OsStr::from_bytes(&node.name));
            let is_dir = node.kind == NodeKind::Directory;
            if !above.contains(&path) && self.exclude.hides(&path, &path, is_dir) {
                progress.check()?;
                dropped.paths += 1;
                count(reader, &node, &mut dropped);
                level.changed = true;
                continue;
            }
            match node.subtree() {
                Some(tree) if !self.is_whole(tree, &path) => {
                    progress.check()?;
                    levels.push(Level::open(reader, path, tree, Some(node))?);
                }
                subtree => {
                    if let Some(keep) = store {
                        subtree.map_or_else(|| keep.file(&node), |tree| keep.tree(tree))?;
                    }
                    level.kept.push(node);
                }
            }
        }
        Err(Error::Internal("a tree without a root".into()))
    }

    fn is_whole(&self, tree: BlobId, path: &Path) -> bool {
        self.whole.contains(&(tree, path.to_owned()))
    }

    /// The tree of a directory whose last node was looked at.
    fn close(
        &mut self,
        level: &mut Level,
        above: &HashSet<PathBuf>,
        store: Option<&Keep<'_>>,
    ) -> Result<BlobId> {
        if level.changed {
            let kept = std::mem::take(&mut level.kept);
            return store.map_or(Ok(level.tree), |keep| keep.session.store_tree(kept));
        }
        // Whether a directory above an argument stays does not depend on patterns: elsewhere it might.
        if !above.contains(&level.path) {
            self.whole.insert((level.tree, level.path.clone()));
        }
        if let Some(keep) = store {
            keep.own_tree(level.tree)?;
        }
        Ok(level.tree)
    }
}

/// Takes over what stays. What this machine does not vouch for is looked up: a snapshot that relies on
/// what was lost is never committed.
pub struct Keep<'s> {
    pub session: &'s Session,
    pub reader: &'s Reader,
    pub vouched: bool,
}

impl Keep<'_> {
    fn need(&self, kind: BlobKind, id: BlobId) -> Result<()> {
        let blob = BlobRef::new(kind, id);
        if self.session.is_known(&blob)? {
            return Ok(());
        }
        Err(Error::Missing { blob: blob.to_string(), reason: "no usable pack has it".into() })
    }

    fn file(&self, node: &Node) -> Result<()> {
        if self.vouched {
            return Ok(());
        }
        node.seams.map_or(Ok(()), |id| self.need(BlobKind::Seams, id))?;
        self.content(&node.content)
    }

    fn content(&self, entries: &[Entry]) -> Result<()> {
        entries.iter().try_for_each(|entry| match entry {
            Entry::Chunk { id, .. } => self.need(BlobKind::Chunk, *id),
            Entry::List { id, .. } => {
                self.need(BlobKind::List, *id)?;
                self.content(&self.reader.list(*id)?.entries)
            }
            Entry::Hole { .. } | Entry::Inline { .. } | Entry::Tree { .. } => Ok(()),
        })
    }

    fn own_tree(&self, tree: BlobId) -> Result<Vec<Node>> {
        if self.vouched {
            return Ok(Vec::new());
        }
        self.need(BlobKind::Tree, tree)?;
        let (nodes, parts) = self.reader.tree_with_parts(tree)?;
        parts.into_iter().try_for_each(|part| self.need(BlobKind::TreePart, part))?;
        Ok(nodes)
    }

    fn tree(&self, tree: BlobId) -> Result<()> {
        let mut todo = vec![tree];
        while let Some(tree) = todo.pop() {
            for node in self.own_tree(tree)? {
                self.file(&node)?;
                todo.extend(node.subtree());
            }
        }
        Ok(())
    }
}

/// Counts a node that is left out, and all below it. What cannot be read may go all the same.
fn count(reader: &Reader, node: &Node, dropped: &mut Dropped) {
    let mut todo = Vec::new();
    let one = |node: &Node, todo: &mut Vec<BlobId>, dropped: &mut Dropped| match node.kind {
        NodeKind::File => {
            dropped.files += 1;
            dropped.bytes = dropped.bytes.saturating_add(node.size);
        }
        NodeKind::Directory => {
            dropped.directories += 1;
            todo.extend(node.subtree());
        }
        _ => dropped.others += 1,
    };
    one(node, &mut todo, dropped);
    while let Some(tree) = todo.pop() {
        match reader.tree(tree) {
            Ok(nodes) => nodes.iter().for_each(|node| one(node, &mut todo, dropped)),
            Err(_) => dropped.unread += 1,
        }
    }
}

/// The directories above what was asked for: patterns do not hold for them, as in `snapshot`. Where
/// an argument was a link, what it led to was asked for too.
fn above_roots(reader: &Reader, snapshot: &SnapshotV1) -> Result<HashSet<PathBuf>> {
    let mut above = HashSet::from([PathBuf::from("/")]);
    for argument in &snapshot.paths {
        let mut path = PathBuf::from(OsStr::from_bytes(argument));
        for _ in 0..MAX_FOLLOWED {
            above.extend(path.ancestors().skip(1).map(Path::to_owned));
            match followed(reader, snapshot.root, &path)? {
                Some(next) if next != path => path = next,
                _ => break,
            }
        }
    }
    Ok(above)
}

/// Where `path` leads by the first link on it that was followed when the snapshot was taken.
fn followed(reader: &Reader, root: BlobId, path: &Path) -> Result<Option<PathBuf>> {
    let mut tree = root;
    let mut names = path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    while let Some(name) = names.next() {
        let Some(node) = reader.child(tree, name.as_bytes())? else { return Ok(None) };
        if let Some(target) = node.extension(EXT_FOLLOWED) {
            let target = PathBuf::from(OsStr::from_bytes(target));
            return Ok(Some(names.fold(target, |path, name| path.join(name))));
        }
        match node.subtree() {
            Some(below) => tree = below,
            None => return Ok(None),
        }
    }
    Ok(None)
}
