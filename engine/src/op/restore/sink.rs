//! Where the content of a file is put: a temporary sibling, or the file that is there.
//!
//! The sibling is what rule 7 asks for: nobody sees a file that is not whole. An error removes it; an
//! interruption leaves it, to go on from. One that had its length before its content is on the disk before it has its name and its
//! time: else a power failure could leave zeros that look like the file (decision 30). Writing in place is the exception for who has no room for both: the
//! file is neither the old nor the new one until all is written and was read again.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{Mode, fstat};
use rustix::io::Errno;

use super::aside::{self, InPlace};
use super::dir::Dir;
use super::door;
use super::file::{Task, There, holds};
use super::line::Line;
use super::run::{Done, Run, Trouble, cannot, count};
use super::work::TOGETHER_FROM_BYTES;
use crate::error::{Error, ProblemKind};
use crate::format::content::Entry;
use crate::repo::reader::{BlobBytes, Trail};
use crate::repo::trees::Piece;

/// Files from here on have their room reserved at once.
const RESERVE_FROM_BYTES: u64 = 1 << 20;

thread_local! {
    /// Of a thread that restores neighbours: it ends with the run.
    static TRAIL: RefCell<Trail> = RefCell::default();
}

/// What a file is written into.
pub enum Sink<'r> {
    /// A sibling that takes the name in the end; `old` gives chunks that it already has.
    Sibling { temp: Temp<'r>, old: Option<Arc<There>> },
    /// The file that is there. Nobody else has it open as a database meanwhile.
    InPlace { there: Arc<There>, _alone: InPlace<'r> },
}

impl<'r> Sink<'r> {
    /// The file that is there, ready to be written to; `None` if a sibling must do.
    pub fn in_place(task: &Task<'r>, there: &Arc<There>, len: u64, database: bool) -> Done<Option<Self>> {
        let dir = &task.dir;
        let Some(alone) = aside::begin_in_place(dir, task.name(), there, database)? else { return Ok(None) };
        // What was for all to read may not be what is written there now.
        let closed = there.stat.st_mode & task.node.mode & 0o7777;
        if there.stat.st_mode & 0o077 & !task.node.mode != 0
            && rustix::fs::fchmod(&*there.file, Mode::from_raw_mode(closed)).is_err()
        {
            return Ok(None);
        }
        if there.stat.st_size as u64 != len {
            door::set_len(&there.file, len).map_err(|e| cannot("set the length of the file", e))?;
        }
        Ok(Some(Self::InPlace { there: there.clone(), _alone: alone }))
    }

    /// The handle written to.
    pub fn file(&self) -> &File {
        match self {
            Self::Sibling { temp, .. } => &temp.file,
            Self::InPlace { there, .. } => &there.file,
        }
    }

    /// Puts one piece where it belongs out of the repository, verified.
    pub fn fetch(&self, dir: &Dir<'_>, piece: &Piece) -> Done<()> {
        let written = |done: std::io::Result<()>| done.map_err(|e| cannot("write the file", e));
        let reader = dir.run.reader;
        if !matches!(piece.entry, Entry::Hole { .. }) {
            await_turn(dir, piece);
        }
        match &piece.entry {
            Entry::Chunk { id, len } => {
                let bytes = TRAIL.with_borrow_mut(|trail| reader.chunk_along(*id, *len, trail))?;
                written(match self {
                    Self::Sibling { temp, .. } => temp.line.write(&temp.file, piece.offset, bytes),
                    Self::InPlace { there, .. } => there.file.write_all_at(&bytes, piece.offset),
                })?;
            }
            Entry::Inline { bytes } => written(self.file().write_all_at(bytes, piece.offset))?,
            hole => {
                if matches!(self, Self::InPlace { .. }) {
                    written(door::clear_range(self.file(), piece.offset, hole.content_len()))?;
                }
            }
        }
        count(&dir.run.counts.bytes, piece.entry.content_len());
        Ok(())
    }

    /// Takes one chunk from the file that is replaced, where it was found a moment ago. It is verified where it
    /// comes to lie: the old file may have changed since. `false`: it must come out of the repository.
    pub fn reuse(&self, dir: &Dir<'_>, piece: &Piece) -> Done<bool> {
        let len = piece.entry.content_len();
        let Self::Sibling { temp, old: Some(old) } = self else { return Ok(true) };
        await_turn(dir, piece);
        if let Err(error) = door::copy_range(&old.file, &temp.file, piece.offset, len) {
            if let full @ Trouble::Full(_) = cannot("write the file", error) {
                return Err(full);
            }
            return Ok(false);
        }
        if !holds(dir, &temp.file, piece)? {
            return Ok(false);
        }
        count(&dir.run.counts.reused, len);
        Ok(true)
    }

    /// What is written is worth keeping only if the user stopped the run: where a failure elsewhere ended it, a full disk above
    /// all, its room is wanted. In place there is no way back.
    pub fn give_up(&self, run: &Run<'_>, trouble: Trouble) -> Trouble {
        let interrupted = matches!(trouble, Trouble::Stop(Error::Interrupted)) && run.is_stopped();
        match (self, trouble) {
            (Self::Sibling { temp, .. }, trouble) => {
                if !interrupted {
                    temp.discard();
                }
                trouble
            }
            (Self::InPlace { .. }, Trouble::Say(kind, message)) => {
                let message = format!("{message}; it is written in place and not whole: restore it again");
                Trouble::Say(kind, message)
            }
            (Self::InPlace { .. }, trouble) => trouble,
        }
    }

    /// All is written: the name, the metadata.
    pub fn finish(&self, task: &Task<'r>, old: bool) -> Done<()> {
        match self {
            Self::Sibling { temp, .. } => {
                if temp.sized {
                    door::flush(&temp.file).map_err(|e| {
                        temp.discard();
                        cannot("write the file", e)
                    })?;
                }
                task.place(temp, old)
            }
            Self::InPlace { there, .. } => {
                let flushed = door::flush(&there.file);
                flushed.map_err(|e| self.give_up(task.dir.run, cannot("write the file", e)))?;
                let stat = fstat(&*there.file).map_err(|e| cannot("look at the file", e))?;
                task.written(&there.file, Some(&stat))
            }
        }
    }
}

/// Files may be written only so fast.
fn await_turn(dir: &Dir<'_>, piece: &Piece) {
    if let Some(limit) = &dir.run.options.limit {
        limit.take(usize::try_from(piece.entry.content_len()).unwrap_or(usize::MAX));
    }
}

/// The file that was written in place is not what was written to it.
pub fn changed_meanwhile() -> Trouble {
    let message = "somebody wrote to it while it was written in place: it is not whole, restore it again";
    Trouble::Say(ProblemKind::Refused, message.to_owned())
}

fn in_use() -> Trouble {
    Trouble::Say(ProblemKind::Refused, "another restore is writing it".to_owned())
}

/// The temporary sibling.
pub struct Temp<'r> {
    dir: Arc<Dir<'r>>,
    /// Its content.
    pub file: File,
    /// Its name in the directory, if it has one.
    pub name: Option<Vec<u8>>,
    /// It was left by an interrupted run.
    pub left_over: bool,
    /// It had its length before its content.
    sized: bool,
    line: Line<BlobBytes>,
}

