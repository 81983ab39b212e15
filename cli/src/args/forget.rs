//! Arguments of `forget`.

use ballast::op::forget::{KeepPolicy, Period, Span, UNLIMITED};
use clap::Args;

use super::FilterArgs;

const AFTER: &str = "\
Examples:
  ballast forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --dry-run
      say what would go; then the same without --dry-run
  ballast forget --keep-last 3 --keep-within 30d --keep-tag keep
  ballast forget --keep-daily 7 --keep-weekly 5 --prune
      the nightly job: forget, and give back the room
  ballast forget 4f1c 9a0e        these two, whatever they are

The policy is applied to each host with its paths by itself. What any option
keeps stays, as in restic. N may be `unlimited`. A DURATION is 12h, 30d, 2w or
1y6m, counted back from the newest snapshot of the group. Snapshots dated in the
future are kept and not counted. One that cannot be read goes only by its id.

Room is given back by `ballast prune`, or at once with --prune.

Exit codes: 0 done; 3 done, but a snapshot cannot be read, or the object of a
forgotten one not be removed (each is named); 1 failed; 2 usage (nothing was
forgotten); 10 no repository; 12 wrong password.";

/// Forget snapshots: by a policy, or by id
///
/// What is not kept is taken out of the list of snapshots, at once and for good. The
/// ledger remembers that it was there.
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct ForgetArgs {
    /// These snapshots: the beginnings of their ids, or `latest`; instead of a policy
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,

    /// Apply the policy to each of these by itself: host, paths, tags; '' = all together
    #[arg(long, value_name = "WHAT", default_value = "host,paths")]
    pub group_by: String,

    /// Let the policy forget every snapshot of a group
    #[arg(long)]
    pub allow_empty: bool,

    /// Say what would be forgotten; write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Prune afterwards: give back the room of what no snapshot needs any more
    #[arg(long)]
    pub prune: bool,

    #[command(flatten)]
    pub keep: KeepArgs,

    #[command(flatten, next_help_heading = "Which snapshots are looked at")]
    pub filter: FilterArgs,
}

fn count(text: &str) -> Result<u32, String> {
    match text {
        "unlimited" | "-1" => Ok(UNLIMITED),
        _ => text.parse().map_err(|_| "give a number, or `unlimited`".to_owned()),
    }
}

fn span(text: &str) -> Result<Span, String> {
    text.parse::<Span>().map_err(|e| e.to_string())
}

/// What is kept.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "What to keep")]
pub struct KeepArgs {
    /// The newest N snapshots
    #[arg(short = 'l', long, value_name = "N", value_parser = count)]
    pub keep_last: Option<u32>,

    /// The newest one of each of the last N hours that have one
    #[arg(long, value_name = "N", value_parser = count)]
    pub keep_hourly: Option<u32>,

    /// Of each of the last N days
    #[arg(short = 'd', long, value_name = "N", value_parser = count)]
    pub keep_daily: Option<u32>,

    /// Of each of the last N weeks (from Monday on)
    #[arg(short = 'w', long, value_name = "N", value_parser = count)]
    pub keep_weekly: Option<u32>,

    /// Of each of the last N months
    #[arg(short = 'm', long, value_name = "N", value_parser = count)]
    pub keep_monthly: Option<u32>,

    /// Of each of the last N years
    #[arg(short = 'y', long, value_name = "N", value_parser = count)]
    pub keep_yearly: Option<u32>,

    /// All that are at most so much older than the newest
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub keep_within: Option<Span>,

    /// The newest one of each hour, as far back
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub keep_within_hourly: Option<Span>,

    /// Of each day, as far back
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub keep_within_daily: Option<Span>,

    /// Of each week, as far back
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub keep_within_weekly: Option<Span>,

    /// Of each month, as far back
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub keep_within_monthly: Option<Span>,

    /// Of each year, as far back
    #[arg(long, value_name = "DURATION", value_parser = span)]
    pub keep_within_yearly: Option<Span>,

    /// All with this tag; with `a,b` those that have both; may be repeated
    #[arg(long, value_name = "TAG")]
    pub keep_tag: Vec<String>,

    /// This snapshot; may be repeated
    #[arg(long, value_name = "SNAPSHOT")]
    pub keep_id: Vec<String>,
}

impl KeepArgs {
    /// The policy, but for the ids.
    pub fn policy(&self) -> KeepPolicy {
        let counts = [
            (Period::Last, self.keep_last),
            (Period::Hourly, self.keep_hourly),
            (Period::Daily, self.keep_daily),
            (Period::Weekly, self.keep_weekly),
            (Period::Monthly, self.keep_monthly),
            (Period::Yearly, self.keep_yearly),
        ];
        let spans = [
            (Period::Last, self.keep_within),
            (Period::Hourly, self.keep_within_hourly),
            (Period::Daily, self.keep_within_daily),
            (Period::Weekly, self.keep_within_weekly),
            (Period::Monthly, self.keep_within_monthly),
            (Period::Yearly, self.keep_within_yearly),
        ];
        let mut policy = KeepPolicy::new();
        for (period, count) in counts {
            policy = policy.keep(period, count.unwrap_or(0));
        }
        for (period, span) in spans {
            policy = span.map_or(policy.clone(), |span| policy.keep_within(period, span));
        }
        let lists = self.keep_tag.iter().map(|list| super::tags(list));
        policy.tags = lists.filter(|tags| !tags.is_empty()).collect();
        policy
    }
}
