//! One root, walked depth first, names in bytewise order: the order of trees.
//!
//! [`Walk`] is an iterator of [`Event`]s. Directories are entered and left, so
//! that whoever consumes them can build trees bottom-up with a stack as deep as
//! the tree; the walk itself does not recurse, and holds a bounded number of
//! open directories and the names of those it is in. Each name is looked at when its
//! turn comes, so its stat is as fresh as can be; what is gone by then is a
//! [`Problem`]. Links are not followed, so there are no circles.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
#[cfg(target_os = "linux")]
use rustix::io::Errno;

use super::at::{At, shown};
use super::exclude::{Exclude, Tag, Why};
use super::measure::{Measure, measure};
use super::meta::{Names, marks_for, node_of};
use super::stack::Stack;
use super::stat::Stat;
use crate::entropy::Clock;
use crate::error::{Problem, ProblemKind};
use crate::format::tree::{MARK_INCOMPLETE, Node, check_name};

/// Names of a directory asked for at a time.
#[cfg(target_os = "linux")]
const LISTED_BYTES: usize = 32 << 10;
/// Names looked at in all to size what one walk leaves out.
const MEASURE_BUDGET: u64 = 200_000;

/// What a walk meets.
#[derive(Debug)]
pub enum Event {
    /// A directory begins. Everything up to its [`Event::LeaveDir`] lies in it.
    EnterDir {
        /// Where it is.
        at: At,
        /// What it was.
        stat: Stat,
        /// Its node, without content.
        node: Node,
    },
    /// The directory entered last and not left yet ends.
    LeaveDir {
        /// Its path.
        path: PathBuf,
        /// Not all that is in it was met: its node must bear [`MARK_INCOMPLETE`].
        incomplete: bool,
    },
    /// Anything but a directory.
    Item {
        /// Where it is, for opening it.
        at: At,
        /// What it was.
        stat: Stat,
        /// Its node; that of a file lacks its content, and is marked if the file is young.
        node: Node,
    },
    /// A path of [`WalkContext::taken`]: its node is known from an earlier walk.
    Taken {
        /// The path.
        path: PathBuf,
    },
    /// Something could not be looked at or read.
    Problem(Problem),
    /// Something was left out.
    Excluded(Excluded),
}

/// Something that was left out, with its size as far as it was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excluded {
    /// Where it is. For [`Why::CacheTag`] and [`Why::Tag`] the tagged directory, for
    /// [`Why::OtherFileSystem`] the mount point: they are stored, their content is not.
    pub path: PathBuf,
    /// Why.
    pub why: Why,
    /// Is it a directory?
    pub is_dir: bool,
    /// Files in it, or 1.
    pub files: u64,
    /// Their length.
    pub bytes: u64,
    /// Was all of it counted? Else the figures are lower bounds. The repository,
    /// its cache and other file systems are not counted at all.
    pub whole: bool,
}

/// What all walks of a run share.
pub struct WalkContext {
    /// What is left out.
    pub exclude: Exclude,
    /// Names of owners.
    pub names: Names,
    /// Tells which files are young.
    pub clock: Arc<dyn Clock>,
    /// Absolute paths that an earlier walk of this run has been through: they are not
    /// walked again (roots that a new root contains).
    pub taken: BTreeSet<PathBuf>,
}

/// A walk under way.
pub struct Walk<'a> {
    context: &'a WalkContext,
    stack: Stack,
    pending: VecDeque<Event>,
    start: Option<PathBuf>,
    root_device: Option<u64>,
    budget: u64,
}

impl<'a> Walk<'a> {
    /// Of `root`: an absolute real path, of whatever type.
    pub fn new(root: &Path, context: &'a WalkContext) -> Self {
        Self {
            context,
            stack: Stack::default(),
            pending: VecDeque::new(),
            start: Some(root.to_owned()),
            root_device: None,
            budget: MEASURE_BUDGET,
        }
    }

    /// Of what is at a name now, instead of the `stat` of an earlier look; if that is a directory by now, of all that
    /// is in it.
    pub fn again(at: At, stat: &Stat, is_root: bool, context: &'a WalkContext) -> Self {
        let mut walk = Self::new(at.path(), context);
        walk.start = None;
        walk.root_device = Some(stat.device);
        walk.visit(at, is_root);
        walk
    }

