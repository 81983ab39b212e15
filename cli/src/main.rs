//! The `ballast` command. All of it is in the library, so that tests can call it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ballast_cli::heap::share();
    let mut io = ballast_cli::Io::system();
    ExitCode::from(ballast_cli::run(std::env::args_os(), &mut io))
}
