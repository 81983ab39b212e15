//! A bound on bytes a second, shared by all threads that move them.
//!
//! A bucket of tokens, one a byte, filled at the given rate and never holding more than those of
//! [`BURST`]. Whoever moves bytes takes their tokens first; where there are too few he gets
//! them on credit and waits until they are paid, so that calls are served in the order in which they came and
//! large ones are not starved. Over any time T no more than rate × (T + [`BURST`]) bytes are let through.
//!
//! A stop ends every wait: what is under way is finished without a bound.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How much may be saved up while nothing moves.
pub const BURST: Duration = Duration::from_millis(250);
/// The longest sleep before it is looked whether to stop.
const NAP: Duration = Duration::from_millis(100);
/// The slowest rate: leases must be renewed in time, and a piece of [`PIECE_LEAST`] be moved in a second.
pub const SLOWEST: u64 = 16 << 10;
const PIECE_LEAST: u64 = 4 << 10;
const PIECE_MOST: u64 = 1 << 20;

/// Tells time and lets it pass.
pub trait Pace: Send + Sync {
    /// Time since any fixed moment; never goes back.
    fn now(&self) -> Duration;
    /// Comes back after so long.
    fn sleep(&self, time: Duration);
}

/// This machine's.
struct System(Instant);

impl Pace for System {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// A bound.
pub struct Limiter {
    bytes_per_second: u64,
    pace: Arc<dyn Pace>,
    stop: Arc<AtomicBool>,
    /// When all that was let through so far is paid for.
    paid_at: Mutex<Duration>,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Limiter({} bytes a second)", self.bytes_per_second)
    }
}

impl Limiter {
    /// At this rate, at least [`SLOWEST`]. Waits end when `stop` is set.
    pub fn new(bytes_per_second: u64, stop: Arc<AtomicBool>) -> Self {
        Self::with_pace(bytes_per_second, Arc::new(System(Instant::now())), stop)
    }

    /// The same with another clock.
    pub fn with_pace(bytes_per_second: u64, pace: Arc<dyn Pace>, stop: Arc<AtomicBool>) -> Self {
        let paid_at = Mutex::new(pace.now());
        Self { bytes_per_second: bytes_per_second.max(SLOWEST), pace, stop, paid_at }
    }

    /// How much to move at a time: a tenth of a second's worth, so that nothing moves in bursts.
    pub fn piece(&self) -> usize {
        usize::try_from((self.bytes_per_second / 10).clamp(PIECE_LEAST, PIECE_MOST)).unwrap_or(usize::MAX)
    }

    /// Waits until so many bytes may be moved.
    pub fn take(&self, bytes: usize) {
        let cost_ns = bytes as u128 * 1_000_000_000 / u128::from(self.bytes_per_second);
        let cost = Duration::from_nanos(u64::try_from(cost_ns).unwrap_or(u64::MAX));
        let paid_at = {
            let mut paid_at = self.paid_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *paid_at = (*paid_at).max(self.pace.now().saturating_sub(BURST)).saturating_add(cost);
            *paid_at
        };
        while !self.stop.load(Ordering::Relaxed) {
            match paid_at.checked_sub(self.pace.now()) {
                Some(left) if !left.is_zero() => self.pace.sleep(left.min(NAP)),
                _ => return,
            }
        }
    }
}

/// Moves `len` bytes by `step`, which is given a range of them and says how many of it were moved; in one
/// step without a limit. Ends early where `step` moves less than it was given.
pub fn by_pieces<E>(
    limiter: Option<&Limiter>,
    len: usize,
    mut step: impl FnMut(std::ops::Range<usize>) -> Result<usize, E>,
) -> Result<usize, E> {
    let piece = limiter.map_or(usize::MAX, Limiter::piece);
    let mut done = 0;
    loop {
        let wanted = piece.min(len - done);
        if let Some(limiter) = limiter {
            limiter.take(wanted);
        }
        let moved = step(done..done + wanted)?.min(wanted);
        done += moved;
        if moved < wanted || done == len {
            return Ok(done);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time passes when somebody sleeps, and only then.
    #[derive(Default)]
    struct Dream(Mutex<Duration>);

    impl Pace for Dream {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn sleep(&self, time: Duration) {
            *self.0.lock().unwrap() += time;
        }
    }

    fn limiter(rate: u64) -> (Arc<Dream>, Arc<AtomicBool>, Limiter) {
        let (dream, stop) = (Arc::new(Dream::default()), Arc::<AtomicBool>::default());
        let limiter = Limiter::with_pace(rate, dream.clone(), stop.clone());
        (dream, stop, limiter)
    }

    #[test]
    fn a_rate_holds_and_idle_time_is_not_saved_up() {
        let (dream, _, limiter) = limiter(1 << 20);
        for _ in 0..80 {
            limiter.take(128 << 10);
        }
        assert_eq!(dream.now(), Duration::from_secs(10), "10 MiB at 1 MiB a second");
        dream.sleep(Duration::from_secs(3600));
        let before = dream.now();
        limiter.take(2 << 20);
        assert_eq!(dream.now() - before, Duration::from_secs(2) - BURST);
    }

    #[test]
    fn it_holds_for_all_threads_together() {
        let (dream, _, limiter) = limiter(1 << 20);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..16).for_each(|_| limiter.take(64 << 10)));
            }
        });
        // Sleepers share the time in this dream, so that more may pass; never less.
        assert!(dream.now() >= Duration::from_secs(8), "{:?} for 8 MiB at 1 MiB a second", dream.now());
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let (dream, stop, limiter) = limiter(1);
        stop.store(true, Ordering::Relaxed);
        limiter.take(usize::MAX);
        assert_eq!(dream.now(), Duration::ZERO);
    }

    #[test]
    fn pieces_are_small_and_whole() {
        let (dream, _, limiter) = limiter(100 << 10);
        let mut seen = Vec::new();
        let moved = by_pieces::<()>(Some(&limiter), 25_000, |range| {
            seen.push(range.clone());
            Ok(range.len())
        });
        assert_eq!((moved, &seen[..]), (Ok(25_000), &[0..10_240, 10_240..20_480, 20_480..25_000][..]));
        assert!(dream.now() > Duration::from_millis(200), "{:?}", dream.now());
        assert_eq!(by_pieces::<()>(Some(&limiter), 25_000, |range| Ok(range.len().min(9))), Ok(9), "an end");
        assert_eq!(by_pieces::<()>(None, 25_000, |range| Ok(range.len())), Ok(25_000));
        assert_eq!(by_pieces(None, 5, |_| Err("no")), Err("no"));
    }
}
