//! Arguments of `ledger` and `lock`: what happened, and what goes on.

use clap::{Args, Subcommand};

const LEDGER: &str = "\
Examples:
  ballast ledger
  ballast ledger --last 20
  ballast ledger --json | jq '.entries[] | select(.event == \"forget\")'

`ballast cat ledger NUMBER` shows an entry whole.

Exit codes: 0 done; 3 done, but an entry is damaged or missing (it is named in
its place); 1 failed; 10 no repository; 12 wrong password.";

/// Show the history: what was committed, forgotten, condemned, verified
#[derive(Debug, Args)]
#[command(after_help = LEDGER)]
pub struct LedgerArgs {
    /// Only the last N entries
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}

const LIST: &str = "\
Example:
  ballast lock list

Several runs may write at a time; none waits for another.

Exit codes: 0 done, 1 failed, 10 no repository, 12 wrong password.";

const REMOVE: &str = "\
Examples:
  ballast unlock                what killed runs have left
  ballast lock remove 4f1c      one of them
  ballast lock remove --all     all, those of runs at work too

A lease keeps others from tidying up under a run that works. No data depends on
one: taken away from a run that is at work, it may cost that run the packs it
has sent so far, and then it begins anew. Snapshots are never in danger. The
leases of killed runs lapse by themselves after an hour. (Storage that cannot
refuse to overwrite is another matter: there leases never lapse and do protect
data, and --all says so.)

Exit codes: 0 done; 3 a lease that was named was left, since its run may be at
work; 1 failed; 10 no repository; 12 wrong password.";

/// Verbs of `lock`.
#[derive(Debug, Subcommand)]
pub enum LockCommand {
    /// List the leases of runs that write
    #[command(after_help = LIST)]
    List,

    /// Remove leases that nobody holds any more
    Remove(UnlockArgs),
}

/// Remove leases that nobody holds any more (same as `lock remove`)
#[derive(Debug, Args)]
#[command(after_help = REMOVE)]
pub struct UnlockArgs {
    /// Only these: the beginnings of their sessions, as `lock list` shows them
    #[arg(value_name = "SESSION")]
    pub sessions: Vec<String>,

    /// Also those of runs that may be at work: safe for data, but costs them work
    #[arg(long)]
    pub all: bool,
}
