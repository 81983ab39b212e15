//! Every byte on the wire (`docs/format.md`). Pure: slices in and out, no I/O,
//! no keys. Limits are checked before anything is allocated.
//!
//! Integers are little-endian. Envelope, pack and index are laid out by hand
//! ([`bytes`]); metadata records go through the one serialiser in [`wire`].

pub mod bytes;
pub mod config;
pub mod content;
pub mod delta;
pub mod envelope;
pub mod frame;
pub mod index;
pub mod keyfile;
pub mod lease;
pub mod ledger;
pub mod pack;
pub mod padme;
pub mod record;
pub mod seams;
pub mod snapshot;
pub mod tree;
pub mod verified;
pub mod wire;

/// Format version in every header.
pub const FORMAT_VERSION: u8 = 1;

/// Largest plaintext of one frame: bounds what a reader must allocate for it.
pub const MAX_FRAME_PLAIN_BYTES: u32 = 16 << 20;
/// Largest stored form of one frame: plaintext plus nonce, tag and slack for a coder's own header.
pub const MAX_FRAME_STORED_BYTES: u32 = MAX_FRAME_PLAIN_BYTES + (64 << 10);
/// Most blobs in one frame.
pub const MAX_FRAME_BLOBS: usize = 4096;
/// Most edges of one frame.
pub const MAX_FRAME_EDGES: usize = 255;
/// Largest pack.
pub const MAX_PACK_BYTES: u64 = 1 << 30;
/// Largest sealed trailer of a pack.
pub const MAX_TRAILER_BYTES: u64 = 64 << 20;
/// Largest sealed index object.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Largest sealed metadata object (config, snapshot, ledger entry, lease).
pub const MAX_RECORD_BYTES: u64 = 64 << 20;
