//! The bytes of one regular file, read with suspicion (design §3.8).
//!
//! [`SourceFile::open`] makes sure that it is the file that was looked at, and
//! takes the stat that its node must bear. Exactly that many bytes are read:
//! fewer are a [`Problem`], more are found by [`SourceFile::verify_unchanged`],
//! which must be called after the last read, also for a file of size 0 (files
//! like those in `/proc` say 0 and yield bytes).
//!
//! Large files are read through a mapping where the SIGBUS guard is installed
//! and the file system is a local one on a medium; otherwise, and wherever a mapping fails,
//! by plain reads, so that the system's own error is what is reported. What of a large
//! file was not in memory before does not stay there ([`crate::pagecache`]).
//!
//! A file system in memory keeps its files as single pages: to map and unmap each takes three times as
//! long as to copy it (decision 27), and none of them can be given back.

use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::OFlags;

use super::at::{At, shown};
use super::file_system::FileSystem;
use super::mapped::MappedFile;
use super::segments::{Segment, segments};
use super::sqlite::Guarded;
use super::stat::Stat;
use crate::error::{Problem, ProblemKind};
use crate::pagecache::{self, Passing};

/// Files at least this long are mapped: below it, setting up costs more than it saves.
pub const MAP_MIN_BYTES: u64 = 1 << 20;

/// How a file changed while it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is shorter.
    Shrank,
    /// It is longer, or yields more bytes than its size says.
    Grew,
    /// Its content was touched.
    Mtime,
    /// Its metadata was touched.
    Ctime,
    /// It can no longer be looked at.
    Lost,
}