    fn visit(&mut self, at: At, is_root: bool) {
        let looked_ns = self.context.clock.now_ns();
        let stat = match at.stat() {
            Ok(stat) => stat,
            // Nobody wanted it: programs that save by renaming have such files, for a moment.
            Err(e) if !is_root && is_gone(&e) && self.context.exclude.hides(at.path(), at.path(), false) => {
                return;
            }
            Err(e) => return self.lost(&at, &e),
        };
        if self.context.taken.contains(at.path()) {
            return self.pending.push_back(Event::Taken { path: at.path().to_owned() });
        }
        let exclude = &self.context.exclude;
        let verdict =
            if is_root { exclude.judge_root(at.path(), &stat) } else { exclude.judge(at.path(), &stat) };
        if let Some(why) = verdict {
            return self.leave_out(&at, &stat, why);
        }
        if stat.is_dir() {
            return self.enter(at, stat);
        }
        let (mut node, problems) = node_of(&at, &stat, &self.context.names);
        if stat.is_file() {
            node.marks |= marks_for(&stat, looked_ns);
        }
        let gone = problems.iter().any(|p| p.kind == ProblemKind::Vanished);
        self.report(problems);
        if !gone {
            self.pending.push_back(Event::Item { at, stat, node });
        }
    }

    fn enter(&mut self, at: At, looked: Stat) {
        let other = |stat: &Stat| self.root_device.is_some_and(|d| d != stat.device);
        if self.context.exclude.one_file_system() && other(&looked) {
            let (node, problems) = node_of(&at, &looked, &self.context.names);
            let path = at.path().to_owned();
            self.pending.push_back(Event::EnterDir { at: at.clone(), stat: looked, node });
            self.report(problems);
            self.leave_out(&at, &looked, Why::OtherFileSystem);
            return self.pending.push_back(Event::LeaveDir { path, incomplete: false });
        }
        // The handle's own stat: it and the names belong to the same directory.
        let opened = at.open(OFlags::DIRECTORY).and_then(|fd| Stat::of(&fd).map(|stat| (fd, stat)));
        let (fd, stat) = match opened {
            Ok(opened) => opened,
            Err(e) if is_gone(&e) => return self.lost(&at, &e),
            Err(e) => {
                let (mut node, mut problems) = node_of(&at, &looked, &self.context.names);
                node.marks |= MARK_INCOMPLETE;
                let path = at.path().to_owned();
                problems.push(problem(ProblemKind::Unreadable, &at, &format!("cannot be listed: {e}")));
                self.pending.push_back(Event::EnterDir { at, stat: looked, node });
                self.report(problems);
                return self.pending.push_back(Event::LeaveDir { path, incomplete: true });
            }
        };
        self.root_device.get_or_insert(stat.device);
        let (mut names, error) = list(&fd);
        let incomplete = error.is_some();
        let (mut node, mut problems) = node_of(&at, &stat, &self.context.names);
        if let Some(e) = error {
            node.marks |= MARK_INCOMPLETE;
            problems.push(problem(
                ProblemKind::Unreadable,
                &at,
                &format!("cannot be listed to its end: {e}"),
            ));
        }
        names.retain(|name| match check_name(name.as_bytes()) {
            Ok(()) => true,
            Err(e) => {
                problems.push(problem(ProblemKind::Refused, &at, &e));
                false
            }
        });
        let tag = self.context.exclude.tags().iter().find(|tag| is_tagged(&at, &fd, &names, tag));
        let names = tag.map_or(names, |tag| vec![tag.name.clone()]);
        self.stack.enter(&at, fd, &stat, names, incomplete);
        self.pending.push_back(Event::EnterDir { at: at.clone(), stat, node });
        // Within it: who leaves the directory out leaves them out, too.
        self.report(problems);
        if let Some(tag) = tag {
            self.leave_out_content(&at, &stat, tag);
        }
    }

    /// All but the tag itself is left out of a directory.
    fn leave_out_content(&mut self, at: &At, stat: &Stat, tag: &Tag) {
        self.leave_out(at, stat, tag.why);
        let kept = measure(&at.path().join(&tag.name), &mut self.budget);
        if let Some(Event::Excluded(excluded)) = self.pending.back_mut() {
            excluded.files = excluded.files.saturating_sub(kept.files);
            excluded.bytes = excluded.bytes.saturating_sub(kept.bytes);
        }
    }

