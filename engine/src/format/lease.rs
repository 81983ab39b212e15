//! Leases (`docs/format.md`, "Lease"): a session's heartbeat. It only delays
//! deletion; safety never rests on it.

use serde::{Deserialize, Serialize};

use crate::format::wire::{Extension, Record, Stamp, Text, seq};
use crate::id::SessionId;

/// Plaintext of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseV1 {
    /// Whose; also its name.
    pub session: SessionId,
    /// Last ledger entry that the session had read when it began; 0 = has not begun yet.
    pub start: u64,
    /// Counts up every few minutes.
    pub beat: u64,
    /// When it was written, by the writer's clock.
    pub time: Stamp,
    /// Host name.
    pub host: Text,
    /// User name.
    pub user: Text,
    /// Names the running system and process-id space, so that others there can ask
    /// whether the process still lives. Empty if unknown.
    pub place: Text,
    /// Process id in that space.
    pub pid: u32,
    /// When that process began, in the system's own ticks; 0 if unknown.
    pub pid_start: u64,
    /// What it does: `snapshot`, `prune`, …
    pub operation: Text,
    /// Program and version.
    pub program: Text,
    /// For later versions.
    #[serde(deserialize_with = "seq")]
    pub extensions: Vec<Extension>,
}

impl Record for LeaseV1 {
    const VERSION: u8 = 1;
    const LIMIT_BYTES: usize = 64 << 10;
    const WHAT: &'static str = "lease";
}
