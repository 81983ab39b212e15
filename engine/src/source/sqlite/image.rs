//! A consistent image of a database: bytes of a known length, read as one reads a file.
//!
//! Whatever the database was, its image is a plain database file that needs nothing beside it: see
//! [`make_plain`].

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rusqlite::Connection;

use super::beside::Beside;
use super::calm::{Calm, is_locked};
use super::connect::Trouble;
use super::fds::Held;
use super::header::make_plain;
use crate::error::{Problem, ProblemKind};
use crate::format::record::{SqliteCaptureV1, SqliteFilesV1};
use crate::source::at::{At, shown};
use crate::source::read::{Change, SourceFile};
use crate::source::segments::Segment;
use crate::source::stat::Stat;

/// Images up to this size are kept in memory, one for each thread that reads: nothing else need be held
/// while they are stored.
pub const SMALL_BYTES: u64 = 8 << 20;

const PAGE: &str = "SELECT data FROM sqlite_dbpage WHERE pgno = ?1";

/// A captured database.
#[derive(Debug)]
pub struct Image {
    pub(super) pages: Pages,
    pub(super) page_size: u32,
    pub(super) page_count: u32,
    pub(super) stat: Stat,
    pub(super) path: PathBuf,
    pub(super) record: SqliteCaptureV1,
    pub(super) files: SqliteFilesV1,
    pub(super) marks: u8,
}

/// Where the pages come from.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one for each image at hand")]
pub(super) enum Pages {
    Memory(Vec<u8>),
    File(File),
    Transaction(Transaction),
    Still {
        source: SourceFile,
        at: At,
        beside: Beside,
    },
    /// All was read: nothing is held any more.
    Done,
}

impl Image {
    /// Length.
    pub fn size(&self) -> u64 {
        u64::from(self.page_size) * u64::from(self.page_count)
    }

    /// Bytes a page: where it may be cut.
    pub fn page_size(&self) -> u32 {
        self.page_size
    }

    /// The stat of the main file before it was read.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Path of the main file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// What the node is to remember of the state.
    pub fn record(&self) -> &SqliteCaptureV1 {
        &self.record
    }

    /// What the node is to remember of the files, to know them again.
    pub fn files(&self) -> &SqliteFilesV1 {
        &self.files
    }

    /// Marks of the node: one of the files is too young to be known again.
    pub fn marks(&self) -> u8 {
        self.marks
    }

    /// No holes are told: they are few, and differ where states do not.
    pub fn segments(&self) -> Vec<Segment> {
        Vec::from([Segment::Data { offset: 0, len: self.size() }])
    }

    /// Fills `out` with the bytes from `offset` on, fewer only where the image ends.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, Problem> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = out.len().min(left);
        let out = &mut out[..wanted];
        let failed = |cause: &dyn std::fmt::Display| {
            let message = format!("its image cannot be read at byte {offset}: {cause}");
            Problem::new(ProblemKind::Unreadable, shown(&self.path), message)
        };
        match &self.pages {
            Pages::Memory(bytes) => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                out.copy_from_slice(bytes.get(from..from + wanted).ok_or_else(|| failed(&"it is shorter"))?);
            }
            Pages::File(file) => file.read_exact_at(out, offset).map_err(|e| failed(&e))?,
            Pages::Transaction(held) => held.fill(self.page_size, offset, out).map_err(|e| failed(&e))?,
            Pages::Still { source, .. } => {
                if source.read_at(offset, out)? < wanted {
                    return Err(Change::Shrank.problem(&self.path));
                }
            }
            Pages::Done => return Err(failed(&"it was given back")),
        }
        make_plain(out, offset, self.page_size);
        Ok(wanted)
    }

    /// To be called after the last read: lets go of locks and temporary files. Says whether somebody changed the
    /// database meanwhile, where that spoils the image.
    pub fn close(&mut self) -> Option<Change> {
        let Pages::Still { source, at, beside } = std::mem::replace(&mut self.pages, Pages::Done) else {
            return None;
        };
        let change = source.verify_unchanged(&self.stat);
        let same = Beside::of(&at) == beside && !is_locked(source.file());
        change.or((!same).then_some(Change::Mtime))
    }

    /// Takes all of it into memory and lets go of the rest.
    pub(super) fn into_memory(mut self) -> Result<Self, Trouble> {
        let mut bytes = vec![0; usize::try_from(self.size()).unwrap_or(usize::MAX)];
        self.read_at(0, &mut bytes).map_err(|problem| Trouble::Other(problem.message))?;
        match self.close() {
            Some(change) => Err(Trouble::Other(change.words().into())),
            None => Ok(Self { pages: Pages::Memory(bytes), ..self }),
        }
    }
}

/// A transaction that reads, held open.
#[derive(Debug)]
pub(super) struct Transaction {
    connection: Option<Connection>,
    /// `None` for a copy of our own.
    held: Option<Held>,
}

impl Transaction {
    pub fn new(connection: Connection, held: Option<Held>) -> Self {
        Self { connection: Some(connection), held }
    }

    pub fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("because only dropping takes it")
    }

    /// Is there a table of pages?
    pub fn has_pages(&self) -> bool {
        self.connection().prepare(PAGE).is_ok()
    }

    /// Bytes from `offset` on.
    pub fn fill(&self, page_size: u32, offset: u64, out: &mut [u8]) -> Result<(), rusqlite::Error> {
        let mut statement = self.connection().prepare(PAGE)?;
        let page_size = u64::from(page_size);
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let mut rows = statement.query([i64::try_from(at / page_size + 1).unwrap_or(i64::MAX)])?;
            let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
            let page = row.get_ref(0)?.as_blob()?;
            let rest = usize::try_from(at % page_size).ok().and_then(|from| page.get(from..));
            let rest = rest.filter(|_| page.len() as u64 == page_size);
            let rest = rest.ok_or(rusqlite::Error::InvalidQuery)?;
            let n = rest.len().min(out.len() - done);
            out[done..done + n].copy_from_slice(&rest[..n]);
            done += n;
        }
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        // Its locks go first, then what waited for them.
        let _calm = self.held.as_ref().and_then(|_| Calm::begin());
        drop(self.connection.take());
        drop(self.held.take());
    }
}
