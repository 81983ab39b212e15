//! Files that are databases: what is read instead of their bytes, and what lies beside them.
//!
//! A file that begins like a database is captured ([`crate::source::sqlite`]); the stages after it see a
//! [`Source`] of known length and know of no difference. What belongs to a captured database is not stored: its
//! image needs nothing beside it. Since the walk meets it while the database may still be waiting to be
//! read, it waits too ([`Databases`]).

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::builder::Slot;
use super::reading::{Outcome, ToRead, Tools};
use crate::error::{Problem, ProblemKind};
use crate::format::tree::{EXT_SQLITE, EXT_SQLITE_FILES, Node};
use crate::format::wire::{Extension, encode};
use crate::source::sqlite::{
    Captor, Image, NotCaptured, SqliteMode, SqliteOptions, UNITS_FROM_BYTES, belongs_to, wal_bytes_of,
};
use crate::source::{At, Change, Segment, SourceFile, Stat, Stream, is_sqlite_header, restat, shown};

/// Where a file's content comes from.
#[allow(clippy::large_enum_variant, reason = "one for each file at hand, and most are the large one")]
pub enum Source {
    /// Its bytes.
    File(SourceFile),
    /// A consistent image of the database that it is.
    Image(Box<Image>),
    /// Bytes from a pipe.
    Stream(Box<Stream>),
}

impl Source {
    /// How many bytes there are to read.
    pub fn size(&self) -> u64 {
        match self {
            Self::File(file) => file.size(),
            Self::Image(image) => image.size(),
            Self::Stream(stream) => stream.size(),
        }
    }

    /// Its first bytes, if it has at least `least` of them.
    pub fn first<const N: usize>(&self, least: u64) -> Option<[u8; N]> {
        let mut first = [0; N];
        if let Self::Stream(stream) = self {
            let ahead = stream.ahead(usize::try_from(least).ok()?.max(N));
            first.copy_from_slice(ahead.get(..N).filter(|_| ahead.len() as u64 >= least)?);
            return Some(first);
        }
        (self.size() >= least && matches!(self.read_at(0, &mut first), Ok(got) if got == N)).then_some(first)
    }

    /// Data and holes, in order, covering `0..size`.
    pub fn segments(&self) -> Vec<Segment> {
        match self {
            Self::File(file) => file.segments(),
            Self::Image(image) => image.segments(),
            Self::Stream(stream) => vec![Segment::Data { offset: 0, len: stream.size() }],
        }
    }

    /// As [`SourceFile::read_at`]; of a stream, fewer bytes than asked for are its end.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, Problem> {
        match self {
            Self::File(file) => file.read_at(offset, out),
            Self::Image(image) => image.read_at(offset, out),
            Self::Stream(stream) => stream.read_at(offset, out),
        }
    }

    /// As [`Source::read_at`], of bytes out of turn: of a file without disturbing its pass from front to end
    /// ([`SourceFile::look_at`]); none of a stream, which is read once.
    pub fn look_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, Problem> {
        match self {
            Self::File(file) => file.look_at(offset, out),
            Self::Image(image) => image.read_at(offset, out),
            Self::Stream(_) => Ok(0),
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(file) => file.path(),
            Self::Image(image) => image.path(),
            Self::Stream(stream) => stream.path(),
        }
    }

    /// Is it an image?
    pub fn is_image(&self) -> bool {
        matches!(self, Self::Image(_))
    }

    /// The device it is read from; none of what comes out of a pipe.
    pub fn device(&self) -> Option<u64> {
        match self {
            Self::File(file) => Some(file.stat().device),
            Self::Image(image) => Some(image.stat().device),
            Self::Stream(_) => None,
        }
    }

    /// Is it of unknown length, to be read once?
    pub fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_))
    }

    /// To be asked after the last read: did a change meanwhile spoil what was read?
    pub fn verify(&mut self) -> Option<Change> {
        match self {
            Self::File(file) => file.verify_unchanged(file.stat()),
            Self::Image(image) => image.close(),
            Self::Stream(_) => None,
        }
    }
}

/// Why a database is not captured.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// As it is told.
    pub problem: Problem,
    /// Its bytes may be no state it ever had.
    pub live: bool,
}

impl Refusal {
    /// In words that a user can act on.
    pub fn new(at: &At, mode: SqliteMode, cause: NotCaptured) -> Self {
        let path = shown(at.path());
        let NotCaptured { why, live } = cause;
        let kept = match (mode, live) {
            (SqliteMode::Require, _) => "it is not stored, as captures are required",
            (_, true) => "its bytes are stored as they are, and may be no state it ever had",
            (_, false) => "its bytes are stored as they are",
        };
        let kind = match mode {
            SqliteMode::Require => ProblemKind::Unreadable,
            _ => ProblemKind::LiveDatabase,
        };
        let message = format!(
            "is an SQLite database that could not be captured: {why}; {kept}; also store a copy made by: \
             sqlite3 '{path}' \".backup 'COPY'\""
        );
        Self { problem: Problem::new(kind, path, message), live }
    }
}

