//! Arguments of the verbs that look: `snapshots`, `ls`, `dump`, `cat`.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::{LookArgs, SeveralArgs};

const SNAPSHOTS: &str = "\
Examples:
  ballast snapshots
  ballast snapshots --latest 1 --tag weekly
  ballast snapshots --group-by '' --since 30d
  ballast snapshots --json | jq -r '.snapshots[-1].id'

Exit codes: 0 done; 3 done, but a snapshot is damaged (it is named); 1 failed;
10 no repository; 12 wrong password.";

/// List snapshots, in groups, oldest first
#[derive(Debug, Args)]
#[command(after_help = SNAPSHOTS)]
pub struct SnapshotsArgs {
    /// Only these: the beginnings of their ids, `latest`, `latest~1`, @7d
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,

    #[command(flatten)]
    pub filter: SeveralArgs,

    /// Show together what is the same in these: host, paths, tags; '' = one list
    #[arg(short = 'g', long, value_name = "WHAT", default_value = "host,paths")]
    pub group_by: String,

    /// Only the newest N of each group
    #[arg(long, value_name = "N")]
    pub latest: Option<usize>,
}

const LS: &str = "\
Examples:
  ballast ls latest                  every file of the latest snapshot
  ballast ls latest:/                only what is at its top
  ballast ls -l latest:/srv/models   one directory, with details
  ballast ls -R 4f1c:/srv/models     and all below it

Exit codes: 0 done, 1 failed, 10 no repository, 12 wrong password.";

/// List the files in a snapshot
///
/// Without a path everything is listed; with one only what is directly in it, unless
/// --recursive. Characters that a terminal would act on are shown escaped.
#[derive(Debug, Args)]
#[command(after_help = LS)]
pub struct LsArgs {
    /// Snapshot: the beginning of its id, or `latest`; after a colon a path inside it
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub snapshot: OsString,

    /// With mode, owner, size and time
    #[arg(short, long)]
    pub long: bool,

    /// With a path: all below it, too
    #[arg(short = 'R', long)]
    pub recursive: bool,

    #[command(flatten, next_help_heading = "Which snapshot is the latest")]
    pub filter: LookArgs,
}

const DUMP: &str = "\
Examples:
  ballast dump latest:/srv/app/config.toml
  ballast dump latest:/srv/app/chat.db > /tmp/chat.db
  ballast dump 4f1c:/srv/dump.sql | psql
  ballast dump latest:/srv/models --archive tar | ssh host tar -x -C /srv/models
  ballast dump latest --archive zip > all.zip
  ballast dump latest:/srv/models/llama --tensor lm_head.weight > head.raw
  ballast dump latest:/srv/models/llama --tensor 'model.layers.0.*' \\
      --as safetensors > layer-0.safetensors

With --json the report goes to standard error, because standard output is the
file or archive. If it ends with another code than 0 or 3, the output is not
whole: an archive then has no end, so that whoever reads it notices.

Exit codes: 0 done; 3 done, but with problems (each is named; files of an
archive that are damaged were left out); 1 failed; 2 usage; 10 no repository;
12 wrong password; 130 interrupted.";

/// Write one file of a snapshot, tensors, or a directory as an archive, to standard output
///
/// Names in an archive are relative to the directory. A tar archive has all that a
/// snapshot has: owners, modes, times, attributes, links, devices. A zip archive has
/// files, directories and symbolic links, not compressed, and times to the second.
#[derive(Debug, Args)]
#[command(after_help = DUMP)]
pub struct DumpArgs {
    /// Snapshot (the beginning of its id, or `latest`), a colon, and the path
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshot: OsString,

    /// Write a directory, or the whole snapshot, as an archive of this kind
    #[arg(long, value_name = "KIND", value_enum)]
    pub archive: Option<ArchiveArg>,

    /// Write this tensor of the model at the path, a file, an index of shards or a directory;
    /// a pattern, or several, with --as
    #[arg(long = "tensor", value_name = "NAME", conflicts_with_all = ["archive", "salvage"])]
    pub tensors: Vec<String>,

    /// Write the tensors as a file of this kind, not the bytes of one alone
    #[arg(long = "as", value_name = "KIND", value_enum, requires = "tensors")]
    pub tensors_as: Option<TensorsAsArg>,

    /// Also files that lost a part in the repository: with zeros in its place
    #[arg(long)]
    pub salvage: bool,

    #[command(flatten, next_help_heading = "Which snapshot is the latest")]
    pub filter: LookArgs,
}

/// Kinds of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArchiveArg {
    /// With all that a snapshot has
    Tar,
    /// For those who cannot open the other
    Zip,
}

/// Kinds of files of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TensorsAsArg {
    /// Their names, types and shapes with them
    Safetensors,
}

const CAT: &str = "\
Examples:
  ballast cat config
  ballast cat snapshot latest
  ballast cat ledger 3
  ballast cat tree 9c0d5e...           the whole id, as `cat snapshot` shows it

Without an ID the names of all objects of that kind are listed.

Exit codes: 0 done, 1 failed, 2 usage, 10 no repository, 12 wrong password.";

/// Show an object of the repository as JSON
#[derive(Debug, Args)]
#[command(after_help = CAT)]
pub struct CatArgs {
    /// What kind of object
    #[arg(value_enum)]
    pub kind: CatKind,

    /// The beginning of its id; the number of a ledger entry; the whole id of a tree or list
    pub id: Option<String>,
}

/// Kinds of objects to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum CatKind {
    /// What the repository is; its secrets are not shown
    Config,
    /// A key file, as far as it is no secret
    Key,
    /// A snapshot
    Snapshot,
    /// An index object: which packs hold what
    Index,
    /// An entry of the ledger
    Ledger,
    /// The heartbeat of a run that writes
    Lease,
    /// A directory
    Tree,
    /// A stretch of a file's content list
    List,
}
