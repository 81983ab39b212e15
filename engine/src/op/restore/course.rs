//! How one file comes to be, step by step, for one worker or several.
//!
//! 1. **Compare**: which pieces does the file have that stands there? All of them: it is adopted.
//! 2. **Resume**: which pieces are in what an interrupted run left?
//! 3. **Write**: the others, out of the file that is there or out of the repository, each verified.
//! 4. **Read again**: only what was written in place, which others could see and write to meanwhile.
//! 5. The file gets its name and its metadata.
//!
//! In each step every piece comes by once, in any order. Memory: one byte a piece beside the list of pieces, and that
//! list once more while what is missing is decoded; one chunk and one buffer of a chunk for each worker.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use super::aside;
use super::file::{Standing, Task, There, holds};
use super::run::{Done, Trouble, count};
use super::sink::{Sink, Temp, changed_meanwhile};
use crate::error::Error;
use crate::format::content::Entry;
use crate::id::{BlobKind, BlobRef};
use crate::repo::loom::Pin;
use crate::repo::trees::Piece;
use crate::source::sqlite::{SQLITE_MAGIC, is_sqlite_header};

/// Nothing is known of a piece, or it is nowhere but in the repository.
const MISSING: u8 = 0;
/// The file that stands there has it.
const THERE: u8 = 1;
/// It is where it belongs.
const DONE: u8 = 2;

/// What is done with each piece.
#[derive(Clone)]
pub enum Step<'r> {
    /// Looked for in the file that is there.
    Compare(Arc<There>),
    /// Looked for in what an interrupted run left.
    Resume(Arc<Sink<'r>>),
    /// Put where it belongs.
    Write(Arc<Sink<'r>>),
    /// Read again.
    ReadAgain(Arc<Sink<'r>>),
    /// Nothing more: the file is in place, or given up.
    Over,
}

/// One file on its way.
pub struct Course<'c, 'r> {
    task: &'c Task<'r>,
    pieces: &'c [Piece],
    len: u64,
    state: &'c State<'r>,
}

/// What is known of a file on its way.
pub struct State<'r> {
    marks: Vec<AtomicU8>,
    /// A piece was not found.
    differs: AtomicBool,
    /// Something stood there that is to be replaced.
    old: AtomicBool,
    /// Frames that many pieces share are worth decoding before.
    prepares: bool,
    kept: Mutex<Option<Pin<'r>>>,
}

impl State<'_> {
    /// Nothing yet, of so many pieces.
    pub fn new(pieces: usize, prepares: bool) -> Self {
        Self {
            marks: std::iter::repeat_with(AtomicU8::default).take(pieces).collect(),
            differs: AtomicBool::new(false),
            old: AtomicBool::new(false),
            prepares,
            kept: Mutex::default(),
        }
    }
}

impl<'c, 'r> Course<'c, 'r> {
    /// By whoever shares `state`.
    pub fn new(task: &'c Task<'r>, pieces: &'c [Piece], len: u64, state: &'c State<'r>) -> Self {
        Self { task, pieces, len, state }
    }

