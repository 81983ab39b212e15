//! `diff`: what differs between two snapshots, or two directories in them.
//!
//! Trees are gone through side by side; where both sides have the same tree nothing in it is read. Memory: the nodes
//! of the directories on the way to the present one, and the chunks of one pair of files.

pub mod tensors;

use std::cmp::Ordering;
use std::collections::HashMap;
use std::iter::Peekable;
use std::vec::IntoIter;

use serde::Serialize;

use crate::error::Result;
use crate::format::content::Entry;
use crate::format::tree::{EXT_LOST, EXT_XATTRS, Node, NodeKind};
use crate::id::{BlobId, SnapshotId};
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lookup::{self, Found, LastLink, join};
use crate::repo::reader::Reader;

/// One of the two.
#[derive(Debug, Clone)]
pub struct Side {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// An absolute path in it; `None` is everything.
    pub path: Option<Vec<u8>>,
}

/// What to compare.
#[derive(Debug, Clone)]
pub struct DiffOptions {
    /// From this.
    pub old: Side,
    /// To this.
    pub new: Side,
    /// Tell also of what differs only in mode, owner, time or attributes.
    pub metadata: bool,
}

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is only on the new side.
    Added,
    /// It is only on the old side.
    Removed,
    /// Its content is another.
    Content,
    /// It is something else now, a link where a file was.
    Kind,
    /// Only mode, owner, time of change or attributes.
    Metadata,
}

/// A path that differs.
#[derive(Debug)]
pub struct Changed<'n> {
    /// Absolute, raw bytes: on the new side, or on the old one if it is only there.
    pub path: &'n [u8],
    /// How.
    pub change: Change,
    /// On the old side.
    pub old: Option<&'n Node>,
    /// On the new side.
    pub new: Option<&'n Node>,
    /// Of a file with another content: bytes in chunks that the old one has not.
    pub new_bytes: u64,
    /// Of a file with another content: bytes in chunks that the new one has not.
    pub gone_bytes: u64,
}

/// How much differs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, pipes, devices.
    pub others: u64,
    /// Length of the files; of changed ones, of the new ones.
    pub bytes: u64,
}

