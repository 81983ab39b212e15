//! `man`: manual pages, made of the same definition as the help.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use ballast::error::Error;
use ballast::format::wire::Bytes;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use serde_json::json;

use crate::args::{Cli, ManArgs};
use crate::exit::{Exit, Failure};
use crate::output::{counted, name};
use crate::printer::Printer;
use crate::whom;

/// Runs it.
pub fn run(args: &ManArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let dir = whom::absolute(p.io, &args.dir)?;
    if dir.exists() && !dir.is_dir() {
        return Err(failed(&dir, io::ErrorKind::NotADirectory.into()));
    }
    fs::create_dir_all(&dir).map_err(|e| failed(&dir, e))?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let command = &with_all_options(command);
    let mut pages = Vec::new();
    write_all(command, &dir, &mut pages)?;
    let shown = name(dir.as_os_str().as_encoded_bytes());
    p.say(&format!("{} written to {shown}", counted(pages.len() as u64, "page", "pages")));
    if p.global.json {
        p.json(&json!({ "dir": Bytes::from(dir.as_os_str().as_encoded_bytes()), "pages": pages }));
    }
    Ok(Exit::Done)
}

/// A manual shows the whole: also what the short help leaves out.
fn with_all_options(command: Command) -> Command {
    command.mut_args(|arg| arg.hide_short_help(false)).mut_subcommands(with_all_options)
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::from(Error::io(path, error)).with_hint("give a directory that you may write to")
}

fn write_all(command: &Command, dir: &Path, pages: &mut Vec<String>) -> Result<(), Failure> {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        write_all(verb, dir, pages)?;
    }
    let man =
        Man::new(command.clone()).source(concat!("ballast ", env!("CARGO_PKG_VERSION"))).manual("Ballast");
    let file = man.get_filename();
    let path = dir.join(&file);
    let written = render(&man, command).and_then(|page| File::create(&path)?.write_all(&page));
    written.map_err(|e| failed(&path, e))?;
    pages.push(file);
    Ok(())
}

/// A page. What stands below the options in the help is taken apart: examples are kept line by line,
/// exit codes get the heading under which manuals have them.
fn render(man: &Man, command: &Command) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    man.render_options_section(&mut out)?;
    if command.get_subcommands().any(|verb| !verb.is_hide_set()) {
        man.render_subcommands_section(&mut out)?;
    }
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    let mut notes = false;
    for block in help.split("\n\n") {
        let (first, rest) = block.split_once('\n').unwrap_or((block, ""));
        if let Some(codes) = block.strip_prefix("Exit codes: ") {
            roff.control("SH", ["EXIT STATUS"]);
            roff.text([roman(codes.replace('\n', " "))]);
        } else if let Some(heading) = first.strip_suffix(':').filter(|_| !rest.is_empty()) {
            roff.control("SH", [heading.to_uppercase().as_str()]);
            roff.control("nf", []);
            for line in rest.lines() {
                roff.text([roman(line)]);
            }
            roff.control("fi", []);
        } else if !block.is_empty() {
            let heading: &[&str] = if std::mem::replace(&mut notes, true) { &[] } else { &["NOTES"] };
            roff.control(if heading.is_empty() { "PP" } else { "SH" }, heading.iter().copied());
            roff.text([roman(block.replace('\n', " "))]);
        }
    }
    roff.to_writer(&mut out)?;
    Ok(out)
}
