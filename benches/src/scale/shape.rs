//! What a repository at scale is: sizes, and which chunk is whose. All of it follows from three numbers.

use ballast::format::frame::{BLOB_LEN, EDGE_LEN, RECORD_FIXED_LEN};
use ballast::id::{BlobId, BlobKind, BlobRef};
use ballast_benches::Random;

/// Plaintext of a chunk: the mean of the default cutter.
pub const CHUNK_BYTES: u32 = 1 << 20;
/// Length of a pack: where the default ones close.
pub const PACK_BYTES: u32 = 16 << 20;
/// Packs that an index object of a run that goes on names.
pub const PACKS_PER_INDEX: usize = 24;
/// Bytes of a chunk of bf16 weights, stored alone.
pub const ALONE_BYTES: u32 = 697_000;
/// The same as the difference to the week before.
pub const DELTA_BYTES: u32 = 262_000;
/// Models in every snapshot; a run replaces one of them.
pub const SLOTS: u64 = 1000;
/// Models in a directory.
pub const PER_DIRECTORY: u64 = 20;
/// Height at which a model is stored alone again.
pub const CHAIN: u64 = 4;
/// Large files of which a run finds nothing changed, and their chunks.
pub const LARGE_FILES: u64 = 100;
/// Chunks of such a file: 2 GiB.
pub const LARGE_CHUNKS: u64 = 2048;

/// How much of it.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Chunks in all.
    pub chunks: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Real small files in the repository beside it.
    pub small_files: u64,
}

impl Shape {
    /// Chunks of one model.
    pub fn per_model(&self) -> u64 {
        (self.chunks.saturating_sub(LARGE_FILES * LARGE_CHUNKS) / self.snapshots).max(1)
    }

    /// All chunks there are: the large files' first, then run by run.
    pub fn total(&self) -> u64 {
        LARGE_FILES * LARGE_CHUNKS + self.per_model() * self.snapshots
    }

    /// Number of the first chunk that run `n` brings.
    pub fn first_of(&self, n: u64) -> u64 {
        LARGE_FILES * LARGE_CHUNKS + n * self.per_model()
    }

    /// How a chunk that run `n` brings is stored: its height, and how far back its base is. Every other
    /// model is trained on from week to week, the others are new ones.
    pub fn height(&self, n: u64) -> (u8, u64) {
        let (slot, week) = (n % SLOTS, n / SLOTS);
        let height = if slot.is_multiple_of(2) { week % CHAIN } else { 0 };
        (u8::try_from(height).unwrap_or(0), SLOTS * self.per_model())
    }
}

/// Id of a chunk.
pub fn id(number: u64) -> BlobId {
    let mut random = Random::new(number);
    let mut id = [0; 32];
    for part in id.as_chunks_mut::<8>().0 {
        *part = random.bits().to_le_bytes();
    }
    BlobId(id)
}

/// The chunk itself.
pub fn chunk(number: u64) -> BlobRef {
    BlobRef::new(BlobKind::Chunk, id(number))
}

/// What a frame of one chunk takes in an index object.
pub fn record_bytes(height: u8) -> usize {
    RECORD_FIXED_LEN + BLOB_LEN + if height > 0 { EDGE_LEN } else { 0 }
}
