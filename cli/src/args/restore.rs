//! Arguments of `restore`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::LookArgs;

const AFTER: &str = "\
Examples:
  ballast restore latest -t /tmp/back
      everything, as /tmp/back/srv/models/...
  ballast restore latest:/srv/models -t /srv/models
      what is in that directory, back to its place
  ballast restore 4f1c:/srv/app/chat.db -t /tmp --dry-run
      one file, as /tmp/chat.db; only say what would be done
  ballast restore latest:/srv/models -t /srv/models --delete --dry-run
      make it what it was; first name what would be removed
  ballast restore latest -t /tmp/back --strip-components 2
      /srv/models/llama as /tmp/back/llama

Every byte is verified before a file gets its name. An interrupted restore goes
on where it was: run the same command again. Of a file that is there already,
what is right in it is not fetched again. Files in the target that are not in
the snapshot are left alone without --delete.

Exit codes: 0 done; 3 done, but some files could not be restored (each is
named); 1 failed; 10 no repository; 12 wrong password; 130 interrupted.";

/// Get files, directories or a whole snapshot back
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct RestoreArgs {
    /// Snapshot: the beginning of its id, or `latest`; after a colon a path inside it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: OsString,

    /// Directory to restore into; made if need be
    #[arg(short, long, value_name = "DIR")]
    pub target: PathBuf,

    /// Only what fits this pattern (syntax of .gitignore)
    #[arg(short, long, value_name = "PATTERN")]
    pub include: Vec<String>,

    /// Not what fits this pattern
    #[arg(short, long, value_name = "PATTERN")]
    pub exclude: Vec<String>,

    /// What becomes of files that are there already
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = OverwriteArg::Always)]
    pub overwrite: OverwriteArg,

    /// Write files that are there in place, only where they differ: takes no room
    ///
    /// A file that is written in place is neither the old nor the new one until it is done.
    /// If that is cut short (killed, disk full, lost data), the file is half of each: run the
    /// same command again, which mends it. Other files get their names only when they are
    /// whole, as ever: files that have several names, or may not be written to.
    #[arg(long)]
    pub in_place: bool,

    /// Remove from restored directories what the snapshot does not have
    ///
    /// Also what was left out when it was taken (--exclude). With --include or --exclude here only
    /// what they select. Nothing goes from a directory that the snapshot does not know whole, or
    /// in which something could not be restored; nothing where something is mounted. Try it with
    /// --dry-run, which names each.
    #[arg(long)]
    pub delete: bool,

    /// Leave away the first N names of each path, as tar does
    ///
    /// What has no more names than those is left out. Patterns still fit whole paths.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub strip_components: usize,

    /// Say what would be restored and removed; write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Also write files that lost a part in the repository, as NAME.damaged
    ///
    /// `repair snapshots` marks them. Zeros stand in the place of what is lost, so that all
    /// the rest is where it was. Without this they are left out, and named.
    #[arg(long)]
    pub salvage: bool,

    /// CPU threads; 0 = one for each core
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,

    #[command(flatten, next_help_heading = "Which snapshot is the latest")]
    pub filter: LookArgs,
}

/// What becomes of files that are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwriteArg {
    /// They are replaced, unless their content is the same
    Always,
    /// Those with another size or time are replaced; the others are not even read
    IfChanged,
    /// Those that are older than in the snapshot are replaced
    IfNewer,
    /// They are left as they are
    Never,
}
