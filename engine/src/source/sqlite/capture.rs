//! From a database to its image: look, choose the way, try, look again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use rustix::fs::StatVfsMountFlags;

use super::beside::{Beside, Journal, live_journals};
use super::calm::{Calm, has_moved, is_locked};
use super::connect::{self, Door, Trouble};
use super::draft::Draft;
use super::fds::Held;
use super::header::{HEADER_BYTES, Header};
use super::image::{Image, Pages, SMALL_BYTES, Transaction};
use super::options::SqliteOptions;
use super::recover::recover;
use super::room::Room;
use super::settled::{settled, shows_changes};
use super::way::{Sight, Way, way};
use crate::entropy::Clock;
use crate::format::record::{LookV1, SqliteCaptureV1, SqliteFilesV1};
use crate::format::wire::Stamp;
use crate::source::at::At;
use crate::source::meta::marks_for;
use crate::source::read::SourceFile;
use crate::source::stat::Stat;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);
/// Tries against what is no lock.
const TRIES: u32 = 60;
/// A log that cannot be used so often is recovered in a copy, though somebody may have it open.
const LOG_TRIES: u32 = 10;
/// Writers are let in between two tries to copy under a lock.
const LET_IN: Duration = Duration::from_millis(300);

/// Why a database was not captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCaptured {
    /// In words that may follow "could not be captured:".
    pub why: String,
    /// Its bytes as they are may be no state it ever had.
    pub live: bool,
}

/// What a capture needs to know.
pub struct Captor<'a> {
    /// What is asked for.
    pub options: &'a SqliteOptions,
    /// Tells which files are young.
    pub clock: &'a dyn Clock,
    /// Has somebody asked to stop?
    pub stop: &'a dyn Fn() -> bool,
}

/// What stays from one try to copy under a lock to the next.
#[derive(Default)]
struct Copying {
    /// How often it took longer than who writes may be held back.
    held_back: u32,
    draft: Option<Draft>,
}

/// One look.
struct Look {
    stat: Stat,
    beside: Beside,
    header: Header,
    looked_ns: i64,
}

