//! The content of one file, in order.
//!
//! A few threads fetch, open and verify chunks ahead; the caller's thread writes them in order.
//! Memory: chunks ahead of the stream are at most `AHEAD_BYTES` (or one chunk), and each
//! thread works on one more; the list of pieces takes some 64 bytes for each chunk.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::refused;
use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::progress::Progress;
use crate::repo::reader::{BlobBytes, Reader};
use crate::repo::trees::Piece;

/// Content fetched before its turn.
const AHEAD_BYTES: u64 = 32 << 20;
/// Threads that fetch.
const MAX_THREADS: usize = 4;
/// Zeros written at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

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

/// Asked about a chunk that cannot be had: zeros in its place, or the end?
pub type OnLost<'f> = &'f mut dyn FnMut(&Piece, Error) -> Result<()>;

/// Writes all pieces to `out`.
pub fn stream(
    reader: &Reader,
    pieces: &[Piece],
    out: &mut dyn Write,
    progress: &dyn Progress,
    on_lost: OnLost<'_>,
) -> Result<()> {
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
                Entry::Chunk { .. } => match ahead.take(number) {
                    Ok(bytes) => out.write_all(&bytes).map_err(refused)?,
                    Err(error) => {
                        on_lost(piece, error)?;
                        zeros(out, piece.entry.content_len(), progress)?;
                    }
                },
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
