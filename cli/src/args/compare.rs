//! Arguments of the verbs that look across snapshots: `find`, `diff`, `stats`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{LookArgs, SeveralArgs};

const FIND: &str = "\
Examples:
  ballast find adapter_model.safetensors    wherever it lies, version by version
  ballast find '/srv/app/*.toml' '*.yaml'   by paths, by names
  ballast find -i '*lora*' --type dir --since 30d
  ballast find chat.db --snapshot 4f1c      in this snapshot only

A pattern without a slash is a name anywhere; one that begins with a slash an
absolute path; `**` crosses directories. A version is a content: it is shown
with its time of change, its size, and the first and last snapshot that have it.

Exit codes: 0 done; 3 done, but a snapshot or a directory cannot be read (it is
named); 1 failed, or nothing was found; 2 usage; 10 no repository; 12 wrong
password.";

/// Find files by name in all snapshots, and how they changed over time
#[derive(Debug, Args)]
#[command(after_help = FIND)]
pub struct FindArgs {
    /// Names or paths, with the wildcards of .gitignore
    #[arg(value_name = "PATTERN", required = true)]
    pub patterns: Vec<String>,

    /// Upper and lower case are the same
    #[arg(short, long)]
    pub ignore_case: bool,

    /// Only this kind of thing
    #[arg(short = 't', long = "type", value_name = "KIND", value_enum)]
    pub kinds: Vec<FoundKind>,

    /// Only in this snapshot: the beginning of its id, or `latest`
    #[arg(short, long = "snapshot", value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,

    #[command(flatten, next_help_heading = "Which snapshots")]
    pub filter: SeveralArgs,
}

/// Kinds of things to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FoundKind {
    /// A file
    File,
    /// A directory
    Dir,
    /// A symbolic link
    Link,
}

const DIFF: &str = "\
Examples:
  ballast diff latest~1 latest               what the last run found new
  ballast diff @7d latest /srv/app           in one directory, in a week
  ballast diff latest:/srv/v1 latest:/srv/v2   two directories
  ballast diff latest~1 latest --tensors     what a fine-tune moved, by layer
  ballast diff latest:/base/model.safetensors latest:/merged/model.safetensors \\
    --tensors --each                         two models, tensor by tensor

  +  only in the second        M  content changed
  -  only in the first         T  something else now (a link, a directory)
  U  only mode, owner, time or attributes changed (with --metadata)

With --tensors: two files, indexes of shards, or directories with one model are
compared whatever they are called; in directories with several, those in the
same place. Share is of elements with other bits, Largest and Mean are of
|new - old| over all elements, Relative is the length of the change over that
of the old tensors, for those that changed.

Exit codes: 0 done (whatever differs), 1 failed, 2 usage, 3 done, but something
could not be compared (it is named), 10 no repository, 12 wrong password.";

/// Show what differs between two snapshots
#[derive(Debug, Args)]
#[command(after_help = DIFF)]
pub struct DiffArgs {
    /// From this: the beginning of an id, `latest~1`, @7d; after a colon a path in it
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub old: OsString,

    /// To this
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub new: OsString,

    /// Only this file or directory of both
    #[arg(value_name = "PATH")]
    pub path: Option<OsString>,

    /// Also what changed only in mode, owner, time or attributes
    #[arg(short, long)]
    pub metadata: bool,

    /// Compare models, tensor by tensor, and show it by layer
    #[arg(long, conflicts_with = "metadata")]
    pub tensors: bool,

    /// With --tensors: show each tensor, not only layers
    #[arg(long, requires = "tensors")]
    pub each: bool,

    #[command(flatten, next_help_heading = "Which snapshot is the latest")]
    pub filter: LookArgs,
}

const STATS: &str = "\
Examples:
  ballast stats                       the whole repository
  ballast stats latest 4f1c           these snapshots
  ballast stats --snapshots --host gpu1   every snapshot of a machine
  ballast stats latest:/srv/models    each thing in that directory
  ballast stats --models              what each version of each model cost
  ballast stats --models latest:/srv/llm --svg weeks.svg   as a picture

  Size    length of all files
  Unique  content that differs, each piece once
  Stored  what that takes in the repository, with all it is decoded against
  Frees   what nothing else needs: about so much comes free when it is forgotten
          (a snapshot) or left out of all snapshots by `rewrite` (a path), and
          pruned

With --models: Stored is what a version brought that no model in an earlier
snapshot of the same host and paths has, by part of the network.

Exit codes: 0 done; 3 done, but something cannot be read (it is named);
1 failed; 2 usage; 10 no repository; 12 wrong password.";

/// Show what a repository, snapshots or directories take, and what would come free
#[derive(Debug, Args)]
#[command(after_help = STATS)]
pub struct StatsArgs {
    /// Snapshots; or one, a colon, and a path in it; none = the whole repository
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub of: Vec<OsString>,

    /// Every snapshot that fits
    #[arg(long, conflicts_with = "of")]
    pub snapshots: bool,

    /// What each version of the models there cost, oldest first; none given = latest
    #[arg(long, conflicts_with = "snapshots")]
    pub models: bool,

    /// With --models: also draw it, to this file; `-` = only that, to standard output
    #[arg(long, value_name = "FILE", requires = "models")]
    pub svg: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Which snapshots")]
    pub filter: SeveralArgs,
}
