//! Civil dates: which hour, day, week, month and year a moment falls into on the wall clock of
//! where a snapshot was taken, and which moment lies some calendar months before another.
//!
//! The proleptic Gregorian calendar; weeks are those of ISO 8601, from Monday on. Offsets are those
//! that snapshots record, so that a change to summer time moves no snapshot to another day. The years
//! are counted from 1 March, so that a leap day comes last.

use crate::format::wire::Stamp;

const DAY_SECS: i64 = 86_400;
/// 2000-03-01, in days since 1970-01-01: the first day of a cycle of 400 years.
const CYCLE_BEGIN: i64 = 11_017;
const DAYS_IN_400_YEARS: i64 = 146_097;
const DAYS_IN_100_YEARS: i64 = 36_524;
const DAYS_IN_4_YEARS: i64 = 1_461;
/// Days of a year before each month, March first.
const BEFORE_MONTH: [i64; 12] = [0, 31, 61, 92, 122, 153, 184, 214, 245, 275, 306, 337];
/// Thirty million years: what lies beyond is taken for that far, so that nothing overflows.
const FAR_SECS: i64 = 1_000_000_000_000_000;

/// A date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    /// The year; 0 is the one before year 1.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
}

impl Date {
    /// Of a day, counted from 1970-01-01.
    pub fn of_day(number: i64) -> Self {
        let days = number - CYCLE_BEGIN;
        let cycle = days.div_euclid(DAYS_IN_400_YEARS);
        let mut rest = days.rem_euclid(DAYS_IN_400_YEARS);
        // The last day of a cycle, and of a year, is a leap day: it belongs to the year before.
        let century = (rest / DAYS_IN_100_YEARS).min(3);
        rest -= century * DAYS_IN_100_YEARS;
        let olympiad = rest / DAYS_IN_4_YEARS;
        rest -= olympiad * DAYS_IN_4_YEARS;
        let single = (rest / 365).min(3);
        rest -= single * 365;
        let from_march = BEFORE_MONTH.iter().rposition(|before| *before <= rest).unwrap_or(0);
        let year = 2000 + 400 * cycle + 100 * century + 4 * olympiad + single;
        let month = from_march as i64 + 3;
        let day = rest - BEFORE_MONTH[from_march] + 1;
        if month > 12 { Self { year: year + 1, month: month - 12, day } } else { Self { year, month, day } }
    }

    /// Its number, counted from 1970-01-01. The month is 1 to 12; the day may lie beyond its end.
    pub fn day_number(self) -> i64 {
        let years = self.year - 2000 - i64::from(self.month < 3);
        let leap_days = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
        let from_march = (self.month + 9).rem_euclid(12) as usize;
        CYCLE_BEGIN + 365 * years + leap_days + BEFORE_MONTH[from_march] + self.day - 1
    }

    /// The same day of the month so many months earlier, or the last one, where that is shorter.
    pub fn months_before(self, months: i64) -> Self {
        let count = self.year * 12 + self.month - 1 - months;
        let begin = |count: i64| Self { year: count.div_euclid(12), month: count.rem_euclid(12) + 1, day: 1 };
        let length = begin(count + 1).day_number() - begin(count).day_number();
        Self { day: self.day.min(length), ..begin(count) }
    }
}

/// A moment as a wall clock shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Seconds since 1970-01-01 00:00 on that clock.
    secs: i64,
}

impl Local {
    /// What a clock so many seconds east of UTC shows.
    pub fn of(time: Stamp, utc_offset_secs: i32) -> Self {
        Self { secs: time.secs.clamp(-FAR_SECS, FAR_SECS) + i64::from(utc_offset_secs) }
    }

    /// Hours since the first one of 1970.
    pub fn hour(self) -> i64 {
        self.secs.div_euclid(3600)
    }

    /// Days since the first one of 1970.
    pub fn day(self) -> i64 {
        self.secs.div_euclid(DAY_SECS)
    }

    /// Weeks, each from Monday on; 1970-01-01 was a Thursday.
    pub fn week(self) -> i64 {
        (self.day() + 3).div_euclid(7)
    }

