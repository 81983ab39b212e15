//! A file's content by offset: only the chunks that a range touches are fetched, each verified before a byte of it
//! is given away.
//!
//! Memory: some 64 bytes for each chunk of the file, shared by all clones; of each clone the last chunk that was read, and
//! for a long range what is fetched ahead ([`crate::repo::ahead`]).

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use crate::chunk::ReadAt;
use crate::error::{Error, Result, printable};
use crate::format::content::Entry;
use crate::format::tree::{Node, NodeKind};
use crate::progress::{Progress, Silent};
use crate::repo::ahead;
use crate::repo::reader::{BlobBytes, Reader};
use crate::repo::trees::Piece;

/// Zeros given at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// A range of more pieces than this, and of at least so many bytes, is fetched by several threads.
const FEW_PIECES: usize = 2;
const LONG_BYTES: u64 = 4 << 20;

/// See the module's words. `R` is `&Reader` or `Arc<Reader>`. A clone is cheap, and remembers for itself what it read last.
pub struct ContentAt<R> {
    reader: R,
    path: Arc<[u8]>,
    pieces: Arc<Vec<Piece>>,
    len: u64,
    /// What the repository lost of it: offset and length.
    lost: Arc<[(u64, u64)]>,
    as_base: bool,
    last: Mutex<Option<(usize, BlobBytes)>>,
}

impl<R: Clone> Clone for ContentAt<R> {
    fn clone(&self) -> Self {
        Self {
            reader: self.reader.clone(),
            path: self.path.clone(),
            pieces: self.pieces.clone(),
            lost: self.lost.clone(),
            last: Mutex::default(),
            ..*self
        }
    }
}

impl<R: Deref<Target = Reader>> ContentAt<R> {
    /// Of the file that `node` at `path` is; the path is for messages.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is no file; those of reading its content lists.
    pub fn open(reader: R, path: &[u8], node: &Node) -> Result<Self> {
        if node.kind != NodeKind::File {
            let what = if node.kind == NodeKind::Directory { "a directory" } else { "no file" };
            return Err(Error::Usage(format!("{} is {what}", printable(path))));
        }
        let lost = node.lost().map(|lost| lost.ranges).unwrap_or_default();
        let (pieces, len) = reader.pieces(&node.content)?;
        Ok(Self {
            reader,
            path: path.into(),
            pieces: Arc::new(pieces),
            len,
            lost: lost.into(),
            as_base: false,
            last: Mutex::default(),
        })
    }

    /// What is read is kept by the reader for a while: others are decoded against it, and wanted next.
    pub fn as_base(self) -> Self {
        Self { as_base: true, ..self }
    }

    /// Where it is, in its snapshot.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Has it no bytes?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What reads it.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Its chunks, holes and inline bytes, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The number of the piece that holds a byte, which must lie in it.
    pub fn piece_at(&self, offset: u64) -> usize {
        self.pieces.partition_point(|piece| piece.offset <= offset).saturating_sub(1)
    }

    /// The pieces that a range touches.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it reaches beyond the file, [`Error::Lost`] if the repository lost some of it.
    pub fn touched(&self, offset: u64, len: u64) -> Result<&[Piece]> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len).ok_or_else(|| {
            let reason = format!("{len} bytes at {offset} reach beyond its {}", self.len);
            Error::corrupt(printable(&self.path), reason)
        })?;
        self.refuse_lost(offset, end)?;
        if len == 0 {
            return Ok(&[]);
        }
        Ok(&self.pieces[self.piece_at(offset)..=self.piece_at(end - 1)])
    }

    /// Zeros stand in the place of what was lost, and nobody may take them for the file's.
    pub(super) fn refuse_lost(&self, offset: u64, end: u64) -> Result<()> {
        let hit = self.lost.iter().any(|(at, len)| *at < end && offset < at.saturating_add(*len));
        match hit {
            false => Ok(()),
            true => Err(Error::Lost {
                path: printable(&self.path),
                lost_bytes: self.lost.iter().map(|(_, len)| len).sum(),
                size_bytes: self.len,
            }),
        }
    }

    /// The bytes of a piece that is a chunk.
    pub(super) fn chunk(&self, number: usize) -> Result<BlobBytes> {
        let last = || self.last.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((at, bytes)) = &*last()
            && *at == number
        {
            return Ok(bytes.clone());
        }
        let Some(Piece { entry: Entry::Chunk { id, len }, .. }) = self.pieces.get(number) else {
            return Err(Error::Internal("a piece that is no chunk".into()));
        };
        let bytes = match self.as_base {
            false => self.reader.chunk(*id, *len)?,
            true => self.reader.chunk_as_base(*id, *len)?,
        };
        *last() = Some((number, bytes.clone()));
        Ok(bytes)
    }

    /// A range in memory. Who asks for gigabytes must have them: that they cannot be had is an error.
    pub fn bytes(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.touched(offset, len)?;
        let mut out = Vec::new();
        let room = usize::try_from(len).ok().and_then(|len| out.try_reserve_exact(len).ok().map(|()| len));
        let Some(room) = room else {
            return Err(Error::Usage(format!(
                "{len} bytes of {} do not fit into memory",
                printable(&self.path)
            )));
        };
        out.resize(room, 0);
        self.read_at(offset, &mut out)?;
        Ok(out)
    }
}

