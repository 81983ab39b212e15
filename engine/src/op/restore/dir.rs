//! A directory of the target while something is restored into it.
//!
//! It is held by everything still to be done inside of it, directories below included. When the
//! last of them lets go, what is too much in it goes ([`delete`]) and its metadata is set: so a directory is done after all that is in it,
//! deepest first, without a list of directories. Open handles: the directories on the way to
//! the present one, and those of files that wait for a worker.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{FileType, Mode, fstat};
use rustix::io::Errno;

use super::meta::Before;
use super::plan::Kept;
use super::run::{Done, Run, Trouble, cannot, count};
use super::{delete, door, meta};
use crate::error::ProblemKind;
use crate::format::tree::{Node, check_name};
use crate::repo::lookup::join;

/// A directory to be entered: see [`super::plan::Step::Enter`].
pub struct Entry {
    /// The directory.
    pub node: Box<Node>,
    /// Its path in the snapshot.
    pub path: Vec<u8>,
    /// Wanted itself.
    pub wanted: bool,
    /// For [`door::temp_name`].
    pub temp_salt: u32,
    /// What is to stay in it, if all else is to go.
    pub kept: Option<Box<Kept>>,
}

/// See the module's words.
pub struct Dir<'r> {
    /// The run it belongs to.
    pub run: &'r Run<'r>,
    /// Its handle.
    pub file: File,
    /// Made by this run: nothing of others is expected in it.
    pub fresh: bool,
    /// Made by this run, it belongs to the user and group of this process: so does what is made in it, whether the
    /// file system takes the group from the process or from the directory.
    pub gives_us: bool,
    /// For [`door::temp_name`].
    pub temp_salt: u32,
    /// What is to stay in it, if all else is to go.
    pub kept: Option<Box<Kept>>,
    /// Its path below the target; empty for the target.
    below: Vec<u8>,
    /// Its path in the snapshot.
    source: Vec<u8>,
    /// Something in it was not restored.
    troubled: AtomicBool,
    /// It is not on the target's file system: there, nothing is removed.
    beyond: bool,
    parent: Option<Arc<Dir<'r>>>,
    /// What it is to be in the end; `None` leaves it as it is.
    becomes: Option<Box<Node>>,
}

