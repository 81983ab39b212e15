//! Shared helpers of the tests: repositories with cheap keys and small chunks, seeded
//! content, a whole snapshot read back and compared with what it was made of, samples of
//! every record, and the bodies of the fuzz targets.

pub mod counting;
pub mod database;
pub mod days;
pub mod formats;
pub mod fuzz;
pub mod golden;
pub mod memory;
pub mod models;
pub mod place;
pub mod samples;
pub mod tree;
pub mod unreadable;
pub mod weeks;
pub mod world;

pub use place::{
    Calls, LateClock, PASSWORD, Place, assert_died_or_done, identity, of, open_at, repack_everything,
    store_against, surroundings, tiny,
};
pub use tree::{Seen, assert_same, blobs_of, bytes, look, put, read_back, walk_back};
