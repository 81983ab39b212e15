//! `listxattrat` (Linux 6.13), which neither libc nor rustix have: attributes by a directory's handle and a name in it.
#![allow(unsafe_code)]
#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(unused_imports))]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, Ordering};

use super::at::At;
use super::xattrs::is_none;

/// Length of the list of names; 0 too where the file system has none or the file is gone. `None` where it has
/// to be asked for in another way.
#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) fn length_by_handle(at: &At) -> Option<usize> {
    /// The same number wherever calls are numbered alike, as on these two.
    const LISTXATTRAT: libc::c_long = 465;
    static UNKNOWN: AtomicBool = AtomicBool::new(false);
    if UNKNOWN.load(Ordering::Relaxed) {
        return None;
    }
    let name = std::ffi::CString::new(at.entry().as_bytes()).ok()?;
    // SAFETY: the handle is open and the name ends in a zero as long as the call lasts; with a length of 0 the
    // system writes nothing to the list.
    let told = unsafe {
        libc::syscall(
            LISTXATTRAT,
            at.dir().as_raw_fd(),
            name.as_ptr(),
            libc::AT_SYMLINK_NOFOLLOW,
            std::ptr::null_mut::<libc::c_char>(),
            0_usize,
        )
    };
    if told < 0 {
        // Filters of containers refuse what they do not know with EPERM.
        let error = io::Error::last_os_error();
        if is_none(&error) && error.raw_os_error() != Some(libc::ENOSYS) {
            return Some(0);
        }
        let unknown = [libc::ENOSYS, libc::EPERM].map(Some).contains(&error.raw_os_error());
        UNKNOWN.fetch_or(unknown, Ordering::Relaxed);
    }
    usize::try_from(told).ok()
}

#[cfg(all(target_os = "linux", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(super) fn length_by_handle(_at: &At) -> Option<usize> {
    None
}
