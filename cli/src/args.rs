//! What can be typed. The doc comments are the help: written for a tired person.

mod about;
mod change;
mod check;
mod compare;
mod database;
mod forget;
mod gentle;
mod key;
mod look;
mod prune;
mod record;
mod repair;
mod restore;
mod snapshot;
mod tensors;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use about::{CompletionsArgs, ConfigArgs, ManArgs, Shell};
pub use change::{RewriteArgs, TagArgs, TagCommand};
pub use check::CheckArgs;
pub use compare::{DiffArgs, FindArgs, FoundKind, StatsArgs};
pub use database::{SqliteArgs, VerifyArgs};
pub use forget::ForgetArgs;
pub use gentle::GentleArgs;
pub use key::{ExportArgs, ImportArgs, KeyCommand, NewPassword};
pub use look::{ArchiveArg, CatArgs, CatKind, DumpArgs, LsArgs, SnapshotsArgs, TensorsAsArg};
pub use prune::PruneArgs;
pub use record::{LedgerArgs, LockCommand, UnlockArgs};
pub use repair::{RepairCommand, RepairConfigArgs, RepairIndexArgs, RepairPacksArgs, RepairSnapshotsArgs};
pub use restore::{OverwriteArg, RestoreArgs};
pub use snapshot::{SnapshotArgs, Sqlite};
pub use tensors::{TensorSort, TensorsArgs};

const GLOBAL: &str = "Global options";

const START: &str = "\
First steps:
  export BALLAST_REPOSITORY=/mnt/usb/vault
  ballast snapshot --init ~/models      create the repository, take a snapshot
  ballast snapshots                     list what there is
  ballast restore latest -t /tmp/back   get it all back
  ballast key export                    print this: with the password, it opens
                                        a repository that lost its key files

Exit codes: 0 done, 1 failed, 2 usage, 3 done with problems, 10 no repository,
11 locked, 12 wrong password, 130 interrupted.";

/// Encrypted, deduplicating snapshots of model files, databases and all beside them.
///
/// A repository is a directory of sealed objects: without its password nobody can read
/// it, and nobody can recover a forgotten password. Local directories only, for now.
#[derive(Debug, Parser)]
#[command(name = "ballast", version, after_help = START, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every verb.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = GLOBAL)]
pub struct Global {
    /// Repository [env: BALLAST_REPOSITORY]
    #[arg(short, long, value_name = "DIR", global = true)]
    pub repo: Option<PathBuf>,

    /// Take the password from this file
    ///
    /// [env: BALLAST_PASSWORD_FILE; the password itself: BALLAST_PASSWORD]
    #[arg(short = 'p', long, value_name = "FILE", global = true, conflicts_with = "password_command")]
    pub password_file: Option<PathBuf>,

    /// Take what this prints as the password; it is run in a shell
    ///
    /// [env: BALLAST_PASSWORD_COMMAND]
    #[arg(long, value_name = "COMMAND", global = true, hide_short_help = true)]
    pub password_command: Option<String>,

    /// Keep caches here
    ///
    /// [env: BALLAST_CACHE_DIR; otherwise ballast in XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "no_cache", hide_short_help = true)]
    pub cache_dir: Option<PathBuf>,

    /// Keep no cache: slower, but leaves nothing on this machine
    #[arg(long, global = true, hide_short_help = true)]
    pub no_cache: bool,

    #[command(flatten)]
    pub gentle: GentleArgs,

    /// Accept a repository that is older than what this machine saw of it before
    #[arg(long, global = true, hide_short_help = true)]
    pub accept_older_repository: bool,

    /// Print JSON, an object a line, on both streams (see docs/json.md)
    #[arg(long, global = true)]
    pub json: bool,

