//! Large files: what is as the parent has it is taken over ([`skip`]). Over the rest a window moves; it is cut, by many in
//! parallel with exactly the sequential cut points, and its chunks are hashed, looked up, encoded, sealed and checked by all
//! workers, while the next window is being filled.
//!
//! Memory: [`windows::AT_A_TIME`] windows of [`WINDOW_BYTES`] and a largest chunk each at most, however long the file is, mostly of
//! [`ALONE_BYTES`]: longer ones are for long headers and where many cut; some 50 bytes for each chunk of the files at hand; of a model, 40 bytes for each
//! tensor, and while its header is made into a seam table up to 90 MiB at the limits of
//! [`crate::chunk::safetensors`], 130 MiB at those of [`crate::chunk::torch`] (2 MiB for a thousand tensors); what [`super::kin`] keeps of older
//! versions, and the bases that workers read. The one thread that reads
//! sees one sequential pass, but for what tells the layout of an archive and a sample of 192 KiB where the nearest of several bases is
//! looked for; each byte is copied once out of the file, and what follows the last cut once more, to the next window.

mod paged;
mod skip;
mod windows;

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use rayon::ThreadPool;

use super::database::Source;
use super::elements::hint_at;
use super::familiar::Familiar;
use super::kin::Kin;
use super::reading::{self, Outcome, ToRead, Tools};
use super::seams::Layout;
use crate::chunk::layout::{self, MAX_HEADER_BYTES};
use crate::error::{Error, Problem, Result};
use crate::format::content::{Entry, INLINE_BYTES};
use crate::format::tree::Node;
use crate::id::{BlobId, BlobKind, BlobRef};
use crate::repo::renew::OldLists;
use crate::source::sqlite::{HEADER_BYTES, Header, UNITS_FROM_BYTES};
use crate::source::{Change, Segment};
use paged::{Paged, Results};
use windows::Window;
pub use windows::Windows;

/// New bytes of a window that many cut, and of the first of a stream, which is laid out only if it ends there; most of any.
const WINDOW_BYTES: usize = 16 << 20;
/// New bytes of a window that one thread cuts while it is still in the cache; for the first, the workers wait, and it grows only for a
/// header that is longer.
const ALONE_BYTES: usize = 4 << 20;
/// Chunks of a task, unless it is one.
const TASK_BYTES: usize = 128 << 10;
/// The layout of a file is told by its first window.
const _: () = assert!(WINDOW_BYTES >= MAX_HEADER_BYTES);
/// For so many workers, the thread that reads cuts as well: it is faster than they are with what it gives them, and a window
/// that many cut is cut in part twice.
const CUT_ALONE_THREADS: usize = 4;

/// One entry of a large file's content: known at once, or a chunk under way.
enum Part {
    Entry(Entry),
    Chunk { len: u32, id: Option<BlobId> },
}

/// A large file under way.
pub struct LargeFile {
    file: ToRead,
    source: Source,
    layout: Layout,
    /// Lists of what the parent has in its place.
    old: OldLists,
    parts: Vec<Part>,
    awaited: usize,
    read_bytes: u64,
    live: Option<Problem>,
    complete: bool,
    /// A database changed under its image.
    change: Option<Change>,
    problems: Vec<Problem>,
}

/// What the parent snapshot has in the place of a file.
pub struct Before<'b> {
    /// Its node.
    pub node: Option<&'b Node>,
    /// Its chunks.
    pub familiar: &'b Familiar,
    /// May they be taken over without a look-up?
    pub trusted: bool,
}

/// A chunk that was stored: number of its file, number of its part, its id.
pub type ChunkDone = (u64, usize, Result<BlobId>);

/// The reading side of large files.
pub struct LargeReader<'t, 'a> {
    pub tools: &'t Tools<'a>,
    pub pool: &'t ThreadPool,
    pub windows: Arc<Windows>,
}