    /// The first step.
    pub fn begin(&self) -> Done<Step<'r>> {
        self.task.dir.run.check()?;
        match self.task.standing(self.len)? {
            Standing::Keep => {
                self.task.leave();
                Ok(Step::Over)
            }
            Standing::Trusted(file, stat) => {
                if aside::keeps(&self.task.dir, self.task.name(), &stat) {
                    return self.task.adopt(&file, &stat, self.len).map(|()| Step::Over);
                }
                self.open(None)
            }
            Standing::There(there) => {
                self.state.old.store(true, Ordering::Relaxed);
                Ok(Step::Compare(Arc::new(there)))
            }
            Standing::Free { old } => {
                self.state.old.store(old, Ordering::Relaxed);
                self.open(None)
            }
        }
    }

    /// One step for one piece.
    pub fn take(&self, step: &Step<'r>, number: usize) -> Done<()> {
        let (dir, run) = (&self.task.dir, self.task.dir.run);
        let (Some(piece), Some(mark)) = (self.pieces.get(number), self.state.marks.get(number)) else {
            return Ok(());
        };
        run.check()?;
        let len = piece.entry.content_len();
        match step {
            Step::Compare(there) => match holds(dir, &there.file, piece) {
                Ok(true) => mark.store(THERE, Ordering::Relaxed),
                Err(Trouble::Stop(error)) => return Err(Trouble::Stop(error)),
                // What cannot be read is replaced.
                Ok(false) | Err(_) => self.state.differs.store(true, Ordering::Relaxed),
            },
            Step::Resume(sink) => {
                if holds(dir, sink.file(), piece)? {
                    mark.store(DONE, Ordering::Relaxed);
                    let is_hole = matches!(piece.entry, Entry::Hole { .. });
                    count(&run.counts.resumed, if is_hole { 0 } else { len });
                    run.progress.advance(0, len);
                }
            }
            Step::Write(sink) => {
                let is_chunk = matches!(piece.entry, Entry::Chunk { .. });
                match mark.load(Ordering::Relaxed) {
                    DONE => return Ok(()),
                    THERE if is_chunk && sink.reuse(dir, piece)? => {}
                    _ => sink.fetch(dir, piece)?,
                }
                run.progress.advance(0, len);
            }
            Step::ReadAgain(sink) => {
                if !holds(dir, sink.file(), piece)? {
                    return Err(changed_meanwhile());
                }
            }
            Step::Over => {}
        }
        Ok(())
    }

    /// Every piece came by, or something went wrong: what comes next?
    pub fn end(&self, step: &Step<'r>, trouble: Option<Trouble>) -> Done<Step<'r>> {
        match (step, trouble) {
            (Step::Compare(_), Some(trouble)) => Err(trouble),
            (Step::Compare(there), None) => {
                let same = there.adoptable && !self.state.differs.load(Ordering::Relaxed);
                if same && aside::keeps(&self.task.dir, self.task.name(), &there.stat) {
                    return self.task.adopt(&there.file, &there.stat, self.len).map(|()| Step::Over);
                }
                self.open(Some(there))
            }
            (Step::Resume(sink) | Step::Write(sink) | Step::ReadAgain(sink), Some(trouble)) => {
                Err(sink.give_up(self.task.dir.run, trouble))
            }
            (Step::Resume(sink), None) => self.write(sink.clone()),
            (Step::Write(sink), None) if matches!(**sink, Sink::InPlace { .. }) => {
                Ok(Step::ReadAgain(sink.clone()))
            }
            (Step::Write(sink) | Step::ReadAgain(sink), None) => {
                sink.finish(self.task, self.state.old.load(Ordering::Relaxed)).map(|()| Step::Over)
            }
            (Step::Over, _) => Ok(Step::Over),
        }
    }

    fn open(&self, there: Option<&Arc<There>>) -> Done<Step<'r>> {
        self.task.refuse_if_open()?;
        if let Some(there) = there.filter(|there| there.in_place) {
            self.refuse_if_lost()?;
            if let Some(sink) = Sink::in_place(self.task, there, self.len, self.is_database()?)? {
                // What is right where it stands stays.
                let run = self.task.dir.run;
                for (piece, mark) in self.pieces.iter().zip(&self.state.marks) {
                    if mark.load(Ordering::Relaxed) == THERE {
                        mark.store(DONE, Ordering::Relaxed);
                        let is_hole = matches!(piece.entry, Entry::Hole { .. });
                        count(&run.counts.reused, if is_hole { 0 } else { piece.entry.content_len() });
                        run.progress.advance(0, piece.entry.content_len());
                    }
                }
                return self.write(Arc::new(sink));
            }
        }
        let shared = self.state.marks.iter().any(|mark| mark.load(Ordering::Relaxed) == THERE);
        let temp = Temp::open(self.task, self.pieces, self.len, shared)?;
        let left_over = temp.left_over;
        let sink = Arc::new(Sink::Sibling { temp, old: there.cloned().filter(|_| shared) });
        if left_over { Ok(Step::Resume(sink)) } else { self.write(sink) }
    }

    /// What is missing is decoded before, where that pays.
    fn write(&self, sink: Arc<Sink<'r>>) -> Done<Step<'r>> {
        if self.state.prepares {
            let run = self.task.dir.run;
            let missing = |(_, mark): &(&Piece, &AtomicU8)| mark.load(Ordering::Relaxed) == MISSING;
            let missing = self.pieces.iter().zip(&self.state.marks).filter(missing);
            let missing: Vec<Piece> = missing.map(|(piece, _)| piece.clone()).collect();
            let kept = run.reader.prepare_pieces(&missing, run.progress);
            let kept = kept.map_err(|error| sink.give_up(run, error.into()))?;
            self.state.kept.lock().unwrap_or_else(|e| e.into_inner()).replace(kept);
        }
        Ok(Step::Write(sink))
    }

    /// In place there is no way back: a chunk of which no pack is left is found out before.
    fn refuse_if_lost(&self) -> Done<()> {
        let places = self.task.dir.run.reader.places();
        for (piece, mark) in self.pieces.iter().zip(&self.state.marks) {
            if let (Entry::Chunk { id, .. }, MISSING) = (&piece.entry, mark.load(Ordering::Relaxed)) {
                let blob = BlobRef::new(BlobKind::Chunk, *id);
                if places.places(&blob)?.is_empty() {
                    let reason = "no pack has it; the file was left as it was".to_owned();
                    return Err(Error::Missing { blob: blob.to_string(), reason }.into());
                }
            }
        }
        Ok(())
    }

    /// Does what is to be written begin like a database?
    fn is_database(&self) -> Done<bool> {
        Ok(match self.pieces.first().map(|piece| &piece.entry) {
            Some(Entry::Chunk { id, len }) => {
                let bytes = self.task.dir.run.reader.chunk(*id, *len)?;
                bytes.get(..SQLITE_MAGIC.len()).is_some_and(is_sqlite_header)
            }
            Some(Entry::Inline { bytes }) => bytes.get(..SQLITE_MAGIC.len()).is_some_and(is_sqlite_header),
            _ => false,
        })
    }
}

/// From the first step to the last, by one worker.
pub fn alone(task: &Task<'_>, pieces: &[Piece], len: u64) -> Done<()> {
    let state = State::new(pieces.len(), false);
    let course = Course::new(task, pieces, len, &state);
    let mut step = course.begin()?;
    while !matches!(step, Step::Over) {
        let done = (0..pieces.len()).try_for_each(|number| course.take(&step, number));
        step = course.end(&step, done.err())?;
    }
    Ok(())
}
