//! Arguments of `repair`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What is to be repaired.
#[derive(Debug, Subcommand)]
pub enum RepairCommand {
    Index(RepairIndexArgs),
    Packs(RepairPacksArgs),
    Snapshots(RepairSnapshotsArgs),
    Config(RepairConfigArgs),
}

const INDEX: &str = "\
Examples:
  ballast repair index --dry-run     what is wrong, and what would be done
  ballast repair index
  ballast repair index --all         ask every pack what it holds

Nothing is lost by it: new index objects are written before old ones go, and a
pack that stands stays listed. Interrupted, it is simply run again.

Exit codes: 0 done; 3 done, but packs are bad or cannot be read (they are named:
`ballast repair packs`); 1 failed; 10 no repository; 12 wrong password.";

/// Make the index say what packs really hold
///
/// Reads the end of every pack that no index object names, or that two describe
/// differently, and lists it; replaces index objects that are damaged or name packs
/// that are gone. The first thing to do when the index is damaged.
#[derive(Debug, Args)]
#[command(after_help = INDEX)]
pub struct RepairIndexArgs {
    /// Ask every pack, not only those in doubt
    #[arg(long)]
    pub all: bool,

    /// Change nothing, say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

const PACKS: &str = "\
Examples:
  ballast repair packs               those known to be bad
  ballast repair packs 4f1c9a22      this one
  ballast repair packs --read-data   read every pack first, to find the bad ones
  ballast repair packs --from ~/models
                                     and take what is lost from files on disk

What is lost for good is told by file and snapshot. A pack that held it stays,
in case it can be read another day; `ballast repair snapshots` then marks the
files. A new snapshot of the same files heals as --from does, and more: it also
stores lost directories again.

Exit codes: 0 done; 3 done, but snapshots need what is lost; 1 failed; 10 no
repository; 12 wrong password; 130 interrupted.";

/// Save what can be read of bad packs
///
/// Every frame that opens, decodes and holds what its ids say is copied to a new pack;
/// then the bad one is condemned, and prune deletes it. A pack without its end is read
/// by the index, one that is cut off as far as it goes.
#[derive(Debug, Args)]
#[command(after_help = PACKS)]
pub struct RepairPacksArgs {
    /// Packs: the beginnings of their ids. None: those that are known to be bad
    #[arg(value_name = "PACK")]
    pub packs: Vec<String>,

    /// Read every pack, and repair those that are bad
    #[arg(long, conflicts_with = "packs")]
    pub read_data: bool,

    /// Look for what is lost in files below PATH; may be given several times
    #[arg(long, value_name = "PATH")]
    pub from: Vec<PathBuf>,

    /// Change nothing, say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

const SNAPSHOTS: &str = "\
Examples:
  ballast repair snapshots --dry-run
  ballast repair snapshots             all that need what is lost
  ballast repair snapshots 4f1c9a22    this one

Run `ballast repair packs --from PATH` or take a new snapshot first: what comes
back that way need not be marked. Nothing that can be read is left out, and no
byte is made up: files that lost a part are marked, `ballast ls -l` shows them,
and `ballast restore --salvage` gives what is left of them.

Exit codes: 0 done; 3 done, but some snapshots cannot be read or judged (they
are named); 1 failed; 10 no repository; 12 wrong password.";

/// Mark what snapshots lost for good
///
/// Each snapshot that needs lost data gets a successor with the same time, host, paths
/// and tags, in which damaged files and directories are marked; then it is forgotten.
#[derive(Debug, Args)]
#[command(after_help = SNAPSHOTS)]
pub struct RepairSnapshotsArgs {
    /// Snapshots: the beginnings of their ids. None: all
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,

    /// Forget snapshots of which nothing can be read
    #[arg(long)]
    pub forget_unreadable: bool,

    /// Change nothing, say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

const CONFIG: &str = "\
Examples:
  ballast repair config --dry-run
  ballast repair config

A config that opens is never touched.

Exit codes: 0 done; 3 done, but a key file is damaged (it is named); 1 failed;
10 no repository; 12 wrong password.";

/// Write a damaged or lost config again, from its copy in the key file
#[derive(Debug, Args)]
#[command(after_help = CONFIG)]
pub struct RepairConfigArgs {
    /// Change nothing, say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
