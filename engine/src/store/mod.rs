//! Where sealed objects stand: named, immutable, and nothing known of their
//! insides. Directory layout is the store's own business.
//!
//! Contract, held by the conformance suite on every store and wrapper:
//! * `put` is atomic and durable on return: after it an object is whole or not
//!   there, whatever happens to the machine (invariant 3).
//! * [`PutMode::New`] never replaces. Where the name holds the same bytes it has
//!   succeeded (a retry that finds its own work); with other bytes it is
//!   `AlreadyExists`. Two at once with different bytes: exactly one wins.
//! * A name seen by `list` can be read until it is removed. A listing may lag
//!   behind puts of other machines.
//! * `get` never allocates more than `limit`; `get_range` gives exactly what was
//!   asked or an error.
//! * `remove` of an object that is not there succeeds.

pub mod fs;
pub mod limit;
pub mod local;
pub mod memory;
pub mod os_fs;
pub mod retry;

#[cfg(feature = "testing")]
pub mod call;
#[cfg(feature = "testing")]
pub mod conformance;
#[cfg(feature = "testing")]
pub mod fault;
#[cfg(feature = "testing")]
pub mod record;
#[cfg(feature = "testing")]
pub mod simfs;

use crate::error::{StoreError, StoreErrorKind};
use crate::id::{ObjectKind, ObjectName};

/// Result of a store call.
pub type StoreResult<T> = Result<T, StoreError>;

/// May a `put` replace an object of the same name?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// Never: all objects but leases.
    New,
    /// Yes: leases.
    Replace,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectStat {
    /// Length in bytes.
    pub size_bytes: u64,
    /// When the store wrote it, by the store's clock; nanoseconds since 1970.
    pub modified_ns: i64,
}

/// A place for sealed objects. Calls block; they come from plain threads, never
/// from the CPU pool.
pub trait Store: Send + Sync {
    /// The place, for messages and for naming caches: an absolute path or URL.
    fn location(&self) -> String;

    /// Makes an empty place ready (directories); succeeds where it already is.
    fn prepare(&self) -> StoreResult<()>;

    /// Stores an object, durably.
    fn put(&self, name: &ObjectName, bytes: &[u8], mode: PutMode) -> StoreResult<()>;

    /// A whole object of at most `limit_bytes`.
    fn get(&self, name: &ObjectName, limit_bytes: u64) -> StoreResult<Vec<u8>>;

    /// `len` bytes from `offset`.
    fn get_range(&self, name: &ObjectName, offset: u64, len: usize) -> StoreResult<Vec<u8>>;

    /// The same into a buffer at hand: exactly `out.len()` bytes.
    fn read_range(&self, name: &ObjectName, offset: u64, out: &mut [u8]) -> StoreResult<()> {
        let bytes = self.get_range(name, offset, out.len())?;
        out.copy_from_slice(&bytes);
        Ok(())
    }

    /// Size and store time.
    fn stat(&self, name: &ObjectName) -> StoreResult<ObjectStat>;

    /// Names of a kind, in any order; names that cannot be objects are left out.
    fn list(&self, kind: ObjectKind) -> StoreResult<Vec<String>>;

    /// Removes an object; one that is not there is no error.
    fn remove(&self, name: &ObjectName) -> StoreResult<()>;

    /// Bytes that can still be written, where the store knows.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// Sets so many bytes without meaning aside, which [`Store::release_reserve`] gives back; does
    /// nothing where that makes no sense.
    fn make_reserve(&self, _bytes: u64) -> StoreResult<()> {
        Ok(())
    }

    /// Gives back what was set aside; how much that was.
    fn release_reserve(&self) -> StoreResult<u64> {
        Ok(0)
    }

    /// Removes what puts that were killed left behind, if it was last changed before that moment of
    /// the store's clock; how many.
    fn sweep_temporaries(&self, _before_ns: i64) -> StoreResult<u64> {
        Ok(0)
    }

    /// How many calls at a time pay.
    fn concurrency(&self) -> usize {
        2
    }

    /// What this place cannot do (hard links, modes, owners), each said once.
    fn limitations(&self) -> Vec<String> {
        Vec::new()
    }

    /// Absolute path of a local repository, so that a snapshot can leave it out.
    fn local_path(&self) -> Option<std::path::PathBuf> {
        None
    }
}

/// Can `name` be the name of an object of `kind`? Everything else in a
/// directory (temporary files, other people's files) is not ours.
pub fn is_object_name(kind: ObjectKind, name: &str) -> bool {
    let hex = |len: usize| {
        name.len() == len && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    match kind {
        ObjectKind::Config => name == "config",
        ObjectKind::Lease => hex(32),
        // A number, or "number-session" where creation cannot be atomic (design §3a).
        ObjectKind::Ledger => {
            let (number, session) = name.split_once('-').map_or((name, None), |(n, s)| (n, Some(s)));
            !number.is_empty()
                && number.len() <= 19
                && !number.starts_with('0')
                && number.bytes().all(|b| b.is_ascii_digit())
                && session.is_none_or(|s| s.len() == 32 && crate::id::from_hex::<16>(s).is_some())
        }
        _ => hex(64),
    }
}

/// Refuses a name that [`is_object_name`] does not know: no store looks outside
/// of its place, whatever a damaged index or a user's argument holds.
pub(crate) fn check_name(operation: &'static str, name: &ObjectName) -> StoreResult<()> {
    if is_object_name(name.kind, &name.name) {
        return Ok(());
    }
    let object = format!("{} {:?}", name.kind.word(), name.name);
    Err(StoreError::new(StoreErrorKind::Other, operation, object, "this is no name of an object"))
}
