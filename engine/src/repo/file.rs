//! A file in a snapshot, open: [`Read`] and [`Seek`], and [`ReadAt`] for who has no position.
//!
//! Whoever reads it in order has it fetched ahead by a few threads, first two chunks, then about as many as were read so
//! far, as far as [`crate::repo::ahead`] has room; whoever reads here and there has only those chunks fetched that he touches. A seek
//! waits for nobody. Nothing is given away before its id was recomputed; holes are zeros; a range that the
//! repository lost is an error.
//!
//! Memory: what [`ContentAt`] takes, shared by all that were made of one file; what is fetched ahead, once something is
//! read in order; the chunk at the position.

mod at;

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::thread::JoinHandle;

pub use at::{ContentAt, Stretches};

use crate::chunk::ReadAt;
use crate::error::{Error, Result};
use crate::format::content::Entry;
use crate::format::tree::Node;
use crate::progress::Silent;
use crate::repo::ahead::{Ahead, threads_for};
use crate::repo::reader::{BlobBytes, Reader};

/// Pieces that are fetched ahead when reading in order begins.
const FIRST_PIECES: usize = 2;
/// The same, at most: some of them are asked of the index at once.
const MOST_PIECES: usize = 1024;

/// A file of a snapshot, or a part of one, with a position. A clone has a position of its own.
pub struct SnapshotFile {
    content: Arc<ContentAt<Arc<Reader>>>,
    /// Where it begins and ends in the file, and where the position is.
    start: u64,
    end: u64,
    position: u64,
    /// The chunk that was read last, by the number of its piece.
    last: Option<(usize, BlobBytes)>,
    crew: Option<Crew>,
}

/// The threads that fetch ahead.
struct Crew {
    ahead: Arc<Ahead>,
    threads: Vec<JoinHandle<()>>,
    /// Pieces up to here are on their way or taken, from the one that was taken last.
    aimed: Option<usize>,
    /// How far ahead of the position it may be.
    span: usize,
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.ahead.end();
        // Each is at one chunk at most; what it holds must be gone when the file is.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl SnapshotFile {
    /// The file that `node` at `path` is; the path is for messages.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no file; those of reading its content lists.
    pub fn open(reader: &Arc<Reader>, path: &[u8], node: &Node) -> Result<Self> {
        Ok(Self::of(Arc::new(ContentAt::open(reader.clone(), path, node)?)))
    }

    /// The whole of a content.
    pub fn of(content: Arc<ContentAt<Arc<Reader>>>) -> Self {
        let end = content.len();
        Self { content, start: 0, end, position: 0, last: None, crew: None }
    }

    /// A part of it as a file of its own.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it reaches beyond this one, [`Error::Lost`] if the repository lost some of it.
    pub fn part(&self, offset: u64, len: u64) -> Result<Self> {
        let start = self.start.saturating_add(offset);
        self.content.touched(start, len)?;
        let part = Self { start, end: start + len, position: start, ..self.clone() };
        if part.end > self.end {
            return Err(Error::Usage(format!("{len} bytes at {offset} reach beyond this part of a file")));
        }
        Ok(part)
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Has it no bytes?
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// All of it in memory. Who asks for gigabytes must have them: that they cannot be had is an error.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        self.content.bytes(self.start, self.len())
    }

    /// The content it is of, or a part of.
    pub fn content(&self) -> &Arc<ContentAt<Arc<Reader>>> {
        &self.content
    }

    fn read_some(&mut self, buf: &mut [u8]) -> Result<usize> {
        let wanted = self.end.saturating_sub(self.position).min(buf.len() as u64);
        if wanted == 0 {
            return Ok(0);
        }
        let number = self.content.piece_at(self.position);
        let piece = &self.content.pieces()[number];
        let from = self.position - piece.offset;
        let len = wanted.min(piece.entry.content_len().saturating_sub(from));
        self.content.refuse_lost(self.position, self.position + len)?;
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        let (out, range) = (&mut buf[..at(len)], at(from)..at(from + len));
        match &piece.entry {
            Entry::Chunk { .. } => {
                if self.last.as_ref().is_none_or(|(last, _)| *last != number) {
                    self.last = Some((number, self.fetch(number)?));
                }
                let chunk = self.last.as_ref().map(|(_, bytes)| &bytes[..]).unwrap_or_default();
                out.copy_from_slice(&chunk[range]);
            }
            Entry::Inline { bytes } => out.copy_from_slice(&bytes[range]),
            _ => out.fill(0),
        }
        self.position += len;
        Ok(out.len())
    }