impl Tally {
    fn count(&mut self, node: &Node) {
        match node.kind {
            NodeKind::File => {
                self.files += 1;
                self.bytes = self.bytes.saturating_add(node.size);
            }
            NodeKind::Directory => self.directories += 1,
            _ => self.others += 1,
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct DiffReport {
    /// Only on the new side.
    pub added: Tally,
    /// Only on the old side.
    pub removed: Tally,
    /// With another content, or something else now.
    pub changed: Tally,
    /// With other metadata only; counted if it was asked for.
    pub metadata: Tally,
    /// Of changed files: bytes in chunks that the old ones have not.
    pub changed_new_bytes: u64,
    /// Of changed files: bytes in chunks that the new ones have not.
    pub changed_gone_bytes: u64,
    /// Directories and files that could not be compared, with the reason.
    pub unreadable: Vec<(String, String)>,
}

impl DiffReport {
    /// Is all the same?
    pub fn is_equal(&self) -> bool {
        let none = Tally::default();
        [self.added, self.removed, self.changed, self.metadata].iter().all(|tally| *tally == none)
    }
}

/// Compares; each difference is given to `each`, in the order of names, a directory before what is in it.
pub fn run(
    repo: &Repository,
    options: &DiffOptions,
    progress: &dyn Progress,
    each: &mut dyn FnMut(&Changed<'_>) -> Result<()>,
) -> Result<DiffReport> {
    let reader = Reader::open(repo)?;
    let find = |side: &Side| -> Result<Found> {
        let root = repo.snapshot(side.snapshot)?.record.root;
        lookup::resolve(&reader, root, side.path.as_deref().unwrap_or(b"/"), LastLink::Keep)
    };
    let (old, new) = (find(&options.old)?, find(&options.new)?);
    progress.phase("comparing", None, None);
    let mut diff = Diff { reader: &reader, options, progress, each, report: DiffReport::default() };
    match (old.tree, new.tree) {
        (Some(a), Some(b)) => {
            if let (Some(a), Some(b)) = (&old.node, &new.node) {
                diff.pair(&new.path, a, b)?;
            }
            diff.trees(Some((a, old.path)), Some((b, new.path)))?;
        }
        // Only a directory has no node: the top.
        (a, b) => match (&old.node, &new.node) {
            (Some(was), Some(is)) => {
                diff.pair(&new.path, was, is)?;
                diff.trees(a.map(|tree| (tree, old.path.clone())), b.map(|tree| (tree, new.path.clone())))?;
            }
            _ => {
                return Err(crate::error::Error::Usage(
                    "a file and a whole snapshot have nothing to compare".into(),
                ));
            }
        },
    }
    Ok(diff.report)
}

struct Diff<'d> {
    reader: &'d Reader,
    options: &'d DiffOptions,
    progress: &'d dyn Progress,
    each: &'d mut dyn FnMut(&Changed<'_>) -> Result<()>,
    report: DiffReport,
}

/// A directory that is gone through, on one side or on both.
struct Level {
    old: Vec<u8>,
    new: Vec<u8>,
    olds: Peekable<IntoIter<Node>>,
    news: Peekable<IntoIter<Node>>,
}

impl Level {
    /// The next name: on one side, or on both.
    fn next(&mut self) -> Option<(Option<Node>, Option<Node>)> {
        let order = match (self.olds.peek(), self.news.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.name.cmp(&b.name),
        };
        Some(match order {
            Ordering::Less => (self.olds.next(), None),
            Ordering::Greater => (None, self.news.next()),
            Ordering::Equal => (self.olds.next(), self.news.next()),
        })
    }
}

type At = Option<(BlobId, Vec<u8>)>;

impl Diff<'_> {
    fn trees(&mut self, old: At, new: At) -> Result<()> {
        let mut levels = Vec::new();
        levels.extend(self.enter(old, new)?);
        while let Some(level) = levels.last_mut() {
            self.progress.check()?;
            let Some((was, is)) = level.next() else {
                levels.pop();
                continue;
            };
            let old_path = was.as_ref().map(|node| join(&level.old, &node.name));
            let new_path = is.as_ref().map(|node| join(&level.new, &node.name));
            match (&was, &is) {
                (Some(a), Some(b)) => self.pair(new_path.as_deref().unwrap_or_default(), a, b)?,
                (Some(a), None) => {
                    self.single(old_path.as_deref().unwrap_or_default(), a, Change::Removed)?
                }
                (None, Some(b)) => self.single(new_path.as_deref().unwrap_or_default(), b, Change::Added)?,
                (None, None) => {}
            }
            let below = |node: &Option<Node>, path: Option<Vec<u8>>| node.as_ref()?.subtree().zip(path);
            let (a, b) = (below(&was, old_path), below(&is, new_path));
            levels.extend(self.enter(a, b)?);
        }
        Ok(())
    }

    /// `None`: nothing differs there, or it cannot be told.
    fn enter(&mut self, old: At, new: At) -> Result<Option<Level>> {
        match (&old, &new) {
            (None, None) => return Ok(None),
            (Some((a, _)), Some((b, _))) if a == b => return Ok(None),
            _ => {}
        }
        let mut sides = Vec::with_capacity(2);
        for side in [old, new] {
            let (nodes, path) = match side {
                None => (Vec::new(), Vec::new()),
                Some((tree, path)) => match self.reader.tree(tree) {
                    Ok(nodes) => (nodes, path),
                    // Half a comparison would call everything added or removed.
                    Err(error) => {
                        self.passable(&path, error)?;
                        return Ok(None);
                    }
                },
            };
            sides.push((nodes.into_iter().peekable(), path));
        }
        let (Some((news, new)), Some((olds, old))) = (sides.pop(), sides.pop()) else { return Ok(None) };
        Ok(Some(Level { old, new, olds, news }))
    }

    fn passable(&mut self, path: &[u8], error: crate::error::Error) -> Result<()> {
        use crate::error::Error;
        match error {
            Error::Missing { .. } | Error::Corrupt { .. } => {
                let path = crate::error::printable(path);
                self.report.unreadable.push((path, error.to_string()));
                Ok(())
            }
            error => Err(error),
        }
    }

    fn single(&mut self, path: &[u8], node: &Node, change: Change) -> Result<()> {
        let (tally, old, new) = match change {
            Change::Added => (&mut self.report.added, None, Some(node)),
            _ => (&mut self.report.removed, Some(node), None),
        };
        tally.count(node);
        (self.each)(&Changed { path, change, old, new, new_bytes: 0, gone_bytes: 0 })
    }

    fn pair(&mut self, path: &[u8], old: &Node, new: &Node) -> Result<()> {
        let (mut new_bytes, mut gone_bytes) = (0, 0);
        let change = if old.kind != new.kind {
            Change::Kind
        } else if old.kind != NodeKind::Directory && !same_content(old, new) {
            if old.kind == NodeKind::File {
                match self.compare(old, new) {
                    Ok(bytes) => (new_bytes, gone_bytes) = bytes,
                    Err(error) => self.passable(path, error)?,
                }
            }
            Change::Content
        } else if self.options.metadata && !same_metadata(old, new) {
            Change::Metadata
        } else {
            return Ok(());
        };
        let report = &mut self.report;
        match change {
            Change::Metadata => report.metadata.count(new),
            _ => report.changed.count(new),
        }
        report.changed_new_bytes = report.changed_new_bytes.saturating_add(new_bytes);
        report.changed_gone_bytes = report.changed_gone_bytes.saturating_add(gone_bytes);
        (self.each)(&Changed { path, change, old: Some(old), new: Some(new), new_bytes, gone_bytes })
    }

    /// Bytes that only the new one has, and only the old one.
    fn compare(&self, old: &Node, new: &Node) -> Result<(u64, u64)> {
        // By chunk: its length, and whether only the old one has it.
        let mut chunks: HashMap<BlobId, (u64, bool)> = HashMap::new();
        for entry in self.reader.expand(&old.content) {
            if let Entry::Chunk { id, len } = entry? {
                chunks.insert(id, (len.into(), true));
            }
        }
        let mut new_bytes = 0u64;
        for entry in self.reader.expand(&new.content) {
            match entry? {
                Entry::Chunk { id, len } => match chunks.get_mut(&id) {
                    Some((_, only_old)) => *only_old = false,
                    None => {
                        chunks.insert(id, (len.into(), false));
                        new_bytes = new_bytes.saturating_add(len.into());
                    }
                },
                Entry::Inline { bytes } => new_bytes += bytes.len() as u64,
                _ => {}
            }
        }
        let gone = chunks.values().filter(|(_, only_old)| *only_old);
        Ok((new_bytes, gone.fold(0, |sum: u64, (len, _)| sum.saturating_add(*len))))
    }
}

fn same_content(old: &Node, new: &Node) -> bool {
    old.content == new.content && old.rdev == new.rdev && old.extension(EXT_LOST) == new.extension(EXT_LOST)
}

/// As far as a restore would make a difference. The time of a directory changes with what is in it.
fn same_metadata(old: &Node, new: &Node) -> bool {
    let of = |n: &Node| (n.mode, n.uid, n.gid, n.user.clone(), n.group.clone());
    of(old) == of(new)
        && (old.kind == NodeKind::Directory || old.mtime == new.mtime)
        && old.extension(EXT_XATTRS) == new.extension(EXT_XATTRS)
}
