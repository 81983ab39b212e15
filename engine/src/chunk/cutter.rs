//! The one cutter: from a chunk's start to its end (`docs/format.md`, "Cutting").
//!
//! The scan over a chunk's bytes is `fastcdc::v2020::cut_gear`; in plain words,
//! with `d` the bytes from the chunk's start and `rest` how many of them the
//! region still holds:
//!
//! ```text
//! n = min(rest, max)
//! if n ≤ min: raw = n
//! else:  h = 0
//!        for i in min .. n, the last byte left out when n is odd:
//!            h = 2·h + gear[d[i]]  mod 2⁶⁴
//!            if h & (mask_s if i < avg else mask_l) = 0: raw = i, stop
//!        none found: raw = n
//! length = raw                             where raw = rest, the region's end
//!        = raw rounded down to the grid    else, at least one grid unit
//! ```
//!
//! The byte whose hash passes the test begins the next chunk. As every chunk of a
//! region starts on its grid, to round the length is to round the offset.
//!
//! Assumes a grid of at most `min` ([`super::check_regions`]). Holds no buffer:
//! the caller brings a window, and carries what is left of it into the next one.

use fastcdc::v2020::cut_gear;

use super::gear::GearTable;
use super::params::{CutParams, Masks};
use super::region::{Policy, Rule};
use crate::error::Malformed;

/// Cuts content into chunks.
#[derive(Debug, Clone)]
pub struct Cutter {
    params: CutParams,
    table: GearTable,
    masks: Masks,
    min: usize,
    avg: usize,
    pub(super) max: usize,
}

impl Cutter {
    /// With the Gear table of this secret.
    pub fn new(cut_secret: &[u8; 32], table_version: u16, params: CutParams) -> Result<Self, Malformed> {
        let table = GearTable::derive(cut_secret, table_version, &params)?;
        Ok(Self {
            masks: params.masks(),
            min: widen(params.min),
            avg: widen(params.avg),
            max: widen(params.max),
            params,
            table,
        })
    }

    /// The sizes it cuts to.
    pub fn params(&self) -> &CutParams {
        &self.params
    }

    /// The table it cuts with.
    pub fn table(&self) -> &GearTable {
        &self.table
    }

    /// So many bytes after a chunk's start can bear on its end: no chunk of this
    /// rule is longer. A window that is not the last must hold more.
    pub fn lookahead(&self, rule: Rule) -> usize {
        match rule.policy {
            Policy::Cdc => self.max.max(widen(rule.grid)),
            Policy::Fixed(unit) => widen(unit).max(1),
        }
    }

    /// Length of the chunk that starts with `data`, when its region still holds
    /// `region_remaining` bytes from there. `data` must hold as many, or at least
    /// [`Self::lookahead`]; what it holds beyond that has no effect. 0 only if
    /// nothing remains.
    pub fn next_cut(&self, data: &[u8], region_remaining: u64, rule: Rule) -> usize {
        let remaining = usize::try_from(region_remaining).unwrap_or(usize::MAX);
        let seen = data.len().min(remaining);
        debug_assert!(seen >= remaining.min(self.lookahead(rule)), "too few bytes to find a cut");
        self.length(&data[..seen], seen == remaining, rule)
    }

    /// Ends of the chunks in `window`, which begins where a chunk begins: offsets
    /// in the window, ascending, each exactly where a scan over the whole region
    /// cuts.
    ///
    /// With `is_last` the region ends where the window ends, and so does the last
    /// chunk. Without, a chunk of which the window does not tell where it ends is left: at most
    /// [`Self::lookahead`] bytes, which the caller puts at the front of the next window. Content whose length is not known is cut
    /// with `is_last` unset to its end, and then what is left with it set.
    pub fn cut_window(&self, window: &[u8], is_last: bool, rule: Rule) -> Vec<usize> {
        let mut cuts = Vec::new();
        let mut at = 0;
        while let Some(next) = self.step(window, at, is_last, rule) {
            cuts.push(next);
            at = next;
        }
        cuts
    }

    /// Ends of the chunks of content of which nothing is known and all is here.
    pub fn cut_all(&self, data: &[u8]) -> Vec<usize> {
        self.cut_window(data, true, Rule::PLAIN)
    }

    /// End of the chunk that starts at `at`, if the window can tell: it can where the region ends with it, where
    /// it holds all that may bear on the end, and where content ends the chunk among what it holds.
    pub(super) fn step(&self, window: &[u8], at: usize, is_last: bool, rule: Rule) -> Option<usize> {
        let ahead = window.get(at..).filter(|ahead| !ahead.is_empty())?;
        if is_last || ahead.len() > self.lookahead(rule) {
            return Some(at + self.length(ahead, is_last, rule));
        }
        let raw = (rule.policy == Policy::Cdc).then(|| self.scan(&ahead[..ahead.len().min(self.max)]))?;
        (raw < ahead.len()).then(|| at + on_grid(raw, rule).min(ahead.len()))
    }

    /// Length of the chunk that starts with `data`. `ends` says that the region
    /// ends with `data`.
    fn length(&self, data: &[u8], ends: bool, rule: Rule) -> usize {
        let raw = match rule.policy {
            Policy::Fixed(unit) => return widen(unit).max(1).min(data.len()),
            Policy::Cdc => self.scan(&data[..data.len().min(self.max)]),
        };
        if ends && raw == data.len() { raw } else { on_grid(raw, rule).min(data.len()) }
    }

    /// The scan, over at most `max` bytes.
    fn scan(&self, data: &[u8]) -> usize {
        let Masks { strict, loose } = self.masks;
        let (_, raw) = cut_gear(
            data,
            self.min,
            self.avg,
            self.max,
            strict,
            loose,
            strict << 1,
            loose << 1,
            self.table.entries(),
            self.table.entries_ls(),
        );
        raw
    }
}

/// A length rounded down to the grid, at least one unit of it.
fn on_grid(raw: usize, rule: Rule) -> usize {
    let grid = widen(rule.grid).max(1);
    (raw - raw % grid).max(grid)
}

/// A size as an index. Where an index is narrower than 32 bits, no such slice
/// exists either.
pub(super) fn widen(size: u32) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}
