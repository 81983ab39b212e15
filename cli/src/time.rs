//! Moments: as people write them, and as they read them.

use ballast::format::wire::Stamp;
use ballast::op::forget::Span;
use jiff::tz::TimeZone;
use jiff::{Timestamp, civil};

/// Nanoseconds since 1970 of what a person wrote: `2025-04-05`, `2025-04-05 10:00[:07]`
/// (local time), `2025-04-05T10:00:07Z` or with any other offset, `@1743847207`.
pub fn parse(text: &str, zone: &TimeZone) -> Option<i64> {
    let text = text.trim();
    let moment = if let Some(secs) = text.strip_prefix('@') {
        Timestamp::from_second(secs.parse().ok()?).ok()?
    } else if let Ok(moment) = text.parse::<Timestamp>() {
        moment
    } else {
        let local = text.parse::<civil::DateTime>().ok()?;
        local.to_zoned(zone.clone()).ok()?.timestamp()
    };
    i64::try_from(moment.as_nanosecond()).ok()
}

/// The same, or so long before `now_ns`: `7d`, `12h`, `1y6m`, by the calendar of that zone.
pub fn point(text: &str, zone: &TimeZone, now_ns: i64) -> Option<i64> {
    let before = |span: Span| span.before(Stamp::from_ns(now_ns), offset_secs(now_ns, zone)).to_ns();
    parse(text, zone).or_else(|| text.trim().parse::<Span>().ok().map(before))
}

fn moment(stamp: Stamp) -> Option<Timestamp> {
    Timestamp::new(stamp.secs, i32::try_from(stamp.nanos).ok()?).ok()
}

/// `2025-04-05 10:00:07`, local time.
pub fn local(stamp: Stamp, zone: &TimeZone) -> String {
    match moment(stamp) {
        Some(moment) => moment.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => format!("@{}", stamp.secs),
    }
}

/// `2025-04-05T08:00:07.5Z`, for programs; `null` beyond the calendar.
pub fn exact(stamp: Stamp) -> Option<String> {
    moment(stamp).map(|moment| moment.to_string())
}

/// Distance of local time from UTC at that moment.
pub fn offset_secs(ns: i64, zone: &TimeZone) -> i32 {
    moment(Stamp::from_ns(ns)).map_or(0, |moment| zone.to_offset(moment).seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(2))
    }

    #[test]
    fn what_people_write() {
        for (text, secs) in [
            ("2025-04-05", Some(1_743_804_000)),
            ("2025-04-05 10:00", Some(1_743_840_000)),
            ("2025-04-05 10:00:07", Some(1_743_840_007)),
            ("2025-04-05T10:00:07Z", Some(1_743_847_207)),
            ("2025-04-05 10:00:07+01:00", Some(1_743_843_607)),
            ("@1743847207", Some(1_743_847_207)),
            ("1969-12-31T23:59:59Z", Some(-1)),
            ("yesterday", None),
            ("", None),
            ("@", None),
        ] {
            assert_eq!(parse(text, &zone()), secs.map(|s: i64| s * 1_000_000_000), "{text}");
        }
    }

    #[test]
    fn so_long_ago() {
        let now = 1_743_847_207_000_000_000;
        let ago = |text| point(text, &zone(), now).map(|ns| (now - ns) / 1_000_000_000);
        assert_eq!(ago("7d"), Some(7 * 86_400));
        assert_eq!(ago("1d12h"), Some(36 * 3600));
        assert_eq!(ago("@1743847200"), Some(7));
        assert_eq!(ago("7"), None);
        assert_eq!(ago("yesterday"), None);
    }

    #[test]
    fn what_people_read() {
        let stamp = Stamp { secs: 1_743_847_207, nanos: 500_000_000 };
        assert_eq!(local(stamp, &zone()), "2025-04-05 12:00:07");
        assert_eq!(exact(stamp).as_deref(), Some("2025-04-05T10:00:07.5Z"));
        let absurd = Stamp { secs: i64::MAX, nanos: 0 };
        assert_eq!(local(absurd, &zone()), format!("@{}", i64::MAX));
        assert_eq!(exact(absurd), None);
        assert_eq!(offset_secs(0, &zone()), 7200);
    }
}
