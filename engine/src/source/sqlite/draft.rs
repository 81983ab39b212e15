//! The image of a database without a write-ahead log: a copy of the main file, begun before the lock is taken, so
//! that who commits does not wait for all of it.
//!
//! Nobody holds a lock while the draft is copied: it may be a mixture of states, with pages of
//! transactions that were never committed. Under a reader's lock nobody changes the main file, and
//! [`Draft::finish`] makes the draft equal to it: each stretch of the two is compared, and copied where they differ,
//! at the speed of memory. Nothing need be compared if the file has the times, the length and the change counter that it had before the
//! first byte was copied, and those times were old enough by then for any write to show. The counter
//! alone would not do: a transaction that outgrows its cache writes to the file early, and leaves the
//! counter as it was when it is rolled back.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::connect::Trouble;
use super::header::Header;
use crate::source::stat::Stat;

/// Copied or compared between two looks at the clock.
const STEP_BYTES: u64 = 64 << 20;
/// Compared at once: two of these stay in the cache of a core.
const PIECE_BYTES: usize = 256 << 10;
/// Threads that compare, at most: the memory is no faster for more.
const THREADS: usize = 4;

/// A copy that may not be finished.
#[derive(Debug)]
pub struct Draft {
    image: File,
    /// Bytes that were copied.
    len: u64,
    /// What the file was before that, if any change since then shows.
    since: Option<(Stat, u32)>,
    /// Its blocks are the file's own.
    shared: bool,
}

impl Draft {
    /// Nothing is copied yet into the empty file `image`.
    pub fn empty(image: File) -> Self {
        Self { image, len: 0, since: None, shared: false }
    }

    /// Bytes that are copied.
    pub fn copied_bytes(&self) -> u64 {
        self.len
    }

    /// Copies `file` into the empty file `image`, without a lock. `stat` and `header` were read before; `settled`: since
    /// then, every write has changed the file's times. An error if `go_on` or the image says so.
    pub fn new(
        file: &File,
        stat: &Stat,
        header: &Header,
        settled: bool,
        mut image: File,
        go_on: &dyn Fn() -> Result<(), Trouble>,
    ) -> Result<Self, Trouble> {
        let since = settled.then_some((*stat, header.change_counter));
        if share(file, &image) {
            return Ok(Self { image, len: stat.size, since, shared: true });
        }
        let mut from = file;
        from.seek(SeekFrom::Start(0)).map_err(unreadable)?;
        let mut len = 0;
        while len < stat.size {
            go_on()?;
            // Inside the kernel, where it can.
            let got =
                io::copy(&mut from.take(STEP_BYTES.min(stat.size - len)), &mut image).map_err(unwritable)?;
            if got == 0 {
                break;
            }
            len += got;
        }
        Ok(Self { image, len, since, shared: false })
    }

    /// Makes it the first `bytes` of `file`, which nobody changes until this returns. `header` is what it has now. Asks
    /// `go_on` on the way; after an error, it can be tried again.
    pub fn finish(
        &mut self,
        file: &File,
        header: &Header,
        bytes: u64,
        go_on: &dyn Fn() -> Result<(), Trouble>,
    ) -> Result<(), Trouble> {
        let now = Stat::of(file).map_err(unreadable)?;
        let marks = |stat: &Stat, counter| (stat.identity(), stat.size, stat.mtime, stat.ctime, counter);
        let same = self
            .since
            .is_some_and(|(stat, counter)| marks(&stat, counter) == marks(&now, header.change_counter));
        if now.size < bytes {
            return Err(shorter());
        }
        if same && self.len >= bytes {
            return Ok(());
        }
        self.since = None;
        if self.shared && self.image.set_len(0).is_ok() && share(file, &self.image) {
            return Ok(());
        }
        self.shared = false;
        let mut at = 0;
        while at < bytes {
            go_on()?;
            let end = bytes.min(at + STEP_BYTES);
            mend(file, &self.image, at, end)?;
            at = end;
        }
        self.len = self.len.max(bytes);
        Ok(())
    }

    /// The image.
    pub fn into_file(self) -> File {
        self.image
    }
}

