//! Directories (`docs/format.md`, "Tree"): nodes sorted by name, bytewise.
//!
//! A large directory is cut into tree parts as a content list is cut, by the
//! BLAKE3 of the names: a stretch ends after a name whose hash is 0 modulo
//! [`PART_MEAN`], once it has [`PART_MIN`] nodes, and at [`PART_MAX`]; and before a
//! node that would bring what its nodes carry beside their fixed fields over
//! [`PART_MAX_CARRIED_BYTES`], so that a part always fits into a frame.

use serde::{Deserialize, Serialize};

use crate::error::Malformed;
use crate::format::content::{Entry, total_len};
use crate::format::record::LostV1;
use crate::format::wire::{self, Bytes, Extension, Record, Stamp, seq};
use crate::id::BlobId;

/// Nodes of a part: at least.
pub const PART_MIN: usize = 256;
/// Nodes of a part: on average beyond the least; a power of two.
pub const PART_MEAN: u64 = 1024;
/// Nodes of a part: at most.
pub const PART_MAX: usize = 4096;
/// Inline bytes and data of extensions in one part, unless one node has more: 4096 nodes with
/// large extended attributes would not fit into a frame.
pub const PART_MAX_CARRIED_BYTES: usize = 4 << 20;

/// What a node is. The order of the variants is their tag on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// 0.
    File,
    /// 1: content is one `Tree` entry.
    Directory,
    /// 2: content is one `Inline` entry, the target.
    Symlink,
    /// 3.
    Fifo,
    /// 4.
    Socket,
    /// 5: `rdev` says which.
    CharDevice,
    /// 6: `rdev` says which.
    BlockDevice,
}

/// The file must be read again next time: it was young, or changed under our eyes.
pub const MARK_RECHECK: u8 = 1;
/// The file changed while it was read.
pub const MARK_CHANGED: u8 = 2;
/// The content is not whole: part of the file could not be read.
pub const MARK_INCOMPLETE: u8 = 4;

/// How a node's content was read: as plain bytes.
pub const CAPTURE_PLAIN: u8 = 0;
/// How a node's content was read: as plain bytes, though it is a database with a journal beside it.
pub const CAPTURE_PLAIN_LIVE: u8 = 1;
/// How a node's content was read: as a consistent image of an SQLite database.
pub const CAPTURE_SQLITE: u8 = 2;

