//! Temporary files without a name: gone with their descriptor, however the process ends.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{CWD, Mode, OFlags};

use crate::entropy::{Clock, SystemClock};

/// A name that nobody else has.
pub fn new_name(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}{}-{}-{count}", std::process::id(), SystemClock.now_ns())
}

/// A file in `dir` that only we can open. Where a file must have a name at first, it begins with `prefix`.
pub fn nameless(dir: &Path, prefix: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    if let Ok(fd) = rustix::fs::openat(CWD, dir, flags | OFlags::TMPFILE, Mode::from_raw_mode(0o600)) {
        return Ok(fd.into());
    }
    let path = dir.join(new_name(prefix));
    let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(CWD, &path, flags, Mode::from_raw_mode(0o600))?;
    std::fs::remove_file(&path)?;
    Ok(fd.into())
}