impl<'r> Temp<'r> {
    /// New, or taken over from an interrupted run. `shared`: part of it may share blocks with the old file, so
    /// that room for all of it would be too much to ask.
    pub fn open(task: &Task<'r>, pieces: &[Piece], len: u64, shared: bool) -> Done<Self> {
        let dir = &task.dir;
        let has_holes = pieces.iter().any(|p| matches!(p.entry, Entry::Hole { .. }));
        // Short, so that it is not worth going on from, and where no interrupted run has left anything.
        let may_be_nameless =
            dir.fresh && !has_holes && len < RESERVE_FROM_BYTES && dir.run.may_be_nameless();
        if may_be_nameless
            && aside::database_of(task.name()).is_none()
            && let Some(file) = door::create_nameless(&dir.file)
        {
            let (dir, line) = (dir.clone(), Line::default());
            return Ok(Self { dir, file, name: None, left_over: false, sized: false, line });
        }
        Self::open_named(task, pieces, len, shared || has_holes)
    }

    fn open_named(task: &Task<'r>, pieces: &[Piece], len: u64, sparse: bool) -> Done<Self> {
        let dir = &task.dir;
        let holes = || pieces.iter().filter(|p| matches!(p.entry, Entry::Hole { .. }));
        let name = door::temp_name(task.name(), dir.temp_salt);
        let of = |file, name: Vec<u8>, left_over| {
            let (dir, line) = (dir.clone(), Line::default());
            Self { dir, file, name: Some(name), left_over, sized: left_over, line }
        };
        let make = || door::create_new(&dir.file, &name).map_err(|e| cannot("make the file", e));
        if let Some(file) = make()? {
            // Who came between took it for a leftover.
            return if door::claim(&file) { of(file, name, false).sized(len, sparse) } else { Err(in_use()) };
        }
        let left = door::open_leftover(&dir.file, &name, dir.run.me.0).ok().flatten();
        if let Some((file, _)) = left {
            // Without its temporary name it is somebody's file by now, whole and in its place.
            let mine = door::claim(&file) && door::is_under(&dir.file, &name, &file).unwrap_or(false);
            if !mine {
                return Err(in_use());
            }
            let is_whole = door::set_len(&file, len).is_ok()
                && holes().all(|hole| door::punch(&file, hole.offset, hole.entry.content_len()));
            if is_whole {
                return Ok(of(file, name, true));
            }
        }
        let taken = |e: Errno| cannot("free its temporary name", e);
        door::clear(&dir.file, &name).map_err(taken)?;
        match make()? {
            Some(file) if door::claim(&file) => of(file, name, false).sized(len, sparse),
            Some(_) => Err(in_use()),
            None => Err(taken(Errno::EXIST)),
        }
    }

    fn sized(mut self, len: u64, sparse: bool) -> Done<Self> {
        // Any other is written from front to back, and as long as what was written.
        self.sized = sparse || len >= TOGETHER_FROM_BYTES;
        let done = if sparse {
            door::set_len(&self.file, len)
        } else if len >= RESERVE_FROM_BYTES {
            door::reserve(&self.file, len, self.sized)
        } else {
            Ok(())
        };
        match done {
            Ok(()) => Ok(self),
            Err(e) => {
                self.discard();
                Err(cannot("make room for the file", e))
            }
        }
    }

    /// The same content under a temporary name: its own name is taken, or may not be given to it.
    pub fn with_name(&self, task: &Task<'r>) -> Done<Self> {
        let copied = |e: std::io::Error| cannot("write the file", e);
        let len = self.file.metadata().map_err(copied)?.len();
        let mut content = vec![0; usize::try_from(len).unwrap_or(0)];
        self.file.read_exact_at(&mut content, 0).map_err(copied)?;
        let named = Self::open_named(task, &[], len, false)?;
        match named.file.write_all_at(&content, 0) {
            Ok(()) => Ok(named),
            Err(error) => {
                named.discard();
                Err(copied(error))
            }
        }
    }

    /// Removes it.
    pub fn discard(&self) {
        let Some(name) = &self.name else { return };
        if let Err(error) = door::clear(&self.dir.file, name) {
            tracing::warn!(%error, "a temporary file stays behind");
        }
    }
}
