//! The files of a walk: taken over from the parent, read in runs of neighbours, or as large ones; and what
//! comes back of them.

use std::path::Path;

use super::{Conductor, Done, Hands, Later};
use crate::error::{Error, Result};
use crate::format::tree::{CAPTURE_PLAIN_LIVE, CAPTURE_SQLITE, Node, NodeKind};
use crate::op::snapshot::IN_FLIGHT_BYTES;
use crate::op::snapshot::database::{self, Fate, Parked, Refusal};
use crate::op::snapshot::large::{Before, LargeFile};
use crate::op::snapshot::reading::{self, Outcome, ToRead, WHOLE_FILE_BYTES};
use crate::op::snapshot::tally::{Compared, Tally};
use crate::source::sqlite::{NotCaptured, SQLITE_MAGIC, SqliteMode, reason_to_read};
use crate::source::{At, Stat, shown};

/// A run of neighbours: at most so many bytes of files.
const BATCH_BYTES: u64 = 2 << 20;
/// A run of neighbours: at most so many files.
const BATCH_FILES: usize = 64;
/// What a queued file counts for besides its length: it may keep a directory open, and
/// descriptors are few.
const QUEUED_FILE_BYTES: u64 = 128 << 10;

/// A large database that others change while it is read is captured anew so many times.
const CAPTURES: u32 = 3;

