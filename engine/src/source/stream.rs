//! A file that is no file: bytes as they come out of a pipe, once, of unknown length.
//!
//! Read front to back only. Its length is known when its end was met; until then it is
//! [`UNKNOWN_BYTES`]. What was looked at ahead ([`Stream::ahead`]) is kept and given again by the
//! read that follows. Memory: what was asked to be looked at ahead.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::at::shown;
use crate::error::{Problem, ProblemKind};

/// Stands for a length that is not known yet. No file is as long.
pub const UNKNOWN_BYTES: u64 = 1 << 62;

/// Where the bytes come from.
pub trait Feed: Send {
    /// What it is, for messages: "standard input", or the command in quotes.
    fn name(&self) -> String;

    /// Some of the bytes that follow; 0 is the end. Any error but
    /// [`io::ErrorKind::Interrupted`] ends the snapshot.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize>;

    /// Asked once, after the end: is what was read all there was to come? Otherwise the
    /// reason, and there will be no snapshot.
    fn finish(&mut self) -> Result<(), String> {
        Ok(())
    }
}

/// A feed that options can hold; clones share it.
#[derive(Clone)]
pub struct Tap(Arc<Mutex<dyn Feed>>);

impl Tap {
    /// Of a feed.
    pub fn new(feed: impl Feed + 'static) -> Self {
        Self(Arc::new(Mutex::new(feed)))
    }

    fn feed(&self) -> MutexGuard<'_, dyn Feed + 'static> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// See [`Feed::name`].
    pub fn name(&self) -> String {
        self.feed().name()
    }

    /// See [`Feed::finish`].
    pub fn finish(&self) -> Result<(), String> {
        self.feed().finish()
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

/// Any reader as a feed.
pub struct Reading<R>(pub R);

impl<R: io::Read + Send> Feed for Reading<R> {
    fn name(&self) -> String {
        "standard input".into()
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out)
    }
}

/// A feed being read, under the path it is stored as.
#[derive(Debug)]
pub struct Stream {
    tap: Tap,
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Where the next read begins.
    position: u64,
    /// Bytes from `position` on that were looked at already.
    ahead: Vec<u8>,
    ended: bool,
    failed: Option<String>,
}

impl Stream {
    /// Nothing was read of it yet.
    pub fn new(tap: Tap, path: &Path) -> Self {
        Self { tap, path: path.to_owned(), state: Mutex::default() }
    }

    /// Its path in the snapshot.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length, once its end was read; else [`UNKNOWN_BYTES`].
    pub fn size(&self) -> u64 {
        let state = self.state();
        if state.ended { state.position + state.ahead.len() as u64 } else { UNKNOWN_BYTES }
    }

    /// The first `wanted` bytes, fewer where it ends before; only before the first read. A failure
    /// is told by the read that follows.
    pub fn ahead(&self, wanted: usize) -> Vec<u8> {
        let mut state = self.state();
        if state.position == 0 && state.ahead.len() < wanted {
            let have = state.ahead.len();
            let mut bytes = std::mem::take(&mut state.ahead);
            bytes.resize(wanted, 0);
            let got = self.pull(&mut state, &mut bytes[have..]);
            bytes.truncate(have + got);
            state.ahead = bytes;
        }
        state.ahead.iter().copied().take(wanted).collect()
    }

    /// Fills `out` with the bytes from `offset` on, where the last read has ended; fewer only at its end.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, Problem> {
        let mut state = self.state();
        if offset != state.position {
            return Err(self.problem("it can be read only once, from its beginning to its end"));
        }
        let had = state.ahead.len().min(out.len());
        out[..had].copy_from_slice(&state.ahead[..had]);
        state.ahead.drain(..had);
        let got = had + self.pull(&mut state, &mut out[had..]);
        state.position += got as u64;
        match &state.failed {
            Some(reason) => Err(self.problem(reason)),
            None => Ok(got),
        }
    }

    /// Reads until `out` is full, or the stream ends or fails.
    fn pull(&self, state: &mut State, out: &mut [u8]) -> usize {
        let mut got = 0;
        let mut feed = self.tap.feed();
        while got < out.len() && !state.ended && state.failed.is_none() {
            match feed.read(&mut out[got..]) {
                Ok(0) => state.ended = true,
                Ok(n) => got += n.min(out.len() - got),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => state.failed = Some(format!("cannot be read: {e}")),
            }
        }
        got
    }

    fn problem(&self, reason: &str) -> Problem {
        Problem::new(ProblemKind::Unreadable, shown(&self.path), reason)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives three bytes at a time, is interrupted every other time, and may break.
    struct Drops(Vec<u8>, usize, Option<usize>, bool);

    impl Feed for Drops {
        fn name(&self) -> String {
            "drops".into()
        }

        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            if self.2.is_some_and(|at| self.1 >= at) {
                return Err(io::Error::other("torn"));
            }
            let n = 3.min(out.len()).min(self.0.len() - self.1);
            out[..n].copy_from_slice(&self.0[self.1..self.1 + n]);
            self.3 = !self.3;
            if self.3 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            self.1 += n;
            Ok(n)
        }
    }

    fn stream(bytes: Vec<u8>, torn: Option<usize>) -> Stream {
        Stream::new(Tap::new(Drops(bytes, 0, torn, false)), Path::new("/s"))
    }

    #[test]
    fn what_was_looked_at_ahead_is_read_again() {
        let all: Vec<u8> = (0..100).collect();
        let stream = Stream::new(Tap::new(Reading(io::Cursor::new(all.clone()))), Path::new("/s"));
        assert_eq!(stream.ahead(10), all[..10]);
        assert_eq!(stream.ahead(4), all[..4]);
        assert_eq!(stream.size(), UNKNOWN_BYTES);
        let mut out = [0; 7];
        assert_eq!(stream.read_at(0, &mut out).unwrap(), 7);
        assert_eq!(out, all[..7]);
        let mut rest = [0; 200];
        assert!(stream.read_at(8, &mut rest).is_err(), "only where the last read has ended");
        assert_eq!(stream.read_at(7, &mut rest).unwrap(), 93);
        assert_eq!((&rest[..93], stream.size()), (&all[7..], 100));
        assert_eq!(stream.read_at(100, &mut rest).unwrap(), 0);
    }

    #[test]
    fn short_reads_and_interruptions_are_outlasted() {
        let stream = stream((0..50).collect(), None);
        assert_eq!(stream.ahead(1000), (0..50).collect::<Vec<u8>>());
        assert_eq!(stream.size(), 50);
    }

    #[test]
    fn what_breaks_is_told_and_never_a_short_file() {
        let stream = stream((0..50).collect(), Some(9));
        stream.ahead(30);
        let problem = stream.read_at(0, &mut [0; 30]).unwrap_err();
        assert!(problem.message.contains("torn"), "{problem}");
        assert_eq!(stream.size(), UNKNOWN_BYTES);
    }
}
