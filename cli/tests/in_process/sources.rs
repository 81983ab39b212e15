//! What a snapshot is made of, as it is typed: lists, pipes, commands.

use crate::support::{Command, quick};

fn vault() -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (repo, source) = (dir.path().join("vault"), dir.path().join("source"));
    std::fs::create_dir(&source).unwrap();
    for name in ["one", "two", " three "] {
        std::io::Write::write_all(&mut std::fs::File::create(source.join(name)).unwrap(), name.as_bytes())
            .unwrap();
    }
    quick(&repo, "p");
    (dir, repo, source)
}

#[test]
fn lists_pipes_and_commands() {
    let (dir, repo, source) = vault();
    let run = |stdin: &[u8], args: &[&str]| Command { stdin, ..Command::at(&repo, "p") }.run(args);
    let at = |name: &str| source.join(name).to_str().unwrap().to_owned();

    let list = [at("one"), String::new(), at(" three "), at("gone")].join("\n");
    let listed = run(list.as_bytes(), &["snapshot", "--files-from", "-", "--json"]);
    assert_eq!((listed.code, listed.json()["files_new"].as_u64()), (3, Some(2)), "{}", listed.err);
    assert!(listed.err.contains("is not there") && listed.err.contains("/gone"), "{}", listed.err);

    let file = dir.path().join("list");
    std::io::Write::write_all(
        &mut std::fs::File::create(&file).unwrap(),
        [at("one"), at("two")].join("\0").as_bytes(),
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let both = run(b"", &["snapshot", "-0", "--files-from", file, "--json", &at(" three ")]);
    assert_eq!((both.code, both.json()["files_new"].as_u64()), (0, Some(3)), "{}", both.err);

    for (stdin, args, code, words) in [
        (&b"/none\n/gone"[..], &["snapshot", "--files-from", "-"][..], 1, "(and 1 more)"),
        (b"\n\n", &["snapshot", "--files-from", "-"], 1, "name no path"),
        (b"", &["snapshot", "--files-from", "/none/list"], 1, "/none/list"),
        (b"", &["snapshot", "-0", "/tmp"], 2, "--files-from"),
        (b"", &["snapshot", "--stdin", "/tmp"], 2, "--stdin"),
        (b"", &["snapshot", "--stdin-from-command"], 2, "command"),
        (b"x", &["snapshot", "--stdin", "--stdin-filename", "../x"], 2, "leads through"),
        (b"", &["snapshot", "--stdin-from-command", "--", "/none/command"], 1, "cannot be run"),
        (b"", &["snapshot", "--stdin-from-command", "--", "sh", "-c", "echo x; exit 7"], 1, "exit code 7"),
        (b"", &["snapshot", "--stdin-from-command", "--", "sh", "-c", "echo x; kill -9 $$"], 1, "signal 9"),
        (b"", &["snapshot", "--exclude-larger-than", "much", "/tmp"], 2, "no unit"),
        (b"", &["snapshot", "--limit-read", "1K", "/tmp"], 2, "at least 16K"),
    ] {
        let outcome = run(stdin, args);
        assert_eq!(outcome.code, code, "{args:?}: {}", outcome.err);
        assert!(outcome.err.contains(words), "{args:?}: {}", outcome.err);
    }
    let all = run(b"", &["snapshots", "--json"]);
    assert_eq!(all.json()["snapshots"].as_array().map(Vec::len), Some(2), "{}", all.out);

    let piped = run(b"of a pipe", &["snapshot", "--stdin"]);
    assert_eq!(piped.code, 0, "{}", piped.err);
    assert_eq!(run(b"", &["dump", "latest:/stdin"]).out, "of a pipe");
    let words = ["snapshot", "--stdin-filename", "dumps/a", "--stdin-from-command", "--", "echo", "a", "-n"];
    assert_eq!(run(b"", &words).code, 0);
    assert_eq!(run(b"", &["dump", "latest:/dumps/a"]).out, "a -n\n");
    let limited = ["snapshot", "--stdin", "--limit-read", "50M/s", "--limit-write", "50M", "--low-priority"];
    assert_eq!(run(b"x", &limited).code, 0);
}

#[test]
fn host_names_that_change_are_told_of() {
    let (_dir, repo, source) = vault();
    let take = |host: &str| {
        Command::at(&repo, "p").with("BALLAST_HOST", host).run(&["snapshot", source.to_str().unwrap()])
    };
    assert!(!take("a1").err.contains("BALLAST_HOST"));
    let other = take("b2");
    assert!(other.err.contains("host b2") && other.err.contains("one of a1"), "{}", other.err);
    assert!(!take("b2").err.contains("BALLAST_HOST"));
}

#[test]
fn without_a_home_there_is_no_cache_and_a_word_of_it() {
    let (dir, repo, source) = vault();
    let source = source.to_str().unwrap();
    let told = Command::at(&repo, "p").run(&["snapshot", source]);
    assert_eq!((told.code, told.err.matches("place for a cache").count()), (0, 1), "{}", told.err);
    assert!(!Command::at(&repo, "p").run(&["snapshot", "--no-cache", source]).err.contains("cache"));
    let cache = dir.path().join("of the service");
    let given = Command::at(&repo, "p").with("CACHE_DIRECTORY", format!("{}:/x", cache.display()));
    assert!(!given.run(&["snapshot", source]).err.contains("cache"));
    assert!(cache.is_dir());
}
