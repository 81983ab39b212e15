//! Source trees: made from seeds, looked at on disk, and read back from a snapshot.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use ballast::error::Result;
use ballast::format::content::Entry;
use ballast::format::tree::{EXT_XATTRS, Node, NodeKind, XattrsV1};
use ballast::format::wire;
use ballast::id::{BlobId, BlobKind, BlobRef, SnapshotId};
use ballast::repo::Repository;
use ballast::repo::reader::Reader;

/// What a path is, from either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub owner: (u32, u32),
    pub size: u64,
    pub mtime: (i64, i64),
    pub inode: u64,
    pub nlink: u64,
    pub rdev: u64,
    /// BLAKE3 of a file's bytes, or a link's target.
    pub content: Vec<u8>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// `len` bytes that do not compress and differ for each seed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// Writes a file, and the directories above it.
pub fn put(path: impl AsRef<Path>, content: &[u8]) {
    let path = path.as_ref();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().write_all(content).unwrap();
}

/// Everything below `root`, itself included, as it is on disk.
pub fn look(root: &Path) -> BTreeMap<PathBuf, Seen> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = path.symlink_metadata().unwrap();
        let kind = meta.file_type();
        let mut content = Vec::new();
        let kind = if kind.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            "directory"
        } else if kind.is_symlink() {
            content = std::fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec();
            "link"
        } else if kind.is_file() {
            let mut hasher = blake3::Hasher::new();
            let mut file = File::open(&path).unwrap();
            let mut buffer = vec![0; 1 << 20];
            loop {
                let n = file.read(&mut buffer).unwrap();
                if n == 0 {
                    break;
                }
                hasher.update(&buffer[..n]);
            }
            content = hasher.finalize().as_bytes().to_vec();
            "file"
        } else if kind.is_fifo() {
            "pipe"
        } else if kind.is_socket() {
            "socket"
        } else {
            "device"
        };
        let mut xattrs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        if kind == "file" || kind == "directory" {
            for name in xattr::list(&path).into_iter().flatten() {
                xattrs.push((name.as_bytes().to_vec(), xattr::get(&path, &name).unwrap().unwrap()));
            }
            xattrs.sort();
        }
        let seen = Seen {
            kind,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid(), meta.gid()),
            size: if kind == "file" || kind == "link" { meta.size() } else { 0 },
            mtime: (meta.mtime(), meta.mtime_nsec()),
            inode: meta.ino(),
            nlink: meta.nlink(),
            rdev: meta.rdev(),
            content,
            xattrs,
        };
        all.insert(path, seen);
    }
    all
}

fn seen(reader: &Reader, node: &Node) -> Result<Seen> {
    let mut content = Vec::new();
    let kind = match node.kind {
        NodeKind::Directory => "directory",
        NodeKind::Symlink => {
            content = node.link_target().unwrap().to_vec();
            "link"
        }
        NodeKind::File => {
            let mut hasher = blake3::Hasher::new();
            let mut len = 0;
            for entry in reader.expand(&node.content) {
                let entry = entry?;
                len += entry.content_len();
                match entry {
                    Entry::Chunk { id, len } => {
                        let bytes = reader.blob(BlobKind::Chunk, id)?;
                        assert_eq!(bytes.len(), len as usize, "a chunk has the length its entry says");
                        hasher.update(&bytes);
                    }
                    Entry::Hole { mut len } => {
                        let zeros = [0; 1 << 16];
                        while len > 0 {
                            let n = len.min(1 << 16);
                            hasher.update(&zeros[..n as usize]);
                            len -= n;
                        }
                    }
                    Entry::Inline { bytes } => drop(hasher.update(&bytes)),
                    other => panic!("{other:?} in a file"),
                }
            }
            if node.marks & ballast::format::tree::MARK_INCOMPLETE == 0 {
                assert_eq!(len, node.size, "content is as long as the node says: {:?}", node.name);
            }
            content = hasher.finalize().as_bytes().to_vec();
            "file"
        }
        NodeKind::Fifo => "pipe",
        NodeKind::Socket => "socket",
        NodeKind::CharDevice | NodeKind::BlockDevice => "device",
    };
    let xattrs = node.extension(EXT_XATTRS).map(|data| wire::decode::<XattrsV1>(data).unwrap());
    Ok(Seen {
        kind,
        mode: node.mode,
        owner: (node.uid, node.gid),
        size: node.size,
        mtime: (node.mtime.secs, i64::from(node.mtime.nanos)),
        inode: node.inode,
        nlink: node.nlink,
        rdev: node.rdev,
        content,
        xattrs: xattrs.into_iter().flat_map(|x| x.pairs).map(|(n, v)| (n.0, v.0)).collect(),
    })
}

