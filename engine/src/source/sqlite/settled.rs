//! Do the times of a file tell its next change? Two changes within one tick of the file system's clock bear the same time.

use std::time::Duration;

use super::connect::Trouble;
use crate::entropy::{Clock, SystemClock};
use crate::source::stat::Stat;

/// Two changes within so much time may bear the same time.
const TICK: Duration = Duration::from_millis(20);
/// The same on file systems that count in seconds, which shows in times without fractions.
const COARSE_TICK: Duration = Duration::from_secs(2);

/// Were these files left alone long enough for their times to tell the next change?
pub fn settled(files: &[Option<Stat>]) -> Result<(), Trouble> {
    match files.iter().flatten().all(shows_changes) {
        true => Ok(()),
        false => Err(Trouble::Other("it changes all the time".into())),
    }
}

/// Will a change from now on show in the times of a file, of which this look was taken before?
pub fn shows_changes(stat: &Stat) -> bool {
    // The clock by which the kernel stamps files, whatever clock the run has.
    shows_changes_since(stat, SystemClock.now_ns())
}

fn shows_changes_since(stat: &Stat, now_ns: i64) -> bool {
    [stat.mtime, stat.ctime].iter().all(|stamp| {
        let tick = if stamp.nanos % 1_000_000 == 0 { COARSE_TICK } else { TICK };
        let age = now_ns.saturating_sub(stamp.to_ns());
        // One from the future tells nothing, and will not be waited for.
        !(0..i64::try_from(tick.as_nanos()).unwrap_or(0)).contains(&age)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::wire::Stamp;

    #[test]
    fn young_times_do_not_tell() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let looked = Stat::of(file.as_file()).unwrap();
        let now = Stamp { secs: 1_000, nanos: 500_000_001 };
        let at = |secs, nanos| Stamp { secs, nanos };
        for (young, tells) in [
            (now, false),
            (at(1_000, 490_000_001), false),
            (at(1_000, 460_000_001), true),
            (at(1_000, 0), false),
            (at(999, 0), false),
            (at(997, 0), true),
            (at(1_005, 1), true),
        ] {
            let old = at(900, 1);
            for (mtime, ctime) in [(young, old), (old, young)] {
                let stat = Stat { mtime, ctime, ..looked };
                assert_eq!(shows_changes_since(&stat, now.to_ns()), tells, "{stat:?}");
            }
        }
        let old = Stat { mtime: at(900, 1), ctime: at(900, 1), ..looked };
        assert_eq!(settled(&[None, Some(old)]), Ok(()));
        let now_ns = SystemClock.now_ns();
        // Counted in seconds: young for two of them.
        let young = Stat { mtime: at(now_ns / 1_000_000_000, 0), ..old };
        assert!(settled(&[Some(old), Some(young)]).is_err());
    }
}