/// Extension: extended attributes, a record of [`XattrsV1`]. ACLs are among them.
pub const EXT_XATTRS: u16 = 1;
/// Extension: counters of a captured SQLite database, [`crate::format::record::SqliteCaptureV1`].
pub const EXT_SQLITE: u16 = 2;
/// Extension: where an argument that was a symbolic link led, as a path.
pub const EXT_FOLLOWED: u16 = 3;
/// Extension, critical: what the repository lost of it, [`LostV1`]. In `content` a hole stands in its
/// place, so that every other byte is where it was; who does not know the mark would take the
/// zeros for the file's.
pub const EXT_LOST: u16 = 4;
/// Extension: the files of a captured SQLite database, [`crate::format::record::SqliteFilesV1`].
pub const EXT_SQLITE_FILES: u16 = 5;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Raw bytes; never empty, `.`, `..`, and without `/` and NUL.
    pub name: Bytes,
    /// Its type.
    pub kind: NodeKind,
    /// Permission bits and set-id, set-gid, sticky: the lower twelve of `st_mode`.
    pub mode: u32,
    /// Owner by number.
    pub uid: u32,
    /// Group by number.
    pub gid: u32,
    /// Owner by name; empty if unknown.
    pub user: Bytes,
    /// Group by name; empty if unknown.
    pub group: Bytes,
    /// `st_size` as it was before reading; of a captured database, the length of its image.
    pub size: u64,
    /// Change of content.
    pub mtime: Stamp,
    /// Change of metadata.
    pub ctime: Stamp,
    /// Birth, where the system knows it.
    pub btime: Option<Stamp>,
    /// Inode number.
    pub inode: u64,
    /// Device number.
    pub device: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Device that a device node stands for.
    pub rdev: u64,
    /// Linux attribute flags (`chattr`), 0 if unknown.
    pub attr_flags: u32,
    /// [`MARK_RECHECK`] and the like.
    pub marks: u8,
    /// [`CAPTURE_PLAIN`] and the like.
    pub capture: u8,
    /// Seam table of the content.
    pub seams: Option<BlobId>,
    /// What it is made of.
    #[serde(deserialize_with = "seq")]
    pub content: Vec<Entry>,
    /// Extended attributes, counters and what later versions add.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl Node {
    /// One that says nothing but a name and a type.
    pub fn blank(name: &[u8], kind: NodeKind) -> Self {
        Self {
            name: name.into(),
            kind,
            mode: 0,
            uid: 0,
            gid: 0,
            user: Bytes::default(),
            group: Bytes::default(),
            size: 0,
            mtime: Stamp::default(),
            ctime: Stamp::default(),
            btime: None,
            inode: 0,
            device: 0,
            nlink: 0,
            rdev: 0,
            attr_flags: 0,
            marks: 0,
            capture: CAPTURE_PLAIN,
            seams: None,
            content: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// Extensions that this version understands.
    pub const KNOWN_EXTENSIONS: [u16; 5] = [EXT_XATTRS, EXT_SQLITE, EXT_FOLLOWED, EXT_LOST, EXT_SQLITE_FILES];

    /// The tree of a directory.
    pub fn subtree(&self) -> Option<BlobId> {
        match (self.kind, self.content.as_slice()) {
            (NodeKind::Directory, [Entry::Tree { id }]) => Some(*id),
            _ => None,
        }
    }

    /// The target of a symbolic link.
    pub fn link_target(&self) -> Option<&[u8]> {
        match (self.kind, self.content.as_slice()) {
            (NodeKind::Symlink, [Entry::Inline { bytes }]) => Some(bytes),
            _ => None,
        }
    }

    /// Data of an extension.
    pub fn extension(&self, tag: u16) -> Option<&Bytes> {
        self.extensions.iter().find(|e| e.tag == tag).map(|e| &e.data)
    }

    /// What was lost of it, if anything. One that [`TreeV1::check`] has not seen may be unreadable: then
    /// all of it counts as lost.
    pub fn lost(&self) -> Option<LostV1> {
        let data = self.extension(EXT_LOST)?;
        Some(wire::decode(data).unwrap_or_else(|_| LostV1::all(self.size)))
    }

    /// Marks it: this is lost of it, beside what was lost before.
    pub fn mark_lost(&mut self, lost: LostV1) {
        let lost = self.lost().unwrap_or_default().union(lost);
        self.extensions.retain(|e| e.tag != EXT_LOST);
        self.extensions.push(Extension { tag: EXT_LOST, critical: true, data: wire::encode(&lost).into() });
        self.extensions.sort_by_key(|e| e.tag);
    }

    fn check_lost(&self) -> Result<(), Malformed> {
        let Some(data) = self.extension(EXT_LOST) else { return Ok(()) };
        let lost: LostV1 = wire::decode(data)?;
        let len = match self.kind {
            NodeKind::File => total_len(&self.content)?,
            NodeKind::Directory => 0,
            _ => return Err(Malformed::new(format!("node {:?} cannot have lost anything", self.name))),
        };
        lost.check(len)
    }

    /// Inline bytes and data of extensions: what can be large in a node.
    pub(crate) fn carried_len(&self) -> usize {
        let inline = self.content.iter().map(|e| match e {
            Entry::Inline { bytes } => bytes.len(),
            _ => 0,
        });
        inline.chain(self.extensions.iter().map(|e| e.data.len())).sum()
    }

    fn check(&self) -> Result<(), Malformed> {
        check_name(&self.name)?;
        let shape_ok = match self.kind {
            NodeKind::Directory => self.subtree().is_some(),
            NodeKind::Symlink => self.link_target().is_some(),
            NodeKind::File => total_len(&self.content).is_ok(),
            _ => self.content.is_empty(),
        };
        if !shape_ok {
            return Err(Malformed::new(format!(
                "node {:?} has content that its type cannot have",
                self.name
            )));
        }
        if [self.mtime, self.ctime].iter().chain(&self.btime).any(|t| t.nanos >= 1_000_000_000) {
            return Err(Malformed::new(format!("node {:?} has an impossible time", self.name)));
        }
        self.check_lost()?;
        wire::check_extensions(&self.extensions, &Self::KNOWN_EXTENSIONS, "node")
    }
}

/// Refuses names that could lead out of their directory.
pub fn check_name(name: &[u8]) -> Result<(), Malformed> {
    if name.is_empty() || name == b"." || name == b".." || name.iter().any(|b| *b == b'/' || *b == 0) {
        return Err(Malformed::new(format!("name \"{}\" cannot be in a directory", name.escape_ascii())));
    }
    Ok(())
}

/// A stretch of a large directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartRef {
    /// Blob of kind tree part.
    pub id: BlobId,
    /// Its first name.
    pub first: Bytes,
    /// How many nodes.
    pub count: u64,
}

