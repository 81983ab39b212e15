//! What restic makes of the same files, run by run into a repository of its own.

use std::path::Path;
use std::process::{Command, Stdio};

use super::stored::bytes_below;

/// Name and version, if it is installed.
pub fn version(program: &str) -> Option<String> {
    let argument = if program == "restic" { "version" } else { "--version" };
    let out = Command::new(program).arg(argument).output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let words: Vec<&str> = text.lines().next()?.split([' ', ',']).collect();
    words
        .iter()
        .find(|w| w.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()))
        .map(|v| format!("{program} {}", v.trim_start_matches('v')))
}

/// A restic repository beside ours.
pub struct Restic<'a> {
    work: &'a Path,
}

impl<'a> Restic<'a> {
    /// A new one.
    pub fn new(work: &'a Path) -> Option<Self> {
        let restic = Self { work };
        restic.run(&["init"]).then_some(restic)
    }

    /// Backs the directory up as it is; the bytes that this added.
    pub fn take(&self, source: &Path) -> Option<u64> {
        let place = self.work.join("restic");
        let before = bytes_below(&place);
        self.run(&["backup", source.to_str()?]).then(|| bytes_below(&place) - before)
    }

    fn run(&self, arguments: &[&str]) -> bool {
        let status = Command::new("restic")
            .args(["-q", "-r"])
            .arg(self.work.join("restic"))
            .args(arguments)
            .env("RESTIC_PASSWORD", "bench")
            .env("RESTIC_CACHE_DIR", self.work.join("restic-cache"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }
}
