//! The golden repository: made, listed and compared.
//!
//! Built by a [`Session`] from values that stand here, with a clock and randomness that are set,
//! so that it comes out the same on every machine; [`deltas`] makes the second one, [`grains`] the third. [`line()`] is how `EXPECTED` states a path.

pub mod deltas;
pub mod grains;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use ballast::chunk::{CutParams, Cutter};
use ballast::crypto::kdf;
use ballast::entropy::seeded;
use ballast::error::Result;
use ballast::format::content::{self, Entry, INLINE_BYTES, INLINE_ENTRIES};
use ballast::format::ledger::{Event, ForgetV1};
use ballast::format::seams::{LAYOUT_SAFETENSORS, Seam, SeamTableV1};
use ballast::format::snapshot::{CountsV1, SnapshotV1};
use ballast::format::tree::{self, EXT_XATTRS, Node, NodeKind, XattrsV1};
use ballast::format::wire::{self, Extension, Stamp};
use ballast::id::{BlobId, BlobKind, ObjectKind, ObjectName, SessionId, SnapshotId};
use ballast::progress::Silent;
use ballast::repo::ledger::Append;
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::repo::snapshots::Snapshot;
use ballast::repo::{Identity, InitOptions, OpenOptions, Repository};
use ballast::store::local::LocalStore;
use ballast::store::{ObjectStat, PutMode, Store, StoreResult};

use crate::samples;

/// Passwords of the two keys.
pub const PASSWORDS: [&[u8]; 2] = [samples::PASSWORD, "zwölf Boxkämpfer".as_bytes()];

/// A directory, one call at a time: packs are listed in the order they were closed.
struct Serial(LocalStore);

impl Store for Serial {
    fn location(&self) -> String {
        "golden".into()
    }
    fn prepare(&self) -> StoreResult<()> {
        self.0.prepare()
    }
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()> {
        self.0.put(name, bytes, mode)
    }
    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>> {
        self.0.get(name, limit_bytes)
    }
    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>> {
        self.0.get_range(name, offset, len)
    }
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat> {
        self.0.stat(name)
    }
    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>> {
        self.0.list(kind)
    }
    fn remove(&self, name: &ObjectName) -> StoreResult<()> {
        self.0.remove(name)
    }
    fn concurrency(&self) -> usize {
        1
    }
}

fn identity() -> Identity {
    Identity { host: "golden".into(), user: "ada".into() }
}

/// How the golden repository is opened; without a cache.
pub fn open_options() -> OpenOptions {
    OpenOptions { identity: identity(), ..OpenOptions::default() }
}

/// A stretch of a file.
enum Part {
    Data(Vec<u8>),
    /// As one chunk.
    Whole(Vec<u8>),
    Hole(u64),
    /// The whole file, as the difference to what it was.
    Weekly(Vec<u8>),
    /// The whole file, in these chunks, its lists as the difference to what they were.
    Pieces(Vec<Vec<u8>>),
    /// The whole file, which is stored already, and its content.
    Stored(Vec<u8>, Vec<Entry>),
}