    /// A chunk that is not the last one: by the crew, if it follows that one.
    fn fetch(&mut self, number: usize) -> Result<BlobBytes> {
        let pieces = self.content.pieces();
        let is_chunk = |at: usize| matches!(pieces[at].entry, Entry::Chunk { .. });
        let follows = |last: usize| last < number && !(last + 1..number).any(is_chunk);
        if !self.last.as_ref().is_some_and(|(last, _)| follows(*last)) {
            if let Some(crew) = &mut self.crew
                && crew.aimed.take().is_some()
            {
                crew.ahead.aim(0..0);
            }
            return self.content.chunk(number);
        }
        let beyond = self.content.piece_at(self.end - 1) + 1;
        if self.crew.is_none() {
            self.crew = self.hire(beyond - number);
        }
        match &mut self.crew {
            Some(crew) => crew.take(&self.content, number, beyond),
            None => self.content.chunk(number),
        }
    }

    /// Threads, where there are several pieces to fetch; none where none can be had.
    fn hire(&self, pieces: usize) -> Option<Crew> {
        if pieces < 2 {
            return None;
        }
        let mut crew = Crew { ahead: Arc::default(), threads: Vec::new(), aimed: None, span: FIRST_PIECES };
        for _ in 0..threads_for(pieces) {
            let (ahead, content) = (crew.ahead.clone(), self.content.clone());
            let work = move || ahead.fetch(content.reader(), content.pieces());
            crew.threads.extend(std::thread::Builder::new().name("ballast-ahead".into()).spawn(work));
        }
        (!crew.threads.is_empty()).then_some(crew)
    }
}

impl Crew {
    /// The chunk of that piece, which is the first behind the one that was taken last; pieces after it are on their
    /// way then.
    fn take(&mut self, content: &ContentAt<Arc<Reader>>, number: usize, beyond: usize) -> Result<BlobBytes> {
        let pieces = content.pieces();
        let mut aimed = match self.aimed.take() {
            // It may have ended in front of a hole.
            Some(until) => until.max(number),
            None => {
                self.span = FIRST_PIECES;
                self.ahead.aim(number..number);
                number
            }
        };
        // The span is twice what the last pieces were: it grows when half of those are taken.
        if aimed < beyond && aimed - number <= self.span / 4 {
            let until = (number + self.span).min(beyond);
            // It is not kept pinned: what of it is given up is decoded again.
            drop(content.reader().prepare_pieces(&pieces[aimed..until], &Silent)?);
            self.ahead.extend(until);
            aimed = until;
            self.span = (self.span * 2).min(MOST_PIECES);
        }
        let bytes = self.ahead.take(number)?;
        self.ahead.done(number, &pieces[number]);
        self.aimed = Some(aimed);
        Ok(bytes)
    }
}

impl Clone for SnapshotFile {
    fn clone(&self) -> Self {
        Self { content: self.content.clone(), last: self.last.clone(), crew: None, ..*self }
    }
}

impl Read for SnapshotFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        Ok(self.read_some(buf)?)
    }
}

impl Seek for SnapshotFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(offset) => (self.start.checked_add(offset), 0),
            SeekFrom::Current(by) => (Some(self.position), by),
            SeekFrom::End(by) => (Some(self.end), by),
        };
        let position = from.and_then(|from| from.checked_add_signed(by)).filter(|to| *to >= self.start);
        let Some(position) = position else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a position before the beginning"));
        };
        self.position = position;
        Ok(position - self.start)
    }
}

impl ReadAt for SnapshotFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let len = self.len().saturating_sub(offset).min(buf.len() as u64);
        let at = self.start.saturating_add(offset);
        self.content.read_at(at, &mut buf[..usize::try_from(len).unwrap_or(usize::MAX)])
    }
}
