//! The verbs: each a function over [`crate::repo::Repository`] with its `Options`, its
//! `Report` and a [`crate::progress::Progress`]. They do not import one another; what two of
//! them share is in [`crate::repo`].

pub mod check;
pub mod diff;
pub mod dump;
pub mod find;
pub mod forget;
pub mod ledger;
pub mod list;
pub mod lock;
pub mod ls;
pub mod open;
pub mod prune;
pub mod repair;
pub mod restore;
pub mod rewrite;
pub mod snapshot;
pub mod sqlite;
pub mod stats;
pub mod tag;
pub mod tensors;
pub mod verify;
