//! A stretch of time as restic writes it: `1y6m7d12h`, `2w`.

use std::fmt;
use std::str::FromStr;

use crate::error::Malformed;
use crate::format::wire::Stamp;

use super::calendar::Local;

/// Years and months count by the calendar, the others by the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    years: u32,
    months: u32,
    weeks: u32,
    days: u32,
    hours: u32,
}

/// No number in a span is larger: a thousand centuries.
const MOST: u32 = 100_000;

impl Span {
    /// So many days.
    pub fn days(days: u32) -> Self {
        Self { days, ..Self::default() }
    }

    fn parts(&self) -> [(u32, char); 5] {
        [(self.years, 'y'), (self.months, 'm'), (self.weeks, 'w'), (self.days, 'd'), (self.hours, 'h')]
    }

    /// The moment that lies so long before `time`, by the calendar of that wall clock.
    pub fn before(&self, time: Stamp, utc_offset_secs: i32) -> Stamp {
        let months = i64::from(self.years) * 12 + i64::from(self.months);
        let days = i64::from(self.weeks) * 7 + i64::from(self.days);
        let local = Local::of(time, utc_offset_secs).before(months, days, self.hours.into());
        Stamp { secs: local.utc_secs(utc_offset_secs), nanos: time.nanos }
    }
}

impl FromStr for Span {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = |why: &str| Err(Malformed(format!("{why}: write it as 30d, 12h, 2w or 1y6m")));
        let mut span = Self::default();
        let mut number: Option<u32> = None;
        for c in text.trim().chars() {
            if let Some(digit) = c.to_digit(10) {
                let next = u64::from(number.unwrap_or(0)) * 10 + u64::from(digit);
                match u32::try_from(next) {
                    Ok(next) if next <= MOST => number = Some(next),
                    _ => return refuse("a number in it is too large"),
                }
                continue;
            }
            let field = match c {
                'y' => &mut span.years,
                'm' => &mut span.months,
                'w' => &mut span.weeks,
                'd' => &mut span.days,
                'h' => &mut span.hours,
                _ => return refuse("it has other letters than y, m, w, d and h"),
            };
            match number.take() {
                Some(n) if *field == 0 => *field = n,
                Some(_) => return refuse("it names a unit twice"),
                None => return refuse("a unit has no number"),
            }
        }
        match number {
            Some(_) => refuse("a number has no unit"),
            None if span == Self::default() => refuse("it is no time at all"),
            None => Ok(span),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().iter().filter(|(n, _)| *n > 0).try_for_each(|(n, unit)| write!(f, "{n}{unit}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        for text in ["30d", "12h", "1y6m2w7d12h", "2w", "100000y"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("7d1y".parse::<Span>().unwrap().to_string(), "1y7d");
        for bad in
            ["", "7", "d", "0d", "7d7d", "-1d", "1.5d", "7D", "7 days", "100001d", "99999999999d", "7d3"]
        {
            assert!(bad.parse::<Span>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn by_the_calendar() {
        // 2024-03-31 01:00 at +02:00, which is the 30th in UTC.
        let time = Stamp { secs: 1_711_839_600, nanos: 5 };
        let before = |text: &str| text.parse::<Span>().unwrap().before(time, 7200);
        assert_eq!(
            before("1m"),
            Stamp { secs: time.secs - 31 * 86_400, nanos: 5 },
            "to the 29th of February"
        );
        assert_eq!(before("1y"), Stamp { secs: time.secs - 366 * 86_400, nanos: 5 });
        assert_eq!(before("1w1d2h").secs, time.secs - 8 * 86_400 - 7200);
    }
}