enum What {
    Directory(Vec<Item>),
    File(Vec<Part>),
    Link(&'static [u8]),
    Fifo,
}

struct Item {
    node: Node,
    what: What,
    seams: Option<SeamTableV1>,
}

fn item(name: &[u8], what: What) -> Item {
    let (kind, mode) = match what {
        What::Directory(_) => (NodeKind::Directory, 0o755),
        What::File(_) => (NodeKind::File, 0o640),
        What::Link(_) => (NodeKind::Symlink, 0o777),
        What::Fifo => (NodeKind::Fifo, 0o600),
    };
    let size = match &what {
        What::File(parts) => parts.iter().map(Part::len).sum(),
        What::Link(target) => target.len() as u64,
        _ => 0,
    };
    let node = Node {
        mode,
        size,
        uid: 1000,
        gid: 100,
        user: b"ada"[..].into(),
        group: b"users"[..].into(),
        mtime: Stamp { secs: 1_699_999_999, nanos: 123_456_789 },
        ctime: Stamp { secs: 1_700_000_000, nanos: 0 },
        device: 1,
        ..samples::node(name, kind, Vec::new())
    };
    Item { node, what, seams: None }
}

fn file(name: &[u8], bytes: impl Into<Vec<u8>>) -> Item {
    item(name, What::File(vec![Part::Data(bytes.into())]))
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) | Self::Whole(bytes) | Self::Weekly(bytes) | Self::Stored(bytes, _) => {
                bytes.len() as u64
            }
            Self::Hole(len) => *len,
            Self::Pieces(pieces) => pieces.iter().map(|piece| piece.len() as u64).sum(),
        }
    }

    fn hash(&self, hasher: &mut blake3::Hasher) {
        match self {
            Self::Data(bytes) | Self::Whole(bytes) | Self::Weekly(bytes) | Self::Stored(bytes, _) => {
                hasher.update(bytes)
            }
            Self::Hole(len) => hasher.update(&vec![0; usize::try_from(*len).unwrap()]),
            Self::Pieces(pieces) => hasher.update(&pieces.concat()),
        };
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new_derive_key("ballast golden noise")
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

/// Stores items and lists them.
struct Builder<'a> {
    session: &'a Session,
    cutter: &'a Cutter,
    expected: String,
    /// What is stored as the difference to what was there, and what reads it.
    past: Option<(RefCell<&'a mut deltas::Past>, Reader)>,
}

impl Builder<'_> {
    fn chunks(&self, bytes: &[u8], out: &mut Vec<Entry>, store: bool) -> Result<()> {
        let mut start = 0;
        for end in self.cutter.cut_all(bytes) {
            let piece = &bytes[start..end];
            let id = match store {
                true => self.session.store(BlobKind::Chunk, piece)?.id,
                false => self.session.repo().blob_id(BlobKind::Chunk, piece),
            };
            out.push(Entry::Chunk { id, len: u32::try_from(piece.len()).unwrap() });
            start = end;
        }
        Ok(())
    }

    fn content(&self, path: &[u8], parts: &[Part]) -> Result<Vec<Entry>> {
        if let Some((past, reader)) = &self.past {
            match parts {
                [Part::Weekly(bytes)] => return past.borrow_mut().content(self, reader, path, bytes),
                [Part::Pieces(pieces)] => return past.borrow_mut().pieces(self, reader, path, pieces),
                _ => {}
            }
        }
        if let [Part::Stored(_, entries)] = parts {
            return Ok(entries.clone());
        }
        if let [Part::Data(bytes)] = parts
            && bytes.len() <= INLINE_BYTES
        {
            let inline = Entry::Inline { bytes: bytes.clone().into() };
            return Ok(if bytes.is_empty() { Vec::new() } else { vec![inline] });
        }
        let mut entries = Vec::new();
        for part in parts {
            match part {
                Part::Data(bytes) => self.chunks(bytes, &mut entries, true)?,
                Part::Whole(bytes) => {
                    let id = self.session.store(BlobKind::Chunk, bytes)?.id;
                    entries.push(Entry::Chunk { id, len: u32::try_from(bytes.len()).unwrap() });
                }
                Part::Hole(len) => entries.push(Entry::Hole { len: *len }),
                Part::Weekly(_) | Part::Pieces(_) | Part::Stored(..) => {
                    panic!("a part of a file that is stored as a whole")
                }
            }
        }
        self.session.store_content(entries)
    }

    fn node(&mut self, above: &[u8], item: &Item) -> Result<Node> {
        let path = [above, b"/", &*item.node.name].concat();
        let mut node = item.node.clone();
        let mut hash = None;
        match &item.what {
            What::File(parts) => {
                let mut hasher = blake3::Hasher::new();
                parts.iter().for_each(|part| part.hash(&mut hasher));
                hash = Some(hasher.finalize());
                node.content = self.content(&path, parts)?;
            }
            What::Link(target) => node.content = vec![Entry::Inline { bytes: (*target).into() }],
            What::Directory(_) | What::Fifo => {}
        }
        if let Some(seams) = &item.seams {
            node.seams = Some(self.session.store(BlobKind::Seams, &wire::encode(seams))?.id);
        }
        self.expected.push_str(&line(&path, &node, hash));
        if let What::Directory(items) = &item.what {
            node.content = vec![Entry::Tree { id: self.tree(&path, items)? }];
        }
        Ok(node)
    }

    fn tree(&mut self, path: &[u8], items: &[Item]) -> Result<BlobId> {
        let nodes = items.iter().map(|item| self.node(path, item)).collect::<Result<Vec<_>>>()?;
        assert!(nodes.is_sorted_by(|a, b| a.name < b.name), "items are written sorted");
        match &self.past {
            Some((past, reader)) => past.borrow_mut().tree(self, reader, path, nodes),
            None => self.session.store_tree(nodes),
        }
    }

    /// A file that repeats itself, of so many chunks that its lists need lists.
    fn long(&self) -> Result<Vec<u8>> {
        for seed in 0.. {
            let bytes = noise(seed, 48 << 10).repeat(64);
            let mut entries = Vec::new();
            self.chunks(&bytes, &mut entries, false)?;
            if content::cut(&entries).len() > INLINE_ENTRIES {
                return Ok(bytes);
            }
        }
        unreachable!("because some seed does")
    }
}

