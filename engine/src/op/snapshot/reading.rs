//! One file: read into a private buffer, cut, stored; its node completed.
//!
//! The node bears the stat taken before the first byte was read. What changed meanwhile is a
//! [`Problem`] and marks the node, so that it is read again next time. What could not be
//! opened at all has no node; what could be read in part has what was read, and says so.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::ancestry::Ancestry;
use super::builder::Slot;
use super::database::{self, Refusal, Source};
use super::elements::hint_at;
use super::kin::{Kin, LEAST_BYTES};
use super::seams::Layout;
use super::tally::Compared;
use crate::chunk::{Ahead, Cutter, ReadAt};
use crate::error::{Error, Problem, ProblemKind, Result};
use crate::format::content::{Entry, INLINE_BYTES};
use crate::format::tree::{
    CAPTURE_PLAIN, CAPTURE_PLAIN_LIVE, CAPTURE_SQLITE, MARK_CHANGED, MARK_INCOMPLETE, MARK_RECHECK, Node,
};
use crate::id::BlobId;
use crate::limit::{self, Limiter};
use crate::progress::Progress;
use crate::repo::session::{Neighbours, Session};
use crate::source::gates::Gates;
use crate::source::sqlite::{SqliteMode, SqliteOptions, has_foreign_log};
use crate::source::{
    At, Names, Segment, SourceFile, Stat, is_sqlite_header, live_journals, marks_for, node_of, restat, shown,
};

/// A file up to this size is read whole by one worker; a larger one goes through windows.
pub const WHOLE_FILE_BYTES: u64 = 4 << 20;

/// A file that must be read.
pub struct ToRead {
    /// What the parent snapshot has in its place, if that is a file.
    pub before: Option<Node>,
    pub at: At,
    pub stat: Stat,
    pub node: Node,
    pub slot: Slot,
    pub compared: Compared,
    /// Why it was not captured, of a database.
    pub refused: Option<Refusal>,
    /// Of a second look at its attributes.
    pub problems: Vec<Problem>,
}

/// A file that was read, as far as it could be.
pub struct Outcome {
    pub path: PathBuf,
    pub slot: Slot,
    /// `None`: nothing of it could be read.
    pub node: Option<Node>,
    pub compared: Compared,
    pub read_bytes: u64,
    pub problems: Vec<Problem>,
    /// Nothing was done with it yet: it is too large to be read whole.
    pub postponed: Option<Box<ToRead>>,
}

impl Outcome {
    /// Of a file of which nothing could be read.
    pub fn nothing(file: &ToRead, problem: Problem) -> Box<Self> {
        Box::new(Self {
            path: file.at.path().to_owned(),
            slot: file.slot.clone(),
            node: None,
            compared: file.compared,
            read_bytes: 0,
            problems: vec![problem],
            postponed: None,
        })
    }

    /// Of a file that another way of reading is for.
    pub fn postponed(file: ToRead) -> Box<Self> {
        Box::new(Self {
            path: file.at.path().to_owned(),
            slot: file.slot.clone(),
            node: None,
            compared: file.compared,
            read_bytes: 0,
            problems: Vec::new(),
            postponed: Some(Box::new(file)),
        })
    }
}

/// What reading files needs to know; shared by all workers.
pub struct Tools<'a> {
    pub session: &'a Session,
    pub ancestry: &'a Ancestry<'a>,
    pub cutter: &'a Cutter,
    pub names: &'a Names,
    pub sqlite: &'a SqliteOptions,
    pub gates: &'a Gates,
    pub read_limit: Option<&'a Limiter>,
    pub progress: &'a dyn Progress,
}

impl<'a> Tools<'a> {
    /// As [`Source::read_at`], when it is this file's turn and as fast as allowed.
    pub fn read_at(
        &self,
        at: &At,
        source: &Source,
        offset: u64,
        out: &mut [u8],
    ) -> std::result::Result<usize, Problem> {
        let _pass = source.device().map(|device| self.gates.pass(at, device));
        limit::by_pieces(self.read_limit, out.len(), |range| {
            source.read_at(offset + range.start as u64, &mut out[range])
        })
    }

    /// Fills `out` from `offset` on by `read`, when it is the turn of this file on `device` and as fast as allowed; `false` where it
    /// cannot. A turn ends with the call: workers wait for theirs, so nobody may wait for workers in his.
    pub fn fill(
        &self,
        at: &At,
        device: u64,
        offset: u64,
        out: &mut [u8],
        read: &(dyn Fn(u64, &mut [u8]) -> bool + Sync),
    ) -> bool {
        let _pass = self.gates.pass(at, device);
        let moved = limit::by_pieces(self.read_limit, out.len(), |range| {
            let len = range.len();
            if read(offset + range.start as u64, &mut out[range]) { Ok(len) } else { Err(()) }
        });
        moved.is_ok()
    }

