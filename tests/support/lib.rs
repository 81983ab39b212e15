//! Shared helpers of the tests: repositories with cheap keys and small chunks, seeded
//! content, and a whole snapshot read back and compared with what it was made of.

pub mod memory;
pub mod place;
pub mod tree;

pub use place::{
    Calls, LateClock, PASSWORD, Place, identity, of, open_at, repack_everything, surroundings, tiny,
};
pub use tree::{Seen, assert_same, blobs_of, bytes, look, put, read_back, walk_back};
