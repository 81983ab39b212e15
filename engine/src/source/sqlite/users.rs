//! Who has a database open?
//!
//! Two things are looked at. **Locks**: whoever uses a write-ahead log holds SQLite's shared lock on the main file for as
//! long as it is open, and one on the shared memory beside it; whoever is within a transaction holds one too. They are seen
//! whoever holds them, on local file systems. **Open files**, on Linux: a connection without a log that rests between
//! two transactions holds no lock, but a descriptor. Those of other users' processes are seen by root only.
//!
//! An [`Alone`] is an exclusive lock: while it lives nobody begins to use the database.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use super::fds::Guarded;

/// From the pending byte to the end of the shared range, in the main file (SQLite's os.h).
const MAIN_RANGE: (i64, i64) = (0x4000_0000, 512);
/// Locks of those who use a log, in its shared memory (os_unix.c, `UNIX_SHM_BASE` to `UNIX_SHM_DMS`).
const SHM_RANGE: (i64, i64) = (120, 9);

/// Looks after which a process has a file open for good, and what lies between them.
#[cfg(target_os = "linux")]
const LOOKS: u32 = 3;
#[cfg(target_os = "linux")]
const BETWEEN_LOOKS: std::time::Duration = std::time::Duration::from_millis(100);

/// An exclusive lock on a database's main file, if the file could be opened for writing; else only the knowledge
/// that nobody held one.
#[derive(Debug)]
pub struct Alone {
    main: Guarded,
    locked: bool,
}

impl Drop for Alone {
    fn drop(&mut self) {
        // The descriptor may live on: another part of this process may want it so.
        if self.locked {
            drop(set_lock(&self.main, MAIN_RANGE, Kind::Free));
        }
    }
}

/// Takes the database for this process alone. `main` should be open for writing; `shm` opens what lies beside it, and is
/// called only once nobody in this process can have a lock there. `Err`: somebody uses it, in words that may follow "it is
/// open in".
pub fn claim(main: File, shm: impl FnOnce() -> Option<File>) -> Result<Alone, String> {
    let mut alone = Alone { main: main.into(), locked: false };
    match set_lock(&alone.main, MAIN_RANGE, Kind::Exclusive) {
        Ok(()) => alone.locked = true,
        Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.raw_os_error() == Some(libc::EACCES) => {
            return Err(holder(&alone.main, MAIN_RANGE).unwrap_or_else(somebody));
        }
        // Not open for writing, or a file system without such locks: what can be seen is seen.
        Err(_) => {
            if let Some(who) = holder(&alone.main, MAIN_RANGE) {
                return Err(who);
            }
        }
    }
    match shm().map(Guarded::from).and_then(|shm| holder(&shm, SHM_RANGE)) {
        Some(who) => Err(who),
        None => Ok(alone),
    }
}

fn somebody() -> String {
    "another process".to_owned()
}

#[derive(Clone, Copy)]
enum Kind {
    Exclusive,
    Free,
}

#[cfg(target_os = "linux")]
fn request(range: (i64, i64), kind: Kind) -> libc::flock {
    // SAFETY: all zeros is a valid `flock`, and locks of open files want `l_pid` to be 0.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = match kind {
        Kind::Exclusive => libc::F_WRLCK,
        Kind::Free => libc::F_UNLCK,
    } as libc::c_short;
    (lock.l_start, lock.l_len) = range;
    lock
}

/// A lock of the open file, not of the process: it also stands against SQLite in this process.
#[cfg(target_os = "linux")]
fn set_lock(file: &File, range: (i64, i64), kind: Kind) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let lock = request(range, kind);
    // SAFETY: the descriptor is open, the structure valid.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Who holds a lock on the range.
#[cfg(target_os = "linux")]
fn holder(file: &File, range: (i64, i64)) -> Option<String> {
    use std::os::fd::AsRawFd;
    let mut lock = request(range, Kind::Exclusive);
    // SAFETY: the descriptor is open, the structure valid; it asks, and takes no lock.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    let held = answer == 0 && lock.l_type != libc::F_UNLCK as libc::c_short;
    held.then(|| match u32::try_from(lock.l_pid) {
        Ok(pid) if pid == std::process::id() => "this process".to_owned(),
        Ok(pid @ 1..) => process(pid),
        _ => somebody(),
    })
}

#[cfg(not(target_os = "linux"))]
fn set_lock(_file: &File, _range: (i64, i64), _kind: Kind) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(target_os = "linux"))]
fn holder(_file: &File, _range: (i64, i64)) -> Option<String> {
    None
}

/// A process by name and number.
#[cfg(target_os = "linux")]
fn process(pid: u32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    match crate::error::printable(name.trim_ascii()) {
        name if name.is_empty() => format!("process {pid}"),
        name => format!("process {pid} ({name})"),
    }
}

/// Another process that has one of these files (device and inode) open, as far as this one may see. One that
/// has it only for a moment, a child of our own on its way to another program for instance, is none.
#[cfg(target_os = "linux")]
pub fn whoever_has(files: &[(u64, u64)]) -> Option<String> {
    let mut found = first_with(files)?;
    for _ in 1..LOOKS {
        std::thread::sleep(BETWEEN_LOOKS);
        found = first_with(files)?;
    }
    Some(process(found))
}

#[cfg(target_os = "linux")]
fn first_with(files: &[(u64, u64)]) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    if files.is_empty() {
        return None;
    }
    let own = std::process::id();
    let numbers = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = numbers.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok()).filter(|p| *p != own);
    let has_it = |pid: &u32| {
        let handles = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        // What it leads to is looked at, not opened.
        handles.map(|handle| handle.path()).any(|path| {
            std::fs::metadata(path).is_ok_and(|m| m.is_file() && files.contains(&(m.dev(), m.ino())))
        })
    };
    pids.find(has_it)
}

/// Another process that has one of these files open. Not known here.
#[cfg(not(target_os = "linux"))]
pub fn whoever_has(_files: &[(u64, u64)]) -> Option<String> {
    None
}