/// A directory that is cut in two parts.
fn many() -> Vec<Item> {
    for prefix in 0.. {
        let items: Vec<Item> =
            (0..300).map(|i| file(format!("{prefix}-{i:03}").as_bytes(), format!("file {i}"))).collect();
        let nodes: Vec<Node> = items.iter().map(|item| item.node.clone()).collect();
        if tree::cut(&nodes).len() == 2 {
            return items;
        }
    }
    unreachable!("because some prefix does")
}

/// A whole safetensors file, and where its tensors are.
fn model() -> Item {
    let header = br#"{"a":{"dtype":"BF16","shape":[32,32],"data_offsets":[0,2048]},"b":{"dtype":"F32","shape":[],"data_offsets":[2048,2052]}}"#;
    let head = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    let at = head.len() as u64;
    let seam = |name: &[u8], dtype: &[u8], shape: &[u64], offset, len| Seam {
        name: name.into(),
        dtype: dtype.into(),
        shape: shape.to_vec(),
        offset,
        len,
    };
    let seams = SeamTableV1 {
        layout: LAYOUT_SAFETENSORS,
        seams: vec![seam(b"a", b"BF16", &[32, 32], at, 2048), seam(b"b", b"F32", &[], at + 2048, 4)],
        extensions: Vec::new(),
    };
    let parts = [head, noise(100, 2048), noise(101, 4)].map(Part::Whole);
    Item { seams: Some(seams), ..item(b"model.safetensors", What::File(parts.into())) }
}

/// What lies in `/srv/golden` in the first snapshot, or, with `later`, in the second.
fn items(builder: &Builder<'_>, later: bool) -> Result<Vec<Item>> {
    let mut attributes = file(b"attributes", "with extended attributes");
    let pairs = vec![
        (b"user.empty"[..].into(), b""[..].into()),
        (b"user.origin"[..].into(), b"https://example.org/\xff"[..].into()),
    ];
    let data = wire::encode(&XattrsV1 { pairs }).into();
    let later_tag = Extension { tag: 1000, critical: false, data: b"passed over"[..].into() };
    attributes.node.extensions = vec![Extension { tag: EXT_XATTRS, critical: false, data }, later_tag];
    let mut twins = [&b"hard-1"[..], b"hard-2"].map(|name| file(name, noise(1, 3000)));
    for twin in &mut twins {
        (twin.node.inode, twin.node.nlink) = (7, 2);
    }
    let [one, two] = twins;
    let changed = if later { "changed since" } else { "as it was" };
    let hole =
        vec![Part::Data(noise(2, 5000)), Part::Hole(1 << 20), Part::Data(noise(3, 300)), Part::Hole(1)];
    let mut old = file(b"old", noise(4, 1000));
    old.node.mtime = Stamp { secs: -86_400, nanos: 1 };
    old.node.mode = 0o4711;
    old.node.btime = Some(Stamp { secs: -86_401, nanos: 0 });
    let text = "All work and no play makes Jack a dull boy.\n".repeat(2000);
    let mut all = vec![
        attributes,
        file(b"changed", changed),
        item(b"empty", What::File(vec![Part::Data(Vec::new())])),
        one,
        two,
        item(b"hole", What::File(hole)),
        item(b"large.txt", What::File(vec![Part::Whole(text.into_bytes())])),
        item(b"link", What::Link(b"../golden/chang\xc3\xa9d")),
        file(b"long", builder.long()?),
        item(b"many", What::Directory(many())),
        model(),
        file(b"name \xff\n%", "a name that is no text"),
        item(b"nothing", What::Directory(Vec::new())),
        old,
        item(b"pipe", What::Fifo),
    ];
    if later {
        all.retain(|item| &*item.node.name != b"old");
        all.push(file(b"young", noise(5, 2000)));
    }
    Ok(all)
}

