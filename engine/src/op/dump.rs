//! `dump`: one file to a stream, every blob verified before it leaves.
//!
//! A few threads fetch, open and verify chunks ahead; the caller's thread writes them in order.
//! Memory: chunks ahead of the stream are at most `AHEAD_BYTES` (or one chunk), and each
//! thread works on one more; the list of pieces takes some 64 bytes for each chunk.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, Problem, ProblemKind, Result, printable};
use crate::format::content::Entry;
use crate::format::tree::{MARK_CHANGED, MARK_INCOMPLETE, Node, NodeKind};
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::{BlobBytes, Reader};
use crate::repo::trees::Piece;

/// Content fetched before its turn.
const AHEAD_BYTES: u64 = 32 << 20;
/// Threads that fetch.
const MAX_THREADS: usize = 4;
/// Zeros written at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Writes the file at `path` (absolute, inside the snapshot; links inside it are followed) to
/// `out`. Gives its length. What `out` refuses is [`Error::Io`] with the kind it gave; a file of which
/// part is lost is [`Error::Lost`].
pub fn run(
    repo: &Repository,
    snapshot: SnapshotId,
    path: &[u8],
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<u64> {
    dump(repo, snapshot, path, false, out, progress)
}

/// The same; where part of the file is lost, zeros are written for it, and a Problem says how much.
pub fn salvage(
    repo: &Repository,
    snapshot: SnapshotId,
    path: &[u8],
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<u64> {
    dump(repo, snapshot, path, true, out, progress)
}

fn dump(
    repo: &Repository,
    snapshot: SnapshotId,
    path: &[u8],
    salvage: bool,
    out: &mut (dyn Write + Send),
    progress: &dyn Progress,
) -> Result<u64> {
    let root = repo.snapshot(snapshot)?.record.root;
    let reader = Reader::open(repo)?;
    let found = lookup::resolve(&reader, root, path, LastLink::Follow)?;
    let refuse = |what: &str| Err(Error::Usage(format!("{} is {what}", printable(&found.path))));
    let Some(node) = found.node.filter(|n| n.kind != NodeKind::Directory) else {
        return refuse("a directory, which restore gives back, not dump");
    };
    if node.kind != NodeKind::File {
        return refuse("no file: it has no content");
    }
    if let Some(lost) = node.lost() {
        let (path, lost_bytes) = (printable(&found.path), lost.bytes());
        let error = Error::Lost { path: path.clone(), lost_bytes, size_bytes: node.size };
        if !salvage {
            return Err(error);
        }
        let message = format!("{lost_bytes} of its {} bytes are lost: zeros stand in their place", node.size);
        progress.problem(&Problem::new(ProblemKind::Damaged, path, message));
    }
    say_marks(&node, &found.path, progress);
    let (pieces, len) = reader.pieces(&node.content)?;
    progress.phase("dumping", Some(1), Some(len));
    let _kept = reader.prepare_pieces(&pieces, progress)?;
    stream(&reader, &pieces, out, progress)?;
    out.flush().map_err(refused)?;
    progress.advance(1, 0);
    Ok(len)
}

fn say_marks(node: &Node, path: &[u8], progress: &dyn Progress) {
    let say = |kind, message: &str| progress.problem(&Problem::new(kind, printable(path), message));
    if node.marks & MARK_INCOMPLETE != 0 {
        say(ProblemKind::Unreadable, "given as recorded: part of it could not be read for the snapshot");
    }
    if node.marks & MARK_CHANGED != 0 {
        say(ProblemKind::Changed, "given as recorded: it changed while it was read for the snapshot");
    }
}

fn refused(error: std::io::Error) -> Error {
    Error::io("output", error)
}

/// What the fetching threads and the writing one share.
#[derive(Default)]
struct Window {
    /// The next piece to fetch.
    next: usize,
    /// The piece to be written next.
    written: usize,
    /// Bytes fetched, or being fetched, and not written.
    bytes: u64,
    fetched: BTreeMap<usize, Result<BlobBytes>>,
    over: bool,
}

struct Ahead<'a> {
    reader: &'a Reader,
    pieces: &'a [Piece],
    window: Mutex<Window>,
    changed: Condvar,
}

/// Ends the fetching threads, however the writing one ends.
struct EndOnDrop<'a, 'b>(&'a Ahead<'b>);

impl Drop for EndOnDrop<'_, '_> {
    fn drop(&mut self) {
        self.0.window().over = true;
        self.0.changed.notify_all();
    }
}

fn stream(reader: &Reader, pieces: &[Piece], out: &mut dyn Write, progress: &dyn Progress) -> Result<()> {
    let ahead = Ahead { reader, pieces, window: Mutex::default(), changed: Condvar::new() };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    std::thread::scope(|scope| {
        let _end = EndOnDrop(&ahead);
        for _ in 0..threads.min(pieces.len()) {
            std::thread::Builder::new()
                .name("ballast-dump".into())
                .spawn_scoped(scope, || ahead.fetch())
                .map_err(|e| Error::Internal(format!("no thread: {e}")))?;
        }
        for (number, piece) in pieces.iter().enumerate() {
            progress.check()?;
            match &piece.entry {
                Entry::Chunk { .. } => out.write_all(&ahead.take(number)?).map_err(refused)?,
                Entry::Inline { bytes } => out.write_all(bytes).map_err(refused)?,
                hole => zeros(out, hole.content_len(), progress)?,
            }
            ahead.done(number);
            progress.advance(0, piece.entry.content_len());
        }
        Ok(())
    })
}

fn zeros(out: &mut dyn Write, mut len: u64, progress: &dyn Progress) -> Result<()> {
    while len > 0 {
        progress.check()?;
        let step = len.min(ZEROS.len() as u64);
        out.write_all(&ZEROS[..usize::try_from(step).unwrap_or(0)]).map_err(refused)?;
        len -= step;
    }
    Ok(())
}

/// What a piece takes of the window.
fn weight(piece: &Piece) -> u64 {
    match &piece.entry {
        Entry::Chunk { len, .. } => u64::from(*len),
        _ => 0,
    }
}

impl Ahead<'_> {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'w>(&self, window: MutexGuard<'w, Window>) -> MutexGuard<'w, Window> {
        self.changed.wait(window).unwrap_or_else(|e| e.into_inner())
    }

    /// Fetches chunks in order while there is room.
    fn fetch(&self) {
        let mut window = self.window();
        while !window.over {
            let number = window.next;
            let Some(piece) = self.pieces.get(number) else { return };
            let needed = weight(piece);
            if number > window.written && window.bytes + needed > AHEAD_BYTES {
                window = self.wait(window);
                continue;
            }
            window.next += 1;
            if let Entry::Chunk { id, len } = &piece.entry {
                window.bytes += needed;
                drop(window);
                let fetched = self.reader.chunk(*id, *len);
                window = self.window();
                window.fetched.insert(number, fetched);
                self.changed.notify_all();
            }
        }
    }

    /// Waits for a chunk.
    fn take(&self, number: usize) -> Result<BlobBytes> {
        let mut window = self.window();
        loop {
            if let Some(fetched) = window.fetched.remove(&number) {
                return fetched;
            }
            window = self.wait(window);
        }
    }

    /// It was written: there is room for more.
    fn done(&self, number: usize) {
        let mut window = self.window();
        window.bytes -= weight(&self.pieces[number]);
        window.written = number + 1;
        self.changed.notify_all();
    }
}
