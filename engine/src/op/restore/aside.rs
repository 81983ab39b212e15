//! A database in place of another one: what belonged to the old one is moved out of the way, and nobody
//! may have it open.
//!
//! SQLite takes a `-wal`, `-shm` or `-journal` beside a database for a part of it. Beside a restored file, one that was left
//! by the old database gives back the *newer* state, or a mixture, and `integrity_check` finds no fault.
//!
//! **Invariant: no restored database ever stands beside a log that was there before it.** So logs go first, the
//! directory is made durable, and only then the file gets its name. Killed in between, the old main file stands
//! without its log, which lies beside it under a name that says so: run again, the restore goes on. What cannot be
//! finished for another reason is put back. Meanwhile an exclusive lock keeps others from opening the old file.
//!
//! A file that is written in place ([`begin_in_place`]) has its name from the beginning, so its logs are gone for good
//! before its first byte is written; the lock is kept until the last one is.
//!
//! Logs that this run restored itself (plain bytes of a database in use) are no strangers: they stay. One mutex
//! for the run keeps the two apart; it is held for a few system calls.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::sync::{Mutex, MutexGuard};

use rustix::fs::{FileType, OFlags, Stat};

use super::dir::Dir;
use super::door;
use super::file::There;
use super::links::{self, identity};
use super::run::{Done, Run, Trouble, cannot};
use crate::error::{ProblemKind, printable};
use crate::source::sqlite::{Alone, Guarded, SQLITE_MAGIC, claim, is_sqlite_header, whoever_has};

/// What may lie beside a database and belong to it; a log without which the others mean nothing comes first.
const SUFFIXES: [&[u8]; 3] = [b"-wal", b"-journal", b"-shm"];
/// Longest name in a directory.
const NAME_BYTES: usize = 255;
/// Names of one second that are tried.
const TRIES: u32 = 1000;

/// What this run did with logs, by device and inode.
#[derive(Debug, Default)]
pub struct Known {
    /// Logs that it restored.
    ours: HashSet<(u64, u64)>,
    /// Databases that it has locked, to write them in place.
    locked: HashSet<(u64, u64)>,
}

/// The same, for all threads of a run.
#[derive(Debug, Default)]
pub struct Logs(Mutex<Known>);

/// What was moved out of the way for one database.
pub struct Aside<'a> {
    dir: &'a Dir<'a>,
    /// From, to.
    moved: Vec<(Vec<u8>, Vec<u8>)>,
    /// The old file is ours alone.
    _alone: Option<Alone>,
    /// Nobody else of this run places a database or a log.
    logs: Option<MutexGuard<'a, Known>>,
    done: bool,
}

/// The database to which a file of this name would belong.
pub fn database_of(name: &[u8]) -> Option<&[u8]> {
    SUFFIXES.iter().find_map(|suffix| name.strip_suffix(*suffix)).filter(|name| !name.is_empty())
}

/// Says what a name was before it was moved.
const MOVED: &[u8] = b".before-restore-";

/// Is it the name of a log that was moved out of the way, by this run or an earlier one?
pub fn is_moved_aside(name: &[u8]) -> bool {
    let at = name.windows(MOVED.len()).rposition(|part| part == MOVED);
    at.is_some_and(|at| {
        let stamp = &name[at + MOVED.len()..];
        SUFFIXES.iter().any(|suffix| name[..at].ends_with(suffix))
            && stamp.first().is_some_and(u8::is_ascii_digit)
            && stamp.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
    })
}

/// Is a file that was found right, as `stat` says, still there and there to stay? A log may have been moved out of the way meanwhile,
/// for the database that it lay beside; from here on it is one of this run's own.
pub fn keeps(dir: &Dir<'_>, name: &[u8], stat: &Stat) -> bool {
    if database_of(name).is_none() {
        return true;
    }
    let mut logs = lock(dir);
    let now = door::look(&dir.file, name).ok().flatten();
    let is_there = now.is_some_and(|now| identity(&now) == identity(stat));
    if is_there {
        logs.ours.insert(identity(stat));
    }
    is_there
}

/// Does anything lie beside this name that SQLite would take for a part of it?
pub fn has_logs(dir: &Dir<'_>, name: &[u8]) -> bool {
    let is_there = |suffix: &&[u8]| !matches!(door::look(&dir.file, &[name, *suffix].concat()), Ok(None));
    SUFFIXES.iter().any(is_there)
}

/// Does it begin like a database?
pub fn is_database(file: &File) -> bool {
    let mut first = [0; SQLITE_MAGIC.len()];
    door::read_at(file, &mut first, 0).unwrap_or(false) && is_sqlite_header(&first)
}

