//! Copies out of memory-mapped files that survive the file being cut short.
//!
//! Touching a mapped page that lies behind the end of its file raises SIGBUS. A
//! [`MappedFile`] maps one window at a time and only ever copies out of it, with
//! the window's bounds noted for this thread. The handler that
//! [`install_sigbus_guard`] installs looks at the faulting address: inside of
//! the bounds, it puts zero pages there, so that the copy can go on, and raises
//! a flag that makes the copy fail afterwards; any other fault goes to whoever
//! was there before. No reference to mapped bytes leaves this file, and without
//! the handler nothing is mapped. Memory: one window a file.
//!
//! Zeros behind the new end within the last page come without a fault: a caller
//! must compare the file's length after copying ([`super::read`] does).
#![allow(unsafe_code)]

use std::io;
use std::sync::{Arc, Mutex};

use memmap2::{Mmap, MmapOptions};

use super::sqlite::Guarded;

/// Bytes mapped at a time: enough to make its calls' cost vanish, little
/// enough not to count in memory. A multiple of every page size.
pub const WINDOW_BYTES: u64 = 2 << 20;

/// Why a copy failed. Its bytes must not be used.
#[derive(Debug)]
pub enum ReadFault {
    /// Pages were not there: the file was cut short, or its medium failed.
    Truncated,
    /// The file cannot be mapped.
    Unmappable(io::Error),
}

/// A file that is read through a moving window.
#[derive(Debug)]
pub struct MappedFile {
    file: Arc<Guarded>,
    len: u64,
    window: Mutex<Option<Window>>,
}

#[derive(Debug)]
struct Window {
    offset: u64,
    map: Mmap,
}

impl MappedFile {
    /// Reads the first `len` bytes of `file`. `None` without the guard.
    pub fn new(file: Arc<Guarded>, len: u64) -> Option<Self> {
        guard::installed().then(|| Self { file, len, window: Mutex::new(None) })
    }

    /// Fills `out` with the bytes from `offset` on, and says how many there are:
    /// fewer than asked only at the end. One thread copies at a time. Fast when
    /// offsets ascend: pages behind them are dropped window by window.
    pub fn copy_into(&self, offset: u64, out: &mut [u8]) -> Result<usize, ReadFault> {
        let mut window = self.window.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut done = 0;
        while done < out.len() && offset + (done as u64) < self.len {
            let at = offset + done as u64;
            let start = at - at % WINDOW_BYTES;
            if window.as_ref().is_none_or(|w| w.offset != start) {
                *window = None; // unmapped before the next is mapped
                *window = Some(self.map(start).map_err(ReadFault::Unmappable)?);
            }
            if let Some(w) = window.as_ref() {
                let n = w.copy((at - start) as usize, &mut out[done..]);
                match n {
                    Some(n) if n > 0 => done += n,
                    // Its pages may be zeros now: it must never be copied from again.
                    _ => {
                        *window = None;
                        return Err(ReadFault::Truncated);
                    }
                }
            }
        }
        Ok(done)
    }

    fn map(&self, offset: u64) -> io::Result<Window> {
        let len = WINDOW_BYTES.min(self.len - offset) as usize;
        let mut options = MmapOptions::new();
        options.offset(offset).len(len);
        // SAFETY: the mapping is shared, read-only and private to `Window`, which
        // never makes a reference to its bytes: others may write to the file, and
        // `Window::copy` copies whatever is there. Its end being cut off is what
        // the guard is for, and `new` made sure of the guard.
        let map = unsafe { options.map(&**self.file) }?;
        Ok(Window { offset, map })
    }
}

impl Window {
    /// Copies from `from` on as much as fits; `None` if a page was not there.
    fn copy(&self, from: usize, out: &mut [u8]) -> Option<usize> {
        let n = out.len().min(self.map.len().checked_sub(from)?);
        let guarded = guard::Guarded::enter(self.map.as_ptr() as usize, self.map.len());
        // SAFETY: source: `from + n` is within the mapping, which lives as long as
        // `self`; a page of it that the file lost is replaced by the handler while
        // `guarded` lives. Destination: `n` bytes of `out`, which is exclusive and
        // cannot overlap a mapping that nobody else knows. `memcpy` asks nothing of
        // the bytes: they may change under it, and are used only as bytes.
        unsafe {
            libc::memcpy(out.as_mut_ptr().cast(), self.map.as_ptr().add(from).cast(), n);
        }
        (!guarded.leave()).then_some(n)
    }
}

/// Installs the handler, once for the process: later calls do nothing. The
/// program calls it; the library without it does not map. Elsewhere than on
/// Linux it does nothing, and files are read plainly.
pub fn install_sigbus_guard() -> io::Result<()> {
    guard::install()
}