fn take(
    repo: &Repository,
    expected: &mut String,
    time: i64,
    parent: Option<SnapshotId>,
    past: Option<&mut deltas::Past>,
    make: impl Fn(&Builder<'_>) -> Result<Vec<Item>>,
) -> Result<SnapshotId> {
    let mut session = Session::begin(repo, "golden", false, &Silent)?;
    let config = repo.config();
    let cutter = Cutter::new(&config.cut_secret, config.table_version, repo.cut_params()).unwrap();
    let past = past.map(|past| (RefCell::new(past), Reader::with_index(repo, session.index().clone())));
    let mut builder = Builder { session: &session, cutter: &cutter, expected: String::new(), past };
    let golden = item(b"golden", What::Directory(make(&builder)?));
    let root = builder.tree(b"", &[item(b"srv", What::Directory(vec![golden]))])?;
    let listed = builder.expected;
    let snapshot = SnapshotV1 {
        time: Stamp { secs: time, nanos: 0 },
        utc_offset_secs: 3600,
        host: "golden".into(),
        user: "ada".into(),
        paths: vec![b"/srv/golden"[..].into()],
        tags: vec!["golden".into(), "v1".into()],
        description: "a golden snapshot".into(),
        parent,
        program: "ballast".into(),
        partial: false,
        root,
        counts: CountsV1::default(),
        problem_count: 0,
        problems: Vec::new(),
        extensions: Vec::new(),
    };
    let flushed = session.flush()?;
    let id = session.commit(&snapshot, None, flushed)?;
    expected.push_str(&heading(&Snapshot { id, record: snapshot }));
    expected.push_str(&listed);
    Ok(id)
}

/// Makes the repository in `dir` and gives the text of `EXPECTED`.
pub fn build(dir: &Path) -> Result<String> {
    let store: Arc<dyn Store> = Arc::new(Serial(LocalStore::new(dir)?));
    let options = InitOptions {
        kdf: kdf::CHEAP,
        label: "first".into(),
        // Of the first version: what it holds is frozen.
        cut: CutParams { version: 1, min: 256, avg: 1024, max: 4096 },
        data_pack_min_bytes: 16 << 10,
        data_pack_max_bytes: 48 << 10,
        reserve_bytes: 0,
    };
    let repo = Repository::init(store, PASSWORDS[0], &options, &open_options(), seeded::surroundings(2026))?;
    repo.add_key(PASSWORDS[1], "second", &kdf::CHEAP)?;
    let mut expected = String::from(HEAD);
    let first = take(&repo, &mut expected, 1_700_000_000, None, None, |b| items(b, false))?;
    take(&repo, &mut expected, 1_700_086_400, Some(first), None, |b| items(b, true))?;
    let forgotten = take(&repo, &mut String::new(), 1_700_172_800, None, None, |_| {
        Ok(vec![file(b"forgotten", noise(6, 500))])
    })?;
    let mut ledger = repo.ledger(true)?;
    let forget = Event::Forget(ForgetV1 { snapshots: vec![forgotten], reason: "golden".into() });
    for event in [forget, Event::Unknown(255)] {
        let session = SessionId(repo.surroundings().random()?);
        assert_eq!(ledger.append(&repo, session, &event)?, Append::Done);
    }
    Ok(expected)
}

const HEAD: &str = "\
# What the repository beside this file holds: each committed snapshot, oldest first, and its paths in the
# order of trees, a directory before what is in it.
# type mode uid:gid mtime nlink size blake3-of-content path [-> target] [xattr name=hex]...
# Bytes of paths that are not printable ASCII, spaces and % are %XX.
";

/// The line that begins a snapshot.
pub fn heading(snapshot: &Snapshot) -> String {
    let record = &snapshot.record;
    let tags: Vec<&str> = record.tags.iter().map(|t| &**t).collect();
    let parent = record.parent.map_or("-".into(), |p| p.to_hex());
    format!("snapshot {} {} {} {} {parent}\n", snapshot.id, record.time.secs, &*record.host, tags.join(","))
}

fn printable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for b in bytes {
        match b {
            b'%' | 0..=0x20 | 0x7f.. => write!(out, "%{b:02x}").unwrap(),
            _ => out.push(char::from(*b)),
        }
    }
    out
}