/// Refuses if somebody has the database open that stands under this name, without changing anything.
pub fn refuse_if_open(dir: &Dir<'_>, name: &[u8]) -> Done<()> {
    let _logs = lock(dir);
    alone(dir, name).map(drop)
}

/// To be called right before `content`, a restored file, gets the name `name`, and to be kept until it has it.
/// A file that is neither a database nor a log needs nothing.
pub fn make_way<'a>(dir: &'a Dir<'_>, name: &[u8], content: &File) -> Done<Option<Aside<'a>>> {
    if let Some(database) = database_of(name) {
        let mut logs = lock(dir);
        // Whoever has the database open would find another log in its place.
        let alone = alone_beside(dir, database, &logs)?;
        let stat = rustix::fs::fstat(content).map_err(|e| cannot("look at the file", e))?;
        logs.ours.insert(identity(&stat));
        return Ok(Some(Aside {
            dir: shorten(dir),
            moved: Vec::new(),
            _alone: alone,
            logs: Some(logs),
            done: false,
        }));
    }
    if dir.fresh || !is_database(content) {
        return Ok(None);
    }
    let logs = lock(dir);
    let alone = alone(dir, name)?;
    let mut aside =
        Aside { dir: shorten(dir), moved: Vec::new(), _alone: alone, logs: Some(logs), done: false };
    aside.move_logs(name)?;
    Ok(Some(aside))
}

/// The database beside a log, for this process alone, unless this run has it already.
fn alone_beside(dir: &Dir<'_>, database: &[u8], known: &Known) -> Done<Option<Alone>> {
    let found = door::open_regular(&dir.file, database, OFlags::RDONLY).ok().flatten();
    let is_used = found.is_some_and(|(file, stat)| {
        let file = Guarded::from(file);
        !known.locked.contains(&identity(&stat)) && is_database(&file)
    });
    if is_used { alone(dir, database) } else { Ok(None) }
}

/// A file that is written in place: nobody else may have it as a database until this is dropped.
pub struct InPlace<'r> {
    run: &'r Run<'r>,
    alone: Option<(Alone, (u64, u64))>,
}

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        if let Some((alone, identity)) = self.alone.take() {
            drop(alone);
            known(self.run).locked.remove(&identity);
        }
    }
}

/// To be called before the first byte is written to a file that is there and keeps its name. `database`: what will be
/// written is one. `None`: the name leads elsewhere by now, to be replaced like any other.
pub fn begin_in_place<'r>(
    dir: &Dir<'r>,
    name: &[u8],
    there: &There,
    database: bool,
) -> Done<Option<InPlace<'r>>> {
    let mut logs = lock(dir);
    let now = door::look(&dir.file, name).map_err(|e| cannot("look at what stands there", e))?;
    let identity = identity(&there.stat);
    if now.is_none_or(|now| links::identity(&now) != identity) {
        return Ok(None);
    }
    if let Some(database) = database_of(name) {
        drop(alone_beside(dir, database, &logs)?);
        logs.ours.insert(identity);
    }
    if !database && !is_database(&there.file) {
        return Ok(Some(InPlace { run: dir.run, alone: None }));
    }
    let alone = alone(dir, name)?;
    let mut aside =
        Aside { dir: shorten(dir), moved: Vec::new(), _alone: None, logs: Some(logs), done: false };
    aside.move_logs(name)?;
    // Before others may look.
    if let (Some(_), Some(known)) = (&alone, &mut aside.logs) {
        known.locked.insert(identity);
    }
    aside.finish();
    let alone = alone.map(|alone| (alone, identity));
    Ok(Some(InPlace { run: dir.run, alone }))
}

/// Directories of a run live as long as it: only the borrow is shorter.
fn shorten<'a>(dir: &'a Dir<'_>) -> &'a Dir<'a> {
    dir
}

fn lock<'a>(dir: &'a Dir<'_>) -> MutexGuard<'a, Known> {
    known(dir.run)
}

fn known<'a>(run: &'a Run<'_>) -> MutexGuard<'a, Known> {
    run.logs.0.lock().unwrap_or_else(|e| e.into_inner())
}

