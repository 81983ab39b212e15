//! One window cut by many threads, with exactly the cuts of one
//! (`docs/format.md`, "Cutting": the rule is that of [`Cutter::cut_window`]).
//!
//! The next cut is a function of a chunk's start alone, so two chains of cuts
//! that have one cut in common have all later ones in common.
//!
//! 1. The window is divided into segments. Each is cut from its first byte, a
//!    guess, until a cut reaches the next segment: a *chain*.
//! 2. From the end of every chain cutting goes on into the next segment, until
//!    it meets that segment's chain: a *bridge*, some chunks long.
//! 3. One thread walks from the window's start, along chains and bridges where
//!    it stands on one, cutting by itself where it does not.
//!
//! Steps 1 and 2 run in the current rayon pool; what they found is only ever
//! used where step 3 arrives at the very same offset, so a bad guess costs time
//! and no more. Where chains never meet (constant and periodic data, shifted),
//! step 3 does what a single scan does; segments are multiples of the longest
//! chunk, so that a window of one byte value meets at every segment at once.

use rayon::prelude::*;

use super::cutter::{Cutter, widen};
use super::region::{Policy, Rule};

/// A segment holds at least so many of the longest chunks: shorter ones would be
/// all bridge.
const SEGMENT_LEAST_CHUNKS: usize = 2;

/// Cuts of a window, and what they cost.
pub(super) struct Joined {
    /// As [`Cutter::cut_window`] gives them.
    pub(super) cuts: Vec<usize>,
    /// Bytes that were cut, twice counted when done twice.
    #[cfg_attr(not(test), allow(dead_code))]
    pub(super) walked: usize,
}

impl Cutter {
    /// What [`Self::cut_window`] gives, by the threads of the current rayon pool.
    /// Worth its while for windows of many times the longest chunk.
    pub fn cut_window_parallel(&self, window: &[u8], is_last: bool, rule: Rule) -> Vec<usize> {
        match self.segment_len(window.len(), rayon::current_num_threads(), rule) {
            Some(segment) => self.cut_segments(window, is_last, rule, segment).cuts,
            None => self.cut_window(window, is_last, rule),
        }
    }

    /// How long to make the segments of a window, if it is to be divided at all.
    pub(super) fn segment_len(&self, window_len: usize, threads: usize, rule: Rule) -> Option<usize> {
        let grid = widen(rule.grid).max(1);
        if matches!(rule.policy, Policy::Fixed(_)) || grid > self.max {
            return None;
        }
        let segments = threads.min(window_len / (SEGMENT_LEAST_CHUNKS * self.max));
        let longest = self.max - self.max % grid;
        (segments > 1).then(|| window_len.div_ceil(segments).next_multiple_of(longest))
    }

    /// Cuts in segments of a given length, which must be a multiple of the grid.
    pub(super) fn cut_segments(&self, window: &[u8], is_last: bool, rule: Rule, segment: usize) -> Joined {
        let walk = |from: usize, done: &dyn Fn(usize) -> bool| {
            let mut chain = vec![from];
            let mut at = from;
            while !done(at) {
                let Some(next) = self.step(window, at, is_last, rule) else { break };
                chain.push(next);
                at = next;
            }
            chain
        };
        let starts: Vec<usize> = (0..window.len()).step_by(segment).collect();
        let chains: Vec<Vec<usize>> =
            starts.par_iter().map(|&start| walk(start, &|at| at >= start + segment)).collect();
        let bridges: Vec<Vec<usize>> = chains
            .par_windows(2)
            .zip(&starts)
            .map(|(pair, &start)| {
                let from = last_of(&pair[0], start);
                let done = |at: usize| {
                    at < start + segment || at >= start + 2 * segment || pair[1].binary_search(&at).is_ok()
                };
                walk(from, &done)
            })
            .collect();

        let mut walked = chains.iter().chain(&bridges).map(|chain| last_of(chain, 0) - chain[0]).sum();
        let mut cuts = Vec::new();
        let mut at = 0;
        loop {
            let k = at / segment;
            let known = after(&chains, Some(k), at).or_else(|| after(&bridges, k.checked_sub(1), at));
            if let Some(rest) = known {
                cuts.extend_from_slice(rest);
                at = last_of(rest, at);
            } else if let Some(next) = self.step(window, at, is_last, rule) {
                walked += next - at;
                cuts.push(next);
                at = next;
            } else {
                return Joined { cuts, walked };
            }
        }
    }
}

/// What follows `at` on the chain numbered `k`, if `at` is a cut of it and not its last.
fn after(chains: &[Vec<usize>], k: Option<usize>, at: usize) -> Option<&[usize]> {
    let chain = chains.get(k?)?;
    let place = chain.binary_search(&at).ok()?;
    chain.get(place + 1..).filter(|rest| !rest.is_empty())
}

/// Last cut of a chain.
fn last_of(chain: &[usize], or: usize) -> usize {
    chain.last().copied().unwrap_or(or)
}
