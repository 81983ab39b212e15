//! One file: what stands there, the temporary sibling, and how that becomes the file.
//!
//! No byte is trusted for where it lies: what stands under the final name, or was left under the
//! temporary one by an interrupted run, is read and its ids recomputed. An error removes the
//! temporary file; an interruption leaves it, to go on from.
//!
//! Memory: one chunk for each worker, and one buffer of a chunk to compare with.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;

use super::aside::{self, Aside};
use super::dir::Dir;
use super::links::{Announce, Origin, identity};
use super::run::{Done, Trouble, cannot, count};
use super::{door, meta};
use crate::error::{Error, ProblemKind};
use crate::format::content::Entry;
use crate::format::tree::{CAPTURE_SQLITE, MARK_CHANGED, MARK_INCOMPLETE, Node};
use crate::id::BlobKind;
use crate::repo::trees::Piece;
use crate::source::sqlite::Guarded;

/// Files from here on have their room reserved at once.
const RESERVE_FROM_BYTES: u64 = 1 << 20;

/// A file to be restored.
pub struct Task<'r> {
    /// Where to.
    pub dir: Arc<Dir<'r>>,
    /// What.
    pub node: Node,
    /// Tells names that are to be linked to it.
    pub announce: Option<Announce>,
}

/// What stands under a file's name.
pub enum Standing {
    /// Nothing, or something to be replaced.
    Free,
    /// Something that is to be left alone.
    Keep,
    /// A file of the right length: it may be right already.
    Candidate(Guarded, Stat),
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<'r> Task<'r> {
    fn name(&self) -> &[u8] {
        &self.node.name
    }

    /// Its path in the snapshot.
    pub fn path(&self) -> Vec<u8> {
        self.dir.path_of(self.name())
    }

    /// What is in its way?
    pub fn standing(&self, len: u64) -> Done<Standing> {
        let dir = &self.dir;
        let looked = |e: std::io::Error| cannot("look at what stands there", e);
        if dir.fresh && dir.run.replaces() {
            return Ok(Standing::Free);
        }
        let Some(stat) = door::look(&dir.file, self.name()).map_err(looked)? else {
            return Ok(Standing::Free);
        };
        if !dir.run.replaces() {
            return Ok(Standing::Keep);
        }
        match door::type_of(&stat) {
            FileType::Directory => Err(in_the_way()),
            FileType::RegularFile if stat.st_size as u64 == len => {
                // Not readable: it is replaced, which takes no permission on the file.
                let found = door::open_regular(&dir.file, self.name(), OFlags::RDONLY).ok().flatten();
                Ok(match found {
                    // Other names of it would change too.
                    Some((_, s)) if s.st_nlink > 1 && !meta::is_right(dir.run, &s, &self.node) => {
                        Standing::Free
                    }
                    Some((file, s)) if s.st_size as u64 == len => Standing::Candidate(file.into(), s),
                    _ => Standing::Free,
                })
            }
            _ => Ok(Standing::Free),
        }
    }

    /// It is there already, and right but for metadata.
    pub fn adopt(&self, file: &File, stat: &Stat, len: u64) -> Done<()> {
        let run = self.dir.run;
        if aside::has_logs(&self.dir, self.name())
            && let Some(aside) = aside::make_way(&self.dir, self.name(), file)?
        {
            aside.finish();
        }
        meta::apply(run, file, &self.node, Some(stat), &self.path());
        count(&run.counts.skipped, 1);
        run.progress.advance(1, len);
        self.announced(stat);
        Ok(())
    }

    /// It is left as it is.
    pub fn leave(&self) {
        count(&self.dir.run.counts.skipped, 1);
        self.dir.run.progress.advance(1, self.node.size);
    }

    /// All of its content is in `temp`: gives it its name, then its metadata.
    pub fn place(&self, temp: &Temp<'r>) -> Done<()> {
        let (dir, run) = (&self.dir, self.dir.run);
        let way = aside::make_way(dir, self.name(), &temp.file).inspect_err(|_| temp.discard())?;
        match door::publish(&dir.file, &temp.name, self.name(), run.replaces()) {
            Ok(true) => way.into_iter().for_each(Aside::finish),
            Ok(false) => {
                self.leave();
                return Ok(());
            }
            Err(e) => {
                temp.discard();
                return Err(match e {
                    Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY => in_the_way(),
                    e => cannot("put the file in place", e),
                });
            }
        }
        meta::apply(run, &temp.file, &self.node, None, &self.path());
        count(&run.counts.files, 1);
        run.progress.advance(1, 0);
        if self.announce.is_some() {
            let stat = fstat(&temp.file).map_err(|e| cannot("look at the file", e))?;
            self.announced(&stat);
        }
        self.say_marks();
        Ok(())
    }

    fn announced(&self, stat: &Stat) {
        if let Some(announce) = &self.announce {
            announce.there(Origin { below: self.dir.below_of(self.name()), identity: identity(stat) });
        }
    }

    fn say_marks(&self) {
        let say = |kind, message| self.dir.run.problem(kind, &self.path(), message);
        if self.node.marks & MARK_INCOMPLETE != 0 {
            say(
                ProblemKind::Unreadable,
                "restored as recorded: part of it could not be read for the snapshot",
            );
        }
        if self.node.marks & MARK_CHANGED != 0 {
            say(ProblemKind::Changed, "restored as recorded: it changed while it was read for the snapshot");
        }
    }

    /// Restores it, alone, from first to last.
    pub fn restore(&self) -> Done<()> {
        let run = self.dir.run;
        let (pieces, len) = run.reader.pieces(&self.node.content)?;
        match self.standing(len)? {
            Standing::Keep => {
                self.leave();
                return Ok(());
            }
            Standing::Candidate(file, stat) => {
                if self.holds_all(&file, &pieces)? && aside::keeps(&self.dir, self.name(), &stat) {
                    return self.adopt(&file, &stat, len);
                }
            }
            Standing::Free => {}
        }
        self.refuse_if_open()?;
        let temp = Temp::open(self, &pieces, len)?;
        for piece in &pieces {
            if let Err(trouble) = temp.fill(piece) {
                temp.discard_unless_interrupted(&trouble);
                return Err(trouble);
            }
        }
        self.place(&temp)
    }

    /// A captured database that somebody has open is refused before anything is written.
    pub fn refuse_if_open(&self) -> Done<()> {
        match self.node.capture {
            CAPTURE_SQLITE => aside::refuse_if_open(&self.dir, self.name()),
            _ => Ok(()),
        }
    }

    fn holds_all(&self, file: &File, pieces: &[Piece]) -> Done<bool> {
        for piece in pieces {
            self.dir.run.check()?;
            if !holds(&self.dir, file, piece)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A directory is never removed to make way for a file.
pub fn in_the_way() -> Trouble {
    Trouble::Say(ProblemKind::Refused, "a directory stands in its place".to_owned())
}

/// Does the file have these bytes there? Ids are recomputed, zeros looked at.
pub fn holds(dir: &Dir<'_>, file: &File, piece: &Piece) -> Done<bool> {
    let end = piece.offset + piece.entry.content_len();
    let read =
        |buffer: &mut [u8], at| door::read_at(file, buffer, at).map_err(|e| cannot("read the file", e));
    BUFFER.with_borrow_mut(|buffer| match &piece.entry {
        Entry::Chunk { id, len } => {
            let len = *len as usize;
            if !door::has_data(file, piece.offset, end) && len >= 64 << 10 {
                return Ok(false); // Room that was never written to: not worth reading.
            }
            buffer.resize(buffer.len().max(len), 0);
            let bytes = &mut buffer[..len];
            Ok(read(bytes, piece.offset)? && dir.run.reader.repo().blob_id(BlobKind::Chunk, bytes) == *id)
        }
        Entry::Inline { bytes: wanted } => {
            buffer.resize(buffer.len().max(wanted.len()), 0);
            let bytes = &mut buffer[..wanted.len()];
            Ok(read(bytes, piece.offset)? && *bytes == wanted[..])
        }
        _ => {
            const STEP: u64 = 1 << 20;
            let mut at = piece.offset;
            while at < end && door::has_data(file, at, end) {
                let len = usize::try_from(STEP.min(end - at)).unwrap_or(0);
                buffer.resize(buffer.len().max(len), 0);
                if !read(&mut buffer[..len], at)? || buffer[..len].iter().any(|b| *b != 0) {
                    return Ok(false);
                }
                at += len as u64;
            }
            Ok(true)
        }
    })
}

/// The temporary sibling.
pub struct Temp<'r> {
    dir: Arc<Dir<'r>>,
    /// Its content.
    pub file: File,
    /// Its name in the directory.
    pub name: Vec<u8>,
    /// It was left by an interrupted run.
    left_over: bool,
}

impl<'r> Temp<'r> {
    /// New, or taken over from an interrupted run.
    pub fn open(task: &Task<'r>, pieces: &[Piece], len: u64) -> Done<Self> {
        let dir = &task.dir;
        let name = door::temp_name(task.name(), dir.temp_salt);
        let make = || door::create_new(&dir.file, &name).map_err(|e| cannot("make the file", e));
        let holes = || pieces.iter().filter(|p| matches!(p.entry, Entry::Hole { .. }));
        if let Some(file) = make()? {
            return Self { dir: dir.clone(), file, name, left_over: false }
                .sized(len, holes().next().is_some());
        }
        let left = door::open_leftover(&dir.file, &name, dir.run.me.0).ok().flatten();
        if let Some((file, _)) = left {
            let is_whole = door::set_len(&file, len).is_ok()
                && holes().all(|hole| door::punch(&file, hole.offset, hole.entry.content_len()));
            if is_whole {
                return Ok(Self { dir: dir.clone(), file, name, left_over: true });
            }
        }
        let taken = |e: Errno| cannot("free its temporary name", e);
        door::clear(&dir.file, &name).map_err(taken)?;
        match make()? {
            Some(file) => {
                Self { dir: dir.clone(), file, name, left_over: false }.sized(len, holes().next().is_some())
            }
            None => Err(taken(Errno::EXIST)),
        }
    }

    fn sized(self, len: u64, sparse: bool) -> Done<Self> {
        let done = if sparse {
            door::set_len(&self.file, len)
        } else if len >= RESERVE_FROM_BYTES {
            door::reserve(&self.file, len)
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

    /// Puts one piece where it belongs, verified, unless it is there.
    pub fn fill(&self, piece: &Piece) -> Done<()> {
        let run = self.dir.run;
        run.check()?;
        let len = piece.entry.content_len();
        let written = |done: std::io::Result<()>| done.map_err(|e| cannot("write the file", e));
        if self.left_over && holds(&self.dir, &self.file, piece)? {
            let is_hole = matches!(piece.entry, Entry::Hole { .. });
            count(&run.counts.resumed, if is_hole { 0 } else { len });
        } else {
            if !matches!(piece.entry, Entry::Hole { .. }) {
                run.reader.repo().await_restored(usize::try_from(len).unwrap_or(usize::MAX));
            }
            match &piece.entry {
                Entry::Chunk { id, len } => {
                    written(self.file.write_all_at(&run.reader.chunk(*id, *len)?, piece.offset))?;
                }
                Entry::Inline { bytes } => written(self.file.write_all_at(bytes, piece.offset))?,
                _ => {}
            }
            count(&run.counts.bytes, len);
        }
        run.progress.advance(0, len);
        Ok(())
    }

    /// Removes it.
    pub fn discard(&self) {
        if let Err(error) = door::clear(&self.dir.file, &self.name) {
            tracing::warn!(%error, "a temporary file stays behind");
        }
    }

    /// What is written is worth keeping only if the run was stopped.
    pub fn discard_unless_interrupted(&self, trouble: &Trouble) {
        if !matches!(trouble, Trouble::Stop(Error::Interrupted)) {
            self.discard();
        }
    }
}