impl<R: Deref<Target = Reader>> ReadAt for ContentAt<R> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let len = self.len.saturating_sub(offset).min(buf.len() as u64);
        let pieces = match len {
            0 => return Ok(0),
            len => self.touched(offset, len)?,
        };
        let mut out = &mut buf[..usize::try_from(len).unwrap_or(usize::MAX)];
        if pieces.len() > FEW_PIECES && len >= LONG_BYTES && !self.as_base {
            let mut stretch = Stretches::default();
            stretch.add(self, offset, len)?;
            let mut at = 0;
            stretch.stream(&self.reader, &Silent, &mut |bytes| {
                out[at..][..bytes.len()].copy_from_slice(bytes);
                at += bytes.len();
                Ok(())
            })?;
            return Ok(at);
        }
        let (first, end) = (self.piece_at(offset), offset + len);
        for (number, piece) in (first..).zip(pieces) {
            let (from, to) = clip(piece, offset, end);
            let (part, rest) = out.split_at_mut(to - from);
            out = rest;
            match &piece.entry {
                Entry::Chunk { .. } => part.copy_from_slice(&self.chunk(number)?[from..to]),
                Entry::Inline { bytes } => part.copy_from_slice(&bytes[from..to]),
                _ => part.fill(0),
            }
        }
        Ok(usize::try_from(len).unwrap_or(usize::MAX))
    }
}

/// What of a piece lies in a range of the file, counted from the piece's start. A hole may be longer than memory, so
/// of one only the range's own length counts.
fn clip(piece: &Piece, offset: u64, end: u64) -> (usize, usize) {
    let (from, to) = clip_bytes(piece, offset, end);
    (usize::try_from(from).unwrap_or(usize::MAX), usize::try_from(to).unwrap_or(usize::MAX))
}

fn clip_bytes(piece: &Piece, offset: u64, end: u64) -> (u64, u64) {
    let len = piece.entry.content_len();
    (offset.saturating_sub(piece.offset).min(len), end.saturating_sub(piece.offset).min(len))
}

/// Ranges of one or several files, to be streamed one after the other. Some 80 bytes for each chunk they touch.
#[derive(Default)]
pub struct Stretches {
    pieces: Vec<Piece>,
    /// What of each: from and to, from the piece's start.
    parts: Vec<(u64, u64)>,
}

impl Stretches {
    /// Adds a range of a file.
    pub fn add<R: Deref<Target = Reader>>(
        &mut self,
        file: &ContentAt<R>,
        offset: u64,
        len: u64,
    ) -> Result<()> {
        for piece in file.touched(offset, len)? {
            self.parts.push(clip_bytes(piece, offset, offset + len));
            self.pieces.push(piece.clone());
        }
        Ok(())
    }

    /// Tells all bytes in order, fetched ahead by a few threads, each verified.
    pub fn stream(
        &self,
        reader: &Reader,
        progress: &dyn Progress,
        tell: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let _kept = reader.prepare_pieces(&self.pieces, progress)?;
        let mut parts = self.parts.iter();
        ahead::each(reader, &self.pieces, &mut |_, content| {
            progress.check()?;
            let (from, to) = *parts.next().ok_or_else(|| Error::Internal("a piece too many".into()))?;
            match content? {
                Some(bytes) => {
                    // Both lie within the piece, whose length was checked.
                    let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
                    tell(&bytes[at(from)..at(to)])?;
                }
                None => {
                    let mut left = to - from;
                    while left > 0 {
                        progress.check()?;
                        let step = left.min(ZEROS.len() as u64);
                        tell(&ZEROS[..usize::try_from(step).unwrap_or(0)])?;
                        left -= step;
                    }
                }
            }
            progress.advance(0, to - from);
            Ok(())
        })
    }
}
