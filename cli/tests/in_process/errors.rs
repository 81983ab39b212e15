//! Exit codes, and messages that end in what to do.

use crate::support::{Command, bare};

#[test]
fn what_cannot_be_meant_ends_with_2_and_says_what_to_do() {
    for (args, message, cure) in [
        (&["snapshots"][..], "no repository was given", "BALLAST_REPOSITORY"),
        (&["-r", "s3:bucket", "snapshots"], "not a local directory", "./s3:bucket"),
        (&["-r", "sftp:me@host:/srv", "init"], "not a local directory", "mount it"),
        (&["-r", "/x", "restore", "latest"], "--target", "--help"),
        (&["-r", "/x", "restore", "newest", "-t", "/y"], "cannot name a snapshot", "`ballast snapshots`"),
        (&["-r", "/x", "restore", "latest:models", "-t", "/y"], "begin with /", "latest:/models"),
        (&["-r", "/x", "dump", "latest"], "no file was named", "latest:/path"),
        (&["-r", "/x", "dump", "latest", "--tensor", "x"], "no model was named", "latest:/path/of/the/model"),
        (&["-r", "/x", "snapshot"], "<PATH>", "--help"),
        (&["-r", "/x", "snapshot", "--time", "yesterday", "/tmp"], "no time", "2025-04-05"),
        (&["-r", "/x", "cat", "tree"], "which one", "cat snapshot"),
        (&["frobnicate"], "frobnicate", "--help"),
        (&["-r", "/x", "-q", "-v", "snapshots"], "cannot be used with", "--help"),
        (&["--password", "secret", "snapshots"], "unexpected argument", "--help"),
    ] {
        let outcome = bare(args);
        assert_eq!(outcome.code, 2, "{args:?}: {}", outcome.err);
        assert_eq!(outcome.out, "", "{args:?}");
        assert!(outcome.err.contains(message) && outcome.err.contains(cure), "{args:?}: {}", outcome.err);
    }
}

#[test]
fn no_repository_is_10_before_anybody_is_asked_for_a_password() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("none");
    let place = place.to_str().unwrap();
    for args in [
        &["snapshots"][..],
        &["snapshot", "/tmp"],
        &["snapshot", "--init", "--dry-run", "/tmp"],
        &["ls"],
        &["restore", "latest", "-t", "x"],
        &["dump", "latest:/x"],
        &["cat", "config"],
        &["forget", "--keep-last", "1"],
        &["tag", "add", "x", "latest"],
        &["rewrite", "--exclude", "x"],
        &["ledger"],
        &["lock", "list"],
        &["unlock"],
        &["key", "list"],
        &["key", "import", "-"],
    ] {
        let outcome = bare(&[&["-r", place][..], args].concat());
        assert_eq!(outcome.code, 10, "{args:?}: {}", outcome.err);
        assert!(outcome.err.starts_with("error: there is no repository at "), "{}", outcome.err);
        assert!(outcome.err.contains("\nhint: "), "{}", outcome.err);
    }
    assert!(!dir.path().join("none").exists());
}

#[test]
fn errors_are_one_json_object_too() {
    let missing = bare(&["-r", "/nonexistent/vault", "--json", "snapshots"]);
    assert_eq!((missing.code, missing.json()["exit_code"].as_u64()), (10, Some(10)));
    assert!(missing.json()["message"].as_str().unwrap().contains("/nonexistent/vault"));
    assert!(missing.json()["hint"].is_string());
    assert_eq!(missing.err_lines(), [missing.json()], "who reads only one stream learns of it");

    let usage = bare(&["snapshots", "--json", "--frobnicate"]);
    assert_eq!((usage.code, usage.json()["exit_code"].as_u64()), (2, Some(2)));
    assert!(usage.json()["message"].as_str().unwrap().contains("--frobnicate"));

    // Standard output of `dump` is the file and nothing else.
    let dump = bare(&["-r", "/nonexistent/vault", "--json", "dump", "latest:/x"]);
    assert_eq!((dump.code, dump.out.as_str()), (10, ""));
    let report: serde_json::Value = serde_json::from_str(&dump.err).unwrap();
    assert_eq!(report["exit_code"], 10);
}

#[test]
fn what_the_user_typed_is_not_obeyed_by_the_terminal() {
    let outcome = bare(&["-r", "/nonexistent/\u{1b}[2Jvault", "snapshots"]);
    assert!(!outcome.err.contains('\u{1b}') && outcome.err.contains("\\x1b[2J"), "{}", outcome.err);
}

#[test]
fn help_and_version_are_data() {
    for args in
        [&["--help"][..], &["help", "snapshot"], &["backup", "-h"], &["key", "export", "--help"], &["-V"]]
    {
        let outcome = bare(args);
        assert_eq!((outcome.code, outcome.err.as_str()), (0, ""), "{args:?}");
        assert!(outcome.out.contains("ballast"), "{args:?}");
    }
    let none = bare(&[]);
    assert_eq!((none.code, none.out.as_str()), (2, ""));
    assert!(none.err.contains("First steps:"));
}

#[test]
fn version_names_what_is_compiled_in() {
    let text = bare(&["version"]);
    assert_eq!(text.code, 0);
    assert!(
        text.out.contains("format:    1") && text.out.contains("back-end:  chacha20 avx512"),
        "{}",
        text.out
    );
    let json = bare(&["version", "--json"]).json();
    assert_eq!(json["format"], 1);
    assert!(json["target"].as_str().unwrap().contains('-'));
    assert!(json["backends"].as_object().unwrap().values().all(serde_json::Value::is_boolean));
}

#[test]
fn a_bad_place_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::File::create(&file).unwrap();
    let outcome = Command::at(&file, "p").run(&["snapshots"]);
    assert_eq!(outcome.code, 10, "{}", outcome.err);
    assert!(outcome.err.contains("/file is not a directory"), "{}", outcome.err);
}