impl Captor<'_> {
    /// Captures the database at `at`, which `source` has open and which begins with the mark of one.
    pub fn capture(&self, at: &At, source: &SourceFile) -> Result<Image, NotCaptured> {
        let until = Instant::now() + self.options.lock_wait;
        let (mut tries, mut lost_log, mut hot, mut copying) = (0u32, 0u32, false, Copying::default());
        loop {
            let result = self.look(at, source).and_then(|look| {
                let way = self.way(&look, source, hot, lost_log >= LOG_TRIES);
                self.attempt(way, at, source, &look, &mut copying)
            });
            let trouble = match result {
                Ok(image) => {
                    note_read_only(source.file(), at);
                    return Ok(image);
                }
                Err(trouble) => trouble,
            };
            let refused =
                |why: &str| Err(NotCaptured { why: why.to_owned(), live: !live_journals(at).is_empty() });
            tries += 1;
            hot = trouble == Trouble::HotJournal;
            match &trouble {
                Trouble::Never(why) => return refused(why),
                Trouble::HeldBack if copying.held_back < 2 => {
                    copying.held_back += 1;
                    std::thread::sleep(LET_IN);
                    continue;
                }
                Trouble::HeldBack => {
                    return refused("it cannot be copied in a time for which those who write to it may wait");
                }
                Trouble::LostLog => lost_log += 1,
                _ => {}
            }
            if (self.stop)() {
                return refused("the run was asked to stop");
            }
            if Instant::now() > until || (tries > TRIES && trouble != Trouble::Busy) {
                return match trouble {
                    Trouble::Other(why) => refused(&why),
                    _ => Err(NotCaptured {
                        why: format!("it stayed locked for {} seconds", self.options.lock_wait.as_secs()),
                        live: true,
                    }),
                };
            }
            if !hot {
                std::thread::sleep(PAUSE);
            }
        }
    }

    fn look(&self, at: &At, source: &SourceFile) -> Result<Look, Trouble> {
        let looked_ns = self.clock.now_ns();
        let gone = |e: io::Error| Trouble::Never(format!("it can no longer be looked at: {e}"));
        let stat = Stat::of(&***source.file()).map_err(gone)?;
        let beside = Beside::of(at);
        if at.stat().map_err(gone)?.identity() != stat.identity() {
            return Err(Trouble::Never("another file has its name now".into()));
        }
        let mut first = [0; HEADER_BYTES];
        let read = source.file().read_exact_at(&mut first, 0);
        let header = read.ok().and_then(|()| Header::parse(&first));
        let header = header.ok_or_else(|| Trouble::Never("the rest of its header is not SQLite's".into()))?;
        Ok(Look { stat, beside, header, looked_ns })
    }

    fn way(&self, look: &Look, source: &SourceFile, hot: bool, lost_log: bool) -> Way {
        let found = way(Sight {
            locks_hold: (self.options.locks_hold)(source.file()),
            is_wal: look.header.is_wal,
            wal_bytes: look.beside.wal.map(|stat| stat.size),
            has_shm: look.beside.shm.is_some(),
        });
        match found {
            Way::Locked if hot => Way::Recovered,
            Way::Transaction if lost_log => Way::Recovered,
            way => way,
        }
    }

    fn attempt(
        &self,
        way: Way,
        at: &At,
        source: &SourceFile,
        look: &Look,
        copying: &mut Copying,
    ) -> Result<Image, Trouble> {
        if way != Way::Locked {
            copying.draft = None;
        }
        match way {
            Way::Plain => Err(Trouble::Never(
                "its file system does not share locks with everybody who may use it".into(),
            )),
            Way::Locked => self.locked(at, source, look, copying),
            Way::Transaction => {
                let held = Held::new(look.stat.identity());
                let (connection, pages) = begin_in_place(at, look, Door::Shared)?;
                self.of_transaction(Transaction::new(connection, Some(held)), pages, at, look)
            }
            Way::Still => self.still(at, source, look),
            Way::Recovered => {
                let journal = match look.beside.wal_bytes() {
                    0 => Journal::Rollback,
                    _ => Journal::WriteAheadLog,
                };
                settled(&[Some(look.stat), look.beside.wal, look.beside.journal])?;
                let (copy, pages) = recover(at, source, &look.stat, &look.beside, journal, &self.room())?;
                self.of_transaction(copy, pages, at, look)
            }
        }
    }

    fn room(&self) -> Room {
        Room::new(self.options.temp_dir.clone(), self.options.temp_max_bytes)
    }

    /// The bytes of the main file are the state as long as the lock is held: it is copied before, and what
    /// changed since then is copied again under the lock.
    fn locked(
        &self,
        at: &At,
        source: &SourceFile,
        look: &Look,
        copying: &mut Copying,
    ) -> Result<Image, Trouble> {
        let file: &File = source.file();
        let stopped = || match (self.stop)() {
            true => Err(Trouble::Never("the run was asked to stop".into())),
            false => Ok(()),
        };
        if look.stat.size > SMALL_BYTES && copying.draft.is_none() {
            // Judged before the first byte is copied.
            let settled = shows_changes(&look.stat);
            let image = self.room().file(look.stat.size).map_err(Trouble::Never)?;
            copying.draft = Some(Draft::new(file, &look.stat, &look.header, settled, image, &stopped)?);
        }
        let hold = self.options.lock_hold * 2u32.pow(copying.held_back);
        let held = Held::new(look.stat.identity());
        let (connection, pages) = begin_in_place(at, look, Door::Shared)?;
        let began = Instant::now();
        let lock = Transaction::new(connection, Some(held));
        if connect::has_log(lock.connection())? {
            return Err(Trouble::Other("its journal mode changed".into()));
        }
        let schema = connect::schema_hash(lock.connection())?;
        let mut first = [0; HEADER_BYTES];
        file.read_exact_at(&mut first, 0).map_err(unreadable)?;
        let header = Header::parse(&first).ok_or_else(|| Trouble::Other("its header changed".into()))?;
        let bytes = u64::from(header.page_size) * u64::from(pages);
        let pages_of = if bytes <= SMALL_BYTES {
            let mut all = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut all, 0).map_err(unreadable)?;
            Pages::Memory(all)
        } else {
            let mut draft = match copying.draft.take() {
                Some(draft) => draft,
                None => Draft::empty(self.room().file(bytes).map_err(Trouble::Never)?),
            };
            self.room().check(bytes, bytes.saturating_sub(draft.copied_bytes())).map_err(Trouble::Never)?;
            let finished = draft.finish(file, &header, bytes, &|| match began.elapsed() > hold {
                true => Err(Trouble::HeldBack),
                false => stopped(),
            });
            if let Err(trouble) = finished {
                copying.draft = Some(draft);
                return Err(trouble);
            }
            Pages::File(draft.into_file())
        };
        drop(lock);
        Ok(image(pages_of, header, pages, schema, at, look))
    }

    fn of_transaction(
        &self,
        transaction: Transaction,
        pages: u32,
        at: &At,
        look: &Look,
    ) -> Result<Image, Trouble> {
        let schema = connect::schema_hash(transaction.connection())?;
        let page_size: u32 = transaction.connection().query_row("PRAGMA page_size", [], |row| row.get(0))?;
        if !self.options.page_table || !transaction.has_pages() {
            return self.by_backup(transaction, page_size, pages, schema, at, look);
        }
        let mut first = [0; HEADER_BYTES];
        transaction.fill(page_size, 0, &mut first)?;
        let header = Header::parse(&first).filter(|header| header.page_size == page_size);
        let header = header.ok_or_else(|| Trouble::Other("its first page is not SQLite's".into()))?;
        let image = image(Pages::Transaction(transaction), header, pages, schema, at, look);
        if image.size() <= SMALL_BYTES { image.into_memory() } else { Ok(image) }
    }

    /// Where SQLite was built without its table of pages: a temporary image.
    fn by_backup(
        &self,
        transaction: Transaction,
        page_size: u32,
        pages: u32,
        schema: [u8; 32],
        at: &At,
        look: &Look,
    ) -> Result<Image, Trouble> {
        let folder = self.room().folder(u64::from(page_size) * u64::from(pages)).map_err(Trouble::Never)?;
        let file = folder.create("").map_err(unreadable)?;
        let mut copy = connect::open(&folder.path(""), Door::Own)?;
        copy.pragma_update(None, "synchronous", "OFF")?;
        let backup = rusqlite::backup::Backup::new(transaction.connection(), &mut copy)?;
        match backup.step(-1)? {
            rusqlite::backup::StepResult::Done => {}
            _ => return Err(Trouble::Busy),
        }
        drop(backup);
        drop(copy);
        drop(transaction);
        let mut first = [0; HEADER_BYTES];
        file.read_exact_at(&mut first, 0).map_err(unreadable)?;
        let header = Header::parse(&first).ok_or_else(|| Trouble::Other("its copy is none".into()))?;
        let image = image(Pages::File(file), header, pages, schema, at, look);
        if image.size() <= SMALL_BYTES { image.into_memory() } else { Ok(image) }
    }

    /// The bytes of the main file are the state as long as nobody opens it.
    fn still(&self, at: &At, source: &SourceFile, look: &Look) -> Result<Image, Trouble> {
        settled(&[Some(look.stat), look.beside.wal, look.beside.journal])?;
        if is_locked(source.file()) {
            return Err(Trouble::Other("it is in use under another name, where its log must be, too".into()));
        }
        let held = Held::new(look.stat.identity());
        let (connection, pages) = begin_in_place(at, look, Door::Still)?;
        let transaction = Transaction::new(connection, Some(held));
        let schema = connect::schema_hash(transaction.connection())?;
        drop(transaction);
        let source = SourceFile::open(at, &look.stat).map_err(|p| Trouble::Other(p.message))?;
        let still = Pages::Still { source, at: at.clone(), beside: look.beside };
        let image = image(still, look.header, pages, schema, at, look);
        if image.size() > look.stat.size {
            return Err(Trouble::Other("it is shorter than its header says".into()));
        }
        if image.size() <= SMALL_BYTES { image.into_memory() } else { Ok(image) }
    }
}

