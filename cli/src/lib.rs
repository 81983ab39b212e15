//! The command line of Ballast, thin: parse → resolve → call one verb of the
//! engine → render for people or as JSON.
//!
//! [`run`] does what the binary does, with everything it touches passed in as
//! [`Io`]: streams, environment, terminal, clock. Data goes to standard output,
//! all else to standard error. Errors of the engine get their cure in `hint`,
//! once, and their exit code in `exit`.

pub mod args;
pub mod exit;
pub mod io;

mod bar;
mod connect;
mod gentle;
pub mod heap;
mod hint;
mod json;
mod logs;
mod meter;
mod output;
mod printer;
mod secret;
mod svg;
mod table;
mod time;
mod verb;
mod whom;

use std::ffi::OsString;

use clap::Parser;

pub use exit::Exit;
pub use io::Io;

use printer::Printer;

/// Runs one command and gives its exit code.
pub fn run<I, T>(args: I, io: &mut Io) -> u8
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let exit = match args::Cli::try_parse_from(&args) {
        Ok(cli) => {
            let json_to_err = matches!(cli.command, args::Command::Dump(_));
            let mut printer = Printer::new(io, cli.global, json_to_err);
            logs::start(&printer);
            if printer.global.gentle.low_priority && printer.io.owns_process {
                gentle::lower_priority();
            }
            let outcome = verb::run(cli.command, &mut printer);
            printer.finish(outcome)
        }
        Err(error) => {
            let json = args.iter().take_while(|a| *a != "--").any(|a| a == "--json");
            printer::refuse_arguments(io, &error, json)
        }
    };
    exit.code()
}
