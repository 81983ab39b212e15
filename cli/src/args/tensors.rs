//! Arguments of `tensors`.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::LookArgs;

const TENSORS: &str = "\
Examples:
  ballast tensors latest:/srv/models/llama/model.safetensors
  ballast tensors latest:/srv/models/llama   the model in a directory: one
                                             file, or the shards of an index
  ballast tensors @7d:/srv/adapters/lora.safetensors '*.lora_A.*' --sort size
  ballast tensors --json latest:/srv/models/llama | jq -r .name

Stored is a tensor's share of what its chunks take in the repository; what they
are decoded against is another version's. Since is the oldest snapshot of this
host, in an unbroken row back from this one, in which the tensor of that name in
the same place was the same.

Exit codes: 0 done; 3 done, but something is damaged (it is named); 1 failed;
2 usage; 10 no repository; 12 wrong password.";

/// List the tensors of a model in a snapshot
///
/// Nothing of the model is read but what says where its tensors are. `dump --tensor`
/// writes tensors.
#[derive(Debug, Args)]
#[command(after_help = TENSORS)]
pub struct TensorsArgs {
    /// Snapshot, a colon, and the path of a file, an index of shards, or a directory
    #[arg(value_name = "SNAPSHOT:PATH")]
    pub snapshot: OsString,

    /// Only tensors of these names, with the wildcards of .gitignore
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,

    /// In this order; otherwise as they lie in the files
    #[arg(long, value_name = "BY", value_enum)]
    pub sort: Option<TensorSort>,

    #[command(flatten, next_help_heading = "Which snapshot is the latest")]
    pub filter: LookArgs,
}

/// Orders of tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TensorSort {
    /// By name
    Name,
    /// The longest first
    Size,
    /// What takes most first
    Stored,
    /// What changed last first
    Since,
}