/// Calls `visit` with each path and node below a tree, whole directories first.
pub fn walk_back(
    reader: &Reader,
    tree: BlobId,
    at: &Path,
    visit: &mut dyn FnMut(PathBuf, &Node) -> Result<()>,
) -> Result<()> {
    for node in reader.tree(tree)? {
        let path = at.join(OsStr::from_bytes(&node.name));
        visit(path.clone(), &node)?;
        if let Some(below) = node.subtree() {
            walk_back(reader, below, &path, visit)?;
        }
    }
    Ok(())
}

/// Everything in a snapshot, by absolute path, read through the reader.
pub fn read_back(repo: &Repository, id: SnapshotId) -> Result<BTreeMap<PathBuf, Seen>> {
    let reader = Reader::open(repo)?;
    let snapshot = repo.snapshot(id)?;
    let mut all = BTreeMap::new();
    walk_back(&reader, snapshot.record.root, Path::new("/"), &mut |path, node| {
        all.insert(path, seen(&reader, node)?);
        Ok(())
    })?;
    Ok(all)
}

/// The snapshot holds exactly what was seen below `root`.
pub fn assert_same(repo: &Repository, id: SnapshotId, root: &Path, expected: &BTreeMap<PathBuf, Seen>) {
    let found = read_back(repo, id).unwrap();
    let below: Vec<_> = found.keys().filter(|p| p.starts_with(root)).collect();
    assert_eq!(below, expected.keys().collect::<Vec<_>>(), "the same paths");
    for (path, seen) in expected {
        assert_eq!(&found[path], seen, "{}", path.display());
    }
}

/// Every blob that a tree needs, each once, trees before what is in them.
pub fn blobs_of(reader: &Reader, root: BlobId) -> Result<Vec<BlobRef>> {
    fn content(reader: &Reader, entries: &[Entry], all: &mut Vec<BlobRef>) -> Result<()> {
        for entry in entries {
            match entry {
                Entry::Chunk { id, .. } => all.push(BlobRef::new(BlobKind::Chunk, *id)),
                Entry::List { id, .. } => {
                    all.push(BlobRef::new(BlobKind::List, *id));
                    content(reader, &reader.list(*id)?.entries, all)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
    fn tree(reader: &Reader, id: BlobId, all: &mut Vec<BlobRef>) -> Result<()> {
        all.push(BlobRef::new(BlobKind::Tree, id));
        let (nodes, parts) = reader.tree_with_parts(id)?;
        all.extend(parts.into_iter().map(|id| BlobRef::new(BlobKind::TreePart, id)));
        for node in nodes {
            match node.subtree() {
                Some(below) => tree(reader, below, all)?,
                None => {
                    all.extend(node.seams.map(|id| BlobRef::new(BlobKind::Seams, id)));
                    content(reader, &node.content, all)?;
                }
            }
        }
        Ok(())
    }
    let mut all = Vec::new();
    tree(reader, root, &mut all)?;
    let mut seen = std::collections::HashSet::new();
    all.retain(|blob| seen.insert(*blob));
    Ok(all)
}