impl<'t, 'a> LargeReader<'t, 'a> {
    /// Reads the file to its end and hands its chunks to the pool; the results come through
    /// `done`. The outcome follows once all of them are in ([`LargeFile::finish`]).
    pub fn read<'s, F>(
        &self,
        number: u64,
        file: ToRead,
        source: Source,
        before: &Before<'_>,
        done: &Sender<F>,
        wrap: fn(ChunkDone) -> F,
        scope: &rayon::Scope<'s>,
    ) -> Result<LargeFile>
    where
        't: 's,
        F: Send + 's,
    {
        let mut large = LargeFile {
            file,
            layout: Layout::opaque(source.size()),
            old: before
                .node
                .map(|n| OldLists::of(&n.content, self.tools.ancestry.reader()))
                .unwrap_or_default(),
            source,
            parts: Vec::new(),
            awaited: 0,
            read_bytes: 0,
            live: None,
            complete: true,
            change: None,
            problems: Vec::new(),
        };
        let mut kin = None;
        let mut paged = self.paged(&large);
        let results = Results { number, done, wrap };
        for segment in large.source.segments() {
            match segment {
                Segment::Hole { len, .. } => large.parts.push(Part::Entry(Entry::Hole { len })),
                Segment::Data { offset, len } => {
                    let complete = match &mut paged {
                        Some(paged) => {
                            self.read_units(&mut large, (offset, len), before, paged, &results, scope)?
                        }
                        None => self.read_data(
                            number, &mut large, offset, len, before, &mut kin, done, wrap, scope,
                        )?,
                    };
                    if !complete {
                        large.complete = false;
                        break;
                    }
                }
            }
        }
        if let Some(paged) = paged {
            self.finish_units(paged, &results, scope);
        }
        if large.source.is_stream() {
            large.file.node.size = large.source.size();
        }
        if large.source.is_image() && large.complete {
            // Its locks and temporary files are let go of now, not when all is stored.
            large.change = large.source.verify();
        }
        Ok(large)
    }

    /// If it is a database of some size.
    fn paged(&self, large: &LargeFile) -> Option<Paged<'a>> {
        let first = large.source.first::<HEADER_BYTES>(UNITS_FROM_BYTES);
        let is_paged = first.is_some_and(|first| Header::parse(&first).is_some());
        is_paged.then(|| Paged::new(self.tools.session.repo().config().sqlite_unit_bytes))
    }

    /// One stretch of data; `false` if it could not be read to its end.
    #[allow(clippy::too_many_arguments)]
    fn read_data<'s, F>(
        &self,
        number: u64,
        large: &mut LargeFile,
        offset: u64,
        mut len: u64,
        before: &Before<'_>,
        kin: &mut Option<Arc<Kin<'a>>>,
        done: &Sender<F>,
        wrap: fn(ChunkDone) -> F,
        scope: &rayon::Scope<'s>,
    ) -> Result<bool>
    where
        't: 's,
        F: Send + 's,
    {
        let cutter = self.tools.cutter;
        let mut regions = large.layout.within(offset, len);
        let mut window = self.windows.take();
        // Bytes at the front of the window that were read before, and where they stand in the stretch.
        let (mut held, mut start) = (0usize, 0u64);
        // Up to here it was counted as read.
        let mut counted = 0;
        let alone = self.pool.current_num_threads() <= CUT_ALONE_THREADS;
        loop {
            self.tools.progress.check()?;
            if start > 0 || offset > 0 {
                let stretch = offset + start..offset + len;
                let skipped = self.skip(large, stretch, before, &regions, &mut |large, to| {
                    self.count(large, &mut counted, to - offset);
                })?;
                if skipped > 0 {
                    (start, held) = (start + skipped, 0);
                }
                if start == len {
                    return Ok(true);
                }
            }
            let left = len - start - held as u64;
            let is_first = offset == 0 && start == 0 && held == 0;
            let whole = !alone || (is_first && large.source.is_stream());
            let most = if whole { WINDOW_BYTES } else { ALONE_BYTES };
            let mut fresh = usize::try_from(left.min(most as u64)).unwrap_or(most);
            let mut buffer = window.room(held + fresh);
            let from = offset + start + held as u64;
            let got = self.tools.read_at(&large.file.at, &large.source, from, &mut buffer[held..]);
            if is_first
                && got.is_ok()
                && !large.source.is_stream()
                && let Some(header) = header_beyond(buffer)
            {
                let grown = usize::try_from(left.min(header)).unwrap_or(fresh);
                buffer = window.room(grown);
                // What cannot be read is said when its turn comes, so that what stands before it is stored.
                if self
                    .tools
                    .read_at(&large.file.at, &large.source, fresh as u64, &mut buffer[fresh..])
                    .is_ok()
                {
                    fresh = grown;
                }
            }
            let fresh = match got {
                Ok(got) if large.source.is_stream() && got < fresh => {
                    // Here it ends: how the last window is to be cut is known only now.
                    len = start + (held + got) as u64;
                    large.layout = Layout::opaque(len);
                    regions = large.layout.within(offset, len);
                    got
                }
                Ok(_) => fresh,
                Err(problem) if large.source.is_stream() => return Err(self.torn(problem)),
                Err(problem) => {
                    // What was read before is whole; what stands in the window is stored as it is.
                    large.problems.push(problem);
                    let rest = std::iter::once(0..held).filter(|r| !r.is_empty()).collect();
                    self.spawn(number, large, window, offset + start, kin, rest, done, wrap, scope);
                    return Ok(false);
                }
            };
            if len <= INLINE_BYTES as u64 && large.source.is_stream() {
                let bytes = buffer[..fresh].into();
                large.read_bytes += fresh as u64;
                large.parts.extend((fresh > 0).then_some(Part::Entry(Entry::Inline { bytes })));
                return Ok(true);
            }
            if is_first {
                if !large.source.is_stream() {
                    large.live = reading::live_bytes(self.tools, &large.file.at, &buffer[..fresh.min(100)]);
                }
                // Of a stream that goes on nobody knows whether it is what its beginning says.
                large.layout = if large.source.is_stream() && len > fresh as u64 {
                    Layout::opaque(len)
                } else {
                    self.tools.layout(&large.file.at, &large.source, &buffer[..fresh])?
                };
                regions = large.layout.within(offset, len);
                let first = &buffer[..fresh];
                let found = self.tools.kin(&large.file.at, &large.source, before.node, &large.layout, first);
                *kin = found.map(Arc::new);
            }
            let filled = held + fresh;
            self.count(large, &mut counted, start + filled as u64);
            let buffer = &buffer[..filled];
            let cuts = if alone {
                cutter.cut_regions_alone(buffer, offset + start, &regions)
            } else {
                self.pool.install(|| cutter.cut_regions(buffer, offset + start, &regions))
            };
            let mut last = 0;
            let ranges = cuts.into_iter().map(|to| std::mem::replace(&mut last, to)..to).collect();
            if start + last as u64 == len {
                self.spawn(number, large, window, offset + start, kin, ranges, done, wrap, scope);
                return Ok(true);
            }
            if last == 0 && fresh == 0 {
                return Err(Error::Internal("a window without a cut at the end of a file".into()));
            }
            let mut next = self.windows.take();
            held = filled - last;
            next.room(held).copy_from_slice(&window.bytes[last..filled]);
            self.spawn(number, large, window, offset + start, kin, ranges, done, wrap, scope);
            start += last as u64;
            window = next;
        }
    }

    /// Counts what was read of a stretch, once: what a window leaves may be read again.
    fn count(&self, large: &mut LargeFile, counted: &mut u64, to: u64) {
        let more = to.saturating_sub(*counted);
        *counted += more;
        large.read_bytes += more;
        self.tools.progress.advance(0, more);
    }

    /// A stream that cannot be read to its end is no file: it ends the run, as a stop does.
    fn torn(&self, problem: Problem) -> Error {
        let stopped = self.tools.progress.check().err();
        stopped.unwrap_or(Error::Stream { stream: problem.path, reason: problem.message })
    }

    /// Is a chunk of the parent still in the repository?
    fn still_there(&self, id: BlobId) -> Result<bool> {
        self.tools.session.is_known(&BlobRef::new(BlobKind::Chunk, id))
    }

    #[allow(clippy::too_many_arguments)]
    fn spawn<'s, F>(
        &self,
        number: u64,
        large: &mut LargeFile,
        window: Window,
        at: u64,
        kin: &Option<Arc<Kin<'a>>>,
        ranges: Vec<Range<usize>>,
        done: &Sender<F>,
        wrap: fn(ChunkDone) -> F,
        scope: &rayon::Scope<'s>,
    ) where
        't: 's,
        F: Send + 's,
    {
        let window = Arc::new(window);
        for task in tasks(ranges) {
            let first = large.parts.len();
            let mut hints = Vec::with_capacity(task.len());
            for range in &task {
                hints.push(hint_at(&large.layout.seams, at + range.start as u64, range.len() as u64));
                let len = u32::try_from(range.len()).unwrap_or(u32::MAX);
                large.parts.push(Part::Chunk { len, id: None });
                large.awaited += 1;
            }
            let (window, done, session) = (window.clone(), done.clone(), self.tools.session);
            let kin = kin.clone();
            scope.spawn(move |_| {
                for ((part, range), hint) in (first..).zip(task).zip(hints) {
                    let offset = at + range.start as u64;
                    let bytes = &window.bytes[range];
                    let store = || match &kin {
                        Some(kin) => kin.store(session, bytes, offset),
                        None => session.store_typed(BlobKind::Chunk, bytes, hint).map(|stored| stored.id),
                    };
                    let stored = reading::or_panicked(store);
                    // The receiver is gone only when the run has failed already.
                    drop(done.send(wrap((number, part, stored))));
                }
            });
        }
    }
}

