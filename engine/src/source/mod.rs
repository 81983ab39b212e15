//! The machine's files: which there are, what the system knows of them, and
//! their bytes, read with suspicion.
//!
//! A snapshot passes through here in this order. [`plan`] turns the arguments
//! into roots (links among the arguments are followed and recorded), and its
//! [`skeleton`] later joins what was found below them under `/`. [`walk`] goes
//! through one root, depth first and sorted, and tells what it meets; what
//! [`exclude`] leaves out is counted. A file that [`stat`] finds unchanged is
//! not opened; any other is opened and read by [`read`], large ones through
//! [`mapped`] windows, holes known by [`segments`]. [`sqlite`] says whether a
//! database was live. Links met on the way are given to [`outside`], which says
//! at the end what they lead to that is not stored. What comes out of a pipe
//! ([`stream`]) passes by all this and is read like a large file.
//!
//! What of things with names is meant, [`patterns`] say for paths, [`names`] for what is no path.
//! How many are read at once is for [`gates`] to say.
//!
//! Nothing here fails as a whole: what cannot be read is a
//! [`Problem`](crate::error::Problem). Every access goes by directory handle
//! ([`at`]) and follows no link. The stat taken before reading is what a node
//! stores (design §3.8). Nothing here knows of repositories or blobs.

pub mod at;
pub mod exclude;
mod file_system;
pub mod gates;
#[cfg(target_os = "linux")]
mod listxattrat;
pub mod mapped;
pub mod measure;
mod medium;
pub mod meta;
pub mod names;
pub mod outside;
pub mod patterns;
pub mod plan;
pub mod read;
pub mod resolve;
pub mod segments;
pub mod skeleton;
pub mod sqlite;
pub mod stat;
pub mod stream;
pub mod walk;

mod stack;
mod xattrs;

pub use at::{At, shown};
pub use exclude::{Exclude, ExcludeOptions, Why};
pub(crate) use file_system::FileSystem;
pub use mapped::install_sigbus_guard;
pub use meta::{Names, marks_for, node_of, restat};
pub use names::choose;
pub use outside::{Links, OutsideLink, OutsideReport, Stored};
pub use patterns::Patterns;
pub use plan::{Added, Plan};
pub use read::{Change, SourceFile};
pub use segments::Segment;
pub use skeleton::Skeleton;
pub use sqlite::{is_sqlite_header, live_journals};
pub use stat::{ChangePolicy, Reason, Stat, unchanged};
pub use stream::{Feed, Stream, Tap};
pub use walk::{Event, Excluded, Walk, WalkContext};