/// Plaintext of a tree blob, and (with nodes only) of a tree part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeV1 {
    /// The directory's nodes, if it is not cut.
    #[serde(deserialize_with = "seq")]
    pub nodes: Vec<Node>,
    /// Else its parts.
    #[serde(deserialize_with = "seq")]
    pub parts: Vec<PartRef>,
    /// For later versions.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl Record for TreeV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 16 << 20;
    const WHAT: &'static str = "tree";
}

impl TreeV1 {
    /// A whole directory or one part.
    pub fn of_nodes(nodes: Vec<Node>) -> Self {
        Self { nodes, parts: Vec::new(), extensions: Vec::new() }
    }

    /// Checks names, order and shapes: what [`crate::format::wire::decode`] cannot know.
    pub fn check(&self) -> Result<(), Malformed> {
        if !self.nodes.is_empty() && !self.parts.is_empty() {
            return Err(Malformed::new("tree with both nodes and parts"));
        }
        for node in &self.nodes {
            node.check()?;
        }
        let sorted = |names: &[&Bytes]| names.windows(2).all(|w| w[0] < w[1]);
        let names: Vec<_> =
            self.nodes.iter().map(|n| &n.name).chain(self.parts.iter().map(|p| &p.first)).collect();
        if !sorted(&names) {
            return Err(Malformed::new("names are not in order"));
        }
        wire::check_extensions(&self.extensions, &[], "tree")
    }
}

/// Where a large directory is cut: ends of the parts.
pub fn cut(nodes: &[Node]) -> Vec<usize> {
    let mut ends = Vec::new();
    let (mut start, mut carried) = (0, 0);
    for (i, node) in nodes.iter().enumerate() {
        if i > start && carried + node.carried_len() > PART_MAX_CARRIED_BYTES {
            ends.push(i);
            (start, carried) = (i, 0);
        }
        carried += node.carried_len();
        let len = i + 1 - start;
        let ends_here = || {
            let hash = blake3::hash(&node.name);
            let mut low = [0; 8];
            low.copy_from_slice(&hash.as_bytes()[..8]);
            u64::from_le_bytes(low).is_multiple_of(PART_MEAN)
        };
        if len >= PART_MAX || (len >= PART_MIN && ends_here()) {
            ends.push(i + 1);
            (start, carried) = (i + 1, 0);
        }
    }
    if start < nodes.len() {
        ends.push(nodes.len());
    }
    ends
}

/// Extended attributes, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct XattrsV1 {
    /// Name and value.
    #[serde(deserialize_with = "seq")]
    pub pairs: Vec<(Bytes, Bytes)>,
}

impl Record for XattrsV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 4 << 20;
    const WHAT: &'static str = "extended attributes";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::MAX_FRAME_PLAIN_BYTES;

    fn node(number: usize, attributes: usize) -> Node {
        let extension = Extension { tag: EXT_XATTRS, critical: false, data: vec![1; attributes].into() };
        let name = format!("{number:06}");
        Node { extensions: vec![extension], ..Node::blank(name.as_bytes(), NodeKind::File) }
    }

    fn lens(nodes: &[Node]) -> Vec<usize> {
        let mut start = 0;
        cut(nodes).into_iter().map(|end| end - std::mem::replace(&mut start, end)).collect()
    }

    #[test]
    fn parts_are_bounded_in_number_and_size() {
        let small: Vec<_> = (0..20_000).map(|n| node(n, 0)).collect();
        assert!(lens(&small).iter().all(|len| *len <= PART_MAX));
        assert_eq!(lens(&small).iter().sum::<usize>(), 20_000);
        // Only the stretch around a change is new.
        let mut changed = small.clone();
        changed.remove(9000);
        let ends = |nodes: &[Node]| {
            cut(nodes)
                .into_iter()
                .map(|end| nodes[end - 1].name.clone())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert!(ends(&changed).difference(&ends(&small)).count() <= 2);

        let heavy: Vec<_> = (0..300).map(|n| node(n, 60_000)).collect();
        let parts = lens(&heavy);
        assert!(parts.iter().all(|len| *len <= PART_MAX_CARRIED_BYTES / 60_000), "{parts:?}");
        assert_eq!(parts.iter().sum::<usize>(), 300);
        let huge = [node(0, PART_MAX_CARRIED_BYTES - 10), node(1, 11), node(2, PART_MAX_CARRIED_BYTES)];
        assert_eq!(lens(&huge), [1, 1, 1]);
        for part in huge.map(|n| wire::encode(&TreeV1::of_nodes(vec![n]))) {
            assert!(part.len() < MAX_FRAME_PLAIN_BYTES as usize);
        }
    }
}