impl Change {
    /// In a few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Shrank => "became shorter while it was read",
            Self::Grew => "became longer while it was read",
            Self::Mtime => "was modified while it was read",
            Self::Ctime => "had its metadata changed while it was read",
            Self::Lost => "could not be looked at after it was read",
        }
    }

    /// As a problem with `path`.
    pub fn problem(self, path: &Path) -> Problem {
        Problem::new(ProblemKind::Changed, shown(path), self.words())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// A regular file, opened for reading.
#[derive(Debug)]
pub struct SourceFile {
    file: Arc<Guarded>,
    mapped: Option<MappedFile>,
    stat: Stat,
    path: PathBuf,
    /// Of a large file: what to give back to the page cache.
    passing: Option<Mutex<Passing>>,
}

impl Drop for SourceFile {
    fn drop(&mut self) {
        // What is mapped is not given back.
        self.mapped = None;
        if let Some(passing) = &mut self.passing {
            passing.get_mut().unwrap_or_else(PoisonError::into_inner).finish(&self.file);
        }
    }
}

impl SourceFile {
    /// Opens what `expected` was taken of: another file, or something else, under
    /// its name is a problem. No link is followed, and nothing is waited for.
    pub fn open(at: &At, expected: &Stat) -> Result<Self, Problem> {
        let problem = |kind, cause: &dyn fmt::Display| Problem::new(kind, shown(at.path()), cause);
        let unreadable = |e: io::Error| match e.raw_os_error() {
            Some(libc::ENOENT) => problem(ProblemKind::Vanished, &"vanished before it was read"),
            Some(libc::ELOOP | libc::ENXIO) => {
                problem(ProblemKind::Changed, &"was replaced before it was read")
            }
            _ => problem(ProblemKind::Unreadable, &format!("cannot be opened: {e}")),
        };
        let file = File::from(at.open(OFlags::empty()).map_err(unreadable)?);
        let stat = Stat::of(&file).map_err(unreadable)?;
        let file = Arc::new(Guarded::new(file, &stat));
        if !stat.is_file() || stat.identity() != expected.identity() {
            return Err(problem(ProblemKind::Changed, &"was replaced before it was read"));
        }
        let mut mapped = None;
        let large = stat.size >= MAP_MIN_BYTES;
        let below = large.then(|| FileSystem::of(&**file));
        let on_medium = below.is_some_and(|f| f != FileSystem::Memory);
        if on_medium {
            advise_sequential(&file);
        }
        if below.is_some_and(FileSystem::is_mapped_well) {
            mapped = MappedFile::new(file.clone(), stat.size);
        }
        let passing = (on_medium && stat.size >= pagecache::LEAST_BYTES).then(Mutex::default);
        Ok(Self { file, mapped, stat, path: at.path().to_owned(), passing })
    }

    /// The stat before the first byte was read: what the node must bear
    /// ([`super::restat`]), since the file may have grown after the walk.
    pub fn stat(&self) -> &Stat {
        &self.stat
    }

    /// How many bytes there are to read.
    pub fn size(&self) -> u64 {
        self.stat.size
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file itself; its offset is nobody's.
    pub(super) fn file(&self) -> &Arc<Guarded> {
        &self.file
    }

    /// Is it read through a mapping?
    pub fn is_mapped(&self) -> bool {
        self.mapped.is_some()
    }

    /// Data and holes, in order, covering `0..size`.
    pub fn segments(&self) -> Vec<Segment> {
        segments(&**self.file, &self.stat)
    }

    /// Fills `out` with the bytes from `offset` on and says how many there are:
    /// fewer than asked only where [`SourceFile::size`] ends. Bytes that are not
    /// there are a problem (it shrank), never zeros.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, Problem> {
        let left = usize::try_from(self.stat.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = out.len().min(left);
        let out = &mut out[..wanted];
        if wanted == 0 {
            return Ok(0);
        }
        let end = offset + wanted as u64;
        let Some(passing) = &self.passing else { return self.read_now(offset, out) };
        locked(passing).before(&self.file, self.stat.size, offset..end);
        let read = self.read_now(offset, out);
        locked(passing).after(&self.file, end);
        read
    }

    /// As [`SourceFile::read_at`], of bytes out of turn: whoever reads from front to back is not disturbed.
    pub fn look_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, Problem> {
        let left = usize::try_from(self.stat.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = out.len().min(left);
        let mut read = || self.read_plainly(offset, &mut out[..wanted]);
        match &self.passing {
            Some(_) if wanted > 0 => {
                Passing::aside(&self.file, self.stat.size, offset..offset + wanted as u64, read)
            }
            _ => read(),
        }
    }

    /// What `read` makes of a stretch that it reads in any order, by any threads: it is given what fills a buffer from
    /// an offset within it. By plain reads: a mapping moves along with one reader. [`SourceFile::passed`] says how far that led.
    pub fn over<T>(
        &self,
        range: Range<u64>,
        read: impl FnOnce(&(dyn Fn(u64, &mut [u8]) -> bool + Sync)) -> T,
    ) -> T {
        if let Some(passing) = &self.passing {
            locked(passing).before(&self.file, self.stat.size, range.clone());
        }
        let within = |offset: u64, out: &mut [u8]| {
            let inside = offset >= range.start && out.len() as u64 <= range.end.saturating_sub(offset);
            inside && range.end <= self.stat.size && self.file.read_exact_at(out, offset).is_ok()
        };
        read(&within)
    }

    /// What lies before `end` is not read again.
    pub fn passed(&self, end: u64) {
        if let Some(passing) = &self.passing {
            locked(passing).after(&self.file, end);
        }
    }

    /// As [`SourceFile::read_at`], of bytes within [`SourceFile::size`].
    fn read_now(&self, offset: u64, out: &mut [u8]) -> Result<usize, Problem> {
        let wanted = out.len();
        if let Some(mapped) = &self.mapped
            && matches!(mapped.copy_into(offset, out), Ok(n) if n == wanted)
        {
            // Behind the end, but within its last page, a mapping yields zeros.
            let now = Stat::of(&**self.file).map_err(|e| self.unreadable(offset, &e))?;
            return if now.size < offset + wanted as u64 { Err(self.shrank()) } else { Ok(wanted) };
        }
        self.read_plainly(offset, out)
    }

    /// As [`SourceFile::read_now`], without a mapping.
    fn read_plainly(&self, offset: u64, out: &mut [u8]) -> Result<usize, Problem> {
        let wanted = out.len();
        match self.file.read_exact_at(out, offset) {
            Ok(()) => Ok(wanted),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Err(self.shrank()),
            Err(e) => Err(self.unreadable(offset, &e)),
        }
    }

    /// Is the file still what it was at `before` (usually [`SourceFile::stat`])?
    /// To be asked after the last read; then the first difference.
    pub fn verify_unchanged(&self, before: &Stat) -> Option<Change> {
        let Ok(now) = Stat::of(&**self.file) else {
            return Some(Change::Lost);
        };
        let more = || matches!(self.file.read_at(&mut [0], before.size), Ok(n) if n > 0);
        if now.size < before.size {
            Some(Change::Shrank)
        } else if now.size > before.size || more() {
            Some(Change::Grew)
        } else if now.mtime != before.mtime {
            Some(Change::Mtime)
        } else if now.ctime != before.ctime {
            Some(Change::Ctime)
        } else {
            None
        }
    }

    fn shrank(&self) -> Problem {
        Change::Shrank.problem(&self.path)
    }

    fn unreadable(&self, offset: u64, error: &io::Error) -> Problem {
        let message = format!("cannot be read at byte {offset}: {error}");
        Problem::new(ProblemKind::Unreadable, shown(&self.path), message)
    }
}

fn locked(passing: &Mutex<Passing>) -> MutexGuard<'_, Passing> {
    passing.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(target_os = "linux")]
fn advise_sequential(file: &File) {
    // Only advice: what it is worth does not depend on being taken.
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::Sequential);
}

#[cfg(not(target_os = "linux"))]
fn advise_sequential(_file: &File) {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::mapped::install_sigbus_guard;
    use std::fs;
    use std::io::Write;

    fn open(path: &Path) -> Result<SourceFile, Problem> {
        let at = At::of_path(path).unwrap();
        SourceFile::open(&at, &at.stat().unwrap())
    }

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn small_and_large_read_alike() {
        install_sigbus_guard().unwrap();
        for len in [0, 1, 4097, (3 << 20) + 5] {
            let bytes: Vec<u8> = (0..len).map(|i| u8::try_from(i % 249).unwrap()).collect();
            let file = file(&bytes);
            let source = open(file.path()).unwrap();
            let mappable = FileSystem::of(file.as_file()).is_mapped_well();
            assert_eq!(source.is_mapped(), mappable && len as u64 >= MAP_MIN_BYTES);
            let mut out = vec![0xee; len + 3];
            assert_eq!(source.read_at(0, &mut out).unwrap(), len);
            assert!(out[..len] == bytes && out[len..] == [0xee; 3]);
            assert_eq!(source.read_at(len as u64 + 1, &mut out).unwrap(), 0);
            assert_eq!(source.verify_unchanged(source.stat()), None);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[allow(clippy::print_stderr, reason = "says why a test could not run here")]
    fn a_file_in_memory_is_read_plainly_and_not_watched() {
        install_sigbus_guard().unwrap();
        let Ok(mut file) = tempfile::NamedTempFile::new_in("/dev/shm") else {
            eprintln!("skipped: no /dev/shm");
            return;
        };
        if FileSystem::of(file.as_file()) != FileSystem::Memory {
            eprintln!("skipped: /dev/shm is no tmpfs");
            return;
        }
        let bytes: Vec<u8> = (0..5 << 20).map(|i| u8::try_from(i % 249).unwrap()).collect();
        file.write_all(&bytes).unwrap();
        let source = open(file.path()).unwrap();
        assert!(!source.is_mapped() && source.passing.is_none());
        let mut out = vec![0; bytes.len()];
        assert_eq!(source.read_at(0, &mut out).unwrap(), bytes.len());
        assert!(out == bytes);
        file.as_file().set_len(4 << 20).unwrap();
        assert_eq!(source.read_at(0, &mut out).unwrap_err().kind, ProblemKind::Changed);
    }

    #[test]
    fn a_look_out_of_turn_reads_the_same_and_leaves_the_pass_alone() {
        install_sigbus_guard().unwrap();
        let bytes: Vec<u8> = (0..5 << 20).map(|i| u8::try_from(i % 249).unwrap()).collect();
        let file = file(&bytes);
        let source = open(file.path()).unwrap();
        let pass = || source.passing.as_ref().map(|passing| format!("{:?}", locked(passing)));
        let before = pass();
        let mut out = vec![0; 9000];
        for (offset, len) in
            [(4 << 20, 9000), (17, 9000), (bytes.len() - 5, 5), (bytes.len(), 0), (usize::MAX, 0)]
        {
            assert_eq!(source.look_at(offset as u64, &mut out).unwrap(), len);
            assert!(len == 0 || out[..len] == bytes[offset..offset + len]);
        }
        assert_eq!(pass(), before);
        file.as_file().set_len(4 << 20).unwrap();
        assert_eq!(source.look_at(4 << 20, &mut out).unwrap_err().kind, ProblemKind::Changed);
    }

    #[test]
    fn what_is_read_again_is_given_back_only_then() {
        let file = file(&vec![1; 20 << 20]);
        let source = open(file.path()).unwrap();
        let Some(passing) = &source.passing else { return };
        let begin = || format!("{:?}", locked(passing)).contains("windows: {0: ");
        let read = source.over(0..17 << 20, |read| read(0, &mut [0; 5000]) && read(16 << 20, &mut [0; 5000]));
        assert!(read && begin(), "nothing was passed yet");
        source.passed(9 << 20);
        assert!(!begin() && format!("{:?}", locked(passing)).contains("windows: {1: "));
    }

    #[test]
    fn a_file_that_shrinks_is_a_problem_never_zeros() {
        install_sigbus_guard().unwrap();
        for (len, left) in [(5000, 10), (3 << 20, 10), (3 << 20, (3 << 20) - 1), (3 << 20, 1 << 20)] {
            let file = file(&vec![7; len]);
            let source = open(file.path()).unwrap();
            let mut out = vec![0; len];
            source.read_at(0, &mut out[..1]).unwrap();
            file.as_file().set_len(left as u64).unwrap();
            let problem = source.read_at(0, &mut out).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::Changed);
            assert_eq!(source.verify_unchanged(source.stat()), Some(Change::Shrank));
        }
    }

    #[test]
    fn other_changes_are_found_afterwards() {
        let mut file = file(b"abc");
        let source = open(file.path()).unwrap();
        let before = *source.stat();
        file.write_all(b"d").unwrap();
        assert_eq!(source.verify_unchanged(&before), Some(Change::Grew));
        let grown = Stat::of(file.as_file()).unwrap();
        let elsewhen = |t: crate::format::wire::Stamp| crate::format::wire::Stamp { secs: t.secs - 1, ..t };
        assert_eq!(
            source.verify_unchanged(&Stat { mtime: elsewhen(grown.mtime), ..grown }),
            Some(Change::Mtime)
        );
        assert_eq!(
            source.verify_unchanged(&Stat { ctime: elsewhen(grown.ctime), ..grown }),
            Some(Change::Ctime)
        );
        assert_eq!(source.verify_unchanged(&grown), None);
    }

    #[test]
    fn what_was_replaced_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let create = |p: &Path| drop(fs::File::create(p).unwrap());
        create(&path);
        let at = At::of_path(&path).unwrap();
        let stat = at.stat().unwrap();
        create(&dir.path().join("g"));
        fs::rename(dir.path().join("g"), &path).unwrap();
        assert_eq!(SourceFile::open(&at, &stat).unwrap_err().kind, ProblemKind::Changed, "another file");
        fs::remove_file(&path).unwrap();
        assert_eq!(SourceFile::open(&at, &stat).unwrap_err().kind, ProblemKind::Vanished);
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert_eq!(SourceFile::open(&at, &stat).unwrap_err().kind, ProblemKind::Changed, "a link");
        fs::remove_file(&path).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert_eq!(
            SourceFile::open(&at, &stat).unwrap_err().kind,
            ProblemKind::Changed,
            "a pipe, not waited for"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_size_that_lies_is_a_change() {
        let source = open(Path::new("/proc/self/status")).unwrap();
        assert_eq!(source.size(), 0);
        assert_eq!(source.verify_unchanged(source.stat()), Some(Change::Grew));
    }
}
