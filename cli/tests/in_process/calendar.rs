//! The engine's calendar beside that of a library that has nothing else to do.

use ballast::format::wire::Stamp;
use ballast::op::forget::Span;
use ballast::op::forget::calendar::{Date, Local};
use jiff::civil::date;
use jiff::{Timestamp, ToSpan, tz};

#[test]
fn dates_weeks_and_months_agree() {
    let mut before = None;
    for number in -100_000..150_000i64 {
        let day = date(1970, 1, 1) + number.days();
        let expected = Date { year: day.year().into(), month: day.month().into(), day: day.day().into() };
        assert_eq!(Date::of_day(number), expected);
        assert_eq!(expected.day_number(), number);
        let local = Local::of(Stamp { secs: number * 86_400 + 7, nanos: 0 }, 0);
        let week = (day.iso_week_date().year(), day.iso_week_date().week());
        if let Some((week_before, number_before)) = before {
            assert_eq!(week == week_before, local.week() == number_before, "{day}");
        }
        before = Some((week, local.week()));
        assert_eq!(local.month(), i64::from(day.year()) * 12 + i64::from(day.month()) - 1);
    }
}

#[test]
fn stretches_agree() {
    for (secs, hours) in [(1_711_839_600, 2), (1_709_164_800, -11), (951_782_400, 0), (1_735_689_599, 14)] {
        let offset = tz::offset(hours);
        let local = offset.to_datetime(Timestamp::from_second(secs).unwrap());
        for (text, span) in [
            ("1m", 1.month()),
            ("11m", 11.months()),
            ("1y", 1.year()),
            ("3y6m", 3.years().months(6)),
            ("2w3d", 2.weeks().days(3)),
            ("100h", 100.hours()),
            ("1y1m1d1h", 1.year().months(1).days(1).hours(1)),
        ] {
            let expected = offset.to_timestamp(local - span).unwrap().as_second();
            let ours = text.parse::<Span>().unwrap().before(Stamp { secs, nanos: 0 }, hours as i32 * 3600);
            assert_eq!(ours.secs, expected, "{local} - {text}");
        }
    }
}
