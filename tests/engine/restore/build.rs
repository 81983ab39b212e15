//! Snapshots made straight through a session, of trees that no walk would find.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ballast::crypto::kdf;
use ballast::entropy::Surroundings;
use ballast::format::content::{Entry, INLINE_BYTES};
use ballast::format::snapshot::{CountsV1, SnapshotV1};
use ballast::format::tree::{EXT_XATTRS, Node, NodeKind, XattrsV1};
use ballast::format::wire::{self, Bytes, Extension, Stamp};
use ballast::id::SnapshotId;
use ballast::op::restore::{self, RestoreOptions, RestoreReport};
use ballast::progress::Silent;
use ballast::repo::session::{Neighbours, Session};
use ballast::repo::{InitOptions, OpenOptions, Repository};
use ballast::store::memory::MemoryStore;

/// A stretch of a file.
#[derive(Debug, Clone)]
pub enum Seg {
    Data(Vec<u8>),
    Hole(u64),
}

/// A name and what is behind it.
#[derive(Debug, Clone)]
pub struct Spec {
    pub node: Node,
    pub segs: Vec<Seg>,
    pub children: Vec<Spec>,
    /// Length of chunks.
    pub chunk: usize,
}

fn spec(name: &[u8], kind: NodeKind, mode: u32) -> Spec {
    let node = Node {
        name: name.into(),
        kind,
        mode,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        user: Bytes::default(),
        group: Bytes::default(),
        size: 0,
        mtime: Stamp { secs: 1_600_000_000, nanos: 123_456_789 },
        ctime: Stamp::default(),
        btime: None,
        inode: 0,
        device: 1,
        nlink: 1,
        rdev: 0,
        attr_flags: 0,
        marks: 0,
        capture: 0,
        seams: None,
        content: Vec::new(),
        extensions: Vec::new(),
    };
    Spec { node, segs: Vec::new(), children: Vec::new(), chunk: 128 << 10 }
}

pub fn file(name: &[u8], bytes: &[u8]) -> Spec {
    sparse(name, vec![Seg::Data(bytes.to_vec())])
}

pub fn sparse(name: &[u8], segs: Vec<Seg>) -> Spec {
    let len = |s: &Seg| match s {
        Seg::Data(bytes) => bytes.len() as u64,
        Seg::Hole(len) => *len,
    };
    let mut spec = spec(name, NodeKind::File, 0o644);
    spec.node.size = segs.iter().map(len).sum();
    spec.segs = segs;
    spec
}

pub fn dir(name: &[u8], children: Vec<Spec>) -> Spec {
    Spec { children, ..spec(name, NodeKind::Directory, 0o755) }
}

pub fn link(name: &[u8], target: &[u8]) -> Spec {
    let mut spec = spec(name, NodeKind::Symlink, 0o777);
    spec.node.content = vec![Entry::Inline { bytes: target.into() }];
    spec
}

pub fn other(name: &[u8], kind: NodeKind) -> Spec {
    spec(name, kind, 0o640)
}

impl Spec {
    pub fn mode(mut self, mode: u32) -> Self {
        self.node.mode = mode;
        self
    }

    pub fn mtime(mut self, secs: i64, nanos: u32) -> Self {
        self.node.mtime = Stamp { secs, nanos };
        self
    }

