//! Clock and randomness, passed in: the library is a function of its inputs.
//!
//! [`Surroundings::system`] takes nonces, ids and keys from the kernel, never
//! from a user-space generator: a forked or restored machine must not repeat a
//! nonce. The seeded pair exists for golden files only (feature `testing`).

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};

/// Wall time. Only for what people read and for leases; never decides safety.
pub trait Clock: Send + Sync {
    /// Nanoseconds since 1970-01-01 UTC.
    fn now_ns(&self) -> i64;
}

/// Random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `out`.
    fn fill(&self, out: &mut [u8]) -> Result<()>;
}

/// The clock of this machine.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is its one home")]
    fn now_ns(&self) -> i64 {
        let since = |d: Duration| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX);
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => since(after),
            Err(before) => -since(before.duration()),
        }
    }
}

/// The kernel's generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct KernelEntropy;

impl Entropy for KernelEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<()> {
        getrandom::fill(out).map_err(|e| Error::Internal(format!("the kernel gives no random bytes: {e}")))
    }
}

/// Clock and randomness together.
#[derive(Clone)]
pub struct Surroundings {
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Random bytes.
    pub entropy: Arc<dyn Entropy>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

impl Surroundings {
    /// This machine's clock and kernel.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(KernelEntropy) }
    }

    /// `N` random bytes.
    pub fn random<const N: usize>(&self) -> Result<[u8; N]> {
        let mut out = [0; N];
        self.entropy.fill(&mut out)?;
        Ok(out)
    }
}

/// Deterministic stand-ins, for golden files and replayable tests.
#[cfg(feature = "testing")]
pub mod seeded {
    use super::*;
    use std::sync::Mutex;

    /// A clock that stands where it is set and moves on by a step at each look.
    #[derive(Debug)]
    pub struct StepClock {
        now_ns: std::sync::atomic::AtomicI64,
        step_ns: i64,
    }

    impl StepClock {
        /// Starts at `start_ns`.
        pub fn new(start_ns: i64, step_ns: i64) -> Self {
            Self { now_ns: start_ns.into(), step_ns }
        }

        /// Sets the time.
        pub fn set(&self, now_ns: i64) {
            self.now_ns.store(now_ns, std::sync::atomic::Ordering::SeqCst);
        }
    }

    impl Clock for StepClock {
        fn now_ns(&self) -> i64 {
            self.now_ns.fetch_add(self.step_ns, std::sync::atomic::Ordering::SeqCst)
        }
    }

    /// BLAKE3's extended output of a seed.
    pub struct SeededEntropy(Mutex<blake3::OutputReader>);

    impl SeededEntropy {
        /// The stream of `seed`.
        pub fn new(seed: u64) -> Self {
            let mut hasher = blake3::Hasher::new_derive_key("ballast test entropy");
            hasher.update(&seed.to_le_bytes());
            Self(Mutex::new(hasher.finalize_xof()))
        }
    }

    impl Entropy for SeededEntropy {
        fn fill(&self, out: &mut [u8]) -> Result<()> {
            self.0.lock().expect("because no holder panics").fill(out);
            Ok(())
        }
    }

    /// Both, from one seed.
    pub fn surroundings(seed: u64) -> Surroundings {
        Surroundings {
            clock: Arc::new(StepClock::new(1_700_000_000_000_000_000, 1_000_000)),
            entropy: Arc::new(SeededEntropy::new(seed)),
        }
    }
}