    fn leave_out(&mut self, at: &At, stat: &Stat, why: Why) {
        let Measure { files, bytes, whole } = match why {
            Why::Pattern | Why::CacheTag | Why::Tag if stat.is_dir() => measure(at.path(), &mut self.budget),
            Why::Own | Why::OtherFileSystem => Measure { files: 0, bytes: 0, whole: false },
            _ => Measure { files: 1, bytes: if stat.is_file() { stat.size } else { 0 }, whole: true },
        };
        let path = at.path().to_owned();
        let is_dir = stat.is_dir();
        self.pending.push_back(Event::Excluded(Excluded { path, why, is_dir, files, bytes, whole }));
    }

    fn lost(&mut self, at: &At, error: &io::Error) {
        if is_gone(error) {
            self.report([problem(ProblemKind::Vanished, at, &"vanished before it was looked at")]);
        } else {
            self.report([problem(ProblemKind::Unreadable, at, &format!("cannot be looked at: {error}"))]);
        }
    }

    fn report(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.pending.extend(problems.into_iter().map(Event::Problem));
    }

    fn leave(&mut self) {
        let Some(left) = self.stack.leave() else { return };
        self.pending.push_back(Event::LeaveDir { path: left.path, incomplete: left.incomplete });
        if let Some((path, e)) = left.lost {
            let message = format!("cannot be returned to: {e}");
            self.pending.push_back(Event::Problem(Problem::new(
                ProblemKind::Vanished,
                shown(&path),
                message,
            )));
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some(event);
            }
            if let Some(root) = self.start.take() {
                match At::of_path(&root) {
                    Ok(at) => self.visit(at, true),
                    Err(e) => {
                        let kind = if is_gone(&e) { ProblemKind::Vanished } else { ProblemKind::Unreadable };
                        return Some(Event::Problem(Problem::new(kind, shown(&root), e)));
                    }
                }
            } else if let Some(at) = self.stack.next() {
                self.visit(at, false);
            } else if self.stack.is_empty() {
                return None;
            } else {
                self.leave();
            }
        }
    }
}

/// Names in a directory, sorted, and why there may be more. The handle's place in the directory is used up.
fn list(fd: &OwnedFd) -> (Vec<OsString>, Option<io::Error>) {
    let mut names = Vec::new();
    let error = each_name(fd, |name| {
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name.to_vec()));
        }
    });
    names.sort_unstable();
    (names, error.err())
}

#[cfg(target_os = "linux")]
fn each_name(fd: &OwnedFd, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = [const { std::mem::MaybeUninit::uninit() }; LISTED_BYTES];
    let mut dir = rustix::fs::RawDir::new(fd, &mut buffer);
    loop {
        match dir.next() {
            Some(Ok(entry)) => take(entry.file_name().to_bytes()),
            // Removed meanwhile: nothing is in it.
            None | Some(Err(Errno::NOENT)) => return Ok(()),
            Some(Err(Errno::INTR)) => {}
            Some(Err(e)) => return Err(e.into()),
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn each_name(fd: &OwnedFd, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut dir = rustix::fs::Dir::new(fd.try_clone()?)?;
    while let Some(entry) = dir.read() {
        take(entry?.file_name().to_bytes());
    }
    Ok(())
}

fn problem(kind: ProblemKind, at: &At, message: &dyn std::fmt::Display) -> Problem {
    Problem::new(kind, shown(at.path()), message)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP))
}

/// Does the directory say so? By anything of the tag's name or, if the tag has a header, by a regular file
/// that begins with it.
fn is_tagged(at: &At, fd: &OwnedFd, names: &[OsString], tag: &Tag) -> bool {
    let found = names.binary_search_by(|name| name.as_os_str().cmp(&tag.name)).is_ok();
    let signed = || -> io::Result<bool> {
        let named = At::new(Arc::new(fd.try_clone()?), tag.name.clone(), at.path().join(&tag.name));
        let file = std::fs::File::from(named.open(OFlags::empty())?);
        let mut head = vec![0; tag.header.len()];
        Ok(Stat::of(&file)?.is_file() && file.read_exact_at(&mut head, 0).is_ok() && head == tag.header)
    };
    found && (tag.header.is_empty() || signed().unwrap_or(false))
}
