//! `forget`, `tag`, `rewrite`, `ledger`, `lock`: what is said, what is written, and how it ends.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::support::{Command, Outcome, bare, quick};

struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    /// A snapshot on each of these days.
    fn new(days: &[&str]) -> Self {
        let scene = Self { dir: tempfile::tempdir().unwrap() };
        scene.write("source/keep", b"kept");
        scene.write("source/x.tmp", b"to be left out");
        drop(quick(&scene.repo(), "p"));
        for day in days {
            scene.write("source/day", day.as_bytes());
            scene.ok(&["snapshot", "-q", "--host", "h", "--tag", "nightly", "--time", day, &scene.source()]);
        }
        scene
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(path).unwrap().write_all(bytes).unwrap();
    }

    fn repo(&self) -> PathBuf {
        self.dir.path().join("vault")
    }

    fn source(&self) -> String {
        self.dir.path().join("source").to_str().unwrap().to_owned()
    }

    fn run(&self, args: &[&str]) -> Outcome {
        Command::at(&self.repo(), "p").run(args)
    }

    fn ok(&self, args: &[&str]) -> Outcome {
        let outcome = self.run(args);
        assert_eq!(outcome.code, 0, "{args:?}: {}{}", outcome.out, outcome.err);
        outcome
    }

    fn ids(&self) -> Vec<String> {
        let list = self.ok(&["snapshots", "--json"]).json();
        let ids = list["snapshots"].as_array().unwrap().iter();
        ids.map(|s| s["id"].as_str().unwrap().to_owned()).collect()
    }
}

const DAYS: [&str; 4] = ["2025-04-01", "2025-04-02 08:00", "2025-04-02 20:00", "2025-04-03"];

#[test]
fn a_plan_says_why() {
    let scene = Scene::new(&DAYS);
    let ids = scene.ids();
    let policy = ["--keep-daily", "2", "--keep-within", "12h"];
    let dry = scene.ok(&[&["forget", "-n"][..], &policy].concat());
    assert!(dry.out.contains("h: ") && dry.out.lines().all(|l| l.len() <= 80), "{}", dry.out);
    let row = |n: usize| dry.out.lines().find(|l| l.contains(&ids[n][..8])).unwrap().to_owned();
    assert!(row(0).ends_with("nightly  forget"), "{}", dry.out);
    assert!(
        row(2).ends_with("keep: daily, within 12h") && row(3).ends_with("daily, within 12h"),
        "{}",
        dry.out
    );
    assert!(dry.out.contains("2 snapshots would be forgotten, 2 kept; nothing was written"), "{}", dry.out);
    assert_eq!(scene.ids(), ids);

    let json = scene.ok(&[&["forget", "--json"][..], &policy].concat()).json();
    assert_eq!(json["forgotten"].as_array().unwrap().len(), 2);
    let rows = json["groups"][0]["snapshots"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["keep"], &rows[3]["keep"]), (4, &false.into(), &true.into()));
    assert_eq!((&json["groups"][0]["host"], &rows[2]["reasons"][1]), (&"h".into(), &"within 12h".into()));
    assert_eq!(rows[0]["time"], "2025-04-01T00:00:00Z");
    assert_eq!(scene.ids(), ids[2..]);

    let none = scene.ok(&[&["forget"][..], &policy].concat());
    assert!(none.out.contains("nothing to forget, 2 kept"), "{}", none.out);
    let by_id = scene.ok(&["forget", &ids[2][..8]]);
    assert!(
        by_id.out.contains("1 snapshot forgotten, 1 kept") && by_id.err.contains("prune"),
        "{}",
        by_id.out
    );
    assert_eq!(scene.ids(), ids[3..]);
    let quiet = scene.ok(&["forget", "-q", "latest"]);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
    assert!(scene.ids().is_empty());
}

