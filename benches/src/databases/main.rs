//! What daily copies of a database cost: every day through the program itself, with its default settings, into
//! one repository (`docs/sqlite.md`). Prints Markdown tables.
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "a program for the command line")]

mod child;
mod reference;
mod tables;
mod vault;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ballast_benches::restic::{Restic, version};
use tables::{Row, Summary};
use vault::Vault;

const HELP: &str = "\
databases [--rename] [--days N] [--ballast PROGRAM] [--work DIR] [--no-restic] [--no-reference] COPIES
    what a copy a day of one database costs, day by day and on the whole

COPIES           holds day0.db, day1.db ...: copies of a database, one a day. The figures asked are for
                 a chat database of 12,000 chats that grows from 133 to 420 MB in 60 days
--rename         a new name each day, db_20250401.sqlite3 ..., where db.sqlite3 stays otherwise
--days N         the first N days only
--ballast FILE   the program; else $BALLAST, else `ballast` beside this program
--work DIR       where to work: three times the last copy; /dev/shm by default
--no-restic      without restic beside it, which is left out where it is not installed, too
--no-reference   without zstd at the same offset beside it

Bytes stored are all that a run adds to the repository (packs, index objects, snapshot, ledger), but for
the padding of its packs. What is restored is compared byte for byte.";

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What is asked for.
struct Arguments {
    copies: PathBuf,
    ballast: PathBuf,
    work: PathBuf,
    days: usize,
    rename: bool,
    restic: bool,
    reference: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    match arguments(words).and_then(|arguments| measure(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn arguments(words: Vec<String>) -> Outcome<Arguments> {
    let beside = || std::env::current_exe().map(|me| me.with_file_name("ballast"));
    let mut arguments = Arguments {
        copies: PathBuf::new(),
        ballast: std::env::var_os("BALLAST").map_or_else(beside, |path| Ok(path.into()))?,
        work: "/dev/shm".into(),
        days: usize::MAX,
        rename: false,
        restic: true,
        reference: true,
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--rename" => arguments.rename = true,
            "--no-restic" => arguments.restic = false,
            "--no-reference" => arguments.reference = false,
            "--days" => arguments.days = value()?.parse()?,
            "--ballast" => arguments.ballast = value()?.into(),
            "--work" => arguments.work = value()?.into(),
            _ if word.starts_with('-') || !arguments.copies.as_os_str().is_empty() => return Err(HELP.into()),
            _ => arguments.copies = word.into(),
        }
    }
    match arguments.copies.join("day0.db").is_file() {
        true => Ok(arguments),
        false => Err(format!("there is no day0.db in {}\n\n{HELP}", arguments.copies.display()).into()),
    }
}

fn measure(arguments: &Arguments) -> Outcome<()> {
    let dir = tempfile::Builder::new().prefix("databases").tempdir_in(&arguments.work)?;
    let work = dir.path().canonicalize()?;
    let mut run = Run::new(arguments, &work)?;
    let day = |day: usize| arguments.copies.join(format!("day{day}.db"));
    let last = (0..=arguments.days).take_while(|n| day(*n).is_file()).last().unwrap_or(0);
    tables::head(run.restic.as_ref().and_then(|_| version("restic")).as_deref());
    let mut before = None;
    for n in 0..=last {
        let row = run.step(&format!("day {n}"), n, before.as_deref(), &day(n))?;
        run.summary.days.push(row);
        before = Some(day(n));
    }
    let name = arguments.name(last);
    run.summary.restored.push((format!("day {last}"), run.vault.restore(&name)?, run.summary.last_bytes()));

    // The same bytes, with another time.
    File::options().write(true).open(run.vault.source().join(&name))?.set_modified(std::time::UNIX_EPOCH)?;
    run.summary.touched = Some(run.again("touched", &name)?);

    let given = arguments.copies.join("vacuumed.db");
    let whole = given.is_file() && !day(last + 1).is_file();
    let vacuumed = if whole { given } else { vacuum(&day(last), &work)? };
    let row = run.step("VACUUM", last + 1, Some(&day(last)), &vacuumed)?;
    let name = arguments.name(last + 1);
    run.summary.restored.push(("VACUUM".into(), run.vault.restore(&name)?, row.added.file_bytes));
    run.summary.vacuumed = Some(row);
    println!("\n{}", run.summary);
    Ok(())
}

/// A vacuumed copy of a database.
fn vacuum(database: &Path, work: &Path) -> Outcome<PathBuf> {
    let path = work.join("vacuumed.db");
    let address = database.to_str().ok_or("a path that is no text")?;
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    let db = rusqlite::Connection::open_with_flags(format!("file:{address}?immutable=1"), flags)?;
    db.execute("VACUUM INTO ?1", [path.to_str().ok_or("a path that is no text")?])?;
    Ok(path)
}

impl Arguments {
    /// Name of the database on a day.
    fn name(&self, day: usize) -> String {
        if !self.rename {
            return "db.sqlite3".into();
        }
        let (mut month, mut day) = (4, day + 1);
        for days in [30, 31, 30, 31, 31, 30, 31, 30, 31] {
            if day <= days {
                break;
            }
            (month, day) = (month + 1, day - days);
        }
        format!("db_2025{month:02}{day:02}.sqlite3")
    }
}

/// A run under way.
struct Run<'a> {
    arguments: &'a Arguments,
    vault: Vault,
    restic: Option<Restic<'a>>,
    summary: Summary,
}

impl<'a> Run<'a> {
    fn new(arguments: &'a Arguments, work: &'a Path) -> Outcome<Self> {
        let vault = Vault::new(&arguments.ballast, work)?;
        let restic = if arguments.restic { Restic::new(work) } else { None };
        Ok(Self { arguments, vault, restic, summary: Summary::default() })
    }

    /// Puts a copy in its place and takes a snapshot, and measures the others.
    fn step(&mut self, what: &str, day: usize, before: Option<&Path>, copy: &Path) -> Outcome<Row> {
        let name = self.arguments.name(day);
        self.vault.place(copy, &name)?;
        let added = self.vault.take(&name)?;
        let source = self.vault.source();
        let restic = self.restic.as_ref().and_then(|restic| restic.take(&source));
        let reference = self.arguments.reference.then(|| reference::same_offset(before, copy)).transpose()?;
        let row = Row { what: what.into(), added, reference, restic };
        println!("{row}");
        Ok(row)
    }

    /// Takes a snapshot of what is there.
    fn again(&mut self, what: &str, name: &str) -> Outcome<Row> {
        let row = Row { what: what.into(), added: self.vault.take(name)?, reference: None, restic: None };
        println!("{row}");
        Ok(row)
    }
}
