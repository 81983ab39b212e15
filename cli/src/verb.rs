//! One file for each verb: resolve, call one function of the engine, render.

mod cat;
mod check;
mod dump;
mod init;
mod key;
mod key_page;
mod ls;
mod records;
mod restore;
mod snapshot;
mod snapshots;
mod version;

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
        Command::Restore(args) => restore::run(args, p),
        Command::Dump(args) => dump::run(&args, p),
        Command::Check(args) => check::run(&args, p),
        Command::Key(command) => key::run(&command, p),
        Command::Cat(args) => cat::run(&args, p),
        Command::Version(_) => version::run(p),
    }
}