/// Opens the database where it lies, and begins. It is the file that was looked at.
fn begin_in_place(at: &At, look: &Look, door: Door) -> Result<(rusqlite::Connection, u32), Trouble> {
    let calm =
        Calm::begin().ok_or_else(|| Trouble::Never("this SQLite cannot be kept from writing".into()))?;
    let connection = connect::open(at.path(), door)?;
    let begun = connect::begin(&connection).and_then(|pages| {
        let same = at.stat().is_ok_and(|now| now.identity() == look.stat.identity());
        match same && (door == Door::Still || !has_moved(&connection)) {
            true => Ok(pages),
            false => Err(Trouble::Other("another file took its place".into())),
        }
    });
    match begun {
        Ok(pages) => Ok((connection, pages)),
        Err(trouble) => {
            drop(connection);
            drop(calm);
            Err(trouble)
        }
    }
}

fn unreadable(error: io::Error) -> Trouble {
    Trouble::Other(format!("it cannot be read: {error}"))
}

fn image(pages: Pages, header: Header, count: u32, schema: [u8; 32], at: &At, look: &Look) -> Image {
    let seen =
        |stat: &Stat| LookV1 { size: stat.size, mtime: stat.mtime, ctime: stat.ctime, inode: stat.inode };
    let young = |stat: &Stat| marks_for(stat, look.looked_ns);
    Image {
        pages,
        page_size: header.page_size,
        page_count: count,
        stat: look.stat,
        path: at.path().to_owned(),
        record: SqliteCaptureV1 {
            page_size: header.page_size,
            pages: count,
            change_counter: header.change_counter,
            schema_cookie: header.schema_cookie,
            application_id: header.application_id,
            user_version: header.user_version,
            wal_bytes: look.beside.wal_bytes(),
            wal_mtime: look.beside.wal.map_or_else(Stamp::default, |wal| wal.mtime),
            schema_hash: schema,
        },
        files: SqliteFilesV1 {
            main_bytes: look.stat.size,
            wal: look.beside.wal.as_ref().map(seen),
            journal: look.beside.journal.as_ref().map(seen),
        },
        marks: [Some(look.stat), look.beside.wal, look.beside.journal]
            .iter()
            .flatten()
            .fold(0, |marks, stat| marks | young(stat)),
    }
}

/// Says so where nothing can be written. It is no problem: a capture writes nothing there, and what must be
/// recovered is recovered in a copy.
fn note_read_only(file: &File, at: &At) {
    let flags = rustix::fs::fstatvfs(file).map_or(StatVfsMountFlags::empty(), |found| found.f_flag);
    if flags.contains(StatVfsMountFlags::RDONLY) {
        tracing::info!(database = %at.path().display(), "captured from a medium that is mounted for reading only");
    }
}
