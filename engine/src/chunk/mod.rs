//! Where a file's content is cut: pure code, slices in and cut points out.
//!
//! Three notions. A [`Seams`] plug-in lays a file out in [`Region`]s, because it
//! knows that content of this kind is cut well at certain places; a [`Cutter`]
//! cuts inside a region, by content ([`Policy::Cdc`]) or at fixed distances
//! ([`Policy::Fixed`]); a [`GearTable`], derived from the repository's cut
//! secret, makes the cuts by content unpredictable to one who does not hold it.
//!
//! What the rest of the engine builds on:
//!
//! * **Cuts depend on content, [`CutParams`] and the secret only**, never on
//!   history, on the number of threads or on the size of a window.
//! * **The next cut is a function of the chunk's start alone** (with at most
//!   [`Cutter::lookahead`] bytes after it), so that two chains of cuts which
//!   meet once stay together. The parallel cutter rests on it.
//! * No chunk crosses a region; inside a region every cut lies on its grid.
//! * Reading never needs any of this: a content list says where chunks end. To
//!   change the rule costs deduplication against older snapshots, not data.
//!
//! Content of a known kind is told by its leading bytes only: [`layout`] is the door to [`safetensors`], [`torch`],
//! [`gguf`] and [`npy`].
//!
//! This room defines the section "Cutting" of `docs/format.md`; the parameters
//! and both versions stand in the repository's config.

mod cutter;
#[cfg(test)]
mod equality;
mod gear;
pub mod gguf;
pub mod layout;
pub mod npy;
mod parallel;
mod params;
mod region;
pub mod safetensors;
mod span;
pub mod torch;

pub use cutter::Cutter;
pub use gear::{GearTable, TABLE_VERSION};
pub use params::{CUTTER_VERSION, CutParams, MAX_CHUNK_LIMIT};
pub use region::{
    Ahead, Opaque, Policy, ReadAt, Region, Rule, Seams, check_regions, lay_out, regions_within,
};
