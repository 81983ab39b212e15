//! Trees without what is lost, from the bottom up. A tree below which nothing is lost keeps its id.
//!
//! Pure in what it makes: the same losses give the same trees, so that a run that was killed and one
//! that goes on make the same successor.

use std::collections::HashMap;
use std::vec::IntoIter;

use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::record::LostV1;
use crate::format::tree::Node;
use crate::id::BlobId;
use crate::op::repair::look::Looker;
use crate::repo::session::Session;

/// What stands in a tree's place.
#[derive(Clone, Copy)]
struct Rebuilt {
    tree: BlobId,
    /// The directory's node is to be marked: so many names are lost, 0 if nobody knows.
    lost: Option<u64>,
}

/// A directory under way.
struct Level {
    of: BlobId,
    rest: IntoIter<Node>,
    done: Vec<Node>,
    names_lost: u64,
}

/// The tree that takes the place of `root`, stored.
pub fn tree(looker: &mut Looker<'_>, session: &Session, root: BlobId) -> Result<BlobId> {
    let mut known: HashMap<BlobId, Rebuilt> = HashMap::new();
    let Some(top) = open(looker, root)? else {
        return Err(Error::Internal("a snapshot without a top cannot be rebuilt".into()));
    };
    let mut levels = vec![top];
    loop {
        let Some(level) = levels.last_mut() else {
            return Err(Error::Internal("a tree without an end".into()));
        };
        let Some(mut node) = level.rest.next() else {
            let Some(level) = levels.pop() else { continue };
            let tree = session.store_tree(level.done)?;
            let lost = (level.names_lost > 0).then_some(level.names_lost);
            known.insert(level.of, Rebuilt { tree, lost });
            match levels.last_mut().and_then(|above| above.done.last_mut()) {
                None => return Ok(tree),
                Some(node) => place(node, Rebuilt { tree, lost }),
            }
            continue;
        };
        let Some(subtree) = node.subtree() else {
            file(looker, session, &mut node)?;
            level.done.push(node);
            continue;
        };
        if !looker.is_hit(subtree)? {
            level.done.push(node);
            continue;
        }
        if let Some(rebuilt) = known.get(&subtree) {
            place(&mut node, *rebuilt);
            level.done.push(node);
            continue;
        }
        match open(looker, subtree)? {
            Some(below) => {
                // Completed when the level below is.
                level.done.push(node);
                levels.push(below);
            }
            None => {
                let rebuilt = Rebuilt { tree: session.store_tree(Vec::new())?, lost: Some(0) };
                known.insert(subtree, rebuilt);
                place(&mut node, rebuilt);
                level.done.push(node);
            }
        }
    }
}

fn open(looker: &mut Looker<'_>, tree: BlobId) -> Result<Option<Level>> {
    Ok(looker.dir(tree)?.map(|dir| Level {
        of: tree,
        rest: dir.nodes.into_iter(),
        done: Vec::new(),
        names_lost: dir.names_lost,
    }))
}

fn place(node: &mut Node, rebuilt: Rebuilt) {
    node.content = vec![Entry::Tree { id: rebuilt.tree }];
    if let Some(names) = rebuilt.lost {
        node.mark_lost(LostV1 { ranges: Vec::new(), names });
    }
}

fn file(looker: &mut Looker<'_>, session: &Session, node: &mut Node) -> Result<()> {
    if looker.are_seams_lost(node)? {
        node.seams = None;
    }
    if looker.is_content_hit(&node.content, 0)? {
        let (content, lost) = looker.salvage(&node.content)?;
        node.content = session.store_content(content)?;
        node.mark_lost(lost);
    }
    Ok(())
}