/// What is to be read of an open file: a database's image if it is one and can be captured.
/// `whole`: the caller reads all of it at once; an image too large for that is postponed. `Err` holds the outcome of a file
/// that is not read now.
pub fn source_of(
    tools: &Tools<'_>,
    mut file: ToRead,
    opened: SourceFile,
    whole: bool,
) -> Result<(ToRead, Source), Box<Outcome>> {
    let options = tools.sqlite;
    let mut first = [0; 16];
    let is_database = opened.size() >= first.len() as u64
        && opened.read_at(0, &mut first).is_ok()
        && is_sqlite_header(&first);
    let large = |bytes: u64| whole && bytes >= UNITS_FROM_BYTES;
    if is_database && large(opened.size()) {
        return Err(Outcome::postponed(file));
    }
    if !is_database || options.mode == SqliteMode::Off {
        return Ok((file, Source::File(opened)));
    }
    if large(opened.size() + wal_bytes_of(&file.at)) {
        return Err(Outcome::postponed(file));
    }
    if file.refused.is_none() {
        let captor = Captor {
            options,
            clock: tools.session.repo().surroundings().clock.as_ref(),
            stop: &|| tools.progress.stop_requested(),
        };
        match captor.capture(&file.at, &opened) {
            Ok(image) if large(image.size()) => return Err(Outcome::postponed(file)),
            Ok(image) => {
                restat(&mut file.node, image.stat(), tools.names);
                remember(&mut file.node, &image);
                return Ok((file, Source::Image(Box::new(image))));
            }
            Err(cause) => file.refused = Some(Refusal::new(&file.at, options.mode, cause)),
        }
    }
    match file.refused.take() {
        Some(refusal) if options.mode == SqliteMode::Require => Err(Outcome::nothing(&file, refusal.problem)),
        refused => Ok((ToRead { refused, ..file }, Source::File(opened))),
    }
}

/// The node of an image: its length, its counters, and by what its files are known again.
fn remember(node: &mut Node, image: &Image) {
    node.size = image.size();
    node.marks |= image.marks();
    forget(node);
    let records = [(EXT_SQLITE, encode(image.record())), (EXT_SQLITE_FILES, encode(image.files()))];
    node.extensions.extend(records.map(|(tag, data)| Extension { tag, critical: false, data: data.into() }));
    node.extensions.sort_by_key(|e| e.tag);
}

/// Takes over what the parent's node remembers of the same files.
pub fn keep(node: &mut Node, old: &[Extension]) {
    forget(node);
    node.extensions.extend(old.iter().filter(|e| is_ours(e)).cloned());
    node.extensions.sort_by_key(|e| e.tag);
}

fn is_ours(extension: &Extension) -> bool {
    matches!(extension.tag, EXT_SQLITE | EXT_SQLITE_FILES)
}

/// The node of a file whose image was given up.
pub fn forget(node: &mut Node) {
    node.extensions.retain(|e| !is_ours(e));
}

/// A file that waits for what becomes of the database beside it.
pub struct Parked {
    pub at: At,
    pub stat: Stat,
    pub node: Node,
    pub known: Option<Node>,
    pub slot: Slot,
}

/// What becomes of a file, by the database that it may belong to.
pub enum Fate {
    /// It is like any other.
    File,
    /// It belongs to a captured database.
    Dropped,
    /// Nobody knows yet.
    Waits(PathBuf),
}

/// Which files are databases, as far as is known.
#[derive(Default)]
pub struct Databases {
    awaited: HashSet<PathBuf>,
    captured: HashSet<PathBuf>,
    parked: HashMap<PathBuf, Vec<Parked>>,
}

impl Databases {
    /// This file is being read: it may turn out to be one.
    pub fn await_file(&mut self, path: &Path, options: &SqliteOptions) {
        if options.mode != SqliteMode::Off {
            self.awaited.insert(path.to_owned());
        }
    }

    /// What becomes of the file at `at`.
    pub fn fate(&self, at: &At, stat: &Stat) -> Fate {
        let Some(database) = belongs_to(at, stat) else { return Fate::File };
        if self.captured.contains(&database) {
            Fate::Dropped
        } else if self.awaited.contains(&database) {
            Fate::Waits(database)
        } else {
            Fate::File
        }
    }

    /// This file waits for the database.
    pub fn park(&mut self, database: PathBuf, file: Parked) {
        self.parked.entry(database).or_default().push(file);
    }

    /// It is known whether this file was captured. What waited for it.
    pub fn decided(&mut self, path: &Path, captured: bool) -> Vec<Parked> {
        if !self.awaited.is_empty() {
            self.awaited.remove(path);
        }
        if captured {
            self.captured.insert(path.to_owned());
        }
        if self.parked.is_empty() {
            return Vec::new();
        }
        self.parked.remove(path).unwrap_or_default()
    }
}
