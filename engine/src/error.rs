//! What can go wrong: an [`Error`] ends a run, a [`Problem`] is reported and
//! the run goes on (design §7).
//!
//! A message names the object and the cause, in lower case and without advice:
//! the cure is a hint, written once, in the command line program.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a run ended.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store could not do what was asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing at this place is a repository.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// Where it was looked for.
        location: String,
    },
    /// `init` at a place that already holds one.
    #[error("there is already a repository at {location}")]
    AlreadyExists {
        /// Where it stands.
        location: String,
    },
    /// No key file opens with the password given.
    #[error("wrong password, or no key matches it (tried {tried} of {present} key files)")]
    WrongPassword {
        /// Key files that were tried.
        tried: usize,
        /// Key files that are there.
        present: usize,
    },
    /// A feature this program does not know is required.
    #[error("the repository needs features this version does not know: {names}")]
    UnknownFeatures {
        /// The bits, by name where one is known.
        names: String,
    },
    /// The repository may be read but not written by this version.
    #[error("the repository can only be read by this version: {names}")]
    ReadOnlyFeatures {
        /// The bits, by name where one is known.
        names: String,
    },
    /// In a store without atomic creation: a prune and another run at once.
    #[error("the repository is locked by {by}")]
    Locked {
        /// Who is in the way.
        by: String,
    },
    /// An object does not hold what it must.
    #[error("{object} is damaged: {reason}")]
    Corrupt {
        /// Kind and name of the object.
        object: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something that was asked for, or that a snapshot needs, is not there.
    #[error("{what} was not found")]
    NotFound {
        /// What was looked for.
        what: String,
    },
    /// A blob that a snapshot needs is in no readable pack.
    #[error("{blob} is missing: {reason}")]
    Missing {
        /// Kind and id of the blob.
        blob: String,
        /// What happened with its copies.
        reason: String,
    },
    /// The repository lost part of this file for good.
    #[error("{path} is damaged: {lost_bytes} of its {size_bytes} bytes are lost")]
    Lost {
        /// Its path in the snapshot.
        path: String,
        /// How much of it.
        lost_bytes: u64,
        /// How long it is.
        size_bytes: u64,
    },
    /// A stored database does not answer.
    #[error("{path} cannot be asked: {reason}")]
    Database {
        /// Its path in the snapshot.
        path: String,
        /// Why.
        reason: String,
    },
    /// A snapshot prefix fits several snapshots.
    #[error("snapshot {prefix} is ambiguous: {candidates}")]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// The first few that fit.
        candidates: String,
    },
    /// The repository is older than what this machine has already seen of it.
    #[error(
        "the repository was set back: its ledger ends at entry {found}, entry {remembered} was seen here before"
    )]
    RolledBack {
        /// Last ledger entry remembered on this machine.
        remembered: u64,
        /// Last ledger entry found.
        found: u64,
    },
    /// The history of the repository was replaced by another one.
    #[error("the repository's history was replaced: ledger entry {number} is not the one seen here before")]
    HistoryReplaced {
        /// The entry that differs.
        number: u64,
    },
    /// A prune condemned something this run relied on.
    #[error("another run removed data that this snapshot relied on ({what})")]
    Overtaken {
        /// What was condemned.
        what: String,
    },
    /// A file or directory of this machine could not be used.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// There is no room for temporary files, or no directory for them.
    #[error("temporary files in {dir}: {source}", dir = dir.display())]
    Temporary {
        /// The directory.
        dir: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Not one of the paths that were to be stored is there.
    #[error("nothing to store: {first}{}", and_more(*more))]
    NothingThere {
        /// The first of them and what is wrong with it.
        first: String,
        /// How many others.
        more: usize,
    },
    /// A stream that was to be stored did not end well.
    #[error("{stream}: {reason}")]
    Stream {
        /// What was read.
        stream: String,
        /// What became of it.
        reason: String,
    },
    /// Some committed snapshot is not whole, so a run that deletes did not begin.
    #[error("nothing was changed, as the repository is not whole: {what}")]
    NotWhole {
        /// The first thing that was found.
        what: String,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Arguments that cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// Something that should not happen: a bug or a broken machine.
    #[error("internal error: {0}")]
    Internal(String),
}

fn and_more(more: usize) -> String {
    if more == 0 { String::new() } else { format!(" (and {more} more)") }
}

/// What a program that reads learns: the engine's own words, with a kind.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Corrupt { .. } | Error::Missing { .. } | Error::Lost { .. } => io::ErrorKind::InvalidData,
            Error::NotFound { .. } => io::ErrorKind::NotFound,
            Error::Io { source, .. } | Error::Temporary { source, .. } => source.kind(),
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

impl Error {
    /// [`Error::Corrupt`] for `object`.
    pub fn corrupt(object: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self::Corrupt { object: object.to_string(), reason: reason.to_string() }
    }

    /// [`Error::Io`] for `path`.
    pub fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// Is it about this run, not about what it read? Such a one ends the run, whatever else there is to read.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Internal(_) | Self::Io { .. } | Self::Temporary { .. })
    }
}