impl Aside<'_> {
    /// The file has its name: what was moved stays where it is.
    pub fn finish(mut self) {
        self.done = true;
        for (from, to) in &self.moved {
            self.dir.run.moved_aside(&self.dir.below_of(from), &self.dir.below_of(to));
        }
    }

    fn move_logs(&mut self, name: &[u8]) -> Done<()> {
        let mut any = false;
        for suffix in SUFFIXES {
            let from = [name, suffix].concat();
            let failed = |e: io::Error| cannot("move the log of the old database out of the way", e);
            let Some(stat) = door::look(&self.dir.file, &from).map_err(failed)? else { continue };
            let is_ours = self.logs.as_ref().is_some_and(|logs| logs.ours.contains(&identity(&stat)));
            // SQLite cannot open a directory.
            if is_ours || door::type_of(&stat) == FileType::Directory {
                continue;
            }
            let to = self.move_one(name, suffix, &from).map_err(failed)?;
            self.dir.run.progress.note(&format!(
                "{} belonged to the database that is replaced: moved to {}",
                printable(&self.dir.path_of(&from)),
                printable(&to)
            ));
            self.moved.push((from, to));
            any = true;
        }
        if any {
            rustix::fs::fsync(&self.dir.file).map_err(|e| cannot("make the directory durable", e))?;
        }
        Ok(())
    }

    /// To a name that says what it was and when it was moved; nothing is ever overwritten.
    fn move_one(&self, name: &[u8], suffix: &[u8], from: &[u8]) -> io::Result<Vec<u8>> {
        let clock = &self.dir.run.reader.repo().surroundings().clock;
        let stamp = stamp(clock.now_ns());
        for number in 1..=TRIES {
            let again = if number == 1 { String::new() } else { format!("-{number}") };
            let tail = [suffix, MOVED, format!("{stamp}{again}").as_bytes()].concat();
            let head = &name[..name.len().min(NAME_BYTES.saturating_sub(tail.len()))];
            let to = [head, &tail].concat();
            if door::move_to_free(&self.dir.file, from, &to)? {
                return Ok(to);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Aside<'_> {
    /// The file did not get its name: the old database has its logs back.
    fn drop(&mut self) {
        if !self.done {
            for (from, to) in self.moved.drain(..).rev() {
                if let Err(error) = door::move_to_free(&self.dir.file, &to, &from) {
                    tracing::warn!(%error, log = printable(&to), "not put back");
                }
            }
        }
    }
}

/// The database under this name, for this process alone; `None` if there is no file, or none that can be opened.
fn alone(dir: &Dir<'_>, name: &[u8]) -> Done<Option<Alone>> {
    if dir.fresh {
        return Ok(None);
    }
    let open = |name: &[u8], access| door::open_regular(&dir.file, name, access).ok().flatten();
    let opened = open(name, OFlags::RDWR).or_else(|| open(name, OFlags::RDONLY));
    let in_use = |who: String| {
        let message =
            format!("it is open in {who}, and was left as it is: stop whatever uses it, then restore again");
        Trouble::Say(ProblemKind::Refused, message)
    };
    let mut files = Vec::new();
    for suffix in [&b""[..], b"-wal", b"-shm"] {
        let stat = door::look(&dir.file, &[name, suffix].concat()).ok().flatten();
        files.extend(stat.filter(|s| door::type_of(s) == FileType::RegularFile).map(|s| identity(&s)));
    }
    let shm = || open(&[name, b"-shm"].concat(), OFlags::RDONLY).map(|(file, _)| file);
    let alone = match opened {
        Some((file, _)) => Some(claim(file, shm).map_err(in_use)?),
        None => None,
    };
    match whoever_has(&files) {
        Some(who) => Err(in_use(who)),
        None => Ok(alone),
    }
}

/// `20260131T235959Z`.
fn stamp(now_ns: i64) -> String {
    let secs = now_ns.div_euclid(1_000_000_000);
    let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Days since 1 March of year 0, in eras of 400 years: so the leap day is the last of a year.
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_names() {
        for (secs, text) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_767_225_599, "20251231T235959Z"),
            (1_772_323_200, "20260301T000000Z"),
            (-1, "19691231T235959Z"),
        ] {
            assert_eq!(stamp(secs * 1_000_000_000), text);
        }
    }

    #[test]
    fn logs_are_known_by_their_names() {
        assert_eq!(database_of(b"chat.db-wal"), Some(&b"chat.db"[..]));
        assert_eq!(database_of(b"chat.db-journal"), Some(&b"chat.db"[..]));
        assert_eq!(database_of(b"-wal"), None);
        assert_eq!(database_of(b"chat.db-walnut"), None);
        let moved =
            [&b"chat.db-wal.before-restore-20260131T235959Z"[..], b"c-shm.before-restore-20260131T235959Z-2"];
        assert!(moved.into_iter().all(is_moved_aside));
        let others =
            [&b"chat.db.before-restore-20260131T235959Z"[..], b"chat.db-wal.before-restore-", b"chat.db-wal"];
        assert!(!others.into_iter().any(is_moved_aside));
    }
}
