//! Content lists and directories: cut and stored by a session, joined again by a reader.

use std::collections::HashSet;

use crate::error::{Error, Malformed, Result};
use crate::format::MAX_FRAME_PLAIN_BYTES;
use crate::format::content::{self, Entry, INLINE_ENTRIES, ListV1, MAX_LIST_DEPTH};
use crate::format::tree::{self, Node, PartRef, TreeV1};
use crate::format::wire::{self, Bytes};
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::progress::Progress;
use crate::repo::loom::Pin;
use crate::repo::reader::{BlobBytes, Reader};
use crate::repo::session::Session;

/// What one list may lead to as a base: far beyond any frame's.
pub const MAX_LED_TO: usize = 1 << 20;

/// A stretch of a file: where it begins and what is there: a chunk, a hole, or inline bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Offset in the file.
    pub offset: u64,
    /// Never a list or a tree, never empty.
    pub entry: Entry,
}

/// Stores a directory or a part of one; of a part it is told the first name.
type PutTree<'f> = &'f mut dyn FnMut(BlobKind, &[u8], Option<&Bytes>) -> Result<BlobId>;
/// Stores a list; it is told the level, from the bottom, and the offset in the file.
type PutList<'f> = &'f mut dyn FnMut(&[u8], usize, u64) -> Result<BlobId>;

impl Session {
    /// The content of a node: a long list becomes list blobs, and lists of lists.
    pub fn store_content(&self, entries: Vec<Entry>) -> Result<Vec<Entry>> {
        self.store_content_with(entries, &mut |plain, _, _| Ok(self.store(BlobKind::List, plain)?.id))
    }

    /// The same, each list stored by `put`.
    pub(crate) fn store_content_with(&self, mut entries: Vec<Entry>, put: PutList<'_>) -> Result<Vec<Entry>> {
        let mut level = 0;
        while entries.len() > INLINE_ENTRIES {
            let mut upper = Vec::new();
            let (mut start, mut offset) = (0, 0);
            for end in content::cut(&entries) {
                let list = ListV1 { entries: entries[start..end].to_vec(), extensions: Vec::new() };
                let len = content::total_len(&list.entries).map_err(|e| Error::Internal(e.0))?;
                upper.push(Entry::List { id: put(&wire::encode(&list), level, offset)?, len });
                start = end;
                offset += len;
            }
            entries = upper;
            level += 1;
        }
        Ok(entries)
    }

    /// A directory from its nodes, which must be sorted by name. A large one becomes tree parts.
    pub fn store_tree(&self, nodes: Vec<Node>) -> Result<BlobId> {
        self.store_tree_with(nodes, &mut |kind, plain, _| Ok(self.store(kind, plain)?.id))
    }

    /// The same, each blob stored by `put`.
    pub(crate) fn store_tree_with(&self, nodes: Vec<Node>, put: PutTree<'_>) -> Result<BlobId> {
        let mut ends = cut_to_size(&nodes);
        let tree = if ends.len() <= 1 {
            TreeV1::of_nodes(nodes)
        } else {
            let mut nodes = nodes.into_iter();
            let mut parts = Vec::with_capacity(ends.len());
            let mut start = 0;
            for end in ends.drain(..) {
                let part: Vec<_> = nodes.by_ref().take(end - start).collect();
                let first = part[0].name.clone();
                let count = part.len() as u64;
                let plain = wire::encode(&TreeV1::of_nodes(part));
                let id = put(BlobKind::TreePart, &plain, Some(&first))?;
                parts.push(PartRef { id, first, count });
                start = end;
            }
            TreeV1 { nodes: Vec::new(), parts, extensions: Vec::new() }
        };
        put(BlobKind::Tree, &wire::encode(&tree), None)
    }
}

/// Nodes of one part: at most some so many bytes, well below what a tree may have.
const PART_BYTES: usize = 8 << 20;

/// Where the names say, and, as attributes may make a node thousands of times longer than others,
/// also where a part would be too long to be read again.
fn cut_to_size(nodes: &[Node]) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for end in tree::cut(nodes) {
        for (at, node) in nodes.iter().enumerate().take(end).skip(start) {
            let len = 512
                + node.name.len()
                + node.extensions.iter().map(|e| e.data.len() + 16).sum::<usize>()
                + node.content.iter().map(entry_len).sum::<usize>();
            if bytes > 0 && bytes + len > PART_BYTES {
                ends.push(at);
                bytes = 0;
            }
            bytes += len;
        }
        ends.push(end);
        (start, bytes) = (end, 0);
    }
    ends
}

