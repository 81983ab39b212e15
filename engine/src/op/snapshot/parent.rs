//! The parent snapshot: which one it is, and what it has at a path.
//!
//! Its ids may be taken over without a look-up only while this machine vouches for it (every
//! pack it needs was usable when it was made, and none was lost since); else each is looked
//! up, and what is missing is read again.

use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::vec::IntoIter;

use super::familiar::Familiar;
use super::options::{Parent, SnapshotOptions};
use crate::chunk::CutParams;
use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::tree::{Node, NodeKind};
use crate::format::wire::Bytes;
use crate::id::{BlobKind, BlobRef, SnapshotId};
use crate::repo::reader::Reader;
use crate::repo::session::Session;
use crate::repo::snapshots::Snapshot;

/// Snapshots looked at for a parent before giving up.
const MAX_LOOKED_AT: usize = 2000;

/// Plaintext of older blobs kept in memory: the bases of what is being stored now, and theirs. Chunks come in
/// the order of their file, so that few are wanted again for long.
const KEPT_BYTES: usize = 8 << 20;

/// Nodes of one directory of the parent, to be asked for in the order of names, as a walk meets them.
pub struct Children(Peekable<IntoIter<Node>>);

impl Children {
    fn new(sorted: Vec<Node>) -> Self {
        Self(sorted.into_iter().peekable())
    }

    fn none() -> Self {
        Self::new(Vec::new())
    }

    /// The node of this name. What comes before it in the order of names is not there any more.
    pub fn take(&mut self, name: &[u8]) -> Option<Node> {
        while self.0.next_if(|node| node.name[..] < *name).is_some() {}
        self.0.next_if(|node| node.name[..] == *name)
    }
}

/// The parent of a run.
pub struct ParentSnapshot {
    snapshot: Option<Snapshot>,
    other_host: Option<String>,
    vouched: bool,
    reader: Reader,
}

impl ParentSnapshot {
    /// Chooses it. One that was asked for by name must be readable; else the newest of the same
    /// host and paths, else of the same paths.
    pub fn choose(session: &Session, options: &SnapshotOptions, host: &str, paths: &[Bytes]) -> Result<Self> {
        let reader = Reader::with_index(session.repo(), session.index().clone()).keeping(KEPT_BYTES);
        let snapshot = match options.parent {
            // What was forgotten, or never committed, is no base to stand on: a prune may take its
            // data away without this run being told.
            Parent::Given(id) if !session.ledger().committed().contains(&id) => {
                return Err(Error::NotFound { what: format!("snapshot {}", id.short()) });
            }
            Parent::Given(id) => Some(session.repo().snapshot(id)?),
            Parent::Automatic => newest(session, host, paths)?,
            Parent::None => None,
        };
        // A run that relies on its parent without look-ups begins anew when that is forgotten meanwhile. A stream
        // cannot, and gains little: it is read in any case.
        let trusted = options.stream.is_none();
        let vouched =
            trusted && snapshot.as_ref().is_some_and(|s| session.index().vouches_for(&s.record.root));
        let of_other = |s: &&Snapshot| options.parent == Parent::Automatic && s.record.host.0 != host;
        let other_host = snapshot.as_ref().filter(of_other).map(|s| s.record.host.0.clone());
        Ok(Self { snapshot, other_host, vouched, reader })
    }

    /// The host that made it, if that is another and nobody asked for it.
    pub fn other_host(&self) -> Option<&str> {
        self.other_host.as_deref()
    }

    /// Its id.
    pub fn id(&self) -> Option<SnapshotId> {
        self.snapshot.as_ref().map(|s| s.id)
    }

    /// Reads it, and whatever else is older, by the session's index.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The id, if its blobs are taken over without a look-up.
    pub fn relied_on(&self) -> Option<SnapshotId> {
        self.id().filter(|_| self.vouched)
    }

    /// What it has at an absolute path. Links are not followed: paths of roots are real.
    pub fn node_at(&self, path: &Path, session: &Session) -> Option<Node> {
        let root = self.snapshot.as_ref()?.record.root;
        let mut children = self.children_of(root, session);
        let mut found = None;
        for name in path.components().filter_map(|c| match c {
            std::path::Component::Normal(name) => Some(name.as_bytes()),
            _ => None,
        }) {
            let node = children.take(name)?;
            children = self.children(Some(&node), session);
            found = Some(node);
        }
        found
    }

    /// Nodes of the root.
    pub fn root_children(&self, session: &Session) -> Children {
        self.snapshot.as_ref().map_or_else(Children::none, |s| self.children_of(s.record.root, session))
    }

