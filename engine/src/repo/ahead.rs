//! Content fetched ahead of who takes it in order: a few threads fetch, open and verify chunks, one takes them.
//!
//! The threads are whoever calls [`Ahead::fetch`]: those of [`each`], which live as long as that call, or those of a
//! [`SnapshotFile`](crate::repo::file::SnapshotFile), which is aimed elsewhere when its reader seeks.
//! Memory: chunks ahead of who takes them are at most `AHEAD_BYTES` (or one chunk), and each thread works on one more.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::repo::reader::{BlobBytes, Reader};
use crate::repo::trees::Piece;

/// Content fetched before its turn.
const AHEAD_BYTES: u64 = 32 << 20;
/// Threads that fetch.
const MAX_THREADS: usize = 4;

/// How many threads are to fetch, of so many chunks.
pub fn threads_for(chunks: usize) -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS).min(chunks)
}

/// What the fetching threads and the taking one share.
#[derive(Default)]
struct Window {
    /// The next piece to fetch.
    next: usize,
    /// Pieces from here on are not fetched.
    until: usize,
    /// The piece to be taken next.
    taken: usize,
    /// Bytes fetched, or being fetched, and not taken.
    bytes: u64,
    fetched: BTreeMap<usize, Result<BlobBytes>>,
    /// How often it was aimed: what was begun before then is nobody's any more.
    aim: u64,
    over: bool,
}

/// See the module's words.
#[derive(Default)]
pub struct Ahead {
    window: Mutex<Window>,
    changed: Condvar,
}

/// What a piece takes of the window.
fn weight(piece: &Piece) -> u64 {
    match &piece.entry {
        Entry::Chunk { len, .. } => u64::from(*len),
        _ => 0,
    }
}

/// A chunk on its way. However its thread ends, who waits for it learns of it.
struct OnItsWay<'a> {
    ahead: &'a Ahead,
    number: usize,
    aim: u64,
    fetched: Option<Result<BlobBytes>>,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        let mut window = self.ahead.window();
        if window.aim == self.aim || self.fetched.is_none() {
            match self.fetched.take() {
                Some(fetched) => drop(window.fetched.insert(self.number, fetched)),
                // It panicked; the others may have, too.
                None => window.over = true,
            }
            self.ahead.changed.notify_all();
        }
    }
}

impl Ahead {
    fn window(&self) -> MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn wait<'w>(&self, window: MutexGuard<'w, Window>) -> MutexGuard<'w, Window> {
        self.changed.wait(window).unwrap_or_else(|e| e.into_inner())
    }

    /// From now on these pieces are fetched; what was fetched of others is dropped. Waits for nobody.
    pub fn aim(&self, pieces: Range<usize>) {
        let mut window = self.window();
        // Threads that went home do not come back.
        let (aim, over) = (window.aim + 1, window.over);
        *window = Window {
            next: pieces.start,
            taken: pieces.start,
            until: pieces.end,
            aim,
            over,
            ..Window::default()
        };
        self.changed.notify_all();
    }

    /// Pieces up to there are fetched, too.
    pub fn extend(&self, until: usize) {
        let mut window = self.window();
        window.until = window.until.max(until);
        self.changed.notify_all();
    }

    /// Sends the fetching threads home, each after the chunk it is at.
    pub fn end(&self) {
        self.window().over = true;
        self.changed.notify_all();
    }

    /// The work of a thread: fetches chunks in order while there is room, until the end.
    pub fn fetch(&self, reader: &Reader, pieces: &[Piece]) {
        let mut window = self.window();
        while !window.over {
            let number = window.next;
            let Some(piece) = pieces.get(number).filter(|_| number < window.until) else {
                window = self.wait(window);
                continue;
            };
            let needed = weight(piece);
            if number > window.taken && window.bytes + needed > AHEAD_BYTES {
                window = self.wait(window);
                continue;
            }
            window.next += 1;
            if let Entry::Chunk { id, len } = &piece.entry {
                window.bytes += needed;
                let mut way = OnItsWay { ahead: self, number, aim: window.aim, fetched: None };
                drop(window);
                way.fetched = Some(reader.chunk(*id, *len));
                drop(way);
                window = self.window();
            }
        }
    }

    /// Waits for a chunk, which must be one of those aimed at.
    pub fn take(&self, number: usize) -> Result<BlobBytes> {
        let mut window = self.window();
        loop {
            if let Some(fetched) = window.fetched.remove(&number) {
                return fetched;
            }
            if window.over {
                return Err(Error::Internal("a thread that fetches has died".into()));
            }
            window = self.wait(window);
        }
    }

    /// It is used up: there is room for more.
    pub fn done(&self, number: usize, piece: &Piece) {
        let mut window = self.window();
        window.bytes = window.bytes.saturating_sub(weight(piece));
        window.taken = number + 1;
        self.changed.notify_all();
    }
}

/// Ends the fetching threads, however the taking one ends.
struct EndOnDrop<'a>(&'a Ahead);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What is told of a piece: its bytes, or that they are zeros.
pub type Told<'t> = &'t mut dyn FnMut(&Piece, Result<Option<&[u8]>>) -> Result<()>;

/// Tells all pieces in order; an error of `tell` ends it.
pub fn each(reader: &Reader, pieces: &[Piece], tell: Told<'_>) -> Result<()> {
    let ahead = Ahead::default();
    ahead.aim(0..pieces.len());
    let chunks = pieces.iter().filter(|piece| weight(piece) > 0).count();
    std::thread::scope(|scope| {
        let _end = EndOnDrop(&ahead);
        for _ in 0..threads_for(chunks) {
            std::thread::Builder::new()
                .name("ballast-ahead".into())
                .spawn_scoped(scope, || ahead.fetch(reader, pieces))
                .map_err(|e| Error::Internal(format!("no thread: {e}")))?;
        }
        for (number, piece) in pieces.iter().enumerate() {
            match &piece.entry {
                Entry::Chunk { .. } => match ahead.take(number) {
                    Ok(bytes) => tell(piece, Ok(Some(&bytes)))?,
                    Err(error) => tell(piece, Err(error))?,
                },
                Entry::Inline { bytes } => tell(piece, Ok(Some(bytes)))?,
                _ => tell(piece, Ok(None))?,
            }
            ahead.done(number, piece);
        }
        Ok(())
    })
}
