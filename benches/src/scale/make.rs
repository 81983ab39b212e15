//! Makes a repository at scale, no data behind it.
//!
//! Real: key, config, trees and content lists in their packs, snapshots, the ledger, every index object. Made up: ids of
//! chunks, and the packs that hold them, which are files of the right name and length without a byte in them.
//!
//! Each snapshot is a run of its own: it replaces one of [`SLOTS`] models, so it brings that one's chunks, its
//! list and the directories on the way to it. One more has [`LARGE_FILES`] sparse files that really stand in `source/`.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ballast::crypto::kdf;
use ballast::entropy::Surroundings;
use ballast::error::{Error, Result};
use ballast::format::content::Entry;
use ballast::format::snapshot::{CountsV1, SnapshotV1};
use ballast::format::tree::{Node, NodeKind};
use ballast::format::wire::{Bytes, Stamp, Text};
use ballast::id::BlobId;
use ballast::op::snapshot::{self, SnapshotOptions};
use ballast::progress::Silent;
use ballast::repo::reader::Reader;
use ballast::repo::session::Session;
use ballast::repo::{InitOptions, OpenOptions, PROGRAM, Repository};
use ballast::store::Store;
use ballast::store::local::LocalStore;

use crate::hollow::Run;
use crate::shape::{CHUNK_BYTES, LARGE_CHUNKS, LARGE_FILES, PER_DIRECTORY, SLOTS, Shape, id};
use crate::store::Unflushed;

/// Of every repository made here.
pub const PASSWORD: &[u8] = b"bench";
/// Runs whose trees share packs: a prune has merged the small ones.
const RUNS_PER_FLUSH: u64 = 100;
/// The first snapshot's time; one follows an hour after the other.
const BEGAN_SECS: i64 = 1_700_000_000;

fn init(store: Arc<dyn Store>) -> Result<Repository> {
    let options = InitOptions { kdf: kdf::CHEAP, reserve_bytes: 0, ..InitOptions::default() };
    Repository::init(store, PASSWORD, &options, &OpenOptions::default(), Surroundings::system())
}

/// The repository in `dir/repo`, and the files in `dir/source`.
pub fn large(dir: &Path, shape: &Shape) -> Result<()> {
    let store = Arc::new(Unflushed::new(dir.join("repo"))?);
    let repo = init(store.clone())?;
    let source = sparse_files(dir)?;
    let mut session = Session::begin(&repo, "scale", false, &Silent)?;
    let mut models: Vec<Option<Node>> = vec![None; SLOTS as usize];
    let mut directories: Vec<Option<BlobId>> = vec![None; SLOTS.div_ceil(PER_DIRECTORY) as usize];
    for n in 0..shape.snapshots {
        let slot = (n % SLOTS) as usize;
        models[slot] = Some(model(&session, shape, n)?);
        let first = slot - slot % PER_DIRECTORY as usize;
        let members = models[first..].iter().take(PER_DIRECTORY as usize).flatten().cloned();
        directories[slot / PER_DIRECTORY as usize] = Some(session.store_tree(members.collect())?);
        let trees = directories.iter().enumerate().filter_map(|(at, tree)| Some((at, (*tree)?)));
        let mut tree =
            session.store_tree(trees.map(|(at, tree)| above(&format!("d{at:03}"), tree)).collect())?;
        for name in ["models", "srv"] {
            tree = session.store_tree(vec![above(name, tree)])?;
        }
        if (n + 1) % RUNS_PER_FLUSH == 0 || n + 1 == shape.snapshots {
            session.flush()?;
        }
        session.commit(&record(shape, n, tree), None, Vec::new())?;
    }
    drop(session);
    real_then_filled(&repo, &source)?;
    let mut run = Run::begin(&repo, &store)?;
    for number in 0..LARGE_FILES * LARGE_CHUNKS {
        run.add(number, (0, 0))?;
    }
    run.end()?;
    for n in 0..shape.snapshots {
        let mut run = Run::begin(&repo, &store)?;
        for number in shape.first_of(n)..shape.first_of(n + 1) {
            run.add(number, shape.height(n))?;
        }
        run.end()?;
    }
    Ok(())
}

fn entries(first: u64, count: u64) -> Vec<Entry> {
    (first..first + count).map(|number| Entry::Chunk { id: id(number), len: CHUNK_BYTES }).collect()
}

