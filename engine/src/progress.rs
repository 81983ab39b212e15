//! What a long run tells while it works. The library counts; a caller draws.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Problem, Result};

/// Receives counts and findings. Called from many threads, so it must be quick.
pub trait Progress: Send + Sync {
    /// A new part of the work begins. Totals that are not known yet are `None`.
    fn phase(&self, _name: &'static str, _files: Option<u64>, _bytes: Option<u64>) {}
    /// What this part counts, where it is not files; called after [`Progress::phase`].
    fn unit(&self, _plural: &'static str) {}
    /// More was found to do than the totals said.
    fn found(&self, _files: u64, _bytes: u64) {}
    /// So much was done.
    fn advance(&self, _files: u64, _bytes: u64) {}
    /// The path at hand.
    fn current(&self, _path: &str) {}
    /// A finding that does not end the run.
    fn problem(&self, _problem: &Problem) {}
    /// Something worth a line, once.
    fn note(&self, _message: &str) {}
    /// Has the user asked to stop? Looked at between files, chunks and packs.
    fn stop_requested(&self) -> bool {
        false
    }

    /// [`Error::Interrupted`] once a stop was asked for.
    fn check(&self) -> Result<()> {
        if self.stop_requested() { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// Says nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {}

/// Says nothing, and can be told to stop.
#[derive(Debug, Default)]
pub struct Stoppable(AtomicBool);

impl Stoppable {
    /// Ask the run to stop.
    pub fn stop(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Progress for Stoppable {
    fn stop_requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
