//! A repository as years of use leave it, made without a single file: chunks, lists and trees go
//! straight through a session. For the benches of `check` and `prune`.
//!
//! Every snapshot has [`Shape::files`] files in directories of [`Shape::per_directory`]; from one to the
//! next [`Shape::changed_permille`] of them change, all their chunks. Each snapshot's packs and index
//! objects are its own, as if each had been a run.

use std::sync::Arc;

use ballast::crypto::kdf;
use ballast::entropy::Surroundings;
use ballast::error::Result;
use ballast::format::content::Entry;
use ballast::format::snapshot::{CountsV1, SnapshotV1};
use ballast::format::tree::{Node, NodeKind};
use ballast::format::wire::{Bytes, Stamp, Text};
use ballast::id::{BlobId, BlobKind, SnapshotId};
use ballast::progress::Silent;
use ballast::repo::session::Session;
use ballast::repo::{InitOptions, OpenOptions, PROGRAM, Repository};
use ballast::store::Store;

use crate::Random;

/// The password of every repository made here.
pub const PASSWORD: &[u8] = b"bench";

/// What is to be made.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Snapshots.
    pub snapshots: usize,
    /// Files in each.
    pub files: usize,
    /// Files in a directory.
    pub per_directory: usize,
    /// Chunks of a file.
    pub chunks: usize,
    /// Shortest chunk.
    pub min_bytes: usize,
    /// Longest chunk.
    pub max_bytes: usize,
    /// Files that change from one snapshot to the next, of a thousand.
    pub changed_permille: usize,
}

impl Default for Shape {
    /// A million chunks of 64 to 256 bytes.
    fn default() -> Self {
        Self {
            snapshots: 1000,
            files: 2000,
            per_directory: 50,
            chunks: 45,
            min_bytes: 64,
            max_bytes: 256,
            changed_permille: 10,
        }
    }
}

/// A new repository of that shape in `store`; its snapshots, the oldest first.
pub fn make(store: Arc<dyn Store>, shape: &Shape, seed: u64) -> Result<(Repository, Vec<SnapshotId>)> {
    let init = InitOptions { kdf: kdf::CHEAP, ..InitOptions::default() };
    let repo = Repository::init(store, PASSWORD, &init, &OpenOptions::default(), Surroundings::system())?;
    let mut random = Random::new(seed);
    let mut session = Session::begin(&repo, "synthetic", false, &Silent)?;
    let mut files: Vec<(u64, Vec<Entry>)> = Vec::with_capacity(shape.files);
    for _ in 0..shape.files {
        files.push(file(&session, shape, &mut random)?);
    }
    let mut directories = vec![BlobId([0; 32]); shape.files.div_ceil(shape.per_directory)];
    let mut stale = vec![true; directories.len()];
    let mut made = Vec::with_capacity(shape.snapshots);
    for number in 0..shape.snapshots {
        if number > 0 {
            for _ in 0..shape.files * shape.changed_permille / 1000 {
                let at = below(&mut random, shape.files);
                files[at] = file(&session, shape, &mut random)?;
                stale[at / shape.per_directory] = true;
            }
        }
        for (at, tree) in directories.iter_mut().enumerate().filter(|(at, _)| std::mem::take(&mut stale[*at]))
        {
            let first = at * shape.per_directory;
            let members = files[first..].iter().take(shape.per_directory).enumerate();
            let nodes = members.map(|(i, (size, content))| node(first + i, *size, content.clone(), number));
            *tree = session.store_tree(nodes.collect())?;
        }
        let nodes = directories.iter().enumerate().map(|(at, tree)| {
            let content = vec![Entry::Tree { id: *tree }];
            Node {
                content,
                mode: 0o755,
                ..Node::blank(format!("dir{at:05}").as_bytes(), NodeKind::Directory)
            }
        });
        let root = session.store_tree(nodes.collect())?;
        session.flush()?;
        let time = Stamp { secs: 1_700_000_000 + 86_400 * i64::try_from(number).unwrap_or(0), nanos: 0 };
        // Without what was flushed: then nobody keeps a local index up to date, of which there is none.
        made.push(session.commit(&snapshot(root, time, shape), None, Vec::new())?);
    }
    Ok((repo, made))
}

fn below(random: &mut Random, n: usize) -> usize {
    usize::try_from(random.bits() % n.max(1) as u64).unwrap_or(0)
}

/// A file's length and content, its chunks stored.
fn file(session: &Session, shape: &Shape, random: &mut Random) -> Result<(u64, Vec<Entry>)> {
    let mut entries = Vec::with_capacity(shape.chunks);
    let mut size = 0;
    for _ in 0..shape.chunks {
        let len = shape.min_bytes + below(random, shape.max_bytes + 1 - shape.min_bytes);
        let bytes: Vec<u8> =
            std::iter::repeat_with(|| random.bits().to_le_bytes()).flatten().take(len).collect();
        let stored = session.store(BlobKind::Chunk, &bytes)?;
        size += len as u64;
        entries.push(Entry::Chunk { id: stored.id, len: u32::try_from(len).unwrap_or(0) });
    }
    Ok((size, session.store_content(entries)?))
}

fn node(number: usize, size: u64, content: Vec<Entry>, snapshot: usize) -> Node {
    let mtime = Stamp { secs: 1_700_000_000 + i64::try_from(snapshot).unwrap_or(0), nanos: 5 };
    let name = format!("file{number:08}.bin");
    Node {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: b"user"[..].into(),
        group: b"user"[..].into(),
        size,
        mtime,
        ctime: mtime,
        inode: number as u64,
        nlink: 1,
        content,
        ..Node::blank(name.as_bytes(), NodeKind::File)
    }
}

fn snapshot(root: BlobId, time: Stamp, shape: &Shape) -> SnapshotV1 {
    SnapshotV1 {
        time,
        utc_offset_secs: 0,
        host: "synthetic".into(),
        user: "bench".into(),
        paths: vec![Bytes::from(&b"/"[..])],
        tags: Vec::new(),
        description: Text::default(),
        parent: None,
        program: PROGRAM.into(),
        partial: false,
        root,
        counts: CountsV1 { files_unchanged: shape.files as u64, ..CountsV1::default() },
        problem_count: 0,
        problems: Vec::new(),
        extensions: Vec::new(),
    }
}
