//! Arguments of the verbs that tell about a repository or about this program: `config`,
//! `completions`, `man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

const CONFIG: &str = "\
Examples:
  ballast config
  ballast config --json | jq .chunk_avg_bytes

There is nothing to set. All of it was fixed when the repository was made: a
copy of it is sealed into every key file, and only the password of each could
seal another one. Other sizes need a new repository. `ballast cat config` shows
the record as the format has it.

Exit codes: 0 done, 1 failed, 10 no repository, 12 wrong password.";

/// Show what a repository is: features, how it cuts, sizes, padding
///
/// No secret is shown.
#[derive(Debug, Args)]
#[command(after_help = CONFIG)]
pub struct ConfigArgs {}

const COMPLETIONS: &str = "\
Examples:
  ballast completions bash > /etc/bash_completion.d/ballast
  ballast completions zsh > /usr/local/share/zsh/site-functions/_ballast
  ballast completions fish > ~/.config/fish/completions/ballast.fish
  source <(ballast completions bash)      in this shell only

Exit codes: 0 done, 2 usage.";

/// Print a script that lets a shell complete verbs and options
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS)]
pub struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells that a script can be made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// bash, with bash-completion or without
    Bash,
    /// zsh
    Zsh,
    /// fish
    Fish,
}

const MAN: &str = "\
Examples:
  ballast man /usr/local/share/man/man1
  man ballast-snapshot
  ballast man /tmp/pages && man -l /tmp/pages/ballast.1

Pages of an earlier version there are replaced.

Exit codes: 0 done, 1 failed, 2 usage.";

/// Write manual pages, one for each verb
///
/// They say what --help says.
#[derive(Debug, Args)]
#[command(after_help = MAN)]
pub struct ManArgs {
    /// Directory to write them into; made if need be
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}