    /// Print only data, problems and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Log to stderr; twice for more [env: BALLAST_LOG]
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    Init(InitArgs),
    #[command(visible_alias = "backup")]
    Snapshot(Box<SnapshotArgs>),
    Snapshots(SnapshotsArgs),
    Ls(LsArgs),
    Find(FindArgs),
    Diff(DiffArgs),
    Stats(StatsArgs),
    Restore(RestoreArgs),
    Dump(DumpArgs),
    Tensors(TensorsArgs),
    Forget(Box<ForgetArgs>),
    /// Change the tags of snapshots
    #[command(subcommand)]
    Tag(TagCommand),
    Rewrite(RewriteArgs),
    Ledger(LedgerArgs),
    /// List the leases of runs that write; remove those left behind
    #[command(subcommand)]
    Lock(LockCommand),
    Unlock(UnlockArgs),
    Check(CheckArgs),
    Verify(VerifyArgs),
    Sqlite(SqliteArgs),
    /// Add, remove, change passwords; print a key, bring it back
    #[command(subcommand)]
    Key(KeyCommand),
    Prune(PruneArgs),
    /// Make a damaged repository whole again: index, packs, snapshots, in this order
    #[command(subcommand)]
    Repair(RepairCommand),
    Config(ConfigArgs),
    Cat(CatArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Version(VersionArgs),
}

const INIT: &str = "\
Examples:
  ballast -r /mnt/usb/vault init
  ballast -r /mnt/usb/vault key export      then print this, and keep it with
                                            the password

Exit codes: 0 done, 1 failed (there is one already), 2 usage.";

/// Create a new repository
///
/// Asks for its password twice. A forgotten password is lost data: nobody can recover
/// it. `snapshot --init` does the same on its way.
#[derive(Debug, Args)]
#[command(after_help = INIT)]
pub struct InitArgs {
    /// Label of the first key, to tell keys apart
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub label: String,
}

/// Print version, format and cryptographic back-ends
#[derive(Debug, Args)]
pub struct VersionArgs {}

/// Which snapshots are meant.
#[derive(Debug, Clone, Default, Args)]
pub struct FilterArgs {
    /// Only snapshots of this host
    #[arg(short = 'H', long = "host", value_name = "HOST")]
    pub hosts: Vec<String>,

    /// Only snapshots with this tag; several: with all of them
    #[arg(long = "tag", value_name = "TAG", value_delimiter = ',')]
    pub tags: Vec<String>,

    /// Only snapshots made of this path
    #[arg(long = "path", value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Which snapshots are meant, where they are only looked at.
#[derive(Debug, Clone, Default, Args)]
pub struct LookArgs {
    #[command(flatten)]
    pub filter: FilterArgs,

    /// Only snapshots taken before: 2025-04-05, "2025-04-05 10:00", or 7d ago
    #[arg(long, value_name = "TIME")]
    pub before: Option<String>,
}

/// Which snapshots are meant, where several are looked at.
#[derive(Debug, Clone, Default, Args)]
pub struct SeveralArgs {
    #[command(flatten)]
    pub look: LookArgs,

    /// Only snapshots taken then or later
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
}

/// A number of bytes: 500, 64K, 20M, 5G, 1T; powers of 1024, as everywhere in this program.
pub fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        other => return Err(format!("\"{other}\" is no unit: use K, M, G or T")),
    };
    let bytes = digits.parse::<f64>().ok().filter(|n| *n >= 0.0 && n.is_finite());
    let bytes = bytes.map(|n| n * (1u64 << shift) as f64).filter(|n| *n < 1e18);
    bytes.map(|n| n as u64).ok_or_else(|| "a size is a number and perhaps a unit: 500M, 20G".into())
}

/// Tags as they are typed, separated by commas.
pub fn tags(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_password_is_ever_an_argument() {
        fn look(command: &clap::Command) {
            for arg in command.get_arguments() {
                let long = arg.get_long().unwrap_or_default();
                assert!(!long.ends_with("password"), "--{long} of {}", command.get_name());
            }
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }

    #[test]
    fn every_verb_with_work_to_do_shows_examples_and_exit_codes() {
        for command in Cli::command().get_subcommands() {
            let mut leaves: Vec<_> = command.get_subcommands().collect();
            if leaves.is_empty() {
                leaves.push(command);
            }
            for leaf in leaves.into_iter().filter(|c| !["version", "help"].contains(&c.get_name())) {
                let help = leaf.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("ballast") && help.contains("Exit codes:"), "{}", leaf.get_name());
                assert!(help.lines().all(|l| l.len() <= 80), "{}", leaf.get_name());
            }
        }
    }
}
