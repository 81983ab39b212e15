//! Arguments of `tag` and `rewrite`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::FilterArgs;

const ADD: &str = "\
Examples:
  ballast tag add keep latest
  ballast tag add keep,quarter 4f1c 9a0e

Exit codes: 0 done; 3 done, but another run forgot one of them meanwhile;
1 failed; 2 usage; 10 no repository; 12 wrong password.";

const REMOVE: &str = "\
Example:
  ballast tag remove weekly 4f1c

Exit codes: 0 done; 3 done, but another run forgot one of them meanwhile;
1 failed; 2 usage; 10 no repository; 12 wrong password.";

const SET: &str = "\
Examples:
  ballast tag set monthly 4f1c
  ballast tag set '' 4f1c          no tags at all

Exit codes: 0 done; 3 done, but another run forgot one of them meanwhile;
1 failed; 2 usage; 10 no repository; 12 wrong password.";

/// Verbs of `tag`.
#[derive(Debug, Subcommand)]
pub enum TagCommand {
    /// Add tags to snapshots
    #[command(after_help = ADD)]
    Add(TagArgs),

    /// Remove tags from snapshots
    #[command(after_help = REMOVE)]
    Remove(TagArgs),

    /// Give snapshots these tags and no others
    #[command(after_help = SET)]
    Set(TagArgs),
}

#[derive(Debug, Args)]
pub struct TagArgs {
    /// Tags, separated by commas
    #[arg(id = "given_tags", value_name = "TAGS")]
    pub tags: String,

    /// Snapshots: the beginnings of their ids, or `latest`. Each gets a new id
    #[arg(required = true, value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,

    #[command(flatten, next_help_heading = "Which snapshot is the latest")]
    pub filter: FilterArgs,
}

const REWRITE: &str = "\
Examples:
  ballast rewrite --exclude '*.incomplete' --dry-run
      say what would be left out of which snapshots
  ballast rewrite --exclude /srv/app/secrets.env --forget
  ballast rewrite --exclude cache/ --host old-server 4f1c

The new snapshots keep time, host, user, paths, tags and description, and name
their originals. Without --forget both are there. Until the old ones are
forgotten and pruned, their files can still be restored by who has the password.

Exit codes: 0 done; 3 done, but a snapshot could not be rewritten (it is named);
1 failed; 2 usage; 10 no repository; 12 wrong password; 130 interrupted.";

/// Make snapshots anew without some of their files
#[derive(Debug, Args)]
#[command(after_help = REWRITE)]
pub struct RewriteArgs {
    /// Snapshots: the beginnings of their ids, or `latest`; otherwise all that fit
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,

    /// Leave out what fits this pattern (as in `snapshot`)
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<String>,

    /// Leave out what fits a pattern in this file
    #[arg(long, value_name = "FILE")]
    pub exclude_file: Vec<PathBuf>,

    /// Like --exclude, and upper and lower case are the same
    #[arg(long, value_name = "PATTERN")]
    pub iexclude: Vec<String>,

    /// Like --exclude-file, and upper and lower case are the same
    #[arg(long, value_name = "FILE")]
    pub iexclude_file: Vec<PathBuf>,

    /// Forget the snapshots that were rewritten
    #[arg(long)]
    pub forget: bool,

    /// Say what would be left out; write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    #[command(flatten, next_help_heading = "Which snapshots, or which is the latest")]
    pub filter: FilterArgs,
}