fn entry_len(entry: &Entry) -> usize {
    if let Entry::Inline { bytes } = entry { bytes.len() + 16 } else { 48 }
}

impl Reader {
    /// The nodes of a directory, sorted by name, names checked.
    pub fn tree(&self, id: BlobId) -> Result<Vec<Node>> {
        Ok(self.tree_with_parts(id)?.0)
    }

    /// The same, and the ids of the parts it is made of, if it is cut.
    pub fn tree_with_parts(&self, id: BlobId) -> Result<(Vec<Node>, Vec<BlobId>)> {
        let tree = self.tree_blob(BlobKind::Tree, id)?;
        let mut nodes: Vec<Node> = tree.nodes;
        for part in &tree.parts {
            let stretch = self.part(part)?;
            if nodes.last().is_some_and(|last| last.name >= part.first) {
                return Err(misplaced(part));
            }
            nodes.extend(stretch);
        }
        Ok((nodes, tree.parts.into_iter().map(|p| p.id).collect()))
    }

    /// One node of a directory: of a cut one, only the part that could have it is read.
    pub fn child(&self, tree: BlobId, name: &[u8]) -> Result<Option<Node>> {
        let mut tree = self.tree_blob(BlobKind::Tree, tree)?;
        let at = tree.parts.partition_point(|part| &part.first[..] <= name);
        if let Some(part) = at.checked_sub(1).and_then(|i| tree.parts.get(i)) {
            tree.nodes = self.part(part)?;
        }
        Ok(match tree.nodes.binary_search_by(|node| node.name[..].cmp(name)) {
            Ok(found) => Some(tree.nodes.swap_remove(found)),
            Err(_) => None,
        })
    }

    fn part(&self, part: &PartRef) -> Result<Vec<Node>> {
        let stretch = self.tree_blob(BlobKind::TreePart, part.id)?;
        let fits = stretch.parts.is_empty()
            && stretch.nodes.len() as u64 == part.count
            && stretch.nodes.first().is_some_and(|n| n.name == part.first);
        if fits { Ok(stretch.nodes) } else { Err(misplaced(part)) }
    }

    /// One tree or part as it is stored.
    pub fn tree_blob(&self, kind: BlobKind, id: BlobId) -> Result<TreeV1> {
        let bytes = self.blob(kind, id)?;
        let tree: TreeV1 = wire::decode(&bytes)
            .and_then(|t: TreeV1| t.check().map(|()| t))
            .map_err(|e| e.of(format!("{} {}", kind.word(), id.short())))?;
        Ok(tree)
    }

    /// One list as it is stored.
    pub fn list(&self, id: BlobId) -> Result<ListV1> {
        read_list(id, &self.blob(BlobKind::List, id)?)
    }

    /// The chunks and lists below a list, each once. The error is that of a list which cannot be read, or leads to
    /// more than [`MAX_LED_TO`].
    pub fn led_to(&self, top: BlobId) -> Result<Vec<BlobRef>, (BlobId, Error)> {
        let (mut all, mut seen, mut lists) = (Vec::new(), HashSet::new(), vec![top]);
        while let Some(list) = lists.pop() {
            for entry in self.list(list).map_err(|error| (list, error))?.entries {
                let blob = match entry {
                    Entry::Chunk { id, .. } => BlobRef::new(BlobKind::Chunk, id),
                    Entry::List { id, .. } => BlobRef::new(BlobKind::List, id),
                    _ => continue,
                };
                if !seen.insert(blob) {
                    continue;
                }
                if all.len() == MAX_LED_TO {
                    let error = Error::corrupt(format!("content list {}", top.short()), "leads to too much");
                    return Err((top, error));
                }
                all.push(blob);
                lists.extend((blob.kind == BlobKind::List).then_some(blob.id));
            }
        }
        Ok(all)
    }

