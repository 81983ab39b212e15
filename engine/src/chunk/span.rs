//! A window over several regions: what a pipeline asks for that moves one window
//! over a file whose layout is known.

use rayon::prelude::*;

use super::cutter::Cutter;
use super::region::{Region, Rule};

/// The part of a region that lies in a window.
struct Piece {
    from: usize,
    to: usize,
    /// The region ends here too.
    is_last: bool,
    rule: Rule,
}

impl Cutter {
    /// Ends of the chunks in `window`, which begins `offset` bytes into the file,
    /// where a chunk begins: offsets in the window, ascending, the same for every
    /// way of moving a window over the file.
    ///
    /// `regions` are all regions of the file, as [`super::check_regions`] wants
    /// them. What follows the last cut is to be put at the front of the next
    /// window; with none at all, the window was not longer than
    /// [`Self::lookahead`] and has to grow. Once a window reaches the file's end
    /// the last cut is its length. Runs in the current rayon pool.
    pub fn cut_regions(&self, window: &[u8], offset: u64, regions: &[Region]) -> Vec<usize> {
        let pieces: Vec<Piece> = pieces(window.len(), offset, regions).collect();
        pieces
            .into_par_iter()
            .flat_map_iter(|Piece { from, to, is_last, rule }| {
                let cuts = self.cut_window_parallel(&window[from..to], is_last, rule);
                cuts.into_iter().map(move |cut| from + cut)
            })
            .collect()
    }

    /// The same, by this thread alone: for a task that must not take up another while it waits.
    pub fn cut_regions_alone(&self, window: &[u8], offset: u64, regions: &[Region]) -> Vec<usize> {
        pieces(window.len(), offset, regions)
            .flat_map(|Piece { from, to, is_last, rule }| {
                let cuts = self.cut_window(&window[from..to], is_last, rule);
                cuts.into_iter().map(move |cut| from + cut)
            })
            .collect()
    }
}

/// What of `regions` lies in a window.
fn pieces(window_len: usize, offset: u64, regions: &[Region]) -> impl Iterator<Item = Piece> {
    let first = regions.partition_point(|region| region.end() <= offset);
    let inside = move |place: u64| usize::try_from(place.saturating_sub(offset)).unwrap_or(usize::MAX);
    regions[first..].iter().take_while(move |region| inside(region.start) < window_len).map(move |region| {
        let end = inside(region.end());
        Piece {
            from: inside(region.start),
            to: end.min(window_len),
            is_last: end <= window_len,
            rule: region.rule(),
        }
    })
}
