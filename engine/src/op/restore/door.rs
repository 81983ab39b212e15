//! The door to the target: names below an open directory, never paths, never through a link.
//!
//! Everything here is one system call or a few, relative to a handle. A file is written
//! under a temporary name of fixed form beside its place, so that an interrupted restore finds
//! it again, and locked, so that another one at the same time does not; a small one, where nothing can have been before, without
//! any name. What stands under that name is taken over only if
//! nobody else can have a hand in it; else it is removed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{
    AtFlags, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RawMode, RenameFlags, Stat, fallocate,
    fdatasync, flock, fstat, ftruncate, linkat, mkdirat, openat, renameat, renameat_with, statat, unlinkat,
};
#[cfg(target_os = "linux")]
use rustix::fs::{ResolveFlags, copy_file_range, openat2};
use rustix::io::Errno;

use crate::source::FileSystem;

const TEMP_PREFIX: &[u8] = b".ballast-restore";
/// Nobody but the owner: what is not finished is nobody else's business.
pub const PRIVATE_DIR: Mode = Mode::RWXU;
/// The same for files.
pub const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A number that keeps temporary names apart from names of the snapshot: 0, unless a name of the
/// directory looks like a temporary one (someone took a snapshot of an interrupted restore).
pub fn temp_salt<'n>(names: impl Iterator<Item = &'n [u8]> + Clone) -> u32 {
    let clashes =
        |salt: u32| names.clone().any(|n| n.starts_with(TEMP_PREFIX) && n.starts_with(&temp_prefix(salt)));
    (0..u32::MAX).find(|salt| !clashes(*salt)).unwrap_or(u32::MAX)
}

fn temp_prefix(salt: u32) -> Vec<u8> {
    let salt = if salt == 0 { String::new() } else { format!("-{salt}") };
    [TEMP_PREFIX, salt.as_bytes(), b"."].concat()
}

/// The temporary name for `name`: short, whatever the length of `name`.
pub fn temp_name(name: &[u8], salt: u32) -> Vec<u8> {
    let hash = blake3::hash(name);
    let hex = crate::id::to_hex(&hash.as_bytes()[..16]);
    [&temp_prefix(salt)[..], hex.as_bytes()].concat()
}

/// What a mode says the thing is.
pub fn type_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode as RawMode)
}

/// What stands under a name, if anything does. Links are not followed.
pub fn look(dir: &File, name: &[u8]) -> io::Result<Option<Stat>> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// A directory below another one, not through a link.
pub fn open_dir(dir: impl AsFd, name: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty()).map(File::from)
}

/// A directory below another one, not through a link, and not where another file system, or another place of
/// the same one, is mounted: that is [`Errno::XDEV`].
pub fn open_dir_here(dir: &File, name: &[u8]) -> Result<File, Errno> {
    let file = open_dir(dir, name)?;
    #[cfg(target_os = "linux")]
    {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        match openat2(dir, name, flags, Mode::empty(), resolve) {
            // An old kernel, or one that is told to refuse it: what device numbers say must do.
            Ok(_) | Err(Errno::NOSYS | Errno::PERM) => {}
            Err(e) => return Err(e),
        }
    }
    if fstat(&file)?.st_dev == fstat(dir)?.st_dev { Ok(file) } else { Err(Errno::XDEV) }
}

/// The names in a directory, sorted.
pub fn names(dir: &File) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Makes a directory; `false` if the name is taken.
pub fn make_dir(dir: &File, name: &[u8]) -> Result<bool, Errno> {
    match mkdirat(dir, name, PRIVATE_DIR) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(e),
    }
}

/// A handle of whatever stands under a name, without opening it in any sense a device would
/// notice, and without following it.
pub fn handle(dir: &File, name: &[u8]) -> Result<File, Errno> {
    openat(dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).map(File::from)
}

/// A path that leads to what a handle holds, for calls that know only paths.
pub fn proc_path(handle: &File) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}

/// A new file that nobody had; `None` if the name is taken.
pub fn create_new(dir: &File, name: &[u8]) -> Result<Option<File>, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, PRIVATE_FILE) {
        Ok(fd) => Ok(Some(fd.into())),
        Err(Errno::EXIST) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A new file without a name, which nobody else can open; `None` where there is no such thing.
#[cfg(target_os = "linux")]
pub fn create_nameless(dir: &File) -> Option<File> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    openat(dir, ".", flags, PRIVATE_FILE).ok().map(File::from)
}