    /// How a file is laid out that begins with `first`: all of it, or what tells ([`layout::header_bytes`]).
    pub fn layout(&self, at: &At, source: &Source, first: &[u8]) -> Result<Layout> {
        self.with_content(at, source, first, |content| {
            Layout::of(first, content, source.size(), self.cutter.params(), self.session)
        })
    }

    /// What of older versions a file laid out like that is stored against; `before` is what the parent has in its place.
    pub fn kin(
        &self,
        at: &At,
        source: &Source,
        before: Option<&Node>,
        layout: &Layout,
        first: &[u8],
    ) -> Option<Kin<'a>> {
        let path = at.path().as_os_str().as_bytes();
        let at_hand = if source.is_stream() { first.len() as u64 } else { source.size() };
        self.with_content(at, source, first, |content| {
            self.ancestry.kin(path, before, &layout.seams, content, at_hand)
        })
    }

    /// The content of a file of which the beginning is in memory.
    fn with_content<T>(
        &self,
        at: &At,
        source: &Source,
        first: &[u8],
        look: impl FnOnce(&dyn ReadAt) -> T,
    ) -> T {
        let rest = |offset: u64, out: &mut [u8]| {
            let _pass = source.device().map(|device| self.gates.pass(at, device));
            let read = limit::by_pieces(self.read_limit, out.len(), |range| {
                source.look_at(offset + range.start as u64, &mut out[range])
            });
            // What keeps it from being read here is said when it is read to be stored.
            read.unwrap_or(0)
        };
        look(&Ahead { first, rest: &rest })
    }
}

/// The result of a worker's task; of one that panics, an error: the conductor waits for an answer
/// to each, and would wait for ever.
pub fn or_panicked<T>(task: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(task))
        .unwrap_or_else(|_| Err(Error::Internal("a worker panicked".into())))
}

/// Opens what the walk saw, or the file that was put in its place since; a database is captured. `whole`: see [`database::source_of`]. `Err` holds the
/// outcome of a file that is not read now.
pub fn open(
    tools: &Tools<'_>,
    mut file: ToRead,
    whole: bool,
) -> std::result::Result<(ToRead, Source), Box<Outcome>> {
    let looked_ns = tools.session.repo().surroundings().clock.now_ns();
    let _pass = tools.gates.pass(&file.at, file.stat.device);
    let opened = SourceFile::open(&file.at, &file.stat).or_else(|problem| {
        let now = file.at.stat().ok().filter(|now| problem.kind == ProblemKind::Changed && now.is_file());
        now.map_or(Err(problem), |now| SourceFile::open(&file.at, &now))
    });
    match opened {
        Ok(source) if whole && source.size() > WHOLE_FILE_BYTES => Err(Outcome::postponed(file)),
        Ok(source) => {
            let look = |stat: &Stat| (stat.identity(), stat.ctime);
            if look(source.stat()) != look(&file.stat) {
                let (node, problems) = node_of(&file.at, source.stat(), tools.names);
                file.node = Node { marks: file.node.marks, ..node };
                file.problems = problems;
            }
            file.node.marks |= marks_for(source.stat(), looked_ns);
            restat(&mut file.node, source.stat(), tools.names);
            database::source_of(tools, file, source, whole)
        }
        Err(problem) => Err(Outcome::nothing(&file, problem)),
    }
}

/// Completes a file's node once all that could be read is stored. `complete` is false if
/// reading stopped before the end, with the cause among `problems`: then no seam table describes
/// it.
#[allow(clippy::too_many_arguments)]
pub fn close(
    file: ToRead,
    source: &mut Source,
    content: Vec<Entry>,
    seams: Option<BlobId>,
    live: Option<Problem>,
    complete: bool,
    read_bytes: u64,
    mut problems: Vec<Problem>,
) -> Outcome {
    let mut node = file.node;
    let (refused, was_live) = file.refused.map_or((None, false), |r| (Some(r.problem), r.live));
    node.content = content;
    node.capture = match source {
        Source::Image(_) => CAPTURE_SQLITE,
        Source::File(_) if live.is_some() || was_live => CAPTURE_PLAIN_LIVE,
        Source::File(_) | Source::Stream(_) => CAPTURE_PLAIN,
    };
    node.seams = seams.filter(|_| complete);
    problems.extend(file.problems.into_iter().chain(live).chain(refused));
    if !complete {
        node.marks |= MARK_INCOMPLETE | MARK_RECHECK;
    } else if let Some(change) = source.verify() {
        node.marks |= MARK_CHANGED | MARK_RECHECK;
        problems.push(change.problem(source.path()));
    }
    Outcome {
        path: file.at.path().to_owned(),
        slot: file.slot,
        node: Some(node),
        compared: file.compared,
        read_bytes,
        problems,
        postponed: None,
    }
}

/// A database in use, of which only the bytes are stored because nobody wants more.
pub fn live_bytes(tools: &Tools<'_>, at: &At, first_bytes: &[u8]) -> Option<Problem> {
    (tools.sqlite.mode == SqliteMode::Off).then(|| live_database(at, first_bytes)).flatten()
}