impl<'r> Dir<'r> {
    /// The target. Its own metadata is its owner's business.
    pub fn top(
        run: &'r Run<'r>,
        file: File,
        fresh: bool,
        source: Vec<u8>,
        temp_salt: u32,
        kept: Option<Box<Kept>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            run,
            file,
            fresh,
            gives_us: false,
            temp_salt,
            kept,
            below: Vec::new(),
            source,
            troubled: AtomicBool::new(false),
            beyond: false,
            parent: None,
            becomes: None,
        })
    }

    /// Makes a directory in it, or enters the one that stands there; never through a link.
    pub fn enter(self: &Arc<Self>, entry: Entry) -> Done<Arc<Self>> {
        let Entry { node, path, wanted, temp_salt, kept } = entry;
        check_name(&node.name).map_err(|e| Trouble::Say(ProblemKind::Refused, e.0))?;
        let make = || door::make_dir(&self.file, &node.name).map_err(|e| cannot("make the directory", e));
        let mut fresh = make()?;
        let file = match door::open_dir(&self.file, &node.name) {
            Ok(file) => file,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                self.make_way(&node)?;
                fresh = make()?;
                door::open_dir(&self.file, &node.name).map_err(|e| cannot("open the directory", e))?
            }
            Err(Errno::ACCESS) if !fresh => self.open_closed(&node.name)?,
            Err(e) => return Err(cannot("open the directory", e)),
        };
        let stat = fstat(&file).map_err(|e| cannot("look at the directory", e))?;
        let is_ours = !self.run.is_root() && stat.st_uid == self.run.me.0;
        if !fresh && is_ours && stat.st_mode & 0o300 != 0o300 {
            rustix::fs::fchmod(&file, door::PRIVATE_DIR).map_err(|e| cannot("open the directory", e))?;
        }
        let below = self.below_of(&node.name);
        let entered = self.run.enters_device(&file, stat.st_dev, &below);
        entered.map_err(|e| cannot("open the directory", e))?;
        count(&self.run.counts.directories, 1);
        let touched = fresh || (wanted && self.run.replaces(&node, &stat));
        let is_mounted = || matches!(door::open_dir_here(&self.file, &node.name), Err(Errno::XDEV));
        let beyond = self.beyond || (kept.is_some() && !fresh && is_mounted());
        Ok(Arc::new(Self {
            run: self.run,
            file,
            fresh,
            gives_us: fresh && (stat.st_uid, stat.st_gid) == self.run.me,
            temp_salt,
            kept: kept.filter(|_| !fresh),
            below,
            source: path,
            troubled: AtomicBool::new(false),
            beyond,
            parent: Some(self.clone()),
            becomes: touched.then_some(node),
        }))
    }

    /// A file stands where a directory must be: it is replaced as any file is. A link is not even
    /// removed: someone wanted it there, and it is no file of ours.
    fn make_way(&self, node: &Node) -> Done<()> {
        let name = &node.name[..];
        let stat = door::look(&self.file, name).map_err(|e| cannot("look at what stands there", e))?;
        let refuse = |why: &str| Err(Trouble::Say(ProblemKind::Refused, why.to_owned()));
        match stat.map(|s| (door::type_of(&s), s)) {
            Some((FileType::Symlink, _)) => {
                refuse("a symbolic link stands where a directory must be; nothing was restored below it")
            }
            Some((_, stat)) if !self.run.replaces(node, &stat) => {
                refuse("something else stands where a directory must be; nothing was restored below it")
            }
            _ => door::clear(&self.file, name).map_err(|e| cannot("replace what stands there", e)),
        }
    }

    /// A directory of ours that its mode closes even to us, as an earlier restore left it.
    fn open_closed(&self, name: &[u8]) -> Done<File> {
        let open = || -> Result<File, Errno> {
            let handle = door::handle(&self.file, name)?;
            let stat = fstat(&handle)?;
            if door::type_of(&stat) != FileType::Directory || stat.st_uid != self.run.me.0 {
                return Err(Errno::ACCESS);
            }
            rustix::fs::chmod(door::proc_path(&handle), Mode::RWXU)?;
            door::open_dir(&self.file, name)
        };
        open().map_err(|e| cannot("open the directory", e))
    }

    /// Path of a name in it, below the target.
    pub fn below_of(&self, name: &[u8]) -> Vec<u8> {
        if self.below.is_empty() { name.to_vec() } else { join(&self.below, name) }
    }

    /// Its path below the target.
    pub fn below(&self) -> &[u8] {
        &self.below
    }

    /// Path of a name in it, in the snapshot.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        join(&self.source, name)
    }

    /// Its own path in the snapshot.
    pub fn path(&self) -> Vec<u8> {
        self.source.clone()
    }

    /// Deals with what became of `path`, which is in it.
    pub fn settle(&self, path: &[u8], trouble: Trouble) {
        self.trouble();
        self.run.settle(path, trouble);
    }

    /// Something in it was not restored.
    pub fn trouble(&self) {
        self.troubled.store(true, Ordering::Relaxed);
    }

    /// See [`Dir::trouble`].
    pub fn is_troubled(&self) -> bool {
        self.troubled.load(Ordering::Relaxed)
    }

    /// May something be removed from it, as far as the snapshot and the file system go?
    pub fn may_clear(&self) -> bool {
        !self.beyond && self.kept.as_ref().is_some_and(|kept| self.run.unsure.knows(kept))
    }
}

impl Drop for Dir<'_> {
    fn drop(&mut self) {
        if !self.run.is_aborted() {
            delete::finish(self);
        }
        if let (Some(node), false) = (self.becomes.take(), self.run.is_aborted()) {
            let stat = if self.fresh { None } else { fstat(&self.file).ok() };
            let new = if self.gives_us { Before::Ours } else { Before::New };
            let before = stat.as_ref().map_or(new, Before::There);
            meta::apply(self.run, &self.file, &node, before, &self.path());
        }
        // In a loop, not in each other: trees may be thousands of directories deep.
        let mut next = self.parent.take();
        while let Some(mut above) = next.and_then(Arc::into_inner) {
            next = above.parent.take();
        }
    }
}