/// Makes the bytes from `at` to `end` of `image` those of `file`. On several threads: somebody waits for it.
fn mend(file: &File, image: &File, at: u64, end: u64) -> Result<(), Trouble> {
    let next = AtomicU64::new(at);
    let work = || {
        let (mut theirs, mut ours) = (vec![0; PIECE_BYTES], vec![0; PIECE_BYTES]);
        loop {
            let at = next.fetch_add(PIECE_BYTES as u64, Ordering::Relaxed);
            let wanted = usize::try_from(end.saturating_sub(at)).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            if wanted == 0 {
                return Ok(());
            }
            let (theirs, ours) = (&mut theirs[..wanted], &mut ours[..wanted]);
            match file.read_exact_at(theirs, at) {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(shorter()),
                read => read.map_err(unreadable)?,
            }
            if !image.read_exact_at(ours, at).is_ok_and(|()| ours == theirs) {
                image.write_all_at(theirs, at).map_err(unwritable)?;
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS);
    thread::scope(|scope| {
        // One that cannot be started is not needed: whoever runs takes all that is left.
        let start = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(start).collect();
        others.into_iter().fold(work(), |done, other| {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            done.and(other)
        })
    })
}

/// Gives the empty file `image` the blocks of `file`, where the file system can.
#[cfg(target_os = "linux")]
fn share(file: &File, image: &File) -> bool {
    rustix::fs::ioctl_ficlone(image, file).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn share(_file: &File, _image: &File) -> bool {
    false
}

fn unreadable(error: io::Error) -> Trouble {
    Trouble::Other(format!("it cannot be read: {error}"))
}

fn unwritable(error: io::Error) -> Trouble {
    Trouble::Never(format!("its temporary image cannot be written: {error}"))
}

fn shorter() -> Trouble {
    Trouble::Other("it is shorter than its header says".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::time::Duration;

    use crate::source::sqlite::{HEADER_BYTES, SQLITE_MAGIC};

    const LEN: usize = (1 << 20) + 4096;

    /// A file that begins like a database, with change counter 7, and the two files.
    fn database() -> (tempfile::TempDir, File, File) {
        let dir = tempfile::tempdir().unwrap();
        let file = |name| {
            File::options().read(true).write(true).create_new(true).open(dir.path().join(name)).unwrap()
        };
        let (main, image) = (file("db"), file("image"));
        let mut bytes: Vec<u8> = (0..LEN).map(|i| u8::try_from(i % 251).unwrap()).collect();
        bytes[..16].copy_from_slice(SQLITE_MAGIC);
        bytes[16..24].copy_from_slice(&[16, 0, 1, 1, 0, 64, 32, 32]);
        bytes[24..28].copy_from_slice(&[0, 0, 0, 7]);
        main.write_all_at(&bytes, 0).unwrap();
        (dir, main, image)
    }

    fn header(file: &File) -> Header {
        let mut first = [0; HEADER_BYTES];
        file.read_exact_at(&mut first, 0).unwrap();
        Header::parse(&first).unwrap()
    }

    fn draft(file: &File, image: File) -> Draft {
        let stat = Stat::of(file).unwrap();
        // Then times tell.
        std::thread::sleep(Duration::from_millis(30));
        Draft::new(file, &stat, &header(file), true, image, &|| Ok(())).unwrap()
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; LEN];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// Finishes it; whether the two were compared.
    fn finish(draft: &mut Draft, file: &File) -> bool {
        let asked = Cell::new(false);
        let ask = || {
            asked.set(true);
            Ok(())
        };
        draft.finish(file, &header(file), LEN as u64, &ask).unwrap();
        asked.get() || draft.shared
    }

    #[test]
    fn what_did_not_change_is_not_read_again() {
        let (_dir, main, image) = database();
        let mut draft = draft(&main, image);
        assert!(draft.shared || !finish(&mut draft, &main));
        assert!(bytes(&draft.into_file()) == bytes(&main));
    }

    /// As a transaction that outgrew its cache while the draft was copied, and was rolled back: the change
    /// counter is what it was, and the draft holds what never was.
    #[test]
    fn the_counter_alone_is_not_believed() {
        let (_dir, main, image) = database();
        let before = bytes(&main);
        let stat = Stat::of(&main).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        main.write_all_at(&[9; 5000], 700_000).unwrap();
        let mut draft = Draft::new(&main, &stat, &header(&main), true, image, &|| Ok(())).unwrap();
        main.write_all_at(&before[700_000..705_000], 700_000).unwrap();
        assert!(finish(&mut draft, &main), "compared");
        assert!(bytes(&draft.into_file()) == before);
    }

    #[test]
    fn times_that_do_not_tell_are_not_believed() {
        let (_dir, main, image) = database();
        let stat = Stat::of(&main).unwrap();
        let mut draft = Draft::new(&main, &stat, &header(&main), false, image, &|| Ok(())).unwrap();
        assert!(finish(&mut draft, &main), "compared, though nothing has changed");
        assert!(bytes(&draft.into_file()) == bytes(&main));
    }

    /// Longer and shorter than it was, and in the first and last bytes.
    #[test]
    fn a_draft_becomes_the_file() {
        for grown in [true, false] {
            let (_dir, main, image) = database();
            let mut draft = if grown {
                main.set_len(500_000).unwrap();
                draft(&main, image)
            } else {
                Draft::empty(image)
            };
            main.set_len(LEN as u64).unwrap();
            main.write_all_at(&[3; 10], LEN as u64 - 10).unwrap();
            main.write_all_at(&[0, 0, 0, 8], 24).unwrap();
            finish(&mut draft, &main);
            assert!(bytes(&draft.image) == bytes(&main));
            // Cut short, it is no database any more; whole again, the draft can still be finished.
            let all = bytes(&main);
            main.set_len(LEN as u64 - 1).unwrap();
            let answer = draft.finish(&main, &header(&main), LEN as u64, &|| Ok(()));
            assert!(matches!(answer, Err(Trouble::Other(_))), "{answer:?}");
            main.write_all_at(&all, 0).unwrap();
            finish(&mut draft, &main);
            assert!(bytes(&draft.into_file()) == all);
        }
    }

    #[test]
    fn who_writes_is_held_back_no_longer_than_allowed() {
        let (_dir, main, image) = database();
        let mut draft = Draft::empty(image);
        let answer = draft.finish(&main, &header(&main), LEN as u64, &|| Err(Trouble::HeldBack));
        assert_eq!(answer, Err(Trouble::HeldBack));
        finish(&mut draft, &main);
        assert!(bytes(&draft.into_file()) == bytes(&main));
    }
}
