//! `prune`.

use ballast::op::prune::MaxUnused;
use clap::Args;

const PRUNE: &str = "\
Examples:
  ballast prune --dry-run        what would go, and how much room it gives
  ballast prune
  ballast prune --max-unused 0   leave nothing that no snapshot needs
  ballast prune --max-unused unlimited
                                 copy nothing: only packs that are dead go

It may run beside snapshots, on this machine and others: what they began to
rely on stays until they have ended. Interrupted, it is simply run again.

Exit codes: 0 done, 1 failed or the repository is not whole, 2 usage, 10 no
repository, 12 wrong password, 130 interrupted.";

/// Give back the room of what no snapshot needs
///
/// `forget` only forgets; this deletes. First it reads what every snapshot needs: if
/// anything of that is missing it changes nothing and says so. Packs of which nothing
/// is needed go whole; of others the living part is copied, until no more is unused
/// than --max-unused allows.
#[derive(Debug, Clone, Args)]
#[command(after_help = PRUNE)]
pub struct PruneArgs {
    /// Change nothing, say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// How much may stay that nothing needs: 5%, 200M, 0 or unlimited
    #[arg(long, value_name = "AMOUNT", default_value = "5%", value_parser = max_unused)]
    pub max_unused: MaxUnused,

    /// Read and copy at most so much in one run: 500M, 20G
    #[arg(long, value_name = "SIZE", value_parser = crate::args::size)]
    pub max_repack_size: Option<u64>,
}

fn max_unused(text: &str) -> Result<MaxUnused, String> {
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    if let Some(percent) = text.strip_suffix('%') {
        return match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(MaxUnused::Percent(percent)),
            _ => Err("a percentage is a number from 0 to 100, such as 5%".into()),
        };
    }
    crate::args::size(text).map(MaxUnused::Bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read() {
        assert_eq!(max_unused("5%"), Ok(MaxUnused::Percent(5.0)));
        assert_eq!(max_unused("0"), Ok(MaxUnused::Bytes(0)));
        assert_eq!(max_unused("200M"), Ok(MaxUnused::Bytes(200 << 20)));
        assert_eq!(max_unused("unlimited"), Ok(MaxUnused::Unlimited));
        for bad in ["", "%", "-1%", "101%", "NaN%", "many", "-5"] {
            assert!(max_unused(bad).is_err(), "{bad}");
        }
    }
}