/// There is no such call here.
#[cfg(not(target_os = "linux"))]
pub fn create_nameless(_dir: &File) -> Option<File> {
    None
}

/// Gives a file without a name its name; an error if that is taken, or this process may not do so: that
/// takes `CAP_DAC_READ_SEARCH`, or a newer kernel.
pub fn link_nameless(dir: &File, file: &File, name: &[u8]) -> Result<(), Errno> {
    #[cfg(feature = "testing")]
    if REFUSES_LINKS.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Errno::NOENT);
    }
    linkat(file, "", dir, name, AtFlags::EMPTY_PATH)
}

/// For tests: nothing without a name is ever given one.
#[cfg(feature = "testing")]
pub static REFUSES_LINKS: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// The regular file under a name, with what it is; `None` for anything else. Looked at first, so
/// that no device or pipe is ever opened, and again afterwards.
pub fn open_regular(dir: &File, name: &[u8], access: OFlags) -> io::Result<Option<(File, Stat)>> {
    if !look(dir, name)?.is_some_and(|stat| type_of(&stat) == FileType::RegularFile) {
        return Ok(None);
    }
    let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(dir, name, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let stat = fstat(&file)?;
    Ok((type_of(&stat) == FileType::RegularFile).then_some((file, stat)))
}

/// The file that an earlier run left under a temporary name, if it can only be that.
pub fn open_leftover(dir: &File, temp: &[u8], my_uid: u32) -> io::Result<Option<(File, Stat)>> {
    let found = open_regular(dir, temp, OFlags::RDWR)?;
    Ok(found.filter(|(_, s)| s.st_uid == my_uid && s.st_nlink == 1 && s.st_mode & 0o077 == 0))
}

/// Keeps a temporary file from other restores as long as it is open; `false` if one of them has it. Where a file system has no
/// locks, nobody is kept away.
pub fn claim(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive) != Err(Errno::WOULDBLOCK)
}

/// Is it `file` that stands under a name?
pub fn is_under(dir: &File, name: &[u8], file: &File) -> io::Result<bool> {
    let (there, is) = (look(dir, name)?, fstat(file)?);
    Ok(there.is_some_and(|there| there.st_dev == is.st_dev && there.st_ino == is.st_ino))
}

/// Frees a temporary name, whatever stands under it; a directory only if it is empty.
pub fn clear(dir: &File, temp: &[u8]) -> Result<(), Errno> {
    match unlinkat(dir, temp, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => unlinkat(dir, temp, AtFlags::REMOVEDIR),
        Err(e) => Err(e),
    }
}

/// Gives what is under `temp` the name `name`. With `replace` over anything but a directory; else
/// `false` if the name is taken, and `temp` is gone.
pub fn publish(dir: &File, temp: &[u8], name: &[u8], replace: bool) -> Result<bool, Errno> {
    if replace {
        renameat(dir, temp, dir, name)?;
        return Ok(true);
    }
    let done = match renameat_with(dir, temp, dir, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            linkat(dir, temp, dir, name, AtFlags::empty()).and_then(|()| clear(dir, temp))
        }
        done => done,
    };
    match done {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => clear(dir, temp).map(|()| false),
        Err(e) => Err(e),
    }
}

