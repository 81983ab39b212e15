//! Where passwords come from, and what is said when they do not.

use std::io::Write;

use crate::support::Command;

fn place() -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let repo = dir.path().join("vault").to_str().unwrap().to_owned();
    (dir, repo)
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let (_dir, repo) = place();
    let outcome = Command::default().run(&["-r", &repo, "init"]);
    assert_eq!(outcome.code, 2);
    assert!(
        outcome.err.contains("no terminal") && outcome.err.contains("--password-file"),
        "{}",
        outcome.err
    );
    assert!(!std::path::Path::new(&repo).exists(), "nothing was made");
}

#[test]
fn sources_that_hold_none_are_named() {
    let (dir, repo) = place();
    let mut empty = std::fs::File::create(dir.path().join("empty")).unwrap();
    empty.write_all(b"\n").unwrap();
    let huge = std::fs::File::create(dir.path().join("model.safetensors")).unwrap();
    huge.set_len(1 << 30).unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (args, message) in [
        (vec!["--password-file".to_owned(), file("none")], "No such file"),
        (vec!["--password-file".to_owned(), file("empty")], "is empty"),
        (vec!["--password-file".to_owned(), file("model.safetensors")], "that is no password"),
        (vec!["--password-command".to_owned(), "exit 7".to_owned()], "exit status: 7"),
        (vec!["--password-command".to_owned(), "true".to_owned()], "is empty"),
    ] {
        let mut all = vec!["-r", &repo];
        all.extend(args.iter().map(String::as_str));
        all.push("init");
        let outcome = Command::default().run(&all);
        assert_eq!(outcome.code, 2, "{args:?}");
        assert!(outcome.err.contains(message) && outcome.err.contains("hint:"), "{}", outcome.err);
    }
    let outcome = Command::default().with("BALLAST_PASSWORD", "").run(&["-r", &repo, "init"]);
    assert!(outcome.code == 2 && outcome.err.contains("BALLAST_PASSWORD is empty"), "{}", outcome.err);
    let both = Command::default().with("BALLAST_PASSWORD", "a").with("BALLAST_PASSWORD_FILE", "/x");
    let outcome = both.run(&["-r", &repo, "init"]);
    assert!(outcome.code == 2 && outcome.err.contains("both BALLAST_PASSWORD and"), "{}", outcome.err);
}

#[test]
fn a_person_types_twice_at_init_and_may_try_three_times_after() {
    let (_dir, repo) = place();
    let run = |answers: Vec<&str>, args: &[&str]| {
        let command = Command { answers, ..Command::default() };
        command.run(&[&["-r", &repo][..], args].concat())
    };
    let differ = run(vec!["a", "b", "", "a", "c"], &["init"]);
    assert_eq!((differ.code, differ.unasked), (2, 0), "{}", differ.err);
    assert!(differ.err.contains("They differ"), "{}", differ.err);

    let init = run(vec!["right", "wrong", "right", "right"], &["init"]);
    assert_eq!((init.code, init.unasked), (0, 0), "{}", init.err);
    assert!(init.out.contains("key export") && init.out.contains("lost data"), "{}", init.out);

    let second = run(vec!["wrong", "right", "never asked"], &["snapshots"]);
    assert_eq!(
        (second.code, second.unasked, second.out.as_str()),
        (0, 1, "no snapshots\n"),
        "{}",
        second.err
    );

    let never = run(vec!["1", "2", "3", "right"], &["snapshots"]);
    assert_eq!((never.code, never.unasked), (12, 1), "{}", never.err);
    assert!(never.err.contains("Caps Lock"), "{}", never.err);
}

#[test]
fn files_and_commands_lose_one_line_end() {
    let (dir, repo) = place();
    let file = dir.path().join("pw");
    std::fs::File::create(&file).unwrap().write_all(b"secret\n").unwrap();
    let file = file.to_str().unwrap();
    let init = Command::default().run(&["-r", &repo, "-p", file, "--json", "init"]);
    assert_eq!(init.code, 0, "{}", init.err);
    assert_eq!(init.json()["repository"].as_str().unwrap().len(), 64);
    let args = ["-r", &repo, "--password-command", "printf 'secret\\r\\n'", "--json", "snapshots"];
    let list = Command::default().run(&args);
    assert_eq!((list.code, list.json()["snapshots"].as_array().map(Vec::len)), (0, Some(0)), "{}", list.err);
    let wrong = Command::default().with("BALLAST_PASSWORD", "secret\n").run(&["-r", &repo, "snapshots"]);
    assert_eq!(wrong.code, 12);
    assert!(wrong.err.contains("hint: the password came from BALLAST_PASSWORD"), "{}", wrong.err);
}
