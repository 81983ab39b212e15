//! A repository that the program itself writes, and the directory with the one database in it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ballast::entropy::Surroundings;
use ballast::repo::{OpenOptions, Repository};
use ballast::source::sqlite::make_plain;
use ballast::store::local::LocalStore;
use ballast_benches::stored::{NewPacks, Packs, bytes_below};

use super::child::{self, Took};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What one snapshot added.
#[derive(Debug, Clone, Copy)]
pub struct Added {
    /// Length of the database.
    pub file_bytes: u64,
    /// Bytes in the repository, all of it, but for padding.
    pub stored_bytes: u64,
    /// What is in the new packs.
    pub packs: NewPacks,
    /// What it took.
    pub took: Took,
}

/// Repository, source, and the program.
pub struct Vault {
    ballast: PathBuf,
    work: PathBuf,
    repo: Repository,
    packs: Packs,
}

impl Vault {
    /// A new one in an empty directory, as `ballast init` makes it.
    pub fn new(ballast: &Path, work: &Path) -> Outcome<Self> {
        fs::create_dir(work.join("source"))?;
        child::run(command(ballast, work).arg("init"), &work.join("out"))?;
        let store = LocalStore::new(work.join("repository"))?;
        let open = OpenOptions::default();
        let repo = Repository::open(Arc::new(store), PASSWORD.as_bytes(), &open, Surroundings::system())?;
        Ok(Self { ballast: ballast.into(), work: work.into(), repo, packs: Packs::default() })
    }

    /// The directory that snapshots are taken of.
    pub fn source(&self) -> PathBuf {
        self.work.join("source")
    }

    /// Makes a copy of `database` the only file of the directory, under this name.
    pub fn place(&self, database: &Path, name: &str) -> io::Result<()> {
        fs::remove_dir_all(self.source())?;
        fs::create_dir(self.source())?;
        // Not `fs::copy`: the times are to be new.
        io::copy(&mut File::open(database)?, &mut File::create(self.source().join(name))?).map(drop)
    }

    /// Takes a snapshot.
    pub fn take(&mut self, name: &str) -> Outcome<Added> {
        let place = self.work.join("repository");
        let before = bytes_below(&place);
        let mut snapshot = command(&self.ballast, &self.work);
        let (report, took) =
            child::run(snapshot.args(["--json", "snapshot"]).arg(self.source()), &self.work.join("out"))?;
        let report: serde_json::Value = serde_json::from_str(&report)?;
        if report["problem_count"] != 0 {
            return Err(format!("a snapshot with problems: {report}").into());
        }
        let packs = self.packs.read_new(&self.repo)?;
        Ok(Added {
            file_bytes: fs::metadata(self.source().join(name))?.len(),
            stored_bytes: bytes_below(&place) - before - packs.padding_bytes,
            packs,
            took,
        })
    }

    /// Restores the newest snapshot and compares it with what `name` holds now.
    pub fn restore(&self, name: &str) -> Outcome<Took> {
        let target = self.work.join("target");
        let mut restore = command(&self.ballast, &self.work);
        let (_, took) = child::run(
            restore.args(["--json", "restore", "latest", "-t"]).arg(&target),
            &self.work.join("out"),
        )?;
        let path = self.source().join(name);
        let back = target.join(path.strip_prefix("/")?);
        if !same_image(&path, &back)? {
            return Err(format!("{} is not what it was", back.display()).into());
        }
        fs::remove_dir_all(target)?;
        Ok(took)
    }
}

const PASSWORD: &str = "bench";

fn command(ballast: &Path, work: &Path) -> Command {
    let mut command = Command::new(ballast);
    command
        .arg("--repo")
        .arg(work.join("repository"))
        .arg("--cache-dir")
        .arg(work.join("cache"))
        .env("BALLAST_PASSWORD", PASSWORD)
        .env_remove("BALLAST_PASSWORD_FILE")
        .env_remove("BALLAST_PASSWORD_COMMAND");
    command
}

/// Is `image` byte for byte what a capture of `database` is?
fn same_image(database: &Path, image: &Path) -> io::Result<bool> {
    const STEP: u64 = 4 << 20;
    let (mut one, mut other) = (File::open(database)?, File::open(image)?);
    let size = one.metadata()?.len();
    if other.metadata()?.len() != size {
        return Ok(false);
    }
    let (mut a, mut b, mut at, mut page_size) = (Vec::new(), Vec::new(), 0, 0);
    while at < size {
        for (file, buffer) in [(&mut one, &mut a), (&mut other, &mut b)] {
            buffer.clear();
            file.take(STEP).read_to_end(buffer)?;
        }
        if at == 0 {
            page_size = a.get(16..18).map_or(0, |size| match u32::from(size[0]) << 8 | u32::from(size[1]) {
                1 => 65536,
                size => size,
            });
        }
        make_plain(&mut a, at, page_size);
        if a != b {
            return Ok(false);
        }
        at += STEP;
    }
    Ok(true)
}
