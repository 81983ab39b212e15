//! Recovery of what a process left in the middle of its work, in a copy: the database's own
//! files stay as they are, for whoever opens it next.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::beside::{Beside, Journal};
use super::connect::{self, Door, Trouble};
use super::image::Transaction;
use super::room::Room;
use crate::source::at::At;
use crate::source::read::SourceFile;
use crate::source::stat::Stat;

/// Ends the name of a super-journal in a rollback journal (SQLite's `aJournalMagic`).
const JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];
/// Longest name of a super-journal.
const NAME_BYTES: u64 = 4096;

/// Copies database and journal, and opens the copy, which recovers it. Both were unchanged from
/// `stat` and `beside` on, or it is an error that may go away. The copy has no names any more when this returns.
pub fn recover(
    at: &At,
    source: &SourceFile,
    stat: &Stat,
    beside: &Beside,
    journal: Journal,
    room: &Room,
) -> Result<(Transaction, u32), Trouble> {
    let other = |e: io::Error| Trouble::Other(format!("cannot be copied for recovery: {e}"));
    let from = at.sibling(journal.suffix());
    let second = match journal {
        Journal::WriteAheadLog => beside.wal,
        Journal::Rollback => beside.journal,
    };
    let second = second.ok_or_else(|| Trouble::Other("its journal has vanished".into()))?;
    let folder = room.folder(stat.size.saturating_add(second.size)).map_err(Trouble::Never)?;
    copy_to(source.file(), &mut folder.create("").map_err(other)?, stat.size).map_err(other)?;
    let log = File::from(from.open(OFlags::empty()).map_err(other)?);
    let mut copy = folder.create(journal.suffix()).map_err(other)?;
    copy_to(&log, &mut copy, second.size).map_err(other)?;
    let same = Stat::of(&***source.file()).is_ok_and(|now| now == *stat)
        && Stat::of(&log).is_ok_and(|now| now == second)
        && Beside::of(at) == *beside;
    if !same {
        return Err(Trouble::Other("changed while it was copied for recovery".into()));
    }
    if journal == Journal::Rollback && !stands_alone(&copy).map_err(other)? {
        // The transaction over several databases has ended: as SQLite sees it, there is no journal.
        copy.set_len(0).map_err(other)?;
    }
    drop(copy);
    let connection = connect::open(&folder.path(""), Door::Own)?;
    let pages = connect::begin(&connection).map_err(|trouble| match trouble {
        Trouble::Never(why) => Trouble::Never(why),
        other => Trouble::Never(format!("its copy cannot be recovered ({other:?})")),
    })?;
    Ok((Transaction::new(connection, None), pages))
}

/// The first `len` bytes of a file.
fn copy_to(file: &File, copy: &mut File, len: u64) -> io::Result<()> {
    let mut file = file;
    file.seek(SeekFrom::Start(0))?;
    match io::copy(&mut file.take(len), copy)? == len {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// A journal may name a super-journal, shared by several databases: after rolling back, SQLite would
/// *remove the file of that name*, whatever it is. So the name is cut off here. `false`: there is
/// no such file any more, which means that the transaction was committed.
fn stands_alone(copy: &File) -> io::Result<bool> {
    let len = copy.metadata()?.len();
    let mut tail = [0; 16];
    let Some(at) = len.checked_sub(16) else { return Ok(true) };
    copy.read_exact_at(&mut tail, at)?;
    if tail[8..] != JOURNAL_MAGIC {
        return Ok(true);
    }
    let name_bytes = u64::from(u32::from_be_bytes([tail[0], tail[1], tail[2], tail[3]]));
    let Some(name_at) = at.checked_sub(name_bytes).filter(|_| (1..=NAME_BYTES).contains(&name_bytes)) else {
        copy.set_len(at)?;
        return Ok(true);
    };
    let mut name = vec![0; usize::try_from(name_bytes).unwrap_or(0)];
    copy.read_exact_at(&mut name, name_at)?;
    copy.set_len(name_at)?;
    Ok(Path::new(std::ffi::OsStr::from_bytes(&name)).symlink_metadata().is_ok())
}
