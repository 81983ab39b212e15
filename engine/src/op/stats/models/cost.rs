//! Which file of a model pays for a chunk: the first that has it, snapshot by snapshot and path by path.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::owners::chosen;
use super::super::{Error, Result, View};
use super::{is_tensors, tell};
use crate::format::content::Entry;
use crate::format::seams::Seam;
use crate::format::tree::Node;
use crate::id::{BlobId, BlobKind};
use crate::repo::bases::Bases;
use crate::repo::layers::Part;
use crate::repo::lookup::join;
use crate::repo::model::Model;
use crate::repo::seams::table_of;
use crate::repo::trees::Piece;

/// What a file brought.
#[derive(Debug, Clone, Default)]
pub struct Cost {
    /// Plaintext of its chunks.
    pub new_bytes: u64,
    /// What they take in packs, in 2^-20 bytes.
    pub parts: BTreeMap<Part, u128>,
}

/// A file of a model as it was last.
struct Known {
    content: Vec<Entry>,
    /// In which snapshot of the line it came.
    at: usize,
    cost: Cost,
}

/// Who paid for what, along one row of snapshots.
pub struct Payers<'v> {
    view: &'v View,
    bases: Bases<'v>,
    /// By the number of a blob's first copy: was it paid for?
    seen: Vec<bool>,
    /// Directories that were gone through, by place: the same one there says nothing new.
    trees: HashSet<(BlobId, Vec<u8>)>,
    files: HashMap<Vec<u8>, Known>,
}

impl<'v> Payers<'v> {
    pub fn new(view: &'v View) -> Self {
        Self {
            view,
            bases: Bases::new(&view.holdings, &view.reader),
            seen: vec![false; view.holdings.inventory.blobs().len()],
            trees: HashSet::new(),
            files: HashMap::new(),
        }
    }

    /// What the files of a model brought that came in the snapshot `at`, each counted once.
    pub fn brought(&self, at: usize, model: &Model) -> Cost {
        let mut sum = Cost::default();
        let files: HashSet<&[u8]> = model.shards.iter().map(|shard| &shard.path[..]).collect();
        for known in files.iter().filter_map(|path| self.files.get(*path)).filter(|known| known.at == at) {
            sum.new_bytes += known.cost.new_bytes;
            for (part, stored) in &known.cost.parts {
                *sum.parts.entry(*part).or_default() += stored;
            }
        }
        sum
    }

    /// Each file of a model that came with a snapshot pays for what nothing before it had.
    pub fn pay(&mut self, at: usize, root: BlobId, unreadable: &mut Vec<(String, String)>) -> Result<()> {
        let mut todo = vec![(root, b"/".to_vec())];
        while let Some((tree, path)) = todo.pop() {
            if !self.trees.insert((tree, path.clone())) {
                continue;
            }
            let nodes = match self.view.reader.tree(tree) {
                Ok(nodes) => nodes,
                Err(error) => {
                    tell(unreadable, &path, error)?;
                    continue;
                }
            };
            // The first by name is on top.
            for node in nodes.iter().rev() {
                todo.extend(node.subtree().map(|tree| (tree, join(&path, &node.name))));
            }
            for node in nodes.into_iter().filter(is_tensors) {
                let path = join(&path, &node.name);
                self.pay_for(at, path, node, unreadable)?;
            }
        }
        Ok(())
    }

    /// One file, if its content there is new.
    pub fn pay_for(
        &mut self,
        at: usize,
        path: Vec<u8>,
        node: Node,
        unreadable: &mut Vec<(String, String)>,
    ) -> Result<()> {
        if self.files.get(&path).is_some_and(|known| known.content == node.content) {
            return Ok(());
        }
        match self.cost(&node) {
            Ok(cost) => drop(self.files.insert(path, Known { content: node.content, at, cost })),
            Err(error) => tell(unreadable, &path, error)?,
        }
        Ok(())
    }

