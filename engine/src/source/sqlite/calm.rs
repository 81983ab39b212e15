//! Keeps SQLite's hands off what is not ours to change.
//!
//! A read-only connection still would: create a log that is missing, give log and shared memory "back" to
//! the owner of the database when run by root (which changes their times), take an
//! empty file's permissions, remove a log beside an empty file. While a [`Calm`] lives, system calls
//! that SQLite makes *on this thread* open for reading only, create and remove
//! nothing, and leave owners, permissions and times of access alone. Whatever else the process does
//! with SQLite goes on as ever.
#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::{CStr, c_char, c_int};
use std::marker::PhantomData;
use std::sync::OnceLock;

use rusqlite::ffi;

thread_local! {
    static CALM: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, SQLite changes nothing on this thread.
#[derive(Debug)]
pub struct Calm(PhantomData<*const ()>);

impl Calm {
    /// Begins. `None` where SQLite's system calls cannot be replaced: then no database may be
    /// opened in place.
    pub fn begin() -> Option<Self> {
        static INSTALLED: OnceLock<bool> = OnceLock::new();
        if !INSTALLED.get_or_init(install) {
            return None;
        }
        CALM.set(true);
        Some(Self(PhantomData))
    }
}

impl Drop for Calm {
    fn drop(&mut self) {
        CALM.set(false);
    }
}

/// Puts ours in place of SQLite's. Were another thread in SQLite at this very moment, it would
/// call the one or the other, and both do the same while no [`Calm`] lives.
fn install() -> bool {
    // SAFETY: `None` asks for the default VFS, which lives as long as the process.
    let vfs = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
    // SAFETY: checked for null; a VFS is never freed.
    let Some(found) = (unsafe { vfs.as_ref() }) else { return false };
    let (3.., Some(set)) = (found.iVersion, found.xSetSystemCall) else { return false };
    let calls: [(&CStr, *const ()); 5] = [
        (c"open", open as *const ()),
        (c"fchown", fchown as *const ()),
        (c"fchmod", fchmod as *const ()),
        (c"ftruncate", ftruncate as *const ()),
        (c"unlink", unlink as *const ()),
    ];
    calls.iter().all(|(name, call)| {
        // SAFETY: SQLite casts the pointer back to the type of the call that it names (os_unix.c,
        // `aSyscall`): those are the types of the functions below.
        unsafe {
            let call = std::mem::transmute::<*const (), unsafe extern "C" fn()>(*call);
            set(vfs, name.as_ptr(), Some(call)) == ffi::SQLITE_OK
        }
    })
}

fn refuse(errno: c_int) -> c_int {
    // SAFETY: the location of this thread's errno is always valid.
    unsafe {
        #[cfg(target_os = "linux")]
        libc::__errno_location().write(errno);
        #[cfg(target_os = "macos")]
        libc::__error().write(errno);
    }
    -1
}

// SAFETY of all five: SQLite passes what the call it means would be passed, and so do they.

extern "C" fn open(path: *const c_char, flags: c_int, mode: c_int) -> c_int {
    if !CALM.get() {
        return unsafe { libc::open(path, flags, mode as libc::c_uint) };
    }
    let changing = libc::O_ACCMODE | libc::O_CREAT | libc::O_EXCL | libc::O_TRUNC;
    let flags = flags & !changing | libc::O_RDONLY;
    #[cfg(target_os = "linux")]
    {
        // Allowed for the owner only.
        let fd = unsafe { libc::open(path, flags | libc::O_NOATIME) };
        if fd >= 0 {
            return fd;
        }
    }
    unsafe { libc::open(path, flags) }
}

extern "C" fn fchown(fd: c_int, uid: libc::uid_t, gid: libc::gid_t) -> c_int {
    if CALM.get() { 0 } else { unsafe { libc::fchown(fd, uid, gid) } }
}

extern "C" fn fchmod(fd: c_int, mode: libc::mode_t) -> c_int {
    if CALM.get() { 0 } else { unsafe { libc::fchmod(fd, mode) } }
}

extern "C" fn ftruncate(fd: c_int, len: libc::off_t) -> c_int {
    if CALM.get() { refuse(libc::EROFS) } else { unsafe { libc::ftruncate(fd, len) } }
}

extern "C" fn unlink(path: *const c_char) -> c_int {
    if CALM.get() { refuse(libc::EROFS) } else { unsafe { libc::unlink(path) } }
}

/// Is the file that a connection has open no longer the one under its path?
pub fn has_moved(connection: &rusqlite::Connection) -> bool {
    let mut moved: c_int = 1;
    // SAFETY: the handle lives as long as the borrow; this control writes one int.
    let answer = unsafe {
        ffi::sqlite3_file_control(
            connection.handle(),
            c"main".as_ptr(),
            ffi::SQLITE_FCNTL_HAS_MOVED,
            (&raw mut moved).cast(),
        )
    };
    answer != ffi::SQLITE_OK || moved != 0
}

/// Does anybody, this process included, hold one of SQLite's locks on this file? Unknown counts as no.
#[cfg(target_os = "linux")]
pub fn is_locked(file: &std::fs::File) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: all zeros is a valid `flock`, and `F_OFD_GETLK` wants `l_pid` to be 0.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    // From the pending byte to the end of the shared range (os.h).
    (lock.l_start, lock.l_len) = (0x4000_0000, 512);
    // SAFETY: the descriptor is open, the structure valid; it asks, and takes no lock.
    let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) };
    answer == 0 && lock.l_type != libc::F_UNLCK as libc::c_short
}

/// Does anybody hold one of SQLite's locks on this file? Not known here.
#[cfg(not(target_os = "linux"))]
pub fn is_locked(_file: &std::fs::File) -> bool {
    false
}
