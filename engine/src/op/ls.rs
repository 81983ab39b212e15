//! `ls`: what is in a snapshot.

use std::vec::IntoIter;

use crate::error::Result;
use crate::format::tree::{Node, NodeKind};
use crate::id::SnapshotId;
use crate::repo::Repository;
use crate::repo::lookup::{self, LastLink, join};
use crate::repo::reader::Reader;

/// One path of a snapshot.
#[derive(Debug)]
pub struct Listed<'a> {
    /// Absolute path inside the snapshot, raw bytes.
    pub path: &'a [u8],
    /// Its node.
    pub node: &'a Node,
}

/// Gives every node below the directory `path` (absolute; `None` is everything) to `each`, in the
/// order of names, directories before what is in them. Not `recursive`: only the direct
/// entries. Anything but a directory is given itself. Links on the way are followed; so is the
/// last name, if it leads to a directory.
///
/// Memory: the nodes of the directories on the way to the present one.
pub fn run(
    repo: &Repository,
    snapshot: SnapshotId,
    path: Option<&[u8]>,
    recursive: bool,
    each: &mut dyn FnMut(&Listed<'_>) -> Result<()>,
) -> Result<()> {
    let root = repo.snapshot(snapshot)?.record.root;
    let reader = Reader::open(repo)?;
    let asked = path.unwrap_or(b"/");
    let mut found = lookup::resolve(&reader, root, asked, LastLink::Keep)?;
    if found.node.as_ref().is_some_and(|n| n.kind == NodeKind::Symlink)
        && let Ok(led) = lookup::resolve(&reader, root, asked, LastLink::Follow)
        && led.tree.is_some()
    {
        found = led;
    }
    let Some(tree) = found.tree else {
        return found.node.iter().try_for_each(|node| each(&Listed { path: &found.path, node }));
    };
    let mut levels: Vec<(Vec<u8>, IntoIter<Node>)> = vec![(found.path, reader.tree(tree)?.into_iter())];
    while let Some((directory, nodes)) = levels.last_mut() {
        let Some(node) = nodes.next() else {
            levels.pop();
            continue;
        };
        let path = join(directory, &node.name);
        each(&Listed { path: &path, node: &node })?;
        if let (true, Some(tree)) = (recursive, node.subtree()) {
            levels.push((path, reader.tree(tree)?.into_iter()));
        }
    }
    Ok(())
}
