//! One file: what stands under its name, and what becomes of that.
//!
//! No byte is trusted for where it lies: what stands under the final name, or was left under the
//! temporary one by an interrupted run, is read and its ids recomputed ([`super::course`]).
//! The one exception was asked for: `--overwrite if-changed` trusts size and time.

use std::cell::RefCell;
use std::fs::File;
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, Stat, fstat};
use rustix::io::Errno;

use super::aside::{self, Aside};
use super::course;
use super::dir::Dir;
use super::links::{Announce, Origin, identity};
use super::meta::Before;
use super::run::{Done, Trouble, cannot, count};
use super::sink::Temp;
use super::{Overwrite, delete, door, meta};
use crate::error::ProblemKind;
use crate::format::content::Entry;
use crate::format::tree::{CAPTURE_SQLITE, MARK_CHANGED, MARK_INCOMPLETE, Node};
use crate::id::BlobKind;
use crate::repo::trees::Piece;
use crate::source::sqlite::Guarded;

/// A file to be restored.
pub struct Task<'r> {
    /// Where to.
    pub dir: Arc<Dir<'r>>,
    /// What.
    pub node: Node,
    /// Its path in the snapshot.
    pub path: Vec<u8>,
    /// Tells names that are to be linked to it.
    pub announce: Option<Announce>,
}

/// What stands under a file's name.
pub enum Standing {
    /// Nothing of use. Is there something to be replaced?
    Free {
        /// There is.
        old: bool,
    },
    /// Something that is to be left alone.
    Keep,
    /// A file whose content is not to be looked at: size and time are right.
    Trusted(Guarded, Stat),
    /// A file that may hold some or all of what is wanted.
    There(There),
}

/// A file that is there.
pub struct There {
    /// Its handle.
    pub file: Guarded,
    /// What it was when it was opened.
    pub stat: Stat,
    /// Right if its content is: as long as it is to be, and what its metadata are changed to hits no other name.
    pub adoptable: bool,
    /// Open for writing, and to be written in place.
    pub in_place: bool,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<'r> Task<'r> {
    /// Its name in the target.
    pub fn name(&self) -> &[u8] {
        &self.node.name
    }

    /// What is in its way?
    pub fn standing(&self, len: u64) -> Done<Standing> {
        let (dir, run) = (&self.dir, self.dir.run);
        let looked = |e: std::io::Error| cannot("look at what stands there", e);
        if dir.fresh && run.replaces_all() {
            return Ok(Standing::Free { old: false });
        }
        let Some(stat) = door::look(&dir.file, self.name()).map_err(looked)? else {
            return Ok(Standing::Free { old: false });
        };
        if !run.replaces(&self.node, &stat) {
            return Ok(Standing::Keep);
        }
        match door::type_of(&stat) {
            FileType::Directory if !run.options.delete => Err(in_the_way()),
            FileType::RegularFile => Ok(self.regular(len)),
            _ => Ok(Standing::Free { old: true }),
        }
    }

    fn regular(&self, len: u64) -> Standing {
        let (dir, run) = (&self.dir, self.dir.run);
        let open = |access| door::open_regular(&dir.file, self.name(), access).ok().flatten();
        // Other names of a file with several would change too.
        let only_name = |stat: &Stat| stat.st_nlink == 1;
        let writable = run.options.in_place.then(|| open(OFlags::RDWR)).flatten();
        let writable = writable.filter(|(_, stat)| only_name(stat));
        let in_place = writable.is_some();
        // Not readable: it is replaced, which takes no permission on the file.
        let Some((file, stat)) = writable.or_else(|| open(OFlags::RDONLY)) else {
            return Standing::Free { old: true };
        };
        let alike = stat.st_size as u64 == len;
        let adoptable = alike && (only_name(&stat) || meta::is_right(run, &stat, &self.node));
        // The time of a captured database is that of its main file, which may lack what its log had.
        let trusts = run.options.overwrite == Overwrite::IfChanged && self.node.capture != CAPTURE_SQLITE;
        if trusts && adoptable && meta::same_mtime(&stat, &self.node) {
            return Standing::Trusted(file.into(), stat);
        }
        Standing::There(There { file: file.into(), stat, adoptable, in_place })
    }

    /// It is there already, and right but for metadata.
    pub fn adopt(&self, file: &File, stat: &Stat, len: u64) -> Done<()> {
        let run = self.dir.run;
        if aside::has_logs(&self.dir, self.name())
            && let Some(aside) = aside::make_way(&self.dir, self.name(), file)?
        {
            aside.finish();
        }
        meta::apply(run, file, &self.node, Before::There(stat), &self.path);
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

    /// All of its content is in `temp`: gives it its name, then its metadata. `old`: something stood there that is
    /// to be replaced; else what came there meanwhile may be left alone.
    pub fn place(&self, temp: &Temp<'r>, old: bool) -> Done<()> {
        if let Some(name) = &temp.name {
            return self.place_named(temp, name, old);
        }
        match door::link_nameless(&self.dir.file, &temp.file, self.name()) {
            Ok(()) => self.written(&temp.file, None),
            Err(error) => {
                if error != Errno::EXIST {
                    self.dir.run.name_all();
                }
                self.place(&temp.with_name(self)?, old)
            }
        }
    }

    fn place_named(&self, temp: &Temp<'r>, name: &[u8], old: bool) -> Done<()> {
        let (dir, run) = (&self.dir, self.dir.run);
        let way = aside::make_way(dir, self.name(), &temp.file).inspect_err(|_| temp.discard())?;
        let publish = || door::publish(&dir.file, name, self.name(), old || run.replaces_all());
        let placed = match publish() {
            Err(Errno::ISDIR | Errno::EXIST | Errno::NOTEMPTY) if delete::makes_way(dir, self.name()) => {
                publish()
            }
            placed => placed,
        };
        match placed {
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
        self.written(&temp.file, None)
    }

    /// Its content is in `file`, which has its name: the metadata. `was`: what it is, if it was there before.
    pub fn written(&self, file: &File, was: Option<&Stat>) -> Done<()> {
        let run = self.dir.run;
        let new = if self.dir.gives_us { Before::Ours } else { Before::New };
        meta::apply(run, file, &self.node, was.map_or(new, Before::There), &self.path);
        count(&run.counts.files, 1);
        run.progress.advance(1, 0);
        if self.announce.is_some() {
            let stat = fstat(file).map_err(|e| cannot("look at the file", e))?;
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
        let say = |kind, message| self.dir.run.problem(kind, &self.path, message);
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

    /// It was not done: says so, and keeps its directory from being cleared.
    pub fn failed(&self, trouble: Trouble) {
        self.dir.settle(&self.path, trouble);
    }

    /// Restores it, alone, from first to last.
    pub fn restore(&self) -> Done<()> {
        let (pieces, len) = self.dir.run.reader.pieces(&self.node.content)?;
        course::alone(self, &pieces, len)
    }

    /// A captured database that somebody has open is refused before anything is written.
    pub fn refuse_if_open(&self) -> Done<()> {
        match self.node.capture {
            CAPTURE_SQLITE => aside::refuse_if_open(&self.dir, self.name()),
            _ => Ok(()),
        }
    }
}

/// A directory is removed to make way for a file only where that was asked for.
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
