//! Options of every verb that keep it from getting in the way of others.

use clap::Args;

use super::{GLOBAL, size};

/// See the module's words.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = GLOBAL)]
pub struct GentleArgs {
    /// Read no more than this a second: 50M
    ///
    /// Of the files that are stored; by verbs that read the repository, of the repository.
    #[arg(long, value_name = "RATE", value_parser = rate, global = true, hide_short_help = true)]
    pub limit_read: Option<u64>,

    /// Write no more than this a second: to the repository, or to restored files
    #[arg(long, value_name = "RATE", value_parser = rate, global = true, hide_short_help = true)]
    pub limit_write: Option<u64>,

    /// Leave processor and disk to others (nice 19, idle I/O class)
    #[arg(long, global = true, hide_short_help = true)]
    pub low_priority: bool,
}

/// Bytes a second.
fn rate(text: &str) -> Result<u64, String> {
    let bytes = size(text.trim().trim_end_matches("/s"))?;
    let least = ballast::limit::SLOWEST;
    if bytes < least {
        return Err(format!("a rate is at least {}K a second", least >> 10));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn rates() {
        assert_eq!(super::rate("50M"), Ok(50 << 20));
        assert_eq!(super::rate("1.5M/s"), Ok(3 << 19));
        for bad in ["0", "15K", "fast", "-1", "10X"] {
            assert!(super::rate(bad).is_err(), "{bad}");
        }
    }
}
