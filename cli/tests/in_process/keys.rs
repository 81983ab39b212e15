//! A key's life: made, added, changed, removed, printed, lost, brought back.

use crate::support::Command;

#[test]
fn keys_come_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("vault");
    let with = |password: &str| Command::at(&repo, password);
    let ok = |outcome: crate::support::Outcome| {
        assert_eq!(outcome.code, 0, "{}{}", outcome.out, outcome.err);
        outcome
    };

    ok(with("first").run(&["init", "--label", "laptop"]));
    let again = with("first").run(&["init"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("already a repository"), "{}", again.err);

    let last = with("first").run(&["key", "list", "--json"]).json();
    let first_id = last["keys"][0]["id"].as_str().unwrap().to_owned();
    let refused = with("first").run(&["key", "remove", &first_id[..8]]);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("last key") && refused.err.contains("key add"), "{}", refused.err);

    // Export, then lose every key file, then bring it back: no password needed, stdin is read.
    let page = ok(with("first").run(&["key", "export"])).out;
    let file = dir.path().join("page.txt");
    let file = file.to_str().unwrap();
    ok(with("first").run(&["key", "export", &first_id[..6], "-o", file]));
    assert_eq!(std::fs::read_to_string(file).unwrap(), page);
    let exists = with("first").run(&["key", "export", "-o", file]);
    assert!(exists.code == 1 && exists.err.contains("another name"), "{}", exists.err);

    std::fs::remove_dir_all(repo.join("keys")).unwrap();
    let lost = with("first").run(&["snapshots"]);
    assert_eq!(lost.code, 1, "{}", lost.err);
    assert!(lost.err.contains("key import PAGE"), "{}", lost.err);
    let place = vec![("BALLAST_REPOSITORY", repo.to_str().unwrap().to_owned())];
    let command = Command { env: place.clone(), stdin: b"not a page", ..Command::default() };
    assert!(command.run(&["key", "import", "-"]).err.contains("standard input: no page"));
    let command = Command { env: place, stdin: page.as_bytes(), ..Command::default() };
    let back = ok(command.run(&["key", "import", "-", "--json"]));
    assert_eq!(back.json()["imported"].as_str(), Some(&first_id[..]));

    // A second key, then the first one changes its password and keeps its label.
    ok(with("first").with("BALLAST_NEW_PASSWORD", "second").run(&["key", "add", "--label", "nightly"]));
    let changed = with("first").with("BALLAST_NEW_PASSWORD", "third").run(&["key", "passwd", "--json"]);
    assert_eq!(ok(changed).json()["removed"].as_str(), Some(&first_id[..]));
    assert_eq!(with("first").run(&["key", "list"]).code, 12);
    let list = ok(with("third").run(&["key", "list"])).out;
    assert!(list.contains("laptop") && list.contains("nightly") && list.contains('*'), "{list}");
    assert!(!list.contains(&first_id[..8]), "{list}");
}

#[test]
fn a_new_password_is_not_made_of_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("vault");
    assert_eq!(Command::at(&repo, "first").run(&["init", "-q"]).out, "");
    let outcome = Command::at(&repo, "first").run(&["key", "add"]);
    assert_eq!(outcome.code, 2);
    assert!(outcome.err.contains("--new-password-file"), "{}", outcome.err);
}
