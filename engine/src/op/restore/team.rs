//! One large file, by several workers at once.
//!
//! Whoever comes takes the next piece until none is left; the last to finish moves the file on:
//! looked at → compared with what stands there → written → in place. The others wait for that
//! (at most as long as one chunk takes), then help on. Late helpers find it done and go.
//!
//! Memory: one chunk for each helper, and the list of pieces: some 64 bytes for each chunk, so
//! 64 MiB for a file of 1 TiB.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rustix::fs::Stat;

use super::aside;
use super::file::{self, Standing, Task, Temp};
use super::run::{Done, Trouble};
use crate::repo::loom::Pin;
use crate::repo::trees::Piece;
use crate::source::sqlite::Guarded;

/// A file that is worked on together.
pub struct Team<'r> {
    task: Task<'r>,
    pieces: Vec<Piece>,
    len: u64,
    state: Mutex<State<'r>>,
    moved: Condvar,
    next: AtomicUsize,
    /// No more pieces of this phase are worth taking.
    enough: AtomicBool,
}

#[derive(Default)]
struct State<'r> {
    phase: Phase<'r>,
    helpers: usize,
    trouble: Option<Trouble>,
    /// What was decoded for it.
    kept: Option<Pin<'r>>,
}

#[derive(Default, Clone)]
enum Phase<'r> {
    /// Nobody has come yet.
    #[default]
    New,
    /// Someone moves it on.
    Moving,
    /// Is what stands there right already?
    Compare(Arc<(Guarded, Stat)>),
    /// Into the temporary file.
    Write(Arc<Temp<'r>>),
    /// In place, or given up.
    Over,
}

impl<'r> Team<'r> {
    /// For one file.
    pub fn new(task: Task<'r>, pieces: Vec<Piece>, len: u64) -> Self {
        Self {
            task,
            pieces,
            len,
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

    /// Works on it until it is over.
    pub fn help(&self) {
        let mut state = self.state();
        loop {
            match state.phase.clone() {
                Phase::Over => return,
                Phase::Moving => state = self.moved.wait(state).unwrap_or_else(|e| e.into_inner()),
                Phase::New => {
                    state.phase = Phase::Moving;
                    drop(state);
                    let next = self.begin();
                    state = self.enter(next);
                }
                phase => {
                    state.helpers += 1;
                    drop(state);
                    let done = self.take_pieces(&phase);
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
                        let next = self.end(&phase, trouble);
                        state = self.enter(next);
                    } else {
                        state = self.moved.wait(state).unwrap_or_else(|e| e.into_inner());
                    }
                }
            }
        }
    }

    fn enter(&self, next: Done<Phase<'r>>) -> MutexGuard<'_, State<'r>> {
        self.next.store(0, Ordering::Relaxed);
        self.enough.store(false, Ordering::Relaxed);
        let phase = next.unwrap_or_else(|trouble| {
            self.task.dir.run.settle(&self.task.path(), trouble);
            Phase::Over
        });
        let mut state = self.state();
        state.phase = phase;
        self.moved.notify_all();
        state
    }

    fn begin(&self) -> Done<Phase<'r>> {
        self.task.dir.run.check()?;
        match self.task.standing(self.len)? {
            Standing::Keep => {
                self.task.leave();
                Ok(Phase::Over)
            }
            Standing::Candidate(file, stat) => Ok(Phase::Compare(Arc::new((file, stat)))),
            Standing::Free => self.open(),
        }
    }

    fn open(&self) -> Done<Phase<'r>> {
        self.task.refuse_if_open()?;
        let kept = {
            let run = self.task.dir.run;
            run.reader.prepare_pieces(&self.pieces, run.progress)?
        };
        self.state().kept = Some(kept);
        Ok(Phase::Write(Arc::new(Temp::open(&self.task, &self.pieces, self.len)?)))
    }

    /// Takes pieces until none is left, or no more are worth it.
    fn take_pieces(&self, phase: &Phase<'r>) -> Done<()> {
        while !self.enough.load(Ordering::Relaxed)
            && let Some(piece) = self.pieces.get(self.next.fetch_add(1, Ordering::Relaxed))
        {
            match phase {
                Phase::Compare(there) => {
                    self.task.dir.run.check()?;
                    if !file::holds(&self.task.dir, &there.0, piece)? {
                        self.enough.store(true, Ordering::Relaxed);
                    }
                }
                Phase::Write(temp) => temp.fill(piece)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Every piece was done, or something went wrong: what comes next?
    fn end(&self, phase: &Phase<'r>, trouble: Option<Trouble>) -> Done<Phase<'r>> {
        match (phase, trouble) {
            (Phase::Compare(_), Some(Trouble::Stop(error))) => Err(Trouble::Stop(error)),
            (Phase::Compare(there), None)
                if !self.enough.load(Ordering::Relaxed)
                    && aside::keeps(&self.task.dir, &self.task.node.name, &there.1) =>
            {
                self.task.adopt(&there.0, &there.1, self.len).map(|()| Phase::Over)
            }
            // It differs, or cannot be read: it is replaced.
            (Phase::Compare(_), _) => self.open(),
            (Phase::Write(temp), Some(trouble)) => {
                temp.discard_unless_interrupted(&trouble);
                Err(trouble)
            }
            (Phase::Write(temp), None) => self.task.place(temp).map(|()| Phase::Over),
            _ => Ok(Phase::Over),
        }
    }
}
