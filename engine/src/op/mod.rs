//! The verbs: each a function over [`crate::repo::Repository`] with its `Options`, its
//! `Report` and a [`crate::progress::Progress`]. They do not import one another; what two of
//! them share is in [`crate::repo`].

pub mod check;
pub mod dump;
pub mod list;
pub mod ls;
pub mod restore;
pub mod snapshot;