/// A database in use, of which only the bytes could be stored.
pub fn live_database(at: &At, first_bytes: &[u8]) -> Option<Problem> {
    if !is_sqlite_header(first_bytes) {
        return None;
    }
    let journals = live_journals(at);
    let (journal, _) = journals.first()?;
    let path = shown(at.path());
    let message = format!(
        "is an SQLite database in use ({} beside it), stored as plain bytes that may be no state it ever \
         had; also store a copy made by: sqlite3 '{path}' \".backup 'COPY'\"",
        journal.suffix()
    );
    Some(Problem::new(ProblemKind::LiveDatabase, path, message))
}

/// Is `at` the journal of a database in use? Then a problem about that database.
pub fn journal_of(at: &At) -> Option<Problem> {
    let name = at.path().as_os_str().as_bytes();
    let base = name.strip_suffix(b"-wal").or_else(|| name.strip_suffix(b"-journal"))?;
    let database = At::of_path(Path::new(OsStr::from_bytes(base))).ok()?;
    let stat = database.stat().ok().filter(Stat::is_file)?;
    let file = SourceFile::open(&database, &stat).ok()?;
    let mut first = [0; 16];
    let got = file.read_at(0, &mut first).ok()?;
    if !is_sqlite_header(&first[..got]) && has_foreign_log(&database) {
        let message = "has a write-ahead log of SQLite beside it and is no database: if it is encrypted, its \
                       bytes were stored as they are, and may be no state it ever had";
        return Some(Problem::new(ProblemKind::LiveDatabase, shown(database.path()), message));
    }
    is_sqlite_header(&first[..got]).then(|| live_database(&database, &first[..got])).flatten()
}

/// A run of neighbouring small files: read whole, one after the other, in the order of the
/// walk, so that their small chunks share frames.
pub fn read_batch(tools: &Tools<'_>, batch: Vec<ToRead>, buffer: &mut Vec<u8>) -> Result<Vec<Outcome>> {
    let mut neighbours = tools.session.neighbours();
    let mut outcomes = Vec::with_capacity(batch.len());
    for file in batch {
        tools.progress.check()?;
        let size = file.stat.size;
        let outcome = match open(tools, file, true) {
            Ok((file, source)) => read_whole(tools, file, source, &mut neighbours, buffer)?,
            Err(outcome) => *outcome,
        };
        tools.progress.advance(1, size);
        outcomes.push(outcome);
    }
    neighbours.finish()?;
    Ok(outcomes)
}

fn read_whole(
    tools: &Tools<'_>,
    file: ToRead,
    mut source: Source,
    neighbours: &mut Neighbours<'_>,
    buffer: &mut Vec<u8>,
) -> Result<Outcome> {
    let mut content = Vec::new();
    let (mut read_bytes, mut complete, mut live) = (0, true, None);
    let mut problems = Vec::new();
    let mut layout = Layout::opaque(source.size());
    let mut kin = None;
    for segment in source.segments() {
        let Segment::Data { offset, len } = segment else {
            content.push(Entry::Hole { len: segment.len() });
            continue;
        };
        // The file may have grown since the walk; what the walk promised bounds the buffer.
        let len = usize::try_from(len.min(2 * WHOLE_FILE_BYTES)).unwrap_or(usize::MAX);
        buffer.resize(len, 0);
        let got = match tools.read_at(&file.at, &source, offset, buffer) {
            Ok(got) => got,
            Err(problem) => {
                problems.push(problem);
                complete = false;
                break;
            }
        };
        let data = &buffer[..got];
        read_bytes += got as u64;
        if offset == 0 {
            live = live_bytes(tools, &file.at, data);
        }
        if data.len() <= INLINE_BYTES && source.size() == data.len() as u64 {
            content.push(Entry::Inline { bytes: data.into() });
            continue;
        }
        if offset == 0 {
            layout = tools.layout(&file.at, &source, data)?;
        }
        if offset == 0 && data.len() >= LEAST_BYTES {
            kin = tools.kin(&file.at, &source, file.before.as_ref(), &layout, data);
        }
        let regions = layout.within(offset, got as u64);
        let mut start = 0;
        for end in tools.cutter.cut_regions_alone(data, offset, &regions) {
            let bytes = &data[start..end];
            let id = match &kin {
                Some(kin) if bytes.len() >= LEAST_BYTES => {
                    kin.store(tools.session, bytes, offset + start as u64)?
                }
                _ => {
                    neighbours
                        .store_typed(
                            bytes,
                            hint_at(&layout.seams, offset + start as u64, bytes.len() as u64),
                        )?
                        .id
                }
            };
            content.push(Entry::Chunk { id, len: u32::try_from(end - start).unwrap_or(u32::MAX) });
            start = end;
        }
        if (got as u64) < segment.len() {
            problems.push(crate::source::Change::Grew.problem(source.path()));
            complete = false;
            break;
        }
    }
    let content = tools.session.store_content(content)?;
    Ok(close(file, &mut source, content, layout.table, live, complete, read_bytes, problems))
}