    /// One of `nlink` names of file `inode`.
    pub fn hard(mut self, inode: u64, nlink: u64) -> Self {
        (self.node.inode, self.node.nlink) = (inode, nlink);
        self
    }

    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        (self.node.uid, self.node.gid) = (uid, gid);
        self
    }

    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        let pairs = vec![(name.as_bytes().into(), value.into())];
        let data = wire::encode(&XattrsV1 { pairs }).into();
        self.node.extensions.push(Extension { tag: EXT_XATTRS, critical: false, data });
        self
    }

    pub fn chunked(mut self, chunk: usize) -> Self {
        self.chunk = chunk;
        self
    }

    /// What is in the file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for seg in &self.segs {
            match seg {
                Seg::Data(bytes) => out.extend_from_slice(bytes),
                Seg::Hole(len) => out.resize(out.len() + usize::try_from(*len).unwrap(), 0),
            }
        }
        out
    }

    fn store(&self, session: &Session, near: &mut Neighbours<'_>) -> Node {
        let mut node = self.node.clone();
        match node.kind {
            NodeKind::Directory => {
                node.content = vec![Entry::Tree { id: store_tree(session, &self.children) }]
            }
            NodeKind::File => {
                let mut entries = Vec::new();
                for seg in &self.segs {
                    match seg {
                        Seg::Hole(len) => entries.push(Entry::Hole { len: *len }),
                        Seg::Data(bytes) if bytes.len() <= INLINE_BYTES => {
                            if !bytes.is_empty() {
                                entries.push(Entry::Inline { bytes: bytes[..].into() });
                            }
                        }
                        Seg::Data(bytes) => entries.extend(bytes.chunks(self.chunk).map(|chunk| {
                            let len = u32::try_from(chunk.len()).unwrap();
                            Entry::Chunk { id: near.store(chunk).unwrap().id, len }
                        })),
                    }
                }
                node.content = session.store_content(entries).unwrap();
            }
            _ => {}
        }
        node
    }
}

fn store_tree(session: &Session, specs: &[Spec]) -> ballast::id::BlobId {
    let mut near = session.neighbours();
    let mut nodes: Vec<Node> = specs.iter().map(|s| s.store(session, &mut near)).collect();
    near.finish().unwrap();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    session.store_tree(nodes).unwrap()
}

/// A repository in memory.
pub struct Vault {
    pub store: Arc<MemoryStore>,
    pub repo: Repository,
}

impl Vault {
    pub fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        let options = InitOptions {
            kdf: kdf::CHEAP,
            data_pack_min_bytes: 256 << 10,
            data_pack_max_bytes: 1 << 20,
            ..InitOptions::default()
        };
        let open = OpenOptions::default();
        let repo = Repository::init(store.clone(), b"word", &options, &open, Surroundings::system()).unwrap();
        Self { store, repo }
    }

    pub fn snapshot(&self, specs: &[Spec]) -> SnapshotId {
        self.snapshot_by(|session| store_tree(session, specs))
    }

    pub fn snapshot_by(&self, root: impl FnOnce(&Session) -> ballast::id::BlobId) -> SnapshotId {
        self.commit(root, |_| {})
    }

    /// With another record than usual.
    pub fn snapshot_with(&self, specs: &[Spec], change: impl FnOnce(&mut SnapshotV1)) -> SnapshotId {
        self.commit(|session| store_tree(session, specs), change)
    }

    fn commit(
        &self,
        root: impl FnOnce(&Session) -> ballast::id::BlobId,
        change: impl FnOnce(&mut SnapshotV1),
    ) -> SnapshotId {
        let mut session = Session::begin(&self.repo, "test", false, &Silent).unwrap();
        let root = root(&session);
        let flushed = session.flush().unwrap();
        let mut snapshot = SnapshotV1 {
            time: Stamp::from_ns(1),
            utc_offset_secs: 0,
            host: "h".into(),
            user: "u".into(),
            paths: Vec::new(),
            tags: Vec::new(),
            description: "".into(),
            parent: None,
            program: "test".into(),
            partial: false,
            root,
            counts: CountsV1::default(),
            problem_count: 0,
            problems: Vec::new(),
            extensions: Vec::new(),
        };
        change(&mut snapshot);
        session.commit(&snapshot, None, flushed).unwrap()
    }

    pub fn restore(&self, options: &RestoreOptions) -> RestoreReport {
        restore::run(&self.repo, options, &Silent).unwrap()
    }
}

pub fn to(snapshot: SnapshotId, target: &Path) -> RestoreOptions {
    RestoreOptions { threads: 2, ..RestoreOptions::new(snapshot, target.to_owned()) }
}

/// A directory to restore into: in memory where there is such a place, since a restore ends with
/// a sync of the whole file system.
pub fn place() -> (tempfile::TempDir, PathBuf) {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}

/// Bytes that do not compress and differ from seed to seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}
