//! Verbs over a repository: whatever they find, `--json` is lines of objects.

use crate::support::Command;

#[test]
fn json_is_lines_whatever_happens() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("vault");
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::io::Write::write_all(&mut std::fs::File::create(source.join("a\u{1b}[2J")).unwrap(), b"hello")
        .unwrap();
    let source = source.to_str().unwrap();
    let target = dir.path().join("target");
    let target = target.to_str().unwrap();
    // Creates the repository, and says how to keep it.
    let first = Command::at(&repo, "p").run(&["snapshot", "--init", "--json", source]);
    first.json();
    assert!(first.err.contains("key export"), "{}", first.err);
    let config = Command::at(&repo, "p").run(&["cat", "config", "--json"]).json();
    assert_eq!(config["cut_secret"], "(not shown)");
    assert_eq!(config["id_secret"], "(not shown)");
    for args in [
        &["snapshots"][..],
        &["snapshots", "--latest", "1", "--tag", "x,y", "--host", "h", "--path", "/p"],
        &["ls"],
        &["ls", "-l", "latest:/"],
        &["ls", "feed:/nothing"],
        &["restore", "latest", "-t", target],
        &["forget", "--keep-last", "1"],
        &["forget", "-n"],
        &["tag", "add", "x", "latest"],
        &["rewrite", "-n", "--exclude", "none"],
        &["ledger"],
        &["lock", "list"],
        &["unlock"],
        &["cat", "key"],
        &["cat", "snapshot"],
        &["cat", "snapshot", "latest"],
        &["cat", "ledger", "1"],
        &["cat", "ledger", "999"],
        &["cat", "index"],
        &["cat", "lease"],
        &["cat", "list", "abc"],
    ] {
        let args = [args, &["--json"]].concat();
        let outcome = Command::at(&repo, "p").run(&args);
        let last = outcome.json_lines().pop().unwrap();
        let failed = ![0, 3].contains(&outcome.code);
        assert_eq!(last["message_type"] == "error", failed, "{args:?}: {last}");
        outcome.err_lines();
        assert!(!outcome.out.contains('\u{1b}') && !outcome.err.contains('\u{1b}'), "{args:?}");
    }
}

#[test]
fn no_home_and_no_cache_is_no_failure() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("vault");
    let cache = dir.path().join("cache");
    assert_eq!(Command::at(&repo, "p").run(&["init"]).code, 0);
    assert_eq!(Command::at(&repo, "p").with("HOME", "").run(&["snapshots"]).code, 0);
    let home = dir.path().to_str().unwrap();
    assert_eq!(Command::at(&repo, "p").with("HOME", home).run(&["--no-cache", "snapshots"]).code, 0);
    assert!(!dir.path().join(".cache").exists());
    let with = Command::at(&repo, "p").with("XDG_CACHE_HOME", cache.to_str().unwrap());
    assert_eq!(with.run(&["snapshots"]).code, 0);
    assert!(cache.join("ballast").exists());
}
