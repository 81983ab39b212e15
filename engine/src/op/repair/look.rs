//! Looking into trees and lists of which parts may be lost. Each is looked into once, to learn whether
//! anything below it is.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::format::content::{Entry, MAX_LIST_DEPTH};
use crate::format::record::LostV1;
use crate::format::tree::Node;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::op::repair::judge::{Hold, Judge};
use crate::progress::Progress;

/// A directory as far as it can be read.
pub struct Dir {
    /// Names in parts that are left.
    pub nodes: Vec<Node>,
    /// Names in parts that are lost.
    pub names_lost: u64,
}

/// Looks into trees and lists.
pub struct Looker<'a> {
    pub(super) judge: &'a Judge<'a>,
    pub(super) progress: &'a dyn Progress,
    pub(super) lost: HashSet<BlobRef>,
    pub(super) frail: HashSet<BlobRef>,
    pub(super) hit: HashMap<BlobRef, bool>,
}

impl Looker<'_> {
    /// Is anything below this tree lost, or it itself?
    pub fn is_hit(&mut self, tree: BlobId) -> Result<bool> {
        struct Open {
            tree: BlobRef,
            below: Vec<BlobId>,
            hit: bool,
        }
        let mut stack: Vec<Open> = Vec::new();
        let mut next = Some(tree);
        loop {
            if let Some(id) = next.take() {
                let tree = BlobRef::new(BlobKind::Tree, id);
                if let Some(known) = self.hit.get(&tree) {
                    match stack.last_mut() {
                        None => return Ok(*known),
                        Some(above) => above.hit |= known,
                    }
                } else {
                    self.progress.check()?;
                    let mut open = Open { tree, below: Vec::new(), hit: true };
                    if let Some(dir) = self.dir(id)? {
                        open.hit = dir.names_lost > 0;
                        for node in &dir.nodes {
                            open.hit |= node.subtree().is_none() && self.is_content_hit(&node.content, 0)?;
                            open.hit |= self.are_seams_lost(node)?;
                            open.below.extend(node.subtree());
                        }
                    }
                    stack.push(open);
                }
            }
            let Some(top) = stack.last_mut() else { return Ok(false) };
            next = top.below.pop();
            if next.is_some() {
                continue;
            }
            let Some(done) = stack.pop() else { return Ok(false) };
            self.hit.insert(done.tree, done.hit);
            match stack.last_mut() {
                None => return Ok(done.hit),
                Some(above) => above.hit |= done.hit,
            }
        }
    }

    /// A directory, as far as it can be read; `None` if its tree is lost.
    pub fn dir(&mut self, id: BlobId) -> Result<Option<Dir>> {
        if self.of(BlobRef::new(BlobKind::Tree, id))? == Hold::Lost {
            return Ok(None);
        }
        let tree = self.judge.reader.tree_blob(BlobKind::Tree, id)?;
        let mut dir = Dir { nodes: tree.nodes, names_lost: 0 };
        for part in tree.parts {
            if self.of(BlobRef::new(BlobKind::TreePart, part.id))? == Hold::Lost {
                dir.names_lost = dir.names_lost.saturating_add(part.count.max(1));
                continue;
            }
            dir.nodes.extend(self.judge.reader.tree_blob(BlobKind::TreePart, part.id)?.nodes);
        }
        if !dir.nodes.windows(2).all(|pair| pair[0].name < pair[1].name) {
            return Err(Error::corrupt(format!("tree {}", id.short()), "names are not in order"));
        }
        Ok(Some(dir))
    }

    /// Is the seam table lost? It only helps the next snapshot.
    pub fn are_seams_lost(&mut self, node: &Node) -> Result<bool> {
        let Some(id) = node.seams else { return Ok(false) };
        Ok(self.of(BlobRef::new(BlobKind::Seams, id))? == Hold::Lost)
    }

    /// Is anything of this content lost?
    pub fn is_content_hit(&mut self, entries: &[Entry], depth: usize) -> Result<bool> {
        let mut hit = false;
        for entry in entries {
            match entry {
                Entry::Chunk { id, .. } => hit |= self.of(BlobRef::new(BlobKind::Chunk, *id))? == Hold::Lost,
                Entry::List { id, .. } => {
                    let list = BlobRef::new(BlobKind::List, *id);
                    hit |= match self.hit.get(&list) {
                        Some(known) => *known,
                        None => {
                            let below = match self.list(*id, depth)? {
                                None => true,
                                Some(entries) => self.is_content_hit(&entries, depth + 1)?,
                            };
                            self.hit.insert(list, below);
                            below
                        }
                    };
                }
                Entry::Hole { .. } | Entry::Inline { .. } | Entry::Tree { .. } => {}
            }
        }
        Ok(hit)
    }

    /// Content without lists, a hole for each stretch that is lost, and these stretches.
    pub fn salvage(&mut self, entries: &[Entry]) -> Result<(Vec<Entry>, LostV1)> {
        let (mut out, mut lost, mut at) = (Vec::new(), LostV1::default(), 0);
        self.salvage_into(entries, 0, &mut out, &mut lost, &mut at)?;
        Ok((out, lost))
    }

    fn salvage_into(
        &mut self,
        entries: &[Entry],
        depth: usize,
        out: &mut Vec<Entry>,
        lost: &mut LostV1,
        at: &mut u64,
    ) -> Result<()> {
        for entry in entries {
            let len = entry.content_len();
            let gone = match entry {
                Entry::Chunk { id, .. } => self.of(BlobRef::new(BlobKind::Chunk, *id))? == Hold::Lost,
                Entry::List { id, .. } => match self.list(*id, depth)? {
                    Some(entries) => {
                        let sum = entries.iter().map(Entry::content_len).fold(0u64, u64::saturating_add);
                        if sum != len {
                            let what = format!("content list {}", id.short());
                            return Err(Error::corrupt(
                                what,
                                format!("holds {sum} bytes where {len} are stated"),
                            ));
                        }
                        self.salvage_into(&entries, depth + 1, out, lost, at)?;
                        continue;
                    }
                    None => true,
                },
                Entry::Hole { .. } | Entry::Inline { .. } | Entry::Tree { .. } => false,
            };
            if gone && len > 0 {
                lost.push(*at, len);
                match out.last_mut() {
                    Some(Entry::Hole { len: before }) => *before += len,
                    _ => out.push(Entry::Hole { len }),
                }
            } else if !gone {
                out.push(entry.clone());
            }
            *at = at.saturating_add(len);
        }
        Ok(())
    }

    fn list(&mut self, id: BlobId, depth: usize) -> Result<Option<Vec<Entry>>> {
        if depth > MAX_LIST_DEPTH {
            return Err(Error::corrupt("content", "lists are nested too deep"));
        }
        if self.of(BlobRef::new(BlobKind::List, id))? == Hold::Lost {
            return Ok(None);
        }
        Ok(Some(self.judge.reader.list(id)?.entries))
    }

    fn of(&mut self, blob: BlobRef) -> Result<Hold> {
        let hold = self.judge.of(blob)?;
        match hold {
            Hold::Sound => {}
            Hold::Frail => _ = self.frail.insert(blob),
            Hold::Lost => _ = self.lost.insert(blob),
        }
        Ok(hold)
    }
}
