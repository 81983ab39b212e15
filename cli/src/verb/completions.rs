//! `completions`: what a shell needs to complete verbs and options, made of the same definition
//! as the command line itself.

use clap::CommandFactory;
use clap_complete::Shell as Kind;
use serde_json::json;

use crate::args::{Cli, CompletionsArgs, Shell};
use crate::exit::{Exit, Failure};
use crate::printer::Printer;

/// Runs it.
pub fn run(args: &CompletionsArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (kind, word) = match args.shell {
        Shell::Bash => (Kind::Bash, "bash"),
        Shell::Zsh => (Kind::Zsh, "zsh"),
        Shell::Fish => (Kind::Fish, "fish"),
    };
    let mut bytes = Vec::new();
    clap_complete::generate(kind, &mut Cli::command(), "ballast", &mut bytes);
    let script = String::from_utf8_lossy(&bytes);
    if p.global.json {
        p.json(&json!({ "shell": word, "script": script }));
    } else {
        p.data(script.trim_end());
    }
    Ok(Exit::Done)
}