impl Conductor<'_> {
    pub(super) fn file<'s, 't: 's>(
        &mut self,
        at: At,
        stat: Stat,
        node: Node,
        root: &Path,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()> {
        let known = self.of_parent(at.path(), at.name(), root).filter(|n| n.kind == NodeKind::File);
        let slot = self.builder.place(at.path());
        let fate = self.databases.fate(&at, &stat);
        let file = Parked { at, stat, node, known, slot };
        match fate {
            Fate::File => self.known_file(file, hands, scope)?,
            Fate::Dropped => self.builder.fill(file.slot, None, self.ancestry)?,
            Fate::Waits(database) => self.databases.park(database, file),
        }
        self.catch_up(hands, scope)
    }

    /// Does what waits for the walk.
    fn catch_up<'s, 't: 's>(&mut self, hands: &Hands<'t, '_>, scope: &rayon::Scope<'s>) -> Result<()> {
        while let Some(later) = self.later.pop() {
            match later {
                Later::Beside(file) => self.known_file(file, hands, scope)?,
                Later::Large(file) => self.read_large(file, hands, scope)?,
            }
        }
        Ok(())
    }

    /// It is known whether this file was captured: what belongs to it is settled with it.
    fn decided(&mut self, path: &Path, captured: bool) -> Result<()> {
        for file in self.databases.decided(path, captured) {
            match captured {
                true => self.builder.fill(file.slot, None, self.ancestry)?,
                false => self.later.push(Later::Beside(file)),
            }
        }
        Ok(())
    }

    /// A file that is to be stored, with what the parent has in its place.
    fn known_file<'s, 't: 's>(
        &mut self,
        file: Parked,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()> {
        let Parked { at, stat, mut node, mut known, slot } = file;
        self.progress.found(1, stat.size);
        let compared = match &known {
            None => Compared::New,
            Some(old) => match self.take_over(old, &at, &stat)? {
                Ok(()) => Compared::Unchanged,
                Err(words) => {
                    self.tally.read_again(words);
                    Compared::Changed
                }
            },
        };
        if let Some(database) = reading::journal_of(&at) {
            self.tally.problem(database, self.progress);
        }
        if compared == Compared::Unchanged
            && let Some(old) = known.take()
        {
            node.content = old.content;
            node.seams = old.seams;
            node.capture = old.capture;
            if old.capture == CAPTURE_PLAIN_LIVE
                && let Some(problem) = reading::live_database(&at, SQLITE_MAGIC)
            {
                self.tally.problem(problem, self.progress);
            }
            if old.capture == CAPTURE_SQLITE {
                node.size = old.size;
                database::keep(&mut node, &old.extensions);
            }
            self.decided(at.path(), old.capture == CAPTURE_SQLITE)?;
            self.tally.file(Compared::Unchanged, node.size, 0);
            self.progress.advance(1, stat.size);
            return self.builder.fill(slot, Some(node), self.ancestry);
        }
        self.databases.await_file(at.path(), &self.options.sqlite);
        let size = stat.size;
        let file =
            ToRead { before: known, at, stat, node, slot, compared, refused: None, problems: Vec::new() };
        if size > WHOLE_FILE_BYTES {
            // What came before in the walk goes first, so that neighbours stay neighbours.
            self.send_batch(hands, scope);
            return self.read_large(file, hands, scope);
        }
        self.batch.push(file);
        self.batch_bytes += size + QUEUED_FILE_BYTES;
        let read_bytes = self.batch_bytes - self.batch.len() as u64 * QUEUED_FILE_BYTES;
        if read_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_FILES {
            self.send_batch(hands, scope);
        }
        self.take_results(hands, IN_FLIGHT_BYTES)
    }

    /// May the parent's content be taken over? Otherwise why not.
    fn take_over(&self, old: &Node, at: &At, stat: &Stat) -> Result<std::result::Result<(), &'static str>> {
        if self.options.force {
            return Ok(Err(Tally::FORCED));
        }
        if old.lost().is_some() {
            // What stands for the lost bytes are not the file's.
            return Ok(Err(Tally::MISSING_DATA));
        }
        if let Some(words) = reason_to_read(old, at, stat, &self.policy, self.options.sqlite.mode) {
            return Ok(Err(words));
        }
        Ok(if self.parent.still_stored(old, self.session)? { Ok(()) } else { Err(Tally::MISSING_DATA) })
    }

    fn send_batch<'s, 't: 's>(&mut self, hands: &Hands<'t, '_>, scope: &rayon::Scope<'s>) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.batch);
        let bytes = std::mem::take(&mut self.batch_bytes);
        self.in_flight_bytes += bytes;
        self.batches += 1;
        let (tools, sender) = (hands.tools, hands.sender.clone());
        scope.spawn(move |_| {
            thread_local! {
                static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
            }
            let read = || BUFFER.with_borrow_mut(|buffer| reading::read_batch(tools, batch, buffer));
            let result = reading::or_panicked(read);
            drop(sender.send(Done::Batch { bytes, result }));
        });
    }

    fn read_large<'s, 't: 's>(
        &mut self,
        mut file: ToRead,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()> {
        self.progress.current(&shown(file.at.path()));
        let before = file.before.take();
        let (familiar, trusted) = self.parent.familiar(before.as_ref(), hands.tools.cutter.params());
        let before = Before { node: before.as_ref(), familiar: &familiar, trusted };
        for capture in 1.. {
            let number = self.next_large;
            self.next_large += 1;
            let source = match reading::open(hands.tools, file, false) {
                Err(outcome) => return self.take_in(*outcome),
                Ok(opened) => opened,
            };
            let large =
                hands.reader.read(number, source.0, source.1, &before, &hands.sender, Done::Chunk, scope)?;
            let Some(why) = large.spoiled() else {
                self.large.insert(number, large);
                self.settle_large(number, hands)?;
                return self.take_results(hands, IN_FLIGHT_BYTES);
            };
            // Its chunks come back for a number that nobody knows any more.
            file = large.into_file();
            database::forget(&mut file.node);
            if capture == CAPTURES {
                let mode = self.options.sqlite.mode;
                file.refused = Some(Refusal::new(&file.at, mode, NotCaptured { why, live: true }));
            }
        }
        Ok(())
    }

    pub(super) fn settle_large(&mut self, number: u64, hands: &Hands<'_, '_>) -> Result<()> {
        if self.large.get(&number).is_some_and(LargeFile::is_done)
            && let Some(large) = self.large.remove(&number)
        {
            let outcome = large.finish(hands.tools)?;
            self.take_in(outcome)?;
        }
        Ok(())
    }

    fn take_in(&mut self, outcome: Outcome) -> Result<()> {
        if let Some(file) = outcome.postponed {
            self.later.push(Later::Large(*file));
            return Ok(());
        }
        let settled = match &outcome.node {
            Some(node) => node.capture == CAPTURE_SQLITE,
            // Without the database, what lies beside it is of no use.
            None => self.options.sqlite.mode == SqliteMode::Require,
        };
        self.decided(&outcome.path, settled)?;
        outcome.problems.into_iter().for_each(|p| self.tally.problem(p, self.progress));
        if let Some(node) = &outcome.node {
            self.tally.file(outcome.compared, node.size, outcome.read_bytes);
        }
        self.builder.fill(outcome.slot, outcome.node, self.ancestry)
    }

    fn handle(&mut self, done: Done, hands: &Hands<'_, '_>) -> Result<()> {
        match done {
            Done::Batch { bytes, result } => {
                self.in_flight_bytes -= bytes;
                self.batches -= 1;
                result?.into_iter().try_for_each(|outcome| self.take_in(outcome))
            }
            Done::Chunk((number, part, id)) => {
                let id = id?;
                if let Some(large) = self.large.get_mut(&number) {
                    large.chunk_done(part, id);
                }
                self.settle_large(number, hands)
            }
        }
    }

    /// Takes in what is there, and waits while more than `limit` is under way.
    fn take_results(&mut self, hands: &Hands<'_, '_>, limit: u64) -> Result<()> {
        loop {
            let done = if self.in_flight_bytes > limit {
                hands.receiver.recv().map_err(|_| Error::Internal("the workers are gone".into()))?
            } else {
                match hands.receiver.try_recv() {
                    Ok(done) => done,
                    Err(_) => return Ok(()),
                }
            };
            self.handle(done, hands)?;
        }
    }

    /// Waits for everything under way.
    pub(super) fn drain<'s, 't: 's>(
        &mut self,
        hands: &Hands<'t, '_>,
        scope: &rayon::Scope<'s>,
    ) -> Result<()> {
        loop {
            self.send_batch(hands, scope);
            while self.batches > 0 || !self.large.is_empty() {
                let done =
                    hands.receiver.recv().map_err(|_| Error::Internal("the workers are gone".into()))?;
                self.handle(done, hands)?;
            }
            if self.later.is_empty() {
                break;
            }
            self.catch_up(hands, scope)?;
        }
        debug_assert!(self.builder.is_settled());
        Ok(())
    }
}