/// How `EXPECTED` states one path.
pub fn line(path: &[u8], node: &Node, content: Option<blake3::Hash>) -> String {
    let kind = match node.kind {
        NodeKind::File => "file",
        NodeKind::Directory => "directory",
        NodeKind::Symlink => "link",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::CharDevice | NodeKind::BlockDevice => "device",
    };
    let hash = content.map_or("-".into(), |h| h.to_string());
    let mut out = format!(
        "{kind} {:04o} {}:{} {}.{:09} {} {} {hash} {}",
        node.mode,
        node.uid,
        node.gid,
        node.mtime.secs,
        node.mtime.nanos,
        node.nlink,
        node.size,
        printable(path)
    );
    if let Some(target) = node.link_target() {
        write!(out, " -> {}", printable(target)).unwrap();
    }
    if let Some(data) = node.extension(EXT_XATTRS) {
        for (name, value) in wire::decode::<XattrsV1>(data).unwrap().pairs {
            write!(out, " xattr {}={}", printable(&name), ballast::id::to_hex(&value)).unwrap();
        }
    }
    out.push('\n');
    out
}

/// Reads every committed snapshot, every path, every byte; gives what `EXPECTED` should say.
pub fn read(repo: &Repository) -> Result<String> {
    let ledger = repo.ledger(false)?;
    let reader = Reader::open_at(repo, &ledger)?;
    let (snapshots, unreadable) = repo.snapshots(&ledger, &Default::default())?;
    assert!(unreadable.is_empty(), "{unreadable:?}");
    let mut out = String::from(HEAD);
    for snapshot in snapshots {
        out.push_str(&heading(&snapshot));
        read_tree(&reader, b"", snapshot.record.root, &mut out)?;
    }
    Ok(out)
}

fn read_tree(reader: &Reader, above: &[u8], id: BlobId, out: &mut String) -> Result<()> {
    for node in reader.tree(id)? {
        let path = [above, b"/", &*node.name].concat();
        let content = (node.kind == NodeKind::File).then(|| hash_content(reader, &node)).transpose()?;
        out.push_str(&line(&path, &node, content));
        if let Some(seams) = node.seams {
            let table: SeamTableV1 = wire::decode(&reader.blob(BlobKind::Seams, seams)?).unwrap();
            assert_eq!(table.seams.last().unwrap().offset + table.seams.last().unwrap().len, node.size);
        }
        if let Some(tree) = node.subtree() {
            read_tree(reader, &path, tree, out)?;
        }
    }
    Ok(())
}

fn hash_content(reader: &Reader, node: &Node) -> Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut len = 0;
    for entry in reader.expand(&node.content) {
        let entry = entry?;
        len += entry.content_len();
        match entry {
            Entry::Chunk { id, .. } => hasher.update(&reader.blob(BlobKind::Chunk, id)?),
            Entry::Hole { len } => hasher.update(&vec![0; usize::try_from(len).unwrap()]),
            Entry::Inline { bytes } => hasher.update(&bytes),
            other => panic!("{other:?} in a file"),
        };
    }
    assert_eq!(len, node.size);
    Ok(hasher.finalize())
}
