//! SQLite databases, captured while others use them (docs/decisions/0012-sqlite.md).
//!
//! A file whose first bytes say that it is a database ([`header`]) is looked at together with what lies
//! [`beside`] it. From that follows the [`way`] to a consistent [`image`]: one transaction over database and log,
//! which holds back nobody; a copy under a reader's lock, most of which is made before ([`draft`]), where there is no log;
//! the bytes as they are, where nobody uses it; [`recover`]y in a copy, where a process died in its work. [`capture`] tries, and says why not.
//!
//! The database is never changed: connections are read-only ([`connect`]) and SQLite's system calls are kept
//! from creating, removing and re-owning anything ([`calm`]). Its locks in this process are kept from being
//! dropped by who reads the same file ([`fds`]). What must be copied lies in a [`room`] that
//! is bounded, and is gone however the process ends.
//!
//! What was stored is asked in a private [`copy`]: for its [`integrity`], for its [`contents`], or by a
//! [`statement`] of the user's. Before a database is replaced, [`users`] says who has it open.
//!
//! Memory: [`image::SMALL_BYTES`] for each thread that reads; else SQLite's few pages, and 40 bytes for each
//! frame of a log without shared memory.

mod beside;
mod calm;
mod capture;
mod connect;
mod contents;
mod copy;
mod draft;
mod fds;
mod header;
mod image;
mod integrity;
mod options;
mod recover;
mod room;
mod settled;
mod statement;
mod unmodified;
mod users;
mod way;

pub use beside::{Beside, Journal, belongs_to, has_foreign_log, live_journals, wal_bytes_of};
pub use capture::{Captor, NotCaptured};
pub use contents::{Facts, PageSet, Table, facts, tables};
pub use copy::{Copy, CopyPlace, Refusal};
pub use fds::{Guarded, Held};
pub use header::{HEADER_BYTES, Header, SQLITE_MAGIC, UNITS_FROM_BYTES, is_sqlite_header, make_plain};
pub use image::{Image, SMALL_BYTES};
pub use integrity::{Integrity, integrity};
pub use options::{SqliteMode, SqliteOptions};
pub use statement::{Cell, Rows, Unanswered, ask};
pub use unmodified::{JOURNAL_DIFFERS, reason_to_read};
pub use users::{Alone, claim, whoever_has};
pub use way::{Sight, Way, way};
