//! What is to be checked.

use std::str::FromStr;

use crate::error::Malformed;

/// Options of a check. By default structure only: nothing of `data/` is read but trees and lists.
#[derive(Debug, Clone, Default)]
pub struct CheckOptions {
    /// Read packs, too.
    pub read_data: bool,
    /// Not all of them.
    pub subset: Option<Subset>,
    /// Only those whose last good verification is longer ago, in seconds.
    pub max_age_secs: Option<u64>,
    /// CPU threads; 0 = one for each core.
    pub threads: usize,
}

impl CheckOptions {
    /// Is anything read?
    pub fn reads_data(&self) -> bool {
        self.read_data || self.subset.is_some() || self.max_age_secs.is_some()
    }

    /// How many threads that is.
    pub fn thread_count(&self) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        if self.threads == 0 { all() } else { self.threads }.min(256)
    }
}

/// Which packs of those that come into question.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Subset {
    /// The `number`-th of `of` shares (from 1 on), by pack id: the shares together are everything.
    Share {
        /// Which.
        number: u64,
        /// Of how many.
        of: u64,
    },
    /// So much of the stored bytes.
    Percent(f64),
    /// So many stored bytes.
    Bytes(u64),
}

impl FromStr for Subset {
    type Err = Malformed;

    /// `1/7`, `10%`, `5G`.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let refuse = || Malformed::new(format!("\"{text}\" is no part: give one like 1/7, 10% or 5G"));
        if let Some((number, of)) = text.split_once('/') {
            let (number, of) = (number.parse().map_err(|_| refuse())?, of.parse().map_err(|_| refuse())?);
            return if (1..=of).contains(&number) { Ok(Self::Share { number, of }) } else { Err(refuse()) };
        }
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| refuse())?;
            return if percent > 0.0 && percent <= 100.0 {
                Ok(Self::Percent(percent))
            } else {
                Err(refuse())
            };
        }
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "" | "B" => 0,
            "K" | "KIB" => 10,
            "M" | "MIB" => 20,
            "G" | "GIB" => 30,
            "T" | "TIB" => 40,
            _ => return Err(refuse()),
        };
        let number: u64 = digits.parse().map_err(|_| refuse())?;
        match number.checked_mul(1 << shift).filter(|bytes| *bytes > 0) {
            Some(bytes) => Ok(Self::Bytes(bytes)),
            None => Err(refuse()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_as_people_write_them() {
        for (text, part) in [
            ("1/7", Some(Subset::Share { number: 1, of: 7 })),
            ("7/7", Some(Subset::Share { number: 7, of: 7 })),
            ("10%", Some(Subset::Percent(10.0))),
            ("2.5%", Some(Subset::Percent(2.5))),
            ("5G", Some(Subset::Bytes(5 << 30))),
            ("300MiB", Some(Subset::Bytes(300 << 20))),
            ("1048576", Some(Subset::Bytes(1 << 20))),
            ("0/7", None),
            ("8/7", None),
            ("0%", None),
            ("101%", None),
            ("nan%", None),
            ("0", None),
            ("-5G", None),
            ("5X", None),
            ("99999999999T", None),
            ("", None),
            ("1/7/2", None),
        ] {
            assert_eq!(text.parse::<Subset>().ok(), part, "{text}");
        }
    }
}
