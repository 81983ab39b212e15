//! `sqlite`: what is in a stored database, what changed in it since an earlier snapshot, and what it answers.
//!
//! The database is restored to a private temporary file, every blob verified on the way, and asked there,
//! read-only (`source::sqlite::copy`): nothing of it can be changed or executed, and nothing of it stays.
//! `earlier` finds the same path in an earlier snapshot; `changes` compares the two page by page, reading only
//! stretches whose chunks differ.

mod changes;
mod earlier;

use std::time::Instant;

use serde::Serialize;

use crate::error::{Error, Result, printable};
use crate::format::record::SqliteFilesV1;
use crate::format::tree::{CAPTURE_PLAIN_LIVE, CAPTURE_SQLITE, EXT_SQLITE_FILES, Node, NodeKind};
use crate::format::wire::decode;
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::lookup::{self, LastLink};
use crate::repo::reader::Reader;
use crate::repo::trees::Piece;
use crate::source::sqlite::{
    self, Cell, Copy, CopyPlace, Facts, PageSet, Refusal, Rows, Table, Unanswered, is_sqlite_header,
};

/// Which database.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// In this snapshot.
    pub snapshot: SnapshotId,
    /// Its absolute path there; links are followed.
    pub path: Vec<u8>,
    /// Compare with this snapshot; `None`: the parent, else the newest earlier one of the same host and paths
    /// that has it.
    pub since: Option<SnapshotId>,
    /// Where the temporary copy lies.
    pub place: CopyPlace,
}

/// How it was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stored {
    /// As an image of one committed state.
    Image,
    /// As plain bytes.
    Plain,
    /// As plain bytes, while it was in use.
    PlainLive,
}

/// A database, described.
#[derive(Debug, Clone, Serialize)]
pub struct DatabaseReport {
    /// In which snapshot.
    pub snapshot: SnapshotId,
    /// Where it really is; names that are not UTF-8 with replacement characters.
    pub path: String,
    /// The same, exactly.
    #[serde(skip)]
    pub raw_path: Vec<u8>,
    /// How it was stored.
    pub stored: Stored,
    /// Length.
    pub bytes: u64,
    /// What it says of itself.
    #[serde(flatten)]
    pub facts: Facts,
    /// Length of the write-ahead log that lay beside it, if one did.
    pub wal_bytes: Option<u64>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// What changed since an earlier snapshot; `None` if none has it.
    pub since: Option<Since>,
    /// Time taken.
    pub seconds: f64,
}

/// The way from an earlier state to this one.
#[derive(Debug, Clone, Serialize)]
pub struct Since {
    /// The earlier snapshot.
    pub snapshot: SnapshotId,
    /// When it was taken, nanoseconds since 1970.
    pub time_ns: i64,
    /// Pages that are not what they were.
    pub changed_pages: u64,
    /// Pages that were not there.
    pub added_pages: u64,
    /// Pages that are no longer there.
    pub removed_pages: u64,
    /// Length of changed and added pages.
    pub changed_bytes: u64,
    /// Changed and added pages that belong to no table, as unused ones do; `None` if that cannot be told.
    pub other_pages: Option<u64>,
    /// Page size then, if it was another: pages cannot be compared.
    pub page_size_was: Option<u32>,
}

