//! Arguments of `snapshot`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::size;

const AFTER: &str = "\
Examples:
  ballast -r /mnt/usb/vault snapshot --init ~/models
  ballast snapshot --tag weekly --exclude '*.incomplete' /srv/models
  ballast snapshot --dry-run ~/models
  ballast snapshot --stdin-filename /dumps/pg.sql \\
      --stdin-from-command -- pg_dump mydb
  find /srv -newer mark -print0 | ballast snapshot --files-from - -0

Nothing is left out unless you ask: .gitignore and hidden names hide no file.
Only what changed is read, only what is new is stored.

SQLite databases are captured while others use them: what is stored is one
committed state, as a plain database file without -wal, -shm and -journal.

Exit codes: 0 done; 3 done, but some files could not be read or changed
meanwhile (each is named), or there was nothing to store; 1 failed;
10 no repository; 12 wrong password; 130 interrupted (run it again: what was
finished is not sent twice).";

/// What to do with SQLite databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Sqlite {
    /// Capture them; where that cannot be, store their bytes and say so (exit code 3)
    Auto,
    /// Store their bytes, like those of any file
    Off,
    /// Capture them; leave out what cannot be captured, and say so (exit code 3)
    Require,
}

/// Take a snapshot of files and directories
#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub struct SnapshotArgs {
    /// What to take; links given here are followed
    #[arg(value_name = "PATH", required_unless_present_any = ["stdin", "files_from"])]
    pub paths: Vec<OsString>,

    /// Also take the paths in this file, one a line; `-` is standard input
    ///
    /// Each is taken as it stands, but for empty lines: no patterns, no comments. Relative ones
    /// begin at the working directory.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["stdin", "stdin_from_command"])]
    pub files_from: Vec<PathBuf>,

    /// Names in those files end in NUL, as from `find -print0`
    #[arg(short = '0', long, requires = "files_from")]
    pub null: bool,

    /// Store standard input as a file
    #[arg(long, conflicts_with_all = ["paths", "stdin_from_command"])]
    pub stdin: bool,

    /// Run a command and store what it prints; if it fails, there is no snapshot
    ///
    /// PATH and what follows are the command: --stdin-from-command -- pg_dump mydb. Its standard
    /// error goes through; when the run is stopped, so is the command.
    #[arg(long)]
    pub stdin_from_command: bool,

    /// Name or path of that file in the snapshot
    #[arg(long, value_name = "NAME", default_value = "stdin")]
    pub stdin_filename: OsString,

    /// Create the repository if there is none
    #[arg(long)]
    pub init: bool,

    /// Find out what would be stored; store nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Leave out what fits this pattern (syntax of .gitignore)
    #[arg(short, long, value_name = "PATTERN", help_heading = "What to leave out")]
    pub exclude: Vec<String>,

    /// Leave out what fits a pattern in this file
    #[arg(long, value_name = "FILE", help_heading = "What to leave out")]
    pub exclude_file: Vec<PathBuf>,

    /// Like --exclude, and upper and lower case are the same
    #[arg(long, value_name = "PATTERN", help_heading = "What to leave out")]
    pub iexclude: Vec<String>,

    /// Like --exclude-file, and upper and lower case are the same
    #[arg(long, value_name = "FILE", help_heading = "What to leave out")]
    pub iexclude_file: Vec<PathBuf>,

    /// Leave out the content of directories that hold a file NAME (which begins with HEADER)
    #[arg(long, value_name = "NAME[:HEADER]", help_heading = "What to leave out")]
    pub exclude_if_present: Vec<String>,

    /// Leave out files longer than this: 500M, 20G
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "What to leave out")]
    pub exclude_larger_than: Option<u64>,

    /// Leave out directories with a CACHEDIR.TAG (mind: Hugging Face tags its models so)
    #[arg(long, help_heading = "What to leave out")]
    pub exclude_caches: bool,

    /// Stay on the file system of each PATH
    #[arg(short = 'x', long, help_heading = "What to leave out")]
    pub one_file_system: bool,

    /// Take in what links lead to outside of PATH
    #[arg(long)]
    pub follow_outside: bool,

    /// Add a tag; repeat, or separate by commas
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',', help_heading = "What to record")]
    pub tags: Vec<String>,

    /// Record this host name [env: BALLAST_HOST]
    #[arg(short = 'H', long, value_name = "NAME", help_heading = "What to record")]
    pub host: Option<String>,

    /// Record this text
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true,
        help_heading = "What to record"
    )]
    pub description: String,

    /// Record this time instead of now: "2025-04-05 10:00"
    #[arg(long, value_name = "TIME", help_heading = "What to record")]
    pub time: Option<String>,

    /// Compare with this snapshot (or `none`), not the newest of this host and these paths
    #[arg(long, value_name = "SNAPSHOT", help_heading = "How to find what changed")]
    pub parent: Option<String>,

    /// Store what is new as the difference to this: a snapshot, or SNAPSHOT:PATH
    ///
    /// Found without it where a model was before: in its own place, or by the names of its
    /// tensors in the newest snapshots.
    #[arg(long, value_name = "SNAPSHOT[:PATH]", help_heading = "How to find what changed")]
    pub base: Option<String>,

    /// Read every file, changed or not
    #[arg(short, long, help_heading = "How to find what changed")]
    pub force: bool,

    /// A new inode number alone is no change (some network file systems)
    #[arg(long, help_heading = "How to find what changed")]
    pub ignore_inode: bool,

    /// A new ctime alone is no change (after chmod or chown of all files)
    #[arg(long, help_heading = "How to find what changed")]
    pub ignore_ctime: bool,

    /// Capture SQLite databases in use as one committed state (see docs/sqlite.md)
    ///
    /// Found by their first bytes, whatever their name. The database is never changed and its
    /// users go on. On NFS, SMB, 9p and FUSE locks are not shared with everybody, and only the
    /// bytes can be stored.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Sqlite::Auto)]
    pub sqlite: Sqlite,

    /// Read so many files at once; 0 = one on rotating disks and network file systems,
    /// else as many as there are threads
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub read_concurrency: usize,

    /// CPU threads; 0 = one for each core
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub threads: usize,
}

impl SnapshotArgs {
    /// Is it a pipe that is stored?
    pub fn is_stream(&self) -> bool {
        self.stdin || self.stdin_from_command
    }
}