/// Gives what is under `from` the name `to`, whatever it is; `false` if that is taken.
pub fn move_to_free(dir: &File, from: &[u8], to: &[u8]) -> io::Result<bool> {
    let done = match renameat_with(dir, from, dir, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            linkat(dir, from, dir, to, AtFlags::empty()).and_then(|()| unlinkat(dir, from, AtFlags::empty()))
        }
        done => done,
    };
    match done {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Sets the length; extends by a hole.
pub fn set_len(file: &File, len: u64) -> io::Result<()> {
    Ok(ftruncate(file, len)?)
}

/// Reserves room, where the file system can; that there is none is an error at once. `sized`: the file is as long at once; else its
/// length comes with its content. In memory it is only looked whether there is as much: of several files at once, the last
/// may run out of it as it is written.
pub fn reserve(file: &File, len: u64, sized: bool) -> io::Result<()> {
    if let Some(free) = free_memory(file) {
        return if free < len { Err(Errno::NOSPC.into()) } else { Ok(()) };
    }
    let flags = if sized { FallocateFlags::empty() } else { FallocateFlags::KEEP_SIZE };
    match fallocate(file, flags, 0, len) {
        Err(e @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => Err(e.into()),
        _ => Ok(()),
    }
}

/// What is left of a file system in memory, in bytes. There, reserving takes every page at once, in one thread, while all who
/// would write wait for the file's lock: an eighth of the time of a large restore.
fn free_memory(file: &File) -> Option<u64> {
    const TMPFS_MAGIC: u32 = 0x0102_1994;
    let stat = rustix::fs::fstatfs(file).ok()?;
    let limited = stat.f_type as u32 == TMPFS_MAGIC && stat.f_blocks > 0;
    limited.then(|| stat.f_bavail.saturating_mul(stat.f_bsize as u64))
}

/// Waits until the content of a file is on the disk, and how long it is.
pub fn flush(file: &File) -> io::Result<()> {
    #[cfg(feature = "testing")]
    if file.metadata()?.len() == REFUSES_FLUSHES_OF.load(std::sync::atomic::Ordering::Relaxed) {
        return Err(Errno::IO.into());
    }
    Ok(fdatasync(file)?)
}

/// For tests: nothing that has this many bytes reaches the disk.
#[cfg(feature = "testing")]
pub static REFUSES_FLUSHES_OF: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(u64::MAX);

/// Makes a stretch of an old file a hole again; `false` where that cannot be.
pub fn punch(file: &File, offset: u64, len: u64) -> bool {
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, len).is_ok()
}

/// Blocks of file systems that share them between files; larger ones are whole blocks of these, too.
#[cfg(target_os = "linux")]
const BLOCK_BYTES: u64 = 4096;

/// Copies a stretch of a file to the same place in another one. The kernel shares whole blocks where the file system
/// can (`copy_file_range` clones): so they go apart from what is before and after them.
#[cfg(target_os = "linux")]
pub fn copy_range(from: &File, to: &File, offset: u64, len: u64) -> io::Result<()> {
    let end = offset + len;
    let first = offset.next_multiple_of(BLOCK_BYTES).min(end);
    let last = (end / BLOCK_BYTES * BLOCK_BYTES).max(first);
    for (mut at, end) in [(offset, first), (first, last), (last, end)] {
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let (mut source, mut place) = (at, at);
            match copy_file_range(from, Some(&mut source), to, Some(&mut place), left)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                copied => at += copied as u64,
            }
        }
    }
    Ok(())
}

/// There is no such call here.
#[cfg(not(target_os = "linux"))]
pub fn copy_range(_from: &File, _to: &File, _offset: u64, _len: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes a stretch zeros: a hole where that can be.
pub fn clear_range(file: &File, offset: u64, len: u64) -> io::Result<()> {
    if punch(file, offset, len) {
        return Ok(());
    }
    let zeros = [0; 64 << 10];
    let (mut at, end) = (offset, offset + len);
    while at < end {
        let step = usize::try_from(end - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros[..step], at)?;
        at += step as u64;
    }
    Ok(())
}

/// Does a file hold anything but a hole between `offset` and `end`? It may, where holes are not to be believed.
pub fn has_data(file: &File, offset: u64, end: u64) -> bool {
    if FileSystem::of(file) == FileSystem::Zfs {
        return true;
    }
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(offset)) {
        Ok(at) => at < end,
        Err(Errno::NXIO) => false,
        Err(_) => true,
    }
}

/// Reads exactly `buffer.len()` bytes; `false` if the file ends before.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::print_stderr, reason = "says why a test could not run here")]
    fn room_in_memory_is_looked_at_and_not_taken() {
        let Some((file, free)) = tempfile::tempfile_in("/dev/shm").ok().and_then(|file| {
            let free = free_memory(&file)?;
            Some((file, free))
        }) else {
            return eprintln!("skipped: no limited file system in memory here");
        };
        reserve(&file, free / 2, true).expect("there is so much");
        assert_eq!(file.metadata().expect("an open file").len(), 0, "nothing is taken");
        let full = reserve(&file, u64::MAX, true).expect_err("there is no such room");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn temporary_names_fit_and_never_meet_a_real_one() {
        let long = [b'x'; 255];
        assert!(temp_name(&long, 0).len() < 64);
        assert_ne!(temp_name(b"a", 0), temp_name(b"b", 0));
        let plain: [&[u8]; 2] = [b"a", b".ballast-restorer"];
        assert_eq!(temp_salt(plain.into_iter()), 0);
        let left = temp_name(b"a", 0);
        let again = temp_name(b"a", 1);
        assert_eq!(temp_salt([&left[..]].into_iter()), 1);
        assert_eq!(temp_salt([&left[..], &again[..]].into_iter()), 2);
        assert_ne!(temp_name(b"a", 2), left);
    }
}