    /// Nodes of a directory of the parent; none if it is no directory or cannot be read, in
    /// which case everything in it is read from the source.
    pub fn children(&self, node: Option<&Node>, session: &Session) -> Children {
        match node.and_then(Node::subtree) {
            Some(tree) => self.children_of(tree, session),
            None => Children::none(),
        }
    }

    fn children_of(&self, tree: crate::id::BlobId, session: &Session) -> Children {
        match self.reader.tree_with_parts(tree) {
            Ok((nodes, parts)) => {
                if self.vouched {
                    session.trust(BlobRef::new(BlobKind::Tree, tree));
                    parts.into_iter().for_each(|id| session.trust(BlobRef::new(BlobKind::TreePart, id)));
                }
                Children::new(nodes)
            }
            Err(error) => {
                tracing::warn!(%error, "parent directory not readable, reading the source");
                session.be_wary();
                Children::none()
            }
        }
    }

    /// Chunks of a file of the parent, and whether they are taken over without a look-up.
    pub fn familiar(&self, node: Option<&Node>, params: &CutParams) -> (Familiar, bool) {
        (node.map_or_else(Familiar::default, |n| Familiar::of(n, params, &self.reader)), self.vouched)
    }

    /// Is everything that `node` is made of still in the repository?
    pub fn still_stored(&self, node: &Node, session: &Session) -> Result<bool> {
        if self.vouched {
            return Ok(true);
        }
        if let Some(seams) = node.seams
            && !session.is_known(&BlobRef::new(BlobKind::Seams, seams))?
        {
            return Ok(false);
        }
        if node.kind == NodeKind::File { self.known(&node.content, session) } else { Ok(true) }
    }

    fn known(&self, entries: &[Entry], session: &Session) -> Result<bool> {
        for entry in entries {
            let known = match entry {
                Entry::Chunk { id, .. } => session.is_known(&BlobRef::new(BlobKind::Chunk, *id))?,
                Entry::List { id, .. } => {
                    session.is_known(&BlobRef::new(BlobKind::List, *id))?
                        && match self.reader.list(*id) {
                            Ok(list) => self.known(&list.entries, session)?,
                            Err(Error::Interrupted) => return Err(Error::Interrupted),
                            Err(_) => {
                                session.be_wary();
                                false
                            }
                        }
                }
                Entry::Hole { .. } | Entry::Inline { .. } => true,
                Entry::Tree { .. } => false,
            };
            if !known {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The newest by the order of commits. One that was made from another takes that one's place: an old
/// snapshot with a new tag is no newer for it. Of the two, where both still count, the original.
fn newest(session: &Session, host: &str, paths: &[Bytes]) -> Result<Option<Snapshot>> {
    let ledger = session.ledger();
    let mut best: Option<((bool, usize, bool), Snapshot)> = None;
    for id in ledger.committed().into_iter().rev().take(MAX_LOOKED_AT) {
        let committed = ledger.commit_order(&id).unwrap_or(0);
        // A place is never later than the commit: nothing that follows can be newer.
        if best.as_ref().is_some_and(|((own, place, _), _)| *own && *place > committed) {
            break;
        }
        match session.repo().snapshot(id) {
            Ok(snapshot) if snapshot.record.paths == paths => {
                let original = snapshot.record.original();
                let place = original.and_then(|id| ledger.commit_order(&id)).unwrap_or(committed);
                let rank = (snapshot.record.host.0 == host, place.min(committed), original.is_none());
                if best.as_ref().is_none_or(|(least, _)| rank > *least) {
                    best = Some((rank, snapshot));
                }
            }
            Ok(_) => {}
            Err(error @ (Error::Corrupt { .. } | Error::Store(_))) => {
                session.repo().notice(format!("snapshot {} was passed over: {error}", id.short()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(best.map(|(_, snapshot)| snapshot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_order_whatever_came_or_went() {
        let node = |name: &&str| Node::blank(name.as_bytes(), NodeKind::File);
        let of = |names: &[&str]| Children::new(names.iter().map(node).collect());
        let mut children = of(&["a", "b", "b.x", "c", "e"]);
        let found = ["A", "a", "ab", "b", "c", "d", "e", "f"].map(|n| children.take(n.as_bytes()).is_some());
        assert_eq!(found, [false, true, false, true, true, false, true, false]);
        let mut once = of(&["a", "b"]);
        assert_eq!(once.take(b"b").map(|n| n.name), Some(Bytes::from(&b"b"[..])));
        assert!(once.take(b"b").is_none());
        assert!(Children::none().take(b"").is_none());
    }
}
