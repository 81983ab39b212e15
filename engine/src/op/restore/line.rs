//! The line before a file that several threads write.
//!
//! The kernel lets one write to a file at a time and has the others wait, a chunk's length each. Nobody waits here: who
//! finds another writing leaves its bytes to him and goes on.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard};

/// Chunks that may stand in line. Where the disk is what takes time there are always some: more would only take memory.
const MOST_WAITING: usize = 4;

/// Of one file. When nobody is in [`Line::write`], all that was given to it is written, or one of its callers had an error.
pub struct Line<B>(Mutex<State<B>>);

struct State<B> {
    busy: bool,
    waiting: Vec<(u64, B)>,
}

impl<B> Default for Line<B> {
    fn default() -> Self {
        Self(Mutex::new(State { busy: false, waiting: Vec::new() }))
    }
}

impl<B: AsRef<[u8]>> Line<B> {
    fn state(&self) -> MutexGuard<'_, State<B>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Has `bytes` written at `at` of `file`: now, or by whoever is writing. An error may be another caller's; then
    /// nothing that stands in line is written any more.
    pub fn write(&self, file: &File, at: u64, bytes: B) -> io::Result<()> {
        let mut state = self.state();
        if state.busy {
            if state.waiting.len() < MOST_WAITING {
                state.waiting.push((at, bytes));
                return Ok(());
            }
            drop(state);
            return file.write_all_at(bytes.as_ref(), at);
        }
        state.busy = true;
        drop(state);
        let mut next = (at, bytes);
        loop {
            let done = file.write_all_at(next.1.as_ref(), next.0);
            let mut state = self.state();
            match (done, state.waiting.pop()) {
                (Ok(()), Some(waiting)) => next = waiting,
                (done, _) => {
                    *state = State { busy: false, waiting: Vec::new() };
                    return done;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const LEN: usize = 3000;

    fn piece(number: usize) -> Vec<u8> {
        vec![number as u8; LEN]
    }

    #[test]
    fn all_that_was_given_is_written_when_all_have_left() {
        let (line, next) = (Line::default(), AtomicUsize::new(0));
        let mut file = tempfile::tempfile().unwrap();
        let to = file.try_clone().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= 2000 {
                            break;
                        }
                        line.write(&to, (number * LEN) as u64, piece(number)).unwrap();
                    }
                });
            }
        });
        let mut all = Vec::new();
        file.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 2000 * LEN);
        assert!(all.chunks(LEN).enumerate().all(|(number, bytes)| bytes.iter().all(|b| *b == number as u8)));
    }

    #[test]
    fn who_writes_hears_of_every_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        drop(File::create(&path).unwrap());
        let (line, closed) = (Line::default(), File::open(&path).unwrap());
        line.state().busy = true;
        line.write(&closed, 0, piece(1)).expect("left to whoever writes");
        line.state().busy = false;
        line.write(&closed, 0, piece(2)).expect_err("not open for writing");
        let open = File::options().write(true).open(&path).unwrap();
        line.write(&open, 5, piece(3)).expect("the line is free again");
        assert_eq!(open.metadata().unwrap().len(), 5 + LEN as u64);
    }
}
