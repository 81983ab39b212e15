//! `verify`: proof that a copy of a database is good (decision 14).
//!
//! 1. `find` walks the snapshot, or what is below one path of it: captured databases, and files
//!    that begin like one.
//! 2. `judge` restores each to a private temporary file, every blob verified on the way, and asks it: is it
//!    the state that was captured, `integrity_check`, `foreign_key_check`.
//! 3. `remember` writes the result to the ledger, as an entry of kind verified.
//!
//! Nothing else is written. Databases come one after the other: the room for the largest of them is all that
//! it takes of the temporary directory. Memory: the reader's cache, four chunks, and what SQLite takes.

mod find;
mod judge;
mod remember;

use std::time::Instant;

use serde::Serialize;

use crate::error::{Error, Problem, ProblemKind, Result, printable};
use crate::format::wire::Stamp;
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repo::Repository;
use crate::repo::reader::Reader;
use crate::source::sqlite::CopyPlace;

/// What to verify.
#[derive(Debug, Clone)]
pub struct VerifyOptions {
    /// Databases of this snapshot.
    pub snapshot: SnapshotId,
    /// One of them, or those below a directory: an absolute path in the snapshot. `None`: all.
    pub path: Option<Vec<u8>>,
    /// Also look for rows that name rows which are not there.
    pub foreign_keys: bool,
    /// Write the result to the ledger.
    pub record: bool,
    /// Where temporary copies lie.
    pub place: CopyPlace,
}

impl VerifyOptions {
    /// Everything in a snapshot, in full.
    pub fn all_of(snapshot: SnapshotId) -> Self {
        Self { snapshot, path: None, foreign_keys: true, record: true, place: CopyPlace::default() }
    }
}

/// What was found out about a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is whole.
    Good,
    /// It is not.
    Bad,
    /// It could not be asked.
    Unknown,
}

/// One database.
#[derive(Debug, Clone, Serialize)]
pub struct Verified {
    /// Its path in the snapshot; names that are not UTF-8 with replacement characters.
    pub path: String,
    /// The same, exactly.
    #[serde(skip)]
    pub raw_path: Vec<u8>,
    /// An image of one committed state; otherwise a file's plain bytes.
    pub captured: bool,
    /// Plain bytes that were stored while the database was in use: they may be no state it ever had.
    pub live: bool,
    /// Length.
    pub bytes: u64,
    /// What was found out.
    pub verdict: Verdict,
    /// What is wrong with it, the first of it; why it could not be asked.
    pub findings: Vec<String>,
    /// How many findings there are, up to a thousand of each check.
    pub finding_count: u64,
    /// How many of them are rows that name rows which are not there.
    pub foreign_key_violations: u64,
    /// Foreign keys could not be checked, and why.
    pub foreign_keys_unknown: Option<String>,
    /// Time taken.
    pub seconds: f64,
}

/// What was verified.
#[derive(Debug, Clone, Serialize)]
pub struct VerifyReport {
    /// Of which snapshot.
    pub snapshot: SnapshotId,
    /// How many databases are whole.
    pub good: u64,
    /// How many are not.
    pub bad: u64,
    /// How many could not be asked.
    pub unknown: u64,
    /// Length of all of them.
    pub bytes: u64,
    /// Each of them.
    pub databases: Vec<Verified>,
    /// Where temporary copies lay.
    pub temp_dir: String,
    /// Number of the ledger entry that says so.
    pub ledger_entry: Option<u64>,
    /// Why there is none, if there should be one.
    pub not_recorded: Option<String>,
    /// Directories that could not be read, and the databases that are not good.
    pub problem_count: u64,
    /// The same.
    pub problems: Vec<Problem>,
    /// Time taken.
    pub seconds: f64,
}

/// Verifies. A database that is not whole is a Problem, and no error.
pub fn run(repo: &Repository, options: &VerifyOptions, progress: &dyn Progress) -> Result<VerifyReport> {
    let begun = Instant::now();
    let began = Stamp::from_ns(repo.surroundings().clock.now_ns());
    let root = repo.snapshot(options.snapshot)?.record.root;
    let reader = Reader::open(repo)?;
    let mut report = VerifyReport {
        snapshot: options.snapshot,
        good: 0,
        bad: 0,
        unknown: 0,
        bytes: 0,
        databases: Vec::new(),
        temp_dir: printable(options.place.dir().as_os_str().as_encoded_bytes()),
        ledger_entry: None,
        not_recorded: None,
        problem_count: 0,
        problems: Vec::new(),
        seconds: 0.0,
    };
    progress.phase("looking for databases", None, None);
    let asked = options.path.as_deref().unwrap_or(b"/");
    let found =
        find::databases(&reader, root, asked, progress, &mut |problem| report.say(problem, progress))?;
    let bytes = found.iter().map(|one| one.node.size).fold(0, u64::saturating_add);
    progress.phase("verifying databases", Some(found.len() as u64), Some(bytes));
    progress.unit("databases");
    for one in found {
        progress.current(&printable(&one.path));
        let verified = judge::judge(&reader, one, options, progress)?;
        report.take_in(verified, progress);
        progress.advance(1, 0);
    }
    if options.record && !report.databases.is_empty() {
        match remember::write(repo, &report, asked, began) {
            Ok(number) => report.ledger_entry = Some(number),
            // The store may be read-only: what was found out is found out.
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => report.not_recorded = Some(error.to_string()),
        }
    }
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

impl VerifyReport {
    fn say(&mut self, problem: Problem, progress: &dyn Progress) {
        progress.problem(&problem);
        self.problem_count += 1;
        self.problems.push(problem);
    }

    fn take_in(&mut self, one: Verified, progress: &dyn Progress) {
        self.bytes = self.bytes.saturating_add(one.bytes);
        let count = match one.verdict {
            Verdict::Good => &mut self.good,
            Verdict::Bad => &mut self.bad,
            Verdict::Unknown => &mut self.unknown,
        };
        *count += 1;
        let first = one.findings.first().map_or("", String::as_str);
        let more = match one.finding_count {
            0 | 1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        let path = printable(&one.raw_path);
        match one.verdict {
            Verdict::Good => {}
            Verdict::Bad => {
                self.say(
                    Problem::new(ProblemKind::Damaged, path, format!("not whole: {first}{more}")),
                    progress,
                );
            }
            Verdict::Unknown => {
                let words = format!("could not be verified: {first}");
                self.say(Problem::new(ProblemKind::Unreadable, path, words), progress);
            }
        }
        self.databases.push(one);
    }
}