#[test]
fn what_would_forget_by_accident_is_refused() {
    for (args, message, cure) in [
        (&["forget"][..], "which snapshots to keep", "--keep-daily 7"),
        (&["forget", "--dry-run"], "which snapshots to keep", "--keep-daily 7"),
        (&["forget", "--keep-last", "0"], "which snapshots to keep", "--keep-daily 7"),
        (&["forget", "4f1c", "--keep-last", "1"], "and a policy", "not both"),
        (&["forget", "--keep-last", "many"], "unlimited", "--help"),
        (&["forget", "--keep-within", "7"], "no unit", "30d"),
        (&["forget", "--keep-last", "1", "--group-by", "size"], "grouped by \"size\"", "host, paths, tags"),
        (&["tag", "add", ",", "latest"], "no tag", "tag set ''"),
        (&["tag", "add", "x"], "<SNAPSHOT>", "--help"),
        (&["rewrite"], "what to leave out", "--exclude"),
    ] {
        let outcome = bare(&[&["-r", "/nonexistent"][..], args].concat());
        assert_eq!(outcome.code, 2, "{args:?}: {}", outcome.err);
        assert!(outcome.err.contains(message) && outcome.err.contains(cure), "{args:?}: {}", outcome.err);
    }
    let scene = Scene::new(&DAYS[..2]);
    for args in [&["forget", "--keep-tag", "other"][..], &["forget", "-n", "--keep-tag", "other"]] {
        let refused = scene.run(args);
        assert_eq!(refused.code, 2);
        assert!(refused.err.contains("all 2 snapshots of host h, paths "), "{}", refused.err);
        assert!(refused.err.contains("hint: nothing was forgotten") && refused.err.contains("--allow-empty"));
    }
    let missing = scene.run(&["forget", "0000"]);
    assert!(missing.code == 1 && missing.err.contains("`ballast snapshots`"), "{}", missing.err);
    assert_eq!(scene.ids().len(), 2);
    let emptied = scene.ok(&["forget", "--keep-tag", "other", "--allow-empty"]);
    assert!(emptied.out.contains("2 snapshots forgotten, 0 kept"), "{}", emptied.out);
}

#[test]
fn one_that_cannot_be_read_is_named_and_goes_by_its_id() {
    let scene = Scene::new(&DAYS);
    let ids = scene.ids();
    std::fs::remove_file(scene.repo().join("snapshots").join(&ids[0])).unwrap();
    let report = scene.run(&["forget", "--keep-last", "1", "--json"]);
    assert_eq!(report.code, 3);
    assert_eq!(report.json()["unreadable"][0]["id"], ids[0].as_str());
    let again = scene.run(&["forget", "--keep-last", "1"]);
    assert!(again.code == 3 && again.err.contains(&ids[0][..8]), "{}", again.err);
    let gone = scene.ok(&["forget", &ids[0][..8]]);
    assert!(gone.out.contains("cannot be read"), "{}", gone.out);
    assert_eq!(scene.ids(), ids[3..]);
}

#[test]
fn tags_and_rewriting() {
    let scene = Scene::new(&DAYS[..2]);
    let ids = scene.ids();
    let added = scene.ok(&["tag", "add", "keep, good", "latest"]);
    assert!(added.out.starts_with(&ids[1][..8]) && added.out.contains("good,keep,nightly"), "{}", added.out);
    let same = scene.ok(&["tag", "add", "keep", "latest"]);
    assert!(same.out.contains("1 snapshot had these tags already"), "{}", same.out);
    let list = scene.ok(&["snapshots", "--tag", "keep", "--json"]).json();
    assert_eq!((&list["snapshots"][0]["original"], scene.ids().len()), (&ids[1].as_str().into(), 2));
    let json = scene.ok(&["tag", "set", "", "latest", "--json"]).json();
    assert_eq!(json["changed"][0]["tags"], serde_json::json!([]));
    scene.ok(&["tag", "remove", "nightly", &ids[0][..8]]);
    assert_eq!(scene.run(&["tag", "remove", "nightly", &ids[0][..8]]).code, 1, "it has another id now");

    let dry = scene.ok(&["rewrite", "--exclude", "*.tmp", "-n"]);
    assert!(dry.out.contains("would be without 1 file (14 B)"), "{}", dry.out);
    let first = scene.ok(&["rewrite", "--exclude", "*.tmp"]);
    assert!(first.out.contains("is now") && first.err.contains("--forget"), "{}{}", first.out, first.err);
    assert_eq!(scene.ids().len(), 4);
    let second = scene.ok(&["rewrite", "--exclude", "*.tmp", "--forget", "--json"]).json();
    assert_eq!((&second["rewritten"][0]["found"], scene.ids().len()), (&true.into(), 2));
    let listed = scene.ok(&["ls", "latest"]).out;
    assert!(listed.contains("/keep") && !listed.contains("x.tmp"), "{listed}");
    let nothing = scene.run(&["rewrite", "--exclude", "*"]);
    assert!(nothing.code == 3 && nothing.err.contains("leave nothing of it"), "{}", nothing.err);
}