/// Describes.
pub fn inspect(
    repo: &Repository,
    options: &SqliteOptions,
    progress: &dyn Progress,
) -> Result<DatabaseReport> {
    let begun = Instant::now();
    let snapshot = repo.snapshot(options.snapshot)?;
    let reader = Reader::open(repo)?;
    let (path, node) = find(&reader, snapshot.record.root, &options.path)?;
    let mut fetched = fetch(&reader, &path, &node, options, progress)?;
    let before = earlier::find(repo, &reader, &snapshot, options, progress)?;
    let (mut since, changed) = match before {
        None => (None, PageSet::default()),
        Some(before) => {
            let page_size = fetched.copy.header().page_size;
            let (since, changed) = changes::since(&reader, &before, &fetched, page_size, progress)?;
            (Some(since), changed)
        }
    };
    progress.phase("counting rows", None, None);
    let asked = fetched.copy.until(&|| progress.stop_requested(), |copy| {
        Ok((sqlite::facts(copy)?, sqlite::tables(copy, &changed)?))
    });
    progress.check()?;
    let (facts, (tables, other_pages)) = asked.map_err(|refusal| refused(&path, &refusal))?;
    if let Some(since) = &mut since {
        since.other_pages = other_pages.filter(|_| since.page_size_was.is_none());
    }
    let files = node.extension(EXT_SQLITE_FILES).and_then(|data| decode::<SqliteFilesV1>(data).ok());
    Ok(DatabaseReport {
        snapshot: options.snapshot,
        path: String::from_utf8_lossy(&path).into_owned(),
        raw_path: path,
        stored: match node.capture {
            CAPTURE_SQLITE => Stored::Image,
            CAPTURE_PLAIN_LIVE => Stored::PlainLive,
            _ => Stored::Plain,
        },
        bytes: fetched.copy.bytes(),
        facts,
        wal_bytes: files.and_then(|files| files.wal).map(|wal| wal.size),
        tables,
        since,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

/// Gives the rows of one statement that only reads to `rows`; their number. A statement that is none, or does more, is
/// [`Error::Usage`].
pub fn query(
    repo: &Repository,
    options: &SqliteOptions,
    statement: &str,
    rows: &mut dyn Rows<Error>,
    progress: &dyn Progress,
) -> Result<u64> {
    let root = repo.snapshot(options.snapshot)?.record.root;
    let reader = Reader::open(repo)?;
    let (path, node) = find(&reader, root, &options.path)?;
    let copy = fetch(&reader, &path, &node, options, progress)?.copy;
    let mut copy = copy.for_own_statements().map_err(|refusal| refused(&path, &refusal))?;
    progress.phase("asking", None, None);
    let asked = copy.until(&|| progress.stop_requested(), |copy| sqlite::ask(copy, statement, rows));
    match asked {
        Ok(count) => Ok(count),
        Err(Unanswered::Taker(error)) => Err(error),
        Err(Unanswered::Statement(why)) => Err(Error::Usage(format!("the statement was not run: {why}"))),
        Err(Unanswered::Copy(refusal)) => {
            progress.check()?;
            Err(refused(&path, &refusal))
        }
    }
}

fn refused(path: &[u8], refusal: &Refusal) -> Error {
    Error::Database { path: printable(path), reason: refusal.to_string() }
}

fn find(reader: &Reader, root: crate::id::BlobId, path: &[u8]) -> Result<(Vec<u8>, Node)> {
    let found = lookup::resolve(reader, root, path, LastLink::Follow)?;
    match found.node {
        Some(node) if node.kind == NodeKind::File => {
            let first = reader.first_bytes(&node.content, 16)?;
            match node.capture == CAPTURE_SQLITE || is_sqlite_header(&first) {
                true => Ok((found.path, node)),
                false => Err(Error::Usage(format!("{} is no SQLite database", printable(&found.path)))),
            }
        }
        _ => Err(Error::Usage(format!("{} is no file", printable(&found.path)))),
    }
}

/// A copy, and what it is made of.
struct Fetched {
    file: std::fs::File,
    pieces: Vec<Piece>,
    copy: Copy,
}

fn fetch(
    reader: &Reader,
    path: &[u8],
    node: &Node,
    options: &SqliteOptions,
    progress: &dyn Progress,
) -> Result<Fetched> {
    if let Some(lost) = node.lost() {
        let (path, size_bytes) = (printable(path), node.size);
        return Err(Error::Lost { path, lost_bytes: lost.bytes(), size_bytes });
    }
    let (pieces, len) = reader.pieces(&node.content)?;
    progress.phase("restoring a copy", Some(1), Some(len));
    let cannot = |reason| Error::Database { path: printable(path), reason };
    let file = options.place.blank(len).map_err(cannot)?;
    reader.extract(&pieces, len, &file, progress)?;
    let copy = options.place.open(&file).map_err(|refusal| refused(path, &refusal))?;
    Ok(Fetched { file, pieces, copy })
}

/// Rows that are only counted, for those who want no more.
impl Rows<Error> for () {
    fn columns(&mut self, _names: &[&str]) -> Result<()> {
        Ok(())
    }

    fn row(&mut self, _cells: &[Cell<'_>]) -> Result<()> {
        Ok(())
    }
}
