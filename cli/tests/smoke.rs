//! The true binary: it starts, it ends, and a reader that leaves is no failure.

#[path = "smoke/pages.rs"]
mod pages;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

fn ballast(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ballast"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

#[test]
fn version_and_help() {
    let version = ballast(&["version"]).output().unwrap();
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("ballast "));
    let help = ballast(&["help"]).output().unwrap();
    assert!(help.status.success() && help.stderr.is_empty());
    assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: ballast"));
}

#[test]
fn exit_codes_reach_the_shell() {
    let missing = ballast(&["-r", "/nonexistent/vault", "snapshots"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(10));
    let usage = ballast(&["--no-such-option"]).output().unwrap();
    assert_eq!(usage.status.code(), Some(2));
}

/// Logs too are lines that a program can read (docs/json.md, "log").
#[test]
fn with_json_logs_are_lines_of_objects() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = ballast(&["-vv", "--json", "snapshot", "--init", "--no-cache", "/dev/null"]);
    let place = dir.path().join("vault");
    let output = command.env("BALLAST_REPOSITORY", place).env("BALLAST_PASSWORD", "p").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect(line));
    let logs: Vec<_> = lines.filter(|line| line["message_type"] == "log").collect();
    assert!(!logs.is_empty(), "{text}");
    assert!(
        logs.iter().all(|log| log["message"].is_string() && log.as_object().unwrap().len() == 2),
        "{text}"
    );
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = ballast(&["help"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");

    // Gone before the first byte.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = ballast(&["version"]).stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = ballast(&["version"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"), "{output:?}");
}
