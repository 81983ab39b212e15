//! Ballast: encrypted, deduplicating snapshots of models, databases and
//! everything beside them.
//!
//! A [`repo::Repository`] is a set of sealed objects in a [`store::Store`]. The
//! verbs ([`op`]) are functions over it. `docs/architecture.md` is the map,
//! `docs/format.md` every byte, `docs/invariants.md` the order of writes on
//! which safety rests.
//!
//! The library reads no environment, prints nothing and takes clock and
//! randomness from its caller ([`entropy`]).
#![warn(missing_docs)]

#[cfg(not(unix))]
compile_error!("Ballast needs a Unix system: its write order rests on POSIX rename, link and fsync");

pub mod chunk;
pub mod codec;
pub mod crypto;
pub mod entropy;
pub mod error;
pub mod format;
pub mod id;
pub mod limit;
pub mod op;
pub mod pagecache;
pub mod progress;
pub mod repo;
pub mod source;
pub mod store;
