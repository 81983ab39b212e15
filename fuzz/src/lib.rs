//! What is fuzzed: the bodies that `tests/engine/hostile.rs` replays on stable Rust.
//!
//! ```text
//! cargo +nightly fuzz run tree fuzz/corpus/tree fuzz/seeds/tree
//! ```
//! A finding goes into `fuzz/seeds/<target>/`, beside what is there: from then on every test run
//! replays it.

#[path = "../../tests/support/fuzz.rs"]
pub mod bodies;