/// How long the header of a file is that begins with `first`, if that is longer and worth looking at.
fn header_beyond(first: &[u8]) -> Option<u64> {
    layout::header_bytes(first).filter(|len| (first.len() as u64 + 1..=MAX_HEADER_BYTES as u64).contains(len))
}

/// Chunks as tasks for the pool: neighbours together while they are short. A file of a hundred
/// thousand tiny tensors would else be as many tasks.
fn tasks(ranges: Vec<Range<usize>>) -> Vec<Vec<Range<usize>>> {
    let mut tasks: Vec<Vec<Range<usize>>> = Vec::new();
    let mut bytes = usize::MAX;
    for range in ranges {
        bytes = bytes.saturating_add(range.len());
        match tasks.last_mut() {
            Some(task) if bytes <= TASK_BYTES => task.push(range),
            _ => {
                bytes = range.len();
                tasks.push(vec![range]);
            }
        }
    }
    tasks
}

impl LargeFile {
    /// A chunk of it is stored.
    pub fn chunk_done(&mut self, part: usize, stored: BlobId) {
        if let Some(Part::Chunk { id, .. }) = self.parts.get_mut(part) {
            *id = Some(stored);
            self.awaited -= 1;
        }
    }

    /// Why what was read is no image of the database, if so.
    pub fn spoiled(&self) -> Option<String> {
        let problem = self.problems.first().filter(|_| self.source.is_image());
        problem.map(|p| p.message.clone()).or_else(|| self.change.map(|c| format!("it {c}")))
    }

    /// The file, to be read anew.
    pub fn into_file(self) -> ToRead {
        self.file
    }

    /// Are all its chunks stored?
    pub fn is_done(&self) -> bool {
        self.awaited == 0
    }

    /// Its outcome, once it [`LargeFile::is_done`].
    pub fn finish(mut self, tools: &Tools<'_>) -> Result<Outcome> {
        let entries = self
            .parts
            .into_iter()
            .map(|part| match part {
                Part::Entry(entry) => Ok(entry),
                Part::Chunk { len, id: Some(id) } => Ok(Entry::Chunk { id, len }),
                Part::Chunk { id: None, .. } => Err(Error::Internal("a chunk without an id".into())),
            })
            .collect::<Result<_>>()?;
        let reader = tools.ancestry.reader();
        let content = tools.session.renew_content(entries, &self.old, reader)?;
        tools.progress.advance(1, 0);
        Ok(reading::close(
            self.file,
            &mut self.source,
            content,
            self.layout.table,
            self.live,
            self.complete,
            self.read_bytes,
            self.problems,
        ))
    }
}
