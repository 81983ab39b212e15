//! Arguments of `check`.

use ballast::op::check::Subset;
use clap::Args;

const AFTER: &str = "\
Examples:
  ballast check                         daily: is everything there?
  ballast check --read-data-subset 1/7  nightly: a week covers all (1/7 ... 7/7)
  ballast check --max-age 30d --read-data-subset 50G
                                        what was not read for the longest time
  ballast check --read-data             every byte
  ballast check --without-key           on the storage box, without the password

Snapshots and prunes may run meanwhile. What was read is remembered in the
repository; a pack that was found bad is not relied on any more, so the next
snapshot stores again what it held. Each fault says what repairs it.

Exit codes: 0 no damage found; 1 damage, or the check failed; 2 usage;
10 no repository; 12 wrong password; 130 interrupted.";

/// Find damage, name the files it touches, and say what repairs it
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct CheckArgs {
    /// Read every pack, too: decrypt, decode and hash all that is stored
    #[arg(long)]
    pub read_data: bool,

    /// Read a part of the packs: 1/7 by name, or 10% or 5G at random
    ///
    /// Shares by name always hold the same packs. Parts at random take what was never
    /// verified first.
    #[arg(long, value_name = "PART", value_parser = subset, conflicts_with = "read_data")]
    pub read_data_subset: Option<Subset>,

    /// Read packs that were not verified for so long: 30d, 12h, 2w; the oldest first
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub max_age: Option<u64>,

    /// Only compare objects with their names; needs no password
    #[arg(long, conflicts_with_all = ["read_data", "read_data_subset", "max_age"])]
    pub without_key: bool,

    /// CPU threads; 0 = one for each core
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
}

fn subset(text: &str) -> Result<Subset, String> {
    text.parse().map_err(|e: ballast::error::Malformed| e.0)
}

/// Seconds.
fn age(text: &str) -> Result<u64, String> {
    let refuse = || format!("\"{text}\" is no age: give one like 30d, 12h or 2w");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        "y" => 365 * 86_400,
        _ => return Err(refuse()),
    };
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ages() {
        for (text, secs) in [
            ("30d", Some(30 * 86_400)),
            ("12h", Some(43_200)),
            ("2w", Some(14 * 86_400)),
            ("1y", Some(365 * 86_400)),
            ("30", None),
            ("d", None),
            ("-1d", None),
            ("99999999999999999y", None),
        ] {
            assert_eq!(super::age(text).ok(), secs, "{text}");
        }
    }
}
