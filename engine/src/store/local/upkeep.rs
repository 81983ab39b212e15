//! What is in the directory beside objects: the reserve, and temporary files of killed puts.

use std::io;
use std::path::{Path, PathBuf};

use crate::entropy::{Entropy, KernelEntropy};
use crate::store::fs::{Access, FileKind, Fs};

/// Name of the reserve below the repository.
const RESERVE_FILE: &str = "reserve";

/// Writes the reserve unless it is there in that length. Random, since a file system that
/// compresses keeps nothing free for zeros.
pub fn make_reserve(fs: &dyn Fs, root: &Path, bytes: u64, access: Access) -> io::Result<()> {
    let path = root.join(RESERVE_FILE);
    match fs.stat(&path) {
        Ok(known) if known.kind == FileKind::File && known.size_bytes == bytes => return Ok(()),
        Ok(known) if known.kind == FileKind::File => fs.remove(&path)?,
        Ok(_) => return Err(super::super::fs::not_a_file()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut seed = [0; 32];
    KernelEntropy.fill(&mut seed).map_err(io::Error::other)?;
    let mut noise = blake3::Hasher::new_keyed(&seed).finalize_xof();
    let mut buffer = vec![0; 1 << 20];
    let mut file = fs.create(&path, access)?;
    let mut write = || -> io::Result<()> {
        let mut left = bytes;
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            noise.fill(&mut buffer[..part]);
            super::write_all(&mut *file, &buffer[..part])?;
            left -= part as u64;
        }
        file.sync()
    };
    write().and_then(|()| fs.sync_dir(root)).inspect_err(|_| drop(fs.remove(&path)))
}

/// Removes the reserve; its length, 0 if there is none.
pub fn release_reserve(fs: &dyn Fs, root: &Path) -> io::Result<u64> {
    let path = root.join(RESERVE_FILE);
    match fs.stat(&path) {
        Ok(known) if known.kind == FileKind::File => {
            fs.remove(&path)?;
            fs.sync_dir(root)?;
            Ok(known.size_bytes)
        }
        Ok(_) => Ok(0),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(e),
    }
}

/// Is it a name that a put gives before the final one: `.<name>.<random>.tmp`?
fn is_temporary(name: &str) -> bool {
    name.strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(".tmp"))
        .and_then(|rest| rest.rsplit_once('.'))
        .is_some_and(|(object, random)| {
            !object.is_empty() && random.len() >= 17 && random.bytes().all(|b| b.is_ascii_hexdigit())
        })
}

/// Removes temporary files in `dirs`, and one level below those that `deep` says, last changed
/// before `before_ns`; how many.
pub fn sweep(fs: &dyn Fs, dirs: &[(PathBuf, bool)], before_ns: i64) -> io::Result<u64> {
    let mut removed = 0;
    for (dir, deep) in dirs {
        let names = match fs.list(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            names => names?,
        };
        for (name, kind) in names {
            let path = dir.join(&name);
            match kind {
                FileKind::Directory if *deep && name.len() == 2 => {
                    removed += sweep(fs, &[(path, false)], before_ns)?;
                }
                FileKind::File
                    if is_temporary(&name)
                        && fs.stat(&path).is_ok_and(|known| known.modified_ns < before_ns) =>
                {
                    fs.remove(&path)?;
                    removed += 1;
                }
                _ => {}
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::os_fs::OsFs;

    #[test]
    fn only_old_temporary_files_go() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("ab");
        std::fs::create_dir(&below).unwrap();
        let old = [".abc.0123456789abcdef0.tmp", "ab/.abc.0123456789abcdef12.tmp"];
        let other =
            ["config", ".hidden", ".x.tmp", "ab/abc.0123456789abcdef0.tmp", ".abc.zz23456789abcdef0.tmp"];
        for name in old.iter().chain(&other) {
            drop(std::fs::File::create(dir.path().join(name)).unwrap());
        }
        let fs = OsFs::default();
        let dirs = [(dir.path().to_owned(), true)];
        assert_eq!(sweep(&fs, &dirs, 0).unwrap(), 0);
        assert_eq!(sweep(&fs, &dirs, i64::MAX).unwrap(), 2);
        assert!(other.iter().all(|name| dir.path().join(name).exists()));
    }

    #[test]
    fn a_reserve_is_made_once_and_given_back() {
        let dir = tempfile::tempdir().unwrap();
        let fs = OsFs::default();
        let access = Access { mode: 0o600, owner: None };
        make_reserve(&fs, dir.path(), 3 << 20, access).unwrap();
        let bytes = std::fs::read(dir.path().join(RESERVE_FILE)).unwrap();
        assert_eq!(bytes.len(), 3 << 20);
        make_reserve(&fs, dir.path(), 3 << 20, access).unwrap();
        assert_eq!(std::fs::read(dir.path().join(RESERVE_FILE)).unwrap(), bytes);
        assert_eq!(release_reserve(&fs, dir.path()).unwrap(), 3 << 20);
        assert_eq!(release_reserve(&fs, dir.path()).unwrap(), 0);
    }
}
