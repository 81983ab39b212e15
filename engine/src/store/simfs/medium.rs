//! The state of a [`SimFs`](super::SimFs): inodes, each with what is cached and
//! what is on the medium, and the rule of what a crash leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::store::fs::Access;

pub(super) type Ino = u64;
pub(super) const ROOT: Ino = 0;

/// Is it this file or directory, by its path when it was opened?
pub(super) type Chosen = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

#[derive(Debug, Clone)]
pub(super) enum Body {
    File { cached: Vec<u8>, durable: Vec<u8> },
    Directory { cached: BTreeMap<String, Ino>, durable: BTreeMap<String, Ino> },
}

#[derive(Debug, Clone)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) access: Access,
    pub(super) modified_ns: i64,
}

/// What was asked of a [`SimFs`](super::SimFs) so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SimCounts {
    /// Calls that change something, flushes included.
    pub mutations: u64,
    /// Flushes of files.
    pub file_syncs: u64,
    /// Flushes of directories.
    pub dir_syncs: u64,
}

#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) inodes: BTreeMap<Ino, Inode>,
    pub(super) next_ino: Ino,
    pub(super) clock_ns: i64,
    pub(super) counts: SimCounts,
    pub(super) dies_at: Option<u64>,
    pub(super) dead: bool,
    pub(super) swallow: Option<Chosen>,
    pub(super) fail: Option<Chosen>,
    pub(super) piece_bytes: Option<usize>,
    pub(super) interrupts: u64,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) read_only: bool,
}

impl Body {
    /// Cache and medium become one; `choose(below)` picks what of the cache had reached it.
    pub(super) fn lose(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        match self {
            Self::File { cached, durable } => {
                if cached != durable {
                    match choose(4) {
                        0 => {}
                        1 => durable.clone_from(cached),
                        // Length written back, content only in part.
                        2 => {
                            let kept = usize::try_from(choose(cached.len() as u64 + 1)).unwrap_or(0);
                            durable.clone_from(cached);
                            durable[kept..].fill(0);
                        }
                        _ => {
                            let kept = usize::try_from(choose(cached.len() as u64 + 1)).unwrap_or(0);
                            *durable = cached[..kept].to_vec();
                        }
                    }
                }
                cached.clone_from(durable);
            }
            Self::Directory { cached, durable } => {
                let names: Vec<String> = cached.keys().chain(durable.keys()).cloned().collect();
                for name in names {
                    if cached.get(&name) != durable.get(&name) && choose(2) == 1 {
                        match cached.get(&name) {
                            Some(ino) => durable.insert(name, *ino),
                            None => durable.remove(&name),
                        };
                    }
                }
                cached.clone_from(durable);
            }
        }
    }
}

impl State {
    pub(super) fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("simulated crash")) } else { Ok(()) }
    }

    /// Before a call that flushes or changes.
    pub(super) fn count(&mut self) -> io::Result<()> {
        self.counts.mutations += 1;
        if self.dies_at.is_some_and(|n| self.counts.mutations >= n) {
            self.dead = true;
        }
        self.alive()
    }

    /// Before a call that changes.
    pub(super) fn mutate(&mut self) -> io::Result<()> {
        self.count()?;
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    pub(super) fn interrupted(&mut self, want: usize) -> io::Result<usize> {
        let Some(piece) = self.piece_bytes else { return Ok(want) };
        self.interrupts += 1;
        if self.interrupts % 2 == 1 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(want.min(piece)) }
    }

    pub(super) fn directory(&mut self, path: &Path) -> io::Result<&mut BTreeMap<String, Ino>> {
        let ino = self.find(path)?;
        match &mut self.inode(ino)?.body {
            Body::Directory { cached, .. } => Ok(cached),
            Body::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn inode(&mut self, ino: Ino) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Ino> {
        let mut at = ROOT;
        for part in path.components().filter(|part| matches!(part, std::path::Component::Normal(_))) {
            let inode = self.inodes.get(&at).ok_or(io::ErrorKind::NotFound)?;
            let Body::Directory { cached, .. } = &inode.body else {
                return Err(io::ErrorKind::NotADirectory.into());
            };
            let name = part.as_os_str().to_string_lossy();
            at = *cached.get(name.as_ref()).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    pub(super) fn add(&mut self, path: &Path, body: Body, access: Access) -> io::Result<Ino> {
        let (dir, name) = split(path)?;
        if self.directory(dir)?.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let ino = self.next_ino;
        self.next_ino += 1;
        self.clock_ns += 1_000_000;
        let modified_ns = self.clock_ns;
        self.inodes.insert(ino, Inode { body, access, modified_ns });
        self.directory(dir)?.insert(name.to_owned(), ino);
        Ok(ino)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ino = self.find(from)?;
        let (from_dir, from_name) = split(from)?;
        let (to_dir, to_name) = split(to)?;
        self.directory(to_dir)?.insert(to_name.to_owned(), ino);
        self.directory(from_dir)?.remove(from_name);
        Ok(())
    }

    /// Content of all files that still have a name.
    pub(super) fn used_bytes(&self) -> u64 {
        let mut named = BTreeSet::new();
        for inode in self.inodes.values() {
            if let Body::Directory { cached, .. } = &inode.body {
                named.extend(cached.values());
            }
        }
        let size = |ino: &Ino| match self.inodes.get(ino).map(|inode| &inode.body) {
            Some(Body::File { cached, .. }) => cached.len() as u64,
            _ => 0,
        };
        named.iter().map(size).sum()
    }

    /// Counts a flush; false when it is to be swallowed.
    pub(super) fn flushes(&mut self, path: &Path) -> io::Result<bool> {
        self.count()?;
        let chosen = |by: &Option<Chosen>| by.as_ref().is_some_and(|chosen| chosen(path));
        if chosen(&self.fail) {
            Err(io::Error::other("simulated failure to flush"))
        } else {
            Ok(!chosen(&self.swallow))
        }
    }

    pub(super) fn sync_file(&mut self, ino: Ino, path: &Path) -> io::Result<()> {
        self.counts.file_syncs += 1;
        let honest = self.flushes(path)?;
        if let (Body::File { cached, durable }, true) = (&mut self.inode(ino)?.body, honest) {
            durable.clone_from(cached);
        }
        Ok(())
    }
}

pub(super) fn split(path: &Path) -> io::Result<(&Path, &str)> {
    let name = path.file_name().and_then(|name| name.to_str());
    path.parent().zip(name).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
