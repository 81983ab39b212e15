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

/// Two shards with an index, and names that are not for terminals.
fn shards(dir: &std::path::Path) {
    let put = |name: &str, content: &[u8]| {
        std::io::Write::write_all(&mut std::fs::File::create(dir.join(name)).unwrap(), content).unwrap();
    };
    let model = |header: &str, data: &[u8]| {
        [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
    };
    put(
        "1.safetensors",
        &model(
            r#"{"a.w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
                "e\u001b[2J":{"dtype":"BF16","shape":[],"data_offsets":[8,10]}}"#,
            b"01234567xy",
        ),
    );
    put(
        "2.safetensors",
        &model(
            r#"{"b.w":{"dtype":"I64","shape":[1,2],"data_offsets":[0,16]}}"#,
            b"16 bytes of these"[..16].into(),
        ),
    );
    put(
        "model.safetensors.index.json",
        br#"{"weight_map":{"a.w":"1.safetensors","e\u001b[2J":"1.safetensors","b.w":"2.safetensors"}}"#,
    );
}

#[test]
fn tensors_are_listed_and_dumped() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, source) = (dir.path().join("vault"), dir.path().join("model"));
    std::fs::create_dir(&source).unwrap();
    shards(&source);
    crate::support::quick(&repo, "p");
    let run = |args: &[&str]| Command::at(&repo, "p").run(args);
    let source = source.to_str().unwrap();
    for _ in 0..2 {
        assert_eq!(run(&["-q", "snapshot", source]).code, 0);
    }
    let of = format!("latest:{source}");
    let list = run(&["tensors", &of]);
    assert_eq!(list.code, 0, "{}", list.err);
    assert!(!list.out.contains('\u{1b}') && list.out.contains("e\\x1b[2J"), "{}", list.out);
    let words: Vec<&str> =
        list.out.lines().map(|line| line.split_whitespace().next().unwrap_or("")).collect();
    let files = ["1.safetensors", "2.safetensors"].map(|name| format!("{source}/{name}"));
    assert_eq!(words, ["Name", &files[0], "a.w", "e\\x1b[2J", &files[1], "b.w", "", "3"], "{}", list.out);
    assert!(list.out.contains("3 tensors in 2 files: 26 B, stored as"), "{}", list.out);
    assert!(!list.out.contains("this snapshot"), "the first has them, too: {}", list.out);
    let first: Vec<_> = run(&["tensors", "--sort", "size", &of]).out.lines().map(str::to_owned).collect();
    assert!(first[1].starts_with("b.w") && first[2].starts_with("a.w"), "{first:?}");
    let json = run(&["tensors", "--json", &of, "*.w"]).json_lines();
    assert_eq!((json.len(), &json[0]["name"], &json[2]["entries"]), (3, &"a.w".into(), &2.into()));
    assert_eq!(run(&["dump", &of, "--tensor", "a.w"]).out, "01234567");
    let both = run(&["dump", &of, "--tensor", "*.w", "--as", "safetensors"]);
    assert!(
        both.code == 0 && both.out.ends_with("16 bytes of thes01234567"),
        "wide ones first: {}",
        both.err
    );
    for (args, code, words) in [
        (&["dump", &of, "--tensor", "*.w"][..], 2, "--as safetensors"),
        (&["dump", &of, "--tensor", "none"], 1, "`ballast tensors SNAPSHOT:PATH`"),
        (&["dump", &of, "--as", "safetensors"], 2, "--tensor"),
        (&["dump", &of, "--tensor", "a.w", "--archive", "tar"], 2, "cannot be used with"),
        (&["tensors", "latest"], 2, "no model was named"),
        (&["tensors", "latest:/"], 2, "holds no model directly"),
    ] {
        let outcome = run(args);
        assert!(
            outcome.code == code && outcome.err.contains(words),
            "{args:?}: {} {}",
            outcome.code,
            outcome.err
        );
        assert_eq!(outcome.out, "");
    }
    let screen = Command::at(&repo, "p").on_screen().run(&["dump", &of, "--tensor", "a.w"]);
    assert!(screen.code == 2 && screen.err.contains("nothing for a terminal"), "{}", screen.err);
}