#[cfg(target_os = "linux")]
mod guard {
    use std::cell::UnsafeCell;
    use std::io;
    use std::mem::MaybeUninit;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, compiler_fence};

    // Constant-initialised and without destructors: reaching them allocates
    // nothing, so that a signal handler may. Atomic because the handler
    // interrupts the very thread that sets them.
    thread_local! {
        static BASE: AtomicUsize = const { AtomicUsize::new(0) };
        static LEN: AtomicUsize = const { AtomicUsize::new(0) };
        static FAULTED: AtomicBool = const { AtomicBool::new(false) };
    }

    static INSTALLED: AtomicBool = AtomicBool::new(false);
    static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);
    static PREVIOUS: Previous = Previous(UnsafeCell::new(MaybeUninit::uninit()));

    /// The handler of before. Written once, before ours is in place; then only read.
    struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);
    // SAFETY: see the line above; `install` writes under a lock, before the handler that reads exists.
    unsafe impl Sync for Previous {}

    pub fn installed() -> bool {
        INSTALLED.load(Ordering::Acquire)
    }

    /// While it lives, faults of this thread within the range are ours.
    pub struct Guarded(());

    impl Guarded {
        pub fn enter(base: usize, len: usize) -> Self {
            FAULTED.with(|f| f.store(false, Ordering::Relaxed));
            BASE.with(|b| b.store(base, Ordering::Relaxed));
            LEN.with(|l| l.store(len, Ordering::Relaxed));
            compiler_fence(Ordering::SeqCst);
            Self(())
        }

        /// Was there a fault?
        pub fn leave(self) -> bool {
            compiler_fence(Ordering::SeqCst);
            FAULTED.with(|f| f.load(Ordering::Relaxed))
        }
    }

    impl Drop for Guarded {
        fn drop(&mut self) {
            LEN.with(|l| l.store(0, Ordering::Relaxed));
        }
    }

    pub fn install() -> io::Result<()> {
        static LOCK: Mutex<()> = Mutex::new(());
        let _held = LOCK.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if installed() {
            return Ok(());
        }
        // SAFETY: asks for a constant.
        let page_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) });
        PAGE_BYTES.store(page_bytes.map_err(io::Error::other)?, Ordering::Relaxed);
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
        // SAFETY: both calls are given valid structures. The previous action is stored
        // before the handler that reads it can run. An all-zero `sigaction` is valid.
        unsafe {
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), (*PREVIOUS.0.get()).as_mut_ptr()) != 0 {
                return Err(io::Error::last_os_error());
            }
            let mut ours: libc::sigaction = std::mem::zeroed();
            ours.sa_sigaction = handler as libc::sighandler_t;
            // On the alternative stack where there is one, as the runtime's own handler.
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut ours.sa_mask);
            if libc::sigaction(libc::SIGBUS, &raw const ours, std::ptr::null_mut()) != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        INSTALLED.store(true, Ordering::Release);
        Ok(())
    }

    /// Calls only what may be called in a handler: `mmap`, `sigaction` and the handler of before.
    extern "C" fn on_sigbus(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: the kernel gives a valid `info` to a handler with SA_SIGINFO;
        // `errno` belongs to this thread and is put back. `replace` and `pass_on`
        // have their own notes.
        unsafe {
            let errno = libc::__errno_location();
            let saved = *errno;
            if !replace((*info).si_addr() as usize) {
                pass_on(signal, info, context);
            }
            *errno = saved;
        }
    }

    /// Puts zero pages from the faulting page to the end of the guarded range.
    ///
    /// # Safety
    /// The guarded range must be a live mapping of this thread's `Window`.
    unsafe fn replace(address: usize) -> bool {
        let (base, len) = (BASE.with(|b| b.load(Ordering::Relaxed)), LEN.with(|l| l.load(Ordering::Relaxed)));
        if len == 0 || address < base || address - base >= len {
            return false;
        }
        let page = PAGE_BYTES.load(Ordering::Relaxed);
        let start = address - address % page;
        let end = (base + len).next_multiple_of(page);
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: `start..end` lies within the pages of the guarded mapping (whose
        // base is page-aligned), which only this thread reads, by a copy that
        // will be thrown away.
        let got =
            unsafe { libc::mmap(start as *mut libc::c_void, end - start, libc::PROT_READ, flags, -1, 0) };
        if got == libc::MAP_FAILED {
            return false;
        }
        FAULTED.with(|f| f.store(true, Ordering::Relaxed));
        true
    }

    /// A fault that is not ours: what was there before decides. Where that is
    /// the default, it is put back and the fault happens again, and kills.
    ///
    /// # Safety
    /// Arguments as the kernel gave them.
    unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        // SAFETY: `PREVIOUS` was written before this handler was installed, and its
        // function has the signature that its flags say.
        unsafe {
            let previous = (*PREVIOUS.0.get()).assume_init_ref();
            match previous.sa_sigaction {
                libc::SIG_DFL | libc::SIG_IGN => {
                    let mut default: libc::sigaction = std::mem::zeroed();
                    default.sa_sigaction = libc::SIG_DFL;
                    libc::sigaction(signal, &raw const default, std::ptr::null_mut());
                }
                function if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                    let function: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                        std::mem::transmute(function);
                    function(signal, info, context);
                }
                function => {
                    let function: extern "C" fn(libc::c_int) = std::mem::transmute(function);
                    function(signal);
                }
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod guard {
    use std::io;

    pub fn installed() -> bool {
        false
    }

    pub fn install() -> io::Result<()> {
        Ok(())
    }

    pub struct Guarded;

    impl Guarded {
        pub fn enter(_base: usize, _len: usize) -> Self {
            Self
        }

        pub fn leave(self) -> bool {
            false
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::io::Write;

    fn file(len: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
        let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[test]
    fn windows_join() {
        install_sigbus_guard().unwrap();
        let len = WINDOW_BYTES as usize * 2 + 12_345;
        let (file, bytes) = file(len);
        let mapped = MappedFile::new(Arc::new(file.reopen().unwrap().into()), len as u64).unwrap();
        let mut out = vec![0; len + 10];
        assert_eq!(mapped.copy_into(0, &mut out).unwrap(), len);
        assert!(out[..len] == bytes);
        let across = WINDOW_BYTES as usize - 7;
        let mut small = [0; 20];
        assert_eq!(mapped.copy_into(across as u64, &mut small).unwrap(), 20);
        assert_eq!(small, bytes[across..across + 20]);
        assert_eq!(mapped.copy_into(len as u64 - 5, &mut small).unwrap(), 5);
        assert_eq!(mapped.copy_into(len as u64 + 5, &mut small).unwrap(), 0);
    }

    #[test]
    fn a_file_cut_short_under_its_mapping_is_a_fault_not_a_crash() {
        install_sigbus_guard().unwrap();
        install_sigbus_guard().unwrap();
        let len = 3 << 20;
        let (file, bytes) = file(len);
        let mapped = MappedFile::new(Arc::new(file.reopen().unwrap().into()), len as u64).unwrap();
        let mut out = vec![0; 4096];
        assert_eq!(mapped.copy_into(0, &mut out).unwrap(), 4096);
        file.as_file().set_len(8192).unwrap();
        let mut all = vec![0; len];
        assert!(matches!(mapped.copy_into(0, &mut all), Err(ReadFault::Truncated)));
        assert!(matches!(mapped.copy_into(1 << 20, &mut out), Err(ReadFault::Truncated)), "again");
        assert_eq!(mapped.copy_into(0, &mut out).unwrap(), 4096, "what is left can be read");
        assert_eq!(out, bytes[..4096]);
    }

    #[test]
    fn each_thread_has_its_own_guard() {
        install_sigbus_guard().unwrap();
        std::thread::scope(|scope| {
            for cut in [true, false, true, false] {
                scope.spawn(move || {
                    for _ in 0..20 {
                        let (file, bytes) = file(1 << 20);
                        let mapped =
                            MappedFile::new(Arc::new(file.reopen().unwrap().into()), 1 << 20).unwrap();
                        let mut out = vec![0; 1 << 20];
                        mapped.copy_into(0, &mut out[..1]).unwrap();
                        if cut {
                            file.as_file().set_len(5000).unwrap();
                            assert!(mapped.copy_into(0, &mut out).is_err());
                        } else {
                            assert_eq!(mapped.copy_into(0, &mut out).unwrap(), 1 << 20);
                            assert!(out == bytes);
                        }
                    }
                });
            }
        });
    }
    const FOREIGN: &str = "BALLAST_TEST_FOREIGN_FAULT";

    /// Does something only in the process that the next test starts.
    #[test]
    fn foreign_fault() {
        let Some(how) = std::env::var_os(FOREIGN) else { return };
        install_sigbus_guard().unwrap();
        let file = file(3 * 4096).0.into_file(); // has no name that could be left behind
        let mapped = MappedFile::new(Arc::new(file.try_clone().unwrap().into()), 3 * 4096).unwrap();
        mapped.copy_into(0, &mut [0]).unwrap();
        file.set_len(0).unwrap();
        let window = mapped.window.lock().unwrap();
        let mapped_bytes = window.as_ref().unwrap().map.as_ptr();
        // Whoever is guarded is guarded for the first page only, and the fault is beyond it.
        let page_bytes = 4096;
        let _guarded = (how == "beside").then(|| guard::Guarded::enter(mapped_bytes as usize, page_bytes));
        // SAFETY: none: it faults outside of any guarded copy, which is the point.
        let byte = unsafe { mapped_bytes.add(2 * page_bytes).read_volatile() };
        panic!("read {byte} behind the end of a file");
    }

    #[test]
    fn a_fault_that_is_not_ours_still_kills() {
        use std::os::unix::process::ExitStatusExt;
        for how in ["unguarded", "beside"] {
            let mut child = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "source::mapped::tests::foreign_fault"])
                .env(FOREIGN, how)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGBUS), "{how}");
        }
    }
}
