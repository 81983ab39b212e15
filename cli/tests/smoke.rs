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

/// A run that is stopped, or killed, takes its command with it, and what that has started.
#[test]
#[cfg(target_os = "linux")]
fn no_command_is_left_behind() {
    use rustix::process::{Pid, Signal, kill_process};
    let dir = tempfile::tempdir().unwrap();
    let (repo, pids) = (dir.path().join("vault"), dir.path().join("pids"));
    let at = |args: &[&str]| {
        let mut command = ballast(&["-r", repo.to_str().unwrap(), "--no-cache"]);
        command.args(args).env("BALLAST_PASSWORD", "p").env("PATH", std::env::var_os("PATH").unwrap());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    assert!(at(&["init"]).status().unwrap().success());
    let state = |pid: &str| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let alive = |pid: &str| {
        let state = state(pid);
        !state.is_empty() && !state.contains(") Z ")
    };
    for signal in [Signal::TERM, Signal::KILL] {
        drop(std::fs::remove_file(&pids));
        // Killed, we cannot say goodbye: only the command itself is told.
        let script = match signal {
            Signal::TERM => format!("sleep 600 & echo $! $$ > {0}.new; mv {0}.new {0}; wait", pids.display()),
            _ => format!("echo $$ > {0}.new; mv {0}.new {0}; exec sleep 600", pids.display()),
        };
        let mut run = at(&["snapshot", "--stdin-from-command", "--", "sh", "-c", &script]).spawn().unwrap();
        let mut patience = 1200;
        let started = loop {
            match std::fs::read_to_string(&pids) {
                Ok(text) => break text,
                Err(_) if patience > 0 => patience -= 1,
                Err(error) => panic!("the command never began: {error}"),
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        };
        assert!(started.split_whitespace().all(alive), "{started}");
        kill_process(Pid::from_child(&run), signal).unwrap();
        let status = run.wait().unwrap();
        assert_eq!(status.code(), (signal == Signal::TERM).then_some(130));
        let mut patience = 200;
        while started.split_whitespace().any(alive) && patience > 0 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            patience -= 1;
        }
        assert!(!started.split_whitespace().any(alive), "{signal:?}: {started} is still there");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = ballast(&["version"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"), "{output:?}");
}
