//! Where things stand in a repository directory, and what of it is ours.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::LocalStore;
use crate::id::{ObjectKind, ObjectName};
use crate::store::fs::{FileKind, Fs};
use crate::store::is_object_name;

/// So many threads list the shelves of packs at most.
const MAX_LISTERS: usize = 4;
/// A thread is worth so many shelves.
const MIN_SHELVES: usize = 32;

impl LocalStore {
    pub(super) fn directory_of(&self, kind: ObjectKind) -> PathBuf {
        match kind {
            ObjectKind::Config => self.root.clone(),
            kind => self.root.join(kind.directory()),
        }
    }

    /// Only for names that passed [`check_name`](crate::store::check_name).
    pub(super) fn path_of(&self, name: &ObjectName) -> PathBuf {
        let mut path = self.directory_of(name.kind);
        if name.kind == ObjectKind::Pack {
            path.push(&name.name[..2]);
        }
        path.join(&name.name)
    }

    /// Object names directly in `dir`; nothing where there is no such directory.
    pub(super) fn names_in(&self, kind: ObjectKind, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = match self.fs.list(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        names.retain(|(name, what)| *what == FileKind::File && is_object_name(kind, name));
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    pub(super) fn pack_names(&self, data: &Path) -> io::Result<Vec<String>> {
        let listed = match self.fs.list(data) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let mut shelves: Vec<String> = Vec::with_capacity(listed.len());
        for (shelf, what) in listed {
            if what != FileKind::File && crate::id::from_hex::<1>(&shelf).is_some() {
                shelves.push(shelf);
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_LISTERS);
        let each = shelves.len().div_ceil(threads).max(MIN_SHELVES);
        let list = |part: &[String]| -> io::Result<Vec<String>> {
            let mut all = Vec::new();
            for shelf in part {
                self.add_shelf(data, shelf, &mut all)?;
            }
            Ok(all)
        };
        if shelves.len() <= each {
            return list(&shelves);
        }
        std::thread::scope(|scope| {
            let start = |part| std::thread::Builder::new().spawn_scoped(scope, move || list(part)).ok();
            let parts: Vec<_> = shelves.chunks(each).map(|part| (part, start(part))).collect();
            let mut all = Vec::new();
            for (part, lister) in parts {
                let lister_died = |_| io::Error::other("a thread that listed packs died");
                // Where there may be no more threads, this one does it.
                let listed = lister.map_or_else(|| Ok(list(part)), |l| l.join().map_err(lister_died));
                all.append(&mut listed??);
            }
            Ok(all)
        })
    }

    fn add_shelf(&self, data: &Path, shelf: &str, all: &mut Vec<String>) -> io::Result<()> {
        let names = match self.names_in(ObjectKind::Pack, &data.join(shelf)) {
            Err(e) if e.kind() == io::ErrorKind::NotADirectory => return Ok(()),
            other => other?,
        };
        // On another shelf than its own it would not be found by its name.
        all.extend(names.into_iter().filter(|name| name.starts_with(shelf)));
        Ok(())
    }
}

/// The longest part of `path` that exists, without links, and the rest as it is
/// spelt: the same before and after the repository is made.
pub(super) fn canonical(fs: &dyn Fs, path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut existing = absolute.as_path();
    loop {
        match fs.canonical(existing) {
            Ok(mut found) => {
                for part in missing.into_iter().rev() {
                    match part {
                        Component::ParentDir => drop(found.pop()),
                        part => found.push(part),
                    }
                }
                return Ok(found);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        missing.extend(existing.components().next_back());
        existing = existing.parent().ok_or(io::ErrorKind::NotFound)?;
    }
}
