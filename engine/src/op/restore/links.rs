//! Hard links: names that were one file become one file again.
//!
//! The first name of a file is restored as any file is; later ones wait until it is in place and
//! are linked to it. Waiting cannot lock up: work is taken in order, so whoever waits does so
//! for something taken earlier. Memory: one entry for each file of which not all names have
//! come by yet.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rustix::fs::{AtFlags, OFlags, Stat, linkat};
use rustix::io::Errno;

use super::aside::{self, Aside};
use super::dir::Dir;
use super::door;
use crate::format::content::Entry;
use crate::format::tree::{Node, NodeKind};
use crate::source::sqlite::Guarded;

/// Where the first name of a file was restored, and as what.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Its path below the target.
    pub below: Vec<u8>,
    /// Device and inode.
    pub identity: (u64, u64),
}

/// Device and inode of what was looked at.
pub fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Waiting,
    There(Origin),
    Failed,
}

/// The first name of a file, for those that wait for it.
#[derive(Debug, Default)]
pub struct First {
    state: Mutex<State>,
    known: Condvar,
}

impl First {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits until it is in place; `None` if it will never be.
    fn wait(&self) -> Option<Origin> {
        let mut state = self.state();
        while matches!(*state, State::Waiting) {
            state = self.known.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        match &*state {
            State::There(origin) => Some(origin.clone()),
            _ => None,
        }
    }
}

/// Held by who restores the first name: says how it went, at the latest when dropped.
#[derive(Debug)]
pub struct Announce(Arc<First>);

impl Announce {
    /// It is in place.
    pub fn there(&self, origin: Origin) {
        *self.0.state() = State::There(origin);
        self.0.known.notify_all();
    }
}

impl Drop for Announce {
    fn drop(&mut self) {
        let mut state = self.0.state();
        if matches!(*state, State::Waiting) {
            *state = State::Failed;
        }
        drop(state);
        self.0.known.notify_all();
    }
}

/// What a name is among the names of its file.
#[derive(Debug)]
pub enum Role {
    /// The only one.
    Alone,
    /// The first.
    First(Announce),
    /// One that is linked to the first.
    Later(Arc<First>),
}

struct Group {
    content: Vec<Entry>,
    first: Arc<First>,
    left: u64,
}

/// Files of which not all names have come by.
#[derive(Default)]
pub struct Groups(HashMap<(u64, u64), Group>);

impl Groups {
    /// The role of a node, which come in the order in which they are worked on.
    pub fn role(&mut self, node: &Node) -> Role {
        if node.kind != NodeKind::File || node.nlink < 2 {
            return Role::Alone;
        }
        match self.0.entry((node.device, node.inode)) {
            Slot::Vacant(slot) => {
                let first = Arc::<First>::default();
                let content = node.content.clone();
                slot.insert(Group { content, first: first.clone(), left: node.nlink - 1 });
                Role::First(Announce(first))
            }
            // It changed between its names: they are no longer one file.
            Slot::Occupied(slot) if slot.get().content != node.content => Role::Alone,
            Slot::Occupied(mut slot) => {
                let first = slot.get().first.clone();
                slot.get_mut().left -= 1;
                if slot.get().left == 0 {
                    slot.remove();
                }
                Role::Later(first)
            }
        }
    }
}

/// What came of linking.
#[derive(Debug, PartialEq, Eq)]
pub enum Linked {
    /// The name is a link to the first now.
    Yes,
    /// It was already.
    Already,
    /// It must be restored as a file of its own.
    No,
}

/// Links `name` in `dir` to the first name of its file, once that is there. The way to it is
/// walked by handles from `top`, and what was linked is looked at afterwards.
pub fn link(top: &File, dir: &Dir<'_>, node: &Node, first: &First) -> Linked {
    let name = &node.name[..];
    let Some(origin) = first.wait() else { return Linked::No };
    let is_it = |name: &[u8]| {
        door::look(&dir.file, name).ok().flatten().is_some_and(|s| identity(&s) == origin.identity)
    };
    if !dir.fresh && is_it(name) {
        return Linked::Already;
    }
    // Looked at again when it gets its name: what came meanwhile is not replaced unseen.
    let stands = door::look(&dir.file, name).ok().flatten();
    let replaces = match &stands {
        Some(stat) => dir.run.replaces(node, stat),
        None => dir.run.replaces_all(),
    };
    let attempt = || -> Result<bool, Errno> {
        let (parent, from) = walk(top, &origin.below)?;
        let parent = parent.as_ref().unwrap_or(top);
        let temp = door::temp_name(name, dir.temp_salt);
        door::clear(&dir.file, &temp)?;
        linkat(parent, from, &dir.file, &temp[..], AtFlags::empty())?;
        if !is_it(&temp) {
            door::clear(&dir.file, &temp)?;
            return Ok(false);
        }
        Ok(true)
    };
    // A copy meets the same refusals, and says so.
    let place = || -> Result<bool, Errno> {
        let temp = door::temp_name(name, dir.temp_salt);
        let content = door::open_regular(&dir.file, &temp, OFlags::RDONLY).ok().flatten();
        let way = content.map(|(file, _)| Guarded::from(file)).map(|file| aside::make_way(dir, name, &file));
        let placed = match way.transpose() {
            Ok(way) => {
                let placed = door::publish(&dir.file, &temp, name, replaces);
                if placed == Ok(true) {
                    way.flatten().into_iter().for_each(Aside::finish);
                }
                placed
            }
            Err(_) => Ok(false),
        };
        if placed != Ok(true) {
            door::clear(&dir.file, &temp)?;
        }
        placed
    };
    match attempt().and_then(|linked| if linked { place() } else { Ok(false) }) {
        Ok(true) => Linked::Yes,
        Ok(false) => Linked::No,
        Err(error) => {
            tracing::debug!(%error, "not linked, a copy is made");
            Linked::No
        }
    }
}

/// The directory of a path below `top`, if it is not `top` itself, and the last name.
fn walk<'p>(top: &File, below: &'p [u8]) -> Result<(Option<File>, &'p [u8]), Errno> {
    let mut names = below.split(|b| *b == b'/');
    let last = names.next_back().unwrap_or_default();
    let mut at: Option<File> = None;
    for name in names {
        at = Some(door::open_dir(at.as_ref().unwrap_or(top), name)?);
    }
    Ok((at, last))
}
