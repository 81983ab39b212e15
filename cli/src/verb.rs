//! One file for each verb: resolve, call one function of the engine, render.

mod cat;
mod check;
mod completions;
mod config;
mod diff;
mod diff_tensors;
mod dump;
mod find;
mod forget;
mod init;
mod key;
mod key_page;
mod ledger;
mod lock;
mod ls;
mod man;
mod prune;
mod records;
mod repair;
mod restore;
mod rewrite;
mod snapshot;
mod snapshots;
mod sqlite;
mod stats;
mod stats_models;
mod tag;
mod tensors;
mod verify;
mod version;

use serde_json::{Value, json};

use crate::args::Command;
use crate::exit::{Exit, Failure};
use crate::printer::Printer;

/// Runs `command`.
pub fn run(command: Command, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => init::run(&args, p),
        Command::Snapshot(args) => snapshot::run(*args, p),
        Command::Snapshots(args) => snapshots::run(&args, p),
        Command::Ls(args) => ls::run(&args, p),
        Command::Find(args) => find::run(args, p),
        Command::Diff(args) => diff::run(&args, p),
        Command::Stats(args) => stats::run(&args, p),
        Command::Restore(args) => restore::run(args, p),
        Command::Dump(args) => dump::run(&args, p),
        Command::Tensors(args) => tensors::run(args, p),
        Command::Forget(args) => forget::run(&args, p),
        Command::Tag(command) => tag::run(&command, p),
        Command::Rewrite(args) => rewrite::run(args, p),
        Command::Ledger(args) => ledger::run(&args, p),
        Command::Lock(command) => lock::run(&command, p),
        Command::Unlock(args) => lock::remove(&args, p),
        Command::Verify(args) => verify::run(&args, p),
        Command::Sqlite(args) => sqlite::run(&args, p),
        Command::Check(args) => check::run(&args, p),
        Command::Key(command) => key::run(&command, p),
        Command::Prune(args) => prune::run(&args, p),
        Command::Repair(command) => repair::run(&command, p),
        Command::Cat(args) => cat::run(&args, p),
        Command::Config(_) => config::run(p),
        Command::Completions(args) => completions::run(&args, p),
        Command::Man(args) => man::run(&args, p),
        Command::Version(_) => version::run(p),
    }
}

/// Ids with a reason as objects that say which is which.
fn named(pairs: &Value) -> Value {
    let one = |pair: &Value| match &pair[2] {
        Value::Null => json!({ "id": pair[0], "reason": pair[1] }),
        described => json!({ "id": pair[0], "reason": pair[1], "described": described }),
    };
    pairs.as_array().map_or(Value::Null, |pairs| pairs.iter().map(one).collect())
}