fn model(session: &Session, shape: &Shape, n: u64) -> Result<Node> {
    let content = session.store_content(entries(shape.first_of(n), shape.per_model()))?;
    let mtime = Stamp { secs: BEGAN_SECS + 3600 * n as i64, nanos: 5 };
    let name = format!("model-{:04}.safetensors", n % SLOTS);
    Ok(Node {
        mode: 0o644,
        uid: 1000,
        gid: 1000,
        user: b"user"[..].into(),
        group: b"user"[..].into(),
        size: shape.per_model() * u64::from(CHUNK_BYTES),
        mtime,
        ctime: mtime,
        inode: 1000 + n,
        nlink: 1,
        content,
        ..Node::blank(name.as_bytes(), NodeKind::File)
    })
}

fn above(name: &str, tree: BlobId) -> Node {
    Node {
        mode: 0o755,
        content: vec![Entry::Tree { id: tree }],
        ..Node::blank(name.as_bytes(), NodeKind::Directory)
    }
}

fn record(shape: &Shape, n: u64, root: BlobId) -> SnapshotV1 {
    let files = SLOTS.min(n + 1);
    let total_bytes = files * shape.per_model() * u64::from(CHUNK_BYTES);
    SnapshotV1 {
        time: Stamp { secs: BEGAN_SECS + 3600 * n as i64, nanos: 0 },
        utc_offset_secs: 0,
        host: Text(format!("host{}", n % 4)),
        user: "bench".into(),
        paths: vec![Bytes::from(&b"/srv/models"[..])],
        tags: Vec::new(),
        description: Text::default(),
        parent: None,
        program: PROGRAM.into(),
        partial: false,
        root,
        counts: CountsV1 { files_unchanged: files, total_bytes, ..CountsV1::default() },
        problem_count: 0,
        problems: Vec::new(),
        extensions: Vec::new(),
    }
}

fn sparse_files(dir: &Path) -> Result<std::path::PathBuf> {
    let source = dir.join("source");
    let failed = |e| Error::io(&source, e);
    fs::create_dir_all(&source).map_err(failed)?;
    for n in 0..LARGE_FILES {
        let file = File::create(source.join(format!("model-{n:03}.safetensors"))).map_err(failed)?;
        file.set_len(LARGE_CHUNKS * u64::from(CHUNK_BYTES)).map_err(failed)?;
    }
    // What was touched a moment ago is read again next time.
    std::thread::sleep(Duration::from_millis(2500));
    source.canonicalize().map_err(failed)
}

/// A real snapshot of the sparse files, and beside it the same with content: as if they had been full.
fn real_then_filled(repo: &Repository, source: &Path) -> Result<()> {
    let options = SnapshotOptions {
        paths: vec![source.to_owned()],
        cwd: "/".into(),
        host: Some("scale".into()),
        ..SnapshotOptions::default()
    };
    let taken = snapshot::run(repo, &options, &Silent)?.snapshot;
    let taken = taken.ok_or_else(|| Error::Internal("no snapshot".into()))?;
    let mut record = repo.snapshot(taken)?.record;
    let mut session = Session::begin(repo, "scale", false, &Silent)?;
    let reader = Reader::with_index(repo, session.index().clone());
    let mut next = 0;
    record.root = filled(&session, &reader, record.root, &mut next)?;
    session.flush()?;
    session.commit(&record, None, Vec::new()).map(drop)
}

fn filled(session: &Session, reader: &Reader, tree: BlobId, next: &mut u64) -> Result<BlobId> {
    let mut nodes = reader.tree(tree)?;
    for node in &mut nodes {
        if let Some(below) = node.subtree() {
            node.content = vec![Entry::Tree { id: filled(session, reader, below, next)? }];
        } else if node.kind == NodeKind::File {
            node.content = session.store_content(entries(*next, LARGE_CHUNKS))?;
            *next += LARGE_CHUNKS;
        }
    }
    session.store_tree(nodes)
}

/// A repository of small files in `dir/small`, with their data.
pub fn small(dir: &Path, shape: &Shape) -> Result<()> {
    let source = dir.join("small-source");
    for n in 0..shape.small_files {
        let below = source.join(format!("d{:04}", n / 100));
        let made = if n.is_multiple_of(100) { fs::create_dir_all(&below) } else { Ok(()) };
        let text = ballast_benches::text(500 + (n % 1500) as usize, n);
        made.and_then(|()| fs::write(below.join(small_name(n)), text)).map_err(|e| Error::io(&below, e))?;
    }
    let repo = init(Arc::new(LocalStore::new(dir.join("small"))?))?;
    let options =
        SnapshotOptions { paths: vec![source.clone()], cwd: dir.to_owned(), ..SnapshotOptions::default() };
    snapshot::run(&repo, &options, &Silent)?;
    fs::remove_dir_all(&source).map_err(|e| Error::io(&source, e))
}

/// Its name in `d0000`, `d0001` ….
pub fn small_name(n: u64) -> String {
    format!("file-{n:06}.rs")
}
