//! Three ways to publish without replacing, the best that works: a rename that
//! refuses (`renameat2(RENAME_NOREPLACE)`, `renamex_np(RENAME_EXCL)`), a hard
//! link (NFS), and where links are refused too (exFAT, some SMB and FUSE) a look
//! and a rename under a lock on a file in the repository. The first two are
//! atomic for every machine at once; the third only among programs that take
//! the lock, which is why it is last and is said.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::{OsFs, is_refusal, is_unsupported};

/// How a name is given without replacing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PublishBy {
    /// A rename that refuses to replace.
    Rename = 0,
    /// A hard link, then removal of the temporary name.
    Link = 1,
    /// A look, then a rename, under a lock.
    Lock = 2,
}

impl PublishBy {
    pub(super) fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Rename,
            1 => Self::Link,
            _ => Self::Lock,
        }
    }
}

impl OsFs {
    /// Tries the best way not refused so far, and what is left when it is refused.
    pub(super) fn publish_with(
        &self,
        mut attempt: impl FnMut(PublishBy) -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let by = PublishBy::from_byte(self.publish_by.load(Ordering::Relaxed));
            // Threads of one process take the lock file one after the other.
            let one = (by == PublishBy::Lock)
                .then(|| self.publishing.lock().unwrap_or_else(|poisoned| poisoned.into_inner()));
            let outcome = attempt(by);
            drop(one);
            match (by, outcome) {
                (PublishBy::Rename, Err(error)) if is_unsupported(&error) => self.fall_back_from(by),
                (PublishBy::Link, Err(error)) if is_refusal(&error) => self.fall_back_from(by),
                (_, outcome) => return outcome,
            }
        }
    }

    fn fall_back_from(&self, by: PublishBy) {
        self.publish_by.fetch_max(by as u8 + 1, Ordering::Relaxed);
        if by == PublishBy::Link {
            self.say(
                "no hard links and no rename that refuses to replace: names are given under a lock file, \
                 so let no other machine write here by another road",
            );
        }
    }
}

/// One way.
pub(super) fn attempt(by: PublishBy, from: &Path, to: &Path, lock: &Path) -> io::Result<()> {
    match by {
        PublishBy::Rename => rename_without_replacing(from, to),
        PublishBy::Link => link_then_unlink(from, to),
        PublishBy::Lock => rename_under_lock(from, to, lock),
    }
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_without_replacing(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).map_err(io::Error::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_without_replacing(_from: &Path, _to: &Path) -> io::Result<()> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

fn link_then_unlink(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    // The object is published; a temporary name left over is only untidy.
    if let Err(error) = fs::remove_file(from) {
        tracing::debug!(path = %from.display(), %error, "a temporary name stays behind");
    }
    Ok(())
}

/// The lock goes with the open file, so that a killed program leaves none behind.
fn rename_under_lock(from: &Path, to: &Path, lock: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(lock)?;
    while let Err(error) = file.lock() {
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    match fs::symlink_metadata(to) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::rename(from, to),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: i32) -> io::Result<()> {
        Err(io::Error::from_raw_os_error(code))
    }

    #[test]
    fn what_is_refused_is_said_once_and_not_tried_again() {
        let fs = OsFs::new();
        let mut tried = Vec::new();
        for _ in 0..2 {
            fs.publish_with(|by| {
                tried.push(by);
                match by {
                    PublishBy::Rename => refused(libc::EINVAL),
                    PublishBy::Link => refused(libc::EPERM),
                    PublishBy::Lock => Ok(()),
                }
            })
            .unwrap();
        }
        assert_eq!(tried, [PublishBy::Rename, PublishBy::Link, PublishBy::Lock, PublishBy::Lock]);
        assert_eq!(crate::store::fs::Fs::limitations(&fs).len(), 1);
    }

    #[test]
    fn a_taken_name_and_a_missing_permission_are_no_refusal() {
        for code in [libc::EEXIST, libc::EACCES, libc::EPERM, libc::ENOSPC, libc::EROFS, libc::EIO] {
            let fs = OsFs::new();
            let error = fs.publish_with(|_| refused(code)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code));
            assert_eq!(fs.publish_by.load(Ordering::Relaxed), PublishBy::Rename as u8);
        }
    }
}