    fn cost(&mut self, node: &Node) -> Result<Cost> {
        let (pieces, _) = self.view.reader.pieces(&node.content)?;
        let mut seams = table_of(node, &self.view.reader)?.map(|table| table.seams).unwrap_or_default();
        seams.retain(|seam| seam.len > 0 && seam.offset.checked_add(seam.len).is_some());
        seams.sort_by_key(|seam| seam.offset);
        // Of tensors that lie on one another the first has the bytes.
        let mut end = 0;
        seams.retain(|seam| {
            seam.offset >= end && {
                end = seam.offset + seam.len;
                true
            }
        });
        let inventory = &self.view.holdings.inventory;
        let mut cost = Cost::default();
        for piece in &pieces {
            let Entry::Chunk { id, len } = piece.entry else { continue };
            let copies = inventory.copies(BlobKind::Chunk as u8, &id);
            let Some(first) = copies.first().map(|copy| *copy as usize) else {
                let reason = "no index object names it".into();
                return Err(Error::Missing { blob: format!("chunk {}", id.short()), reason });
            };
            if std::mem::replace(&mut self.seen[first], true) {
                continue;
            }
            let Some(copy) = chosen(inventory, &self.bases, copies) else { continue };
            let frame = &inventory.frames()[inventory.blobs()[copy as usize].frame as usize];
            cost.new_bytes += u64::from(len);
            let part = u128::from(len.min(frame.plain_len));
            let stored = (u128::from(frame.stored_len) << 20) * part / u128::from(frame.plain_len.max(1));
            split(piece, &seams, stored, &mut cost.parts);
        }
        Ok(cost)
    }
}

/// What a chunk takes, by the tensors it holds; what lies between tensors is [`Part::Other`].
fn split(piece: &Piece, seams: &[Seam], stored: u128, parts: &mut BTreeMap<Part, u128>) {
    let (start, len) = (piece.offset, piece.entry.content_len());
    let first = seams.partition_point(|seam| seam.offset + seam.len <= start);
    let mut left = stored;
    for seam in seams[first..].iter().take_while(|seam| seam.offset < start + len) {
        let common = (seam.offset + seam.len).min(start + len).saturating_sub(seam.offset.max(start));
        let share = (stored * u128::from(common) / u128::from(len.max(1))).min(left);
        left -= share;
        *parts.entry(Part::of(&seam.name)).or_default() += share;
    }
    if left > 0 {
        *parts.entry(Part::Other).or_default() += left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::wire::Bytes;

    #[test]
    fn a_chunk_is_shared_out_to_its_tensors() {
        let seam = |name: &str, offset, len| Seam {
            name: Bytes::from(name.as_bytes()),
            dtype: Bytes::from(&b"U8"[..]),
            shape: vec![len],
            offset,
            len,
        };
        let seams = [seam("model.norm.weight", 8, 2), seam("h.0.attn.w", 10, 30), seam("h.0.mlp.w", 50, 50)];
        let of = |offset: u64, len: u32| {
            let mut parts = BTreeMap::new();
            let entry = Entry::Chunk { id: BlobId([1; 32]), len };
            split(&Piece { offset, entry }, &seams, u128::from(len) * 10, &mut parts);
            parts.into_iter().collect::<Vec<_>>()
        };
        use Part::*;
        assert_eq!(of(0, 8), [(Other, 80)]);
        assert_eq!(of(10, 20), [(Attention, 200)]);
        assert_eq!(of(0, 100), [(Attention, 300), (Mlp, 500), (Norms, 20), (Other, 180)]);
        assert_eq!(of(95, 20), [(Mlp, 50), (Other, 150)]);
        // Tables may lie: two tensors in one place take no more than there is.
        let both = [seam("a.attn", 0, 10), seam("a.mlp", 0, 10)];
        let mut parts = BTreeMap::new();
        split(
            &Piece { offset: 0, entry: Entry::Chunk { id: BlobId([1; 32]), len: 10 } },
            &both,
            70,
            &mut parts,
        );
        assert_eq!(parts.into_values().sum::<u128>(), 70);
    }
}