#[test]
fn the_ledger_is_told_whole_or_with_its_gap() {
    let scene = Scene::new(&DAYS[..3]);
    scene.ok(&["forget", "--keep-last", "2"]);
    let told = scene.ok(&["ledger"]).out;
    assert!(told.contains("(forgotten)") && told.contains("(policy: keep last 2)"), "{told}");
    assert_eq!(scene.ok(&["ledger", "--last", "1"]).out.lines().count(), 2, "a heading and a line");
    let json = scene.ok(&["ledger", "--json"]).json();
    assert_eq!((&json["entries"][3]["event"], &json["head"]), (&"forget".into(), &4.into()));
    std::fs::remove_file(scene.repo().join("ledger/2")).unwrap();
    let gap = scene.run(&["ledger"]);
    assert_eq!(gap.code, 3);
    let line = gap.out.lines().find(|l| l.contains("DAMAGED")).unwrap();
    assert!(line.trim_start().starts_with("2 ") && line.contains("missing"), "{}", gap.out);
    let json = scene.run(&["ledger", "--json"]);
    assert_eq!((json.code, &json.json()["entries"][1]["event"]), (3, &"damaged".into()));
    // Who would write is refused: what is not there may have said anything.
    assert_eq!(scene.run(&["forget", "--keep-last", "1"]).code, 1);
}

#[test]
fn leases_that_nobody_holds_are_removed() {
    let scene = Scene::new(&DAYS[..1]);
    assert!(scene.ok(&["lock", "list"]).out.contains("nobody writes"));
    assert!(scene.ok(&["unlock"]).out.contains("nothing to remove"));
    let lease = |n: char, hours: u64| {
        let name = n.to_string().repeat(32);
        scene.write(&format!("vault/locks/{name}"), b"not to be read");
        let path = scene.repo().join("locks").join(&name);
        let then = std::fs::metadata(&path).unwrap().modified().unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(then - std::time::Duration::from_secs(hours * 3600)).unwrap();
        path
    };
    let there = |path: &Path| path.exists();
    let (old, new) = (lease('a', 5), lease('b', 0));
    let list = scene.ok(&["lock", "list"]);
    assert!(list.out.contains("lapsed") && list.out.contains("alive"), "{}", list.out);
    assert!(list.err.contains("ballast unlock"), "{}", list.err);
    assert_eq!(scene.run(&["lock", "remove", "bbbb"]).code, 3);
    let told = scene.ok(&["unlock"]);
    assert!(told.err.contains("--all") && told.out.contains("removed"), "{}{}", told.out, told.err);
    assert!(!there(&old) && there(&new));
    assert_eq!(scene.run(&["unlock", "cccc"]).code, 1);
    let json = scene.ok(&["lock", "remove", "--all", "--json"]).json();
    assert_eq!(json["removed"].as_array().unwrap().len(), 1);
    assert!(!there(&new) && scene.repo().join("locks").read_dir().unwrap().next().is_none());
}

/// The nightly job, and the two steps of it by themselves.
#[test]
fn forget_and_prune_give_back_room() {
    let scene = Scene::new(&DAYS[..3]);
    let dry = scene.run(&["prune", "--dry-run"]);
    assert!(dry.code == 0 && dry.out.contains("dry run: nothing was changed"), "{}{}", dry.out, dry.err);
    let both = scene.run(&["forget", "--keep-last", "1", "--prune", "--json"]);
    assert_eq!(both.code, 0, "{}", both.err);
    let value: serde_json::Value = serde_json::from_str(&both.out).unwrap();
    assert!(value["prune"]["deleted_packs"].as_u64().unwrap() > 0, "{value}");
    assert_eq!(value["prune"]["waiting_packs"], 0);
    assert_eq!(scene.ids().len(), 1);
    let again = scene.run(&["prune", "--max-unused", "0"]);
    assert!(again.code == 0 && again.out.contains("needed by snapshots"), "{}{}", again.out, again.err);
    let bad = scene.run(&["prune", "--max-unused", "some"]);
    assert!(bad.code == 2 && bad.err.contains("unit"), "{}", bad.err);
}
