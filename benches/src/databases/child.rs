//! A program as a child: what it printed, and what it took.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// What a program took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Took {
    /// Seconds on the clock, from start to end.
    pub wall: f64,
    /// Seconds of processor time, user and system.
    pub cpu: f64,
    /// The most memory that was resident, in MiB.
    pub peak_mib: f64,
}

/// Runs it; what it printed goes to the file `out`, what it complained about to our own standard error. An
/// error unless it ends with 0.
pub fn run(command: &mut Command, out: &Path) -> io::Result<(String, Took)> {
    let began = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(File::create(out)?).spawn()?;
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    let id = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    loop {
        // SAFETY: both places are ours and of the right size; the child is not waited for elsewhere.
        let waited = unsafe { libc::wait4(id, &raw mut status, 0, usage.as_mut_ptr()) };
        if waited == id {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    let wall = began.elapsed().as_secs_f64();
    // SAFETY: all zeros is valid, and so is what `wait4` wrote.
    let usage = unsafe { usage.assume_init() };
    let text = std::fs::read_to_string(out)?;
    let status = ExitStatus::from_raw(status);
    if !status.success() {
        return Err(io::Error::other(format!("{command:?}: {status}\n{text}")));
    }
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    let cpu = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    Ok((text, Took { wall, cpu, peak_mib: usage.ru_maxrss as f64 / 1024.0 }))
}
