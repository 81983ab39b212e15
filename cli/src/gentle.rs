//! Out of the way of others: limits on what is read and written, and the lowest priority.

use std::sync::Arc;

use ballast::limit::Limiter;

use crate::args::Global;
use crate::io::Io;

/// The limits that were asked for; one of each for the whole run.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// On what is read.
    pub read: Option<Arc<Limiter>>,
    /// On what is written.
    pub write: Option<Arc<Limiter>>,
}

impl Limits {
    /// As the options have them.
    pub fn new(global: &Global, io: &Io) -> Self {
        let limiter = |rate: Option<u64>| Some(Arc::new(Limiter::new(rate?, io.stop.clone())));
        Self { read: limiter(global.gentle.limit_read), write: limiter(global.gentle.limit_write) }
    }
}

/// Gives this process the lowest priority, as far as the system lets it: it never fails. To be called before
/// other threads are started; they inherit it.
pub fn lower_priority() {
    let nice = rustix::process::setpriority_process(None, 19);
    let idle = idle_disk();
    tracing::info!(
        nice = %told(&nice.map_err(std::io::Error::from)),
        disk = %told(&idle),
        "low priority"
    );
}

fn told(done: &std::io::Result<()>) -> String {
    done.as_ref().map_or_else(|e| format!("refused: {e}"), |()| "set".into())
}

/// The idle class of I/O, for schedulers that know of classes (`ioprio_set(2)`).
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn idle_disk() -> std::io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    const CLASS_IDLE: libc::c_int = 3 << 13;
    // SAFETY: three numbers; 0 is the calling thread.
    let done = unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(not(target_os = "linux"))]
fn idle_disk() -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}
