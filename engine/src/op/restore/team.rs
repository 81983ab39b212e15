//! One large file, by several workers at once.
//!
//! Whoever comes takes the next piece until none is left; the last to finish moves the file on to its next step
//! ([`super::course`]). The others wait for that (at most as long as one chunk takes), then help on. Late helpers
//! find it done and go. One that panics ends the run and not those who wait.
//!
//! Memory: one chunk for each helper, at most four that wait to be written ([`super::line`]), and the list of pieces: some 64 bytes for each chunk, so
//! 64 MiB for a file of 1 TiB.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};

use super::course::{self, Course, Step};
use super::file::Task;
use super::run::{Done, Trouble};
use crate::error::Error;
use crate::repo::trees::Piece;

/// A file that is worked on together.
pub struct Team<'r> {
    task: Task<'r>,
    pieces: Vec<Piece>,
    len: u64,
    known: course::State<'r>,
    state: Mutex<State<'r>>,
    moved: Condvar,
    next: AtomicUsize,
    /// Something went wrong: no more pieces of this step are worth taking.
    enough: AtomicBool,
}

#[derive(Default)]
struct State<'r> {
    phase: Phase<'r>,
    helpers: usize,
    trouble: Option<Trouble>,
}

#[derive(Default, Clone)]
enum Phase<'r> {
    /// Nobody has come yet.
    #[default]
    New,
    /// Someone moves it on.
    Moving,
    /// Each piece is to be taken.
    Pieces(Step<'r>),
}

/// What `work` gives; of work that panics, an error that ends the run.
fn or_panicked<T>(work: impl FnOnce() -> Done<T>) -> Done<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(Trouble::Stop(Error::Internal("a worker panicked".into()))))
}

impl<'r> Team<'r> {
    /// For one file.
    pub fn new(task: Task<'r>, pieces: Vec<Piece>, len: u64) -> Self {
        Self {
            task,
            len,
            known: course::State::new(pieces.len(), true),
            pieces,
            state: Mutex::default(),
            moved: Condvar::new(),
            next: AtomicUsize::new(0),
            enough: AtomicBool::new(false),
        }
    }

    /// How many can work on it.
    pub fn room(&self) -> usize {
        self.pieces.len()
    }

    fn state(&self) -> MutexGuard<'_, State<'r>> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn course(&self) -> Course<'_, 'r> {
        Course::new(&self.task, &self.pieces, self.len, &self.known)
    }

    /// Works on it until it is over.
    pub fn help(&self) {
        let mut state = self.state();
        loop {
            match state.phase.clone() {
                Phase::Pieces(Step::Over) => return,
                Phase::Moving => state = self.moved.wait(state).unwrap_or_else(|e| e.into_inner()),
                Phase::New => {
                    state.phase = Phase::Moving;
                    drop(state);
                    let next = or_panicked(|| self.course().begin());
                    state = self.enter(next);
                }
                Phase::Pieces(step) => {
                    state.helpers += 1;
                    drop(state);
                    let done = or_panicked(|| self.take_pieces(&step));
                    state = self.state();
                    state.helpers -= 1;
                    if let Err(trouble) = done {
                        self.enough.store(true, Ordering::Relaxed);
                        state.trouble.get_or_insert(trouble);
                    }
                    if state.helpers == 0 {
                        let trouble = state.trouble.take();
                        state.phase = Phase::Moving;
                        drop(state);
                        let next = or_panicked(|| self.course().end(&step, trouble));
                        // Its files are closed before anybody is told.
                        drop(step);
                        state = self.enter(next);
                    } else {
                        drop(step);
                        state = self.moved.wait(state).unwrap_or_else(|e| e.into_inner());
                    }
                }
            }
        }
    }

    fn enter(&self, next: Done<Step<'r>>) -> MutexGuard<'_, State<'r>> {
        self.next.store(0, Ordering::Relaxed);
        self.enough.store(false, Ordering::Relaxed);
        let step = next.unwrap_or_else(|trouble| {
            self.task.failed(trouble);
            Step::Over
        });
        let mut state = self.state();
        state.phase = Phase::Pieces(step);
        self.moved.notify_all();
        state
    }

    /// Takes pieces until none is left, or no more are worth it.
    fn take_pieces(&self, step: &Step<'r>) -> Done<()> {
        let course = self.course();
        while !self.enough.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.pieces.len() {
                break;
            }
            course.take(step, number)?;
        }
        Ok(())
    }
}