    /// Months since year 0.
    pub fn month(self) -> i64 {
        let date = Date::of_day(self.day());
        date.year * 12 + date.month - 1
    }

    /// The year.
    pub fn year(self) -> i64 {
        Date::of_day(self.day()).year
    }

    /// The same time of the day so many months and days earlier, and then some hours more.
    pub fn before(self, months: i64, days: i64, hours: i64) -> Self {
        let date = Date::of_day(self.day()).months_before(months);
        let time = self.secs.rem_euclid(DAY_SECS);
        Self { secs: (date.day_number() - days) * DAY_SECS + time - hours * 3600 }
    }

    /// Seconds since 1970 in UTC.
    pub fn utc_secs(self, utc_offset_secs: i32) -> i64 {
        self.secs - i64::from(utc_offset_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Day by day from one calendar rule: no formula.
    fn next(date: Date) -> Date {
        let leap = date.year % 4 == 0 && (date.year % 100 != 0 || date.year % 400 == 0);
        let length = match date.month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        match (date.day == length, date.month) {
            (false, _) => Date { day: date.day + 1, ..date },
            (true, 12) => Date { year: date.year + 1, month: 1, day: 1 },
            (true, _) => Date { month: date.month + 1, day: 1, ..date },
        }
    }

    #[test]
    fn every_day_of_a_thousand_years() {
        let mut date = Date { year: 1599, month: 12, day: 31 };
        let first = date.day_number();
        assert_eq!(Date { year: 1970, month: 1, day: 1 }.day_number(), 0);
        assert_eq!(Date::of_day(0), Date { year: 1970, month: 1, day: 1 });
        for number in first..first + 365_250 {
            assert_eq!(Date::of_day(number), date);
            assert_eq!(date.day_number(), number);
            date = next(date);
        }
        assert!(date.year > 2598);
    }

    #[test]
    fn months_back_end_on_a_day_that_is_there() {
        for (from, months, to) in [
            ((2024, 3, 31), 1, (2024, 2, 29)),
            ((2025, 3, 31), 1, (2025, 2, 28)),
            ((2024, 2, 29), 12, (2023, 2, 28)),
            ((2024, 1, 31), 2, (2023, 11, 30)),
            ((2024, 12, 31), 12, (2023, 12, 31)),
            ((2024, 5, 15), 0, (2024, 5, 15)),
            ((2024, 5, 15), 5, (2023, 12, 15)),
        ] {
            let date = |(year, month, day)| Date { year, month, day };
            assert_eq!(date(from).months_before(months), date(to), "{from:?} - {months}");
        }
    }

    #[test]
    fn a_moment_falls_into_the_day_of_its_own_clock() {
        // 2024-12-29 23:30 UTC, a Sunday.
        let time = Stamp { secs: 1_735_515_000, nanos: 0 };
        let (here, east) = (Local::of(time, 0), Local::of(time, 3600));
        assert_eq!(Date::of_day(here.day()), Date { year: 2024, month: 12, day: 29 });
        assert_eq!(east.day(), here.day() + 1);
        assert_eq!(east.week(), here.week() + 1, "there it is Monday already");
        assert_eq!(east.month(), here.month());
        let later = Local::of(Stamp { secs: time.secs + 3 * DAY_SECS, nanos: 0 }, 0);
        assert_eq!(later.year(), 2025);
        assert_eq!(later.week(), east.week(), "one ISO week in two years");
        assert_eq!(here.before(0, 1, 2).utc_secs(0), time.secs - DAY_SECS - 7200);
    }

    #[test]
    fn absurd_times_do_no_harm() {
        for secs in [i64::MIN, i64::MAX] {
            let local = Local::of(Stamp { secs, nanos: 0 }, i32::MAX);
            local.before(i64::from(u32::MAX), i64::from(u32::MAX), i64::from(u32::MAX)).utc_secs(i32::MIN);
            assert_eq!(local.year() > 2000, secs > 0);
            assert_eq!(local.month().div_euclid(12), local.year());
        }
    }
}
