//! From an absolute path inside a snapshot to its node, links inside the snapshot followed as
//! a kernel would: relative ones from their directory, absolute ones from the snapshot's top,
//! `..` from where the links led, at most [`MAX_HOPS`] of them.
//!
//! Paths are raw bytes. Nothing outside of the snapshot is ever looked at.

use crate::error::{Error, Result, printable};
use crate::format::tree::{Node, NodeKind};
use crate::id::BlobId;
use crate::repo::reader::Reader;

/// Links on the way to one name: at most.
pub const MAX_HOPS: usize = 40;

/// Is the last name followed too if it is a link? Those before it always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// As `cat` does.
    Follow,
    /// As `ls -d` does.
    Keep,
}

/// What a path led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it really is: absolute, without links, `/` for the top.
    pub path: Vec<u8>,
    /// Its node; the top has none.
    pub node: Option<Node>,
    /// Its tree, if it is a directory.
    pub tree: Option<BlobId>,
}

/// Finds `path` below the tree `root`.
pub fn resolve(reader: &Reader, root: BlobId, path: &[u8], last: LastLink) -> Result<Found> {
    let mut here = Here { root, names: Vec::new() };
    let mut todo = reversed(path);
    let mut via: Option<Vec<u8>> = None;
    let mut hops = 0;
    while let Some(name) = todo.pop() {
        if name == b".." {
            here.names.pop();
            continue;
        }
        let at = here.path_of(&name);
        let tree = here.tree().ok_or_else(|| not_found(&at, via.as_deref(), "not below a directory"))?;
        let Some(node) = reader.child(tree, &name)? else {
            return Err(not_found(&at, via.as_deref(), ""));
        };
        if node.kind == NodeKind::Symlink && (last == LastLink::Follow || !todo.is_empty()) {
            hops += 1;
            let target = node.link_target().unwrap_or_default();
            if hops > MAX_HOPS {
                return Err(not_found(path, None, "its links lead in a circle, or through too many"));
            }
            if target.is_empty() {
                return Err(not_found(&at, None, "a link that leads nowhere"));
            }
            if target.starts_with(b"/") {
                here.names.clear();
            }
            todo.extend(reversed(target));
            via = Some(at);
            continue;
        }
        if node.kind != NodeKind::Directory && !todo.is_empty() {
            let next = here.path_of(&name);
            let below = join(&next, todo.last().map_or(&[][..], Vec::as_slice));
            return Err(not_found(&below, via.as_deref(), &format!("{} is no directory", printable(&next))));
        }
        here.names.push((name, node));
    }
    let path = here.path();
    let tree = here.tree();
    Ok(Found { path, node: here.names.pop().map(|(_, node)| node), tree })
}

/// Where a search stands: the directories above, none of them a link.
struct Here {
    root: BlobId,
    names: Vec<(Vec<u8>, Node)>,
}

impl Here {
    fn tree(&self) -> Option<BlobId> {
        self.names.last().map_or(Some(self.root), |(_, node)| node.subtree())
    }

    fn path(&self) -> Vec<u8> {
        let joined = self.names.iter().fold(Vec::new(), |path, (name, _)| join(&path, name));
        if joined.is_empty() { b"/".to_vec() } else { joined }
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        join(&self.path(), name)
    }
}

/// Names of a path, the last one first; empty ones and `.` mean nothing.
fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|b| *b == b'/').filter(|n| !n.is_empty() && *n != b".");
    names.rev().map(<[u8]>::to_vec).collect()
}

/// A name below a directory.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    [directory, b"/", name].concat()
}

fn not_found(path: &[u8], via: Option<&[u8]>, why: &str) -> Error {
    let mut notes = Vec::new();
    if !why.is_empty() {
        notes.push(why.to_owned());
    }
    if let Some(link) = via {
        notes.push(format!("where the link {} leads", printable(link)));
    }
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    Error::NotFound { what: format!("path {} in the snapshot{notes}", printable(path)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_apart_and_joined() {
        assert_eq!(reversed(b"//a/./b/../c/"), [&b"c"[..], b"..", b"b", b"a"]);
        assert_eq!(join(b"/", b"a"), b"/a");
        assert_eq!(join(b"/a", b"b"), b"/a/b");
        assert_eq!(join(b"", b"b"), b"/b");
        assert_eq!(printable(b"/a\nb/\xff\xc3\xa4"), "/a\\nb/\\xff\u{e4}");
    }
}