/// Bytes that do not follow the format. The layer that knows which object they
/// came from turns it into [`Error::Corrupt`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

impl Malformed {
    /// With a reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }

    /// Names the object the bytes came from.
    pub fn of(self, object: impl fmt::Display) -> Error {
        Error::corrupt(object, self.0)
    }
}

/// What kind of failure a store reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The object is not there.
    NotFound,
    /// An object of this name is there with other bytes, and `PutMode::New` was asked.
    AlreadyExists,
    /// The object is larger than the caller was ready to take, or shorter than the range asked.
    Size,
    /// The medium is full or a quota is reached.
    Full,
    /// The medium is read-only, or permission is missing.
    Denied,
    /// May succeed if tried again.
    Transient,
    /// Any other failure.
    Other,
}

/// A failure of a store: what was tried on which object, and why it failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {object}: {reason}")]
pub struct StoreError {
    /// Kind of failure.
    pub kind: StoreErrorKind,
    /// Verb in the infinitive: `read`, `write`, `list`, `remove`.
    pub operation: &'static str,
    /// Object or place.
    pub object: String,
    /// Cause, in words.
    pub reason: String,
}

impl StoreError {
    /// A failure of `kind`.
    pub fn new(
        kind: StoreErrorKind,
        operation: &'static str,
        object: impl fmt::Display,
        reason: impl fmt::Display,
    ) -> Self {
        Self { kind, operation, object: object.to_string(), reason: reason.to_string() }
    }

    /// From an error of the operating system.
    pub fn from_io(operation: &'static str, object: impl fmt::Display, error: &io::Error) -> Self {
        use io::ErrorKind as K;
        let kind = match error.kind() {
            K::NotFound => StoreErrorKind::NotFound,
            K::AlreadyExists => StoreErrorKind::AlreadyExists,
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge => StoreErrorKind::Full,
            K::PermissionDenied | K::ReadOnlyFilesystem => StoreErrorKind::Denied,
            K::Interrupted | K::TimedOut | K::WouldBlock | K::ResourceBusy => StoreErrorKind::Transient,
            _ => StoreErrorKind::Other,
        };
        Self::new(kind, operation, object, error)
    }

    /// Is it worth trying again?
    pub fn is_transient(&self) -> bool {
        self.kind == StoreErrorKind::Transient
    }

    /// Is the object simply not there?
    pub fn is_not_found(&self) -> bool {
        self.kind == StoreErrorKind::NotFound
    }
}

/// What kind of [`Problem`]; the number stands in snapshots (`docs/format.md`, "Snapshot").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProblemKind {
    /// A path could not be opened or read.
    Unreadable = 1,
    /// It was listed, then gone.
    Vanished = 2,
    /// It changed while it was read: what is stored may be no state it ever had.
    Changed = 3,
    /// A path given on the command line is not there.
    Missing = 4,
    /// A live database was copied as plain bytes.
    LiveDatabase = 5,
    /// Links lead outside of what is stored.
    OutsideLink = 6,
    /// Metadata could not be read or applied.
    Metadata = 7,
    /// Stored data is lost or damaged.
    Damaged = 8,
    /// A name or type that cannot be restored here.
    Refused = 9,
    /// The snapshot holds no bytes.
    Empty = 10,
}

/// A finding that does not end the run: it is reported, recorded in the
/// snapshot, and the run ends with exit code 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What it is about, printable.
    pub path: String,
    /// Its kind.
    pub kind: ProblemKind,
    /// The cause.
    pub message: String,
}

impl Problem {
    /// A problem with `path`.
    pub fn new(kind: ProblemKind, path: impl fmt::Display, message: impl fmt::Display) -> Self {
        Self { path: path.to_string(), kind, message: message.to_string() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// A path as one printable line: control characters and bytes that are not UTF-8 are escaped.
pub fn printable(path: &[u8]) -> String {
    let mut out = String::new();
    for part in path.utf8_chunks() {
        for c in part.valid().chars() {
            if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
        }
        for byte in part.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}