    /// A file's content as pieces in order, and its length. Some 64 bytes for each chunk.
    pub fn pieces(&self, content: &[Entry]) -> Result<(Vec<Piece>, u64)> {
        let mut pieces = Vec::new();
        let mut offset = 0u64;
        for entry in self.expand(content) {
            let entry = entry?;
            let refuse = |why: &str| Err(Error::corrupt("content", why));
            match &entry {
                Entry::Chunk { len, .. } if *len > MAX_FRAME_PLAIN_BYTES => {
                    return refuse("a chunk is longer than any frame");
                }
                Entry::Tree { .. } => return refuse("a directory stands in a file"),
                _ => {}
            }
            let len = entry.content_len();
            let end = offset.checked_add(len).filter(|end| i64::try_from(*end).is_ok());
            if len > 0 {
                pieces.push(Piece { offset, entry });
            }
            let Some(end) = end else { return refuse("it is longer than any file") };
            offset = end;
        }
        Ok((pieces, offset))
    }

    /// To be asked for before many pieces of a file are read: see [`Reader::prepare`].
    pub fn prepare_pieces(&self, pieces: &[Piece], progress: &dyn Progress) -> Result<Pin<'_>> {
        let chunk = |piece: &Piece| match piece.entry {
            Entry::Chunk { id, .. } => Some(BlobRef::new(BlobKind::Chunk, id)),
            _ => None,
        };
        let chunks: Vec<BlobRef> = pieces.iter().filter_map(chunk).collect();
        self.prepare(&chunks, progress)
    }

    /// A chunk of a content list, its length checked too.
    pub fn chunk(&self, id: BlobId, len: u32) -> Result<BlobBytes> {
        self.of_length(id, len, self.blob(BlobKind::Chunk, id)?)
    }

    /// The same of one that others are decoded against, which are wanted next: it is kept for a while.
    pub fn chunk_as_base(&self, id: BlobId, len: u32) -> Result<BlobBytes> {
        self.of_length(id, len, self.base_bytes(&BlobRef::new(BlobKind::Chunk, id))?)
    }

    fn of_length(&self, id: BlobId, len: u32, bytes: BlobBytes) -> Result<BlobBytes> {
        if bytes.len() == len as usize {
            return Ok(bytes);
        }
        let reason = format!("has {} bytes where its list says {len}", bytes.len());
        Err(Error::corrupt(format!("chunk {}", id.short()), reason))
    }

    /// Every chunk, hole and stretch of inline bytes of a file's content, lists opened on the way.
    pub fn expand<'r>(&'r self, entries: &[Entry]) -> Expand<'r> {
        Expand { reader: self, stack: vec![Vec::from(entries).into_iter()], failed: false }
    }
}

/// The bytes of a list, its id recomputed before, as a list.
pub(crate) fn read_list(id: BlobId, bytes: &[u8]) -> Result<ListV1> {
    let what = || format!("content list {}", id.short());
    let list: ListV1 = wire::decode(bytes).map_err(|e| e.of(what()))?;
    wire::check_extensions(&list.extensions, &[], "content list").map_err(|e| e.of(what()))?;
    content::total_len(&list.entries).map_err(|e| e.of(what()))?;
    Ok(list)
}

fn misplaced(part: &PartRef) -> Error {
    Malformed::new("is not the stretch its tree says").of(format!("tree part {}", part.id.short()))
}

/// Iterator of [`Reader::expand`].
pub struct Expand<'r> {
    reader: &'r Reader,
    stack: Vec<std::vec::IntoIter<Entry>>,
    failed: bool,
}

impl Iterator for Expand<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.failed {
            match self.stack.last_mut()?.next() {
                None => drop(self.stack.pop()),
                Some(Entry::List { id, len }) => {
                    if self.stack.len() > MAX_LIST_DEPTH {
                        self.failed = true;
                        return Some(Err(Error::corrupt("content", "lists are nested too deep")));
                    }
                    let list = match self.reader.list(id) {
                        Ok(list) => list,
                        Err(error) => {
                            self.failed = true;
                            return Some(Err(error));
                        }
                    };
                    let sum = content::total_len(&list.entries).unwrap_or(0);
                    if len != u64::MAX && sum != len {
                        self.failed = true;
                        let what = format!("content list {}", id.short());
                        return Some(Err(Error::corrupt(
                            what,
                            format!("holds {sum} bytes where {len} are stated"),
                        )));
                    }
                    self.stack.push(list.entries.into_iter());
                }
                Some(entry) => return Some(Ok(entry)),
            }
        }
        None
    }
}
