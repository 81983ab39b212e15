//! An axis of bytes: where its marks stand, and what they say.

/// Powers of 1024, as everywhere in this program.
const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
/// Marks above zero, at most.
const MARKS: f64 = 5.0;

/// An axis from zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// What the marks are in.
    pub unit: &'static str,
    /// Bytes of one of these.
    unit_bytes: f64,
    /// Distance of two marks, in these.
    step: f64,
    /// How many marks above zero.
    count: u32,
}

impl Scale {
    /// One that reaches to `most` bytes, or a little further.
    pub fn to(most: u64) -> Self {
        let most = most.max(1) as f64;
        let (mut unit, mut unit_bytes) = (0, 1.0);
        while most / unit_bytes >= 1024.0 && unit + 1 < UNITS.len() {
            unit += 1;
            unit_bytes *= 1024.0;
        }
        let least = most / unit_bytes / MARKS;
        let power = 10_f64.powf(least.log10().floor());
        let steps = [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power);
        let mut step = steps.into_iter().find(|step| *step >= least * 0.999_999).unwrap_or(10.0 * power);
        if unit == 0 {
            // There are no parts of a byte.
            step = step.ceil();
        }
        let count = (most / unit_bytes / step - 1e-6).ceil().clamp(1.0, MARKS + 1.0) as u32;
        Self { unit: UNITS[unit], unit_bytes, step, count }
    }

    /// Each mark: its share of the whole axis, and what it says.
    pub fn marks(&self) -> impl Iterator<Item = (f64, String)> + '_ {
        (0..=self.count).map(|n| {
            let text = format!("{:.3}", f64::from(n) * self.step);
            let text = text.trim_end_matches('0').trim_end_matches('.').to_owned();
            (f64::from(n) / f64::from(self.count), text)
        })
    }

    /// Where on the axis so many bytes are: 0 to 1.
    pub fn share(&self, bytes: u64) -> f64 {
        let whole = self.step * f64::from(self.count) * self.unit_bytes;
        (bytes as f64 / whole).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_reach() {
        for (most, unit, marks) in [
            (0, "B", "0 1"),
            (3, "B", "0 1 2 3"),
            (100, "B", "0 20 40 60 80 100"),
            (1023, "B", "0 250 500 750 1000 1250"),
            (1024, "KiB", "0 0.2 0.4 0.6 0.8 1"),
            (10_947_912, "MiB", "0 2.5 5 7.5 10 12.5"),
            (14_388_000_000, "GiB", "0 5 10 15"),
            (u64::MAX, "EiB", "0 5 10 15 20"),
        ] {
            let scale = Scale::to(most);
            let found: Vec<String> = scale.marks().map(|(_, text)| text).collect();
            assert_eq!((scale.unit, found.join(" ").as_str()), (unit, marks), "{most}");
        }
        for power in 0..60 {
            for part in [1000_u128, 1001, 1100, 1500, 1999] {
                let most = u64::try_from((1_u128 << power) * part / 1000).unwrap();
                let scale = Scale::to(most);
                let (last, first) = (scale.marks().last().unwrap(), scale.marks().next().unwrap());
                assert!(last.0 == 1.0 && first.0 == 0.0 && scale.marks().count() <= 7);
                let share = scale.share(most);
                assert!(most == 0 || (0.5..=1.0).contains(&share), "{most}: {share}");
            }
        }
    }
}
