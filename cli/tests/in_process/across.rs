//! `find`, `diff`, `stats`, and the words that choose a snapshot.
#![allow(clippy::disallowed_methods, reason = "a source is written as anyone would")]

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::{Command, Outcome, quick, safetensors};

fn run(repo: &Path, args: &[&str]) -> Outcome {
    Command::at(repo, "p").with("BALLAST_HOST", "h").run(args)
}

/// Three days, of which the second adds a file and the third changes one.
fn days(dir: &Path) -> (std::path::PathBuf, String) {
    let (repo, source) = (dir.join("vault"), dir.join("source"));
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("sub/a\u{1b}[2J"), vec![7; 3000]).unwrap();
    let top = source.to_str().unwrap().to_owned();
    quick(&repo, "p");
    for day in ["2025-04-01", "2025-04-02", "2025-04-03"] {
        fs::write(source.join("log"), day).unwrap();
        if day != "2025-04-01" {
            fs::write(source.join("new.txt"), "1").unwrap();
        }
        assert_eq!(run(&repo, &["snapshot", "-q", &top, "--time", day]).code, 0);
    }
    (repo, top)
}

fn short(repo: &Path, word: &str) -> String {
    let shown = run(repo, &["cat", "snapshot", word, "--json"]).json();
    shown["time"].to_string()
}

#[test]
fn words_for_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, top) = days(dir.path());
    let all = [short(&repo, "latest~2"), short(&repo, "latest~1"), short(&repo, "latest")];
    assert!(all[0] != all[1] && all[1] != all[2]);
    assert_eq!(short(&repo, "latest~0"), all[2]);
    assert_eq!(short(&repo, "@2025-04-02"), all[1], "also of that very moment");
    assert_eq!(short(&repo, "@2025-04-01 23:59:59"), all[0]);
    assert_eq!(short(&repo, "@1d"), all[2], "the tests run later than that");
    for (word, code) in [("latest~3", 1), ("@2025-03-31", 1), ("@never", 2), ("latest~", 2), ("@", 2)] {
        let outcome = run(&repo, &["ls", word]);
        assert_eq!(outcome.code, code, "{word}: {}", outcome.err);
        assert!(outcome.err.contains("hint: "), "{word}: {}", outcome.err);
    }
    let path = format!("@2025-04-01T10:00:00Z:{top}");
    assert_eq!(run(&repo, &["ls", &path]).out.lines().count(), 2);
    assert!(!run(&repo, &["ls", "--before", "2025-04-02"]).out.contains("new.txt"));
    assert!(run(&repo, &["ls", "--before", "2025-04-03"]).out.contains("new.txt"));
    let count = |args: &[&str]| {
        let args = [&["snapshots", "--json"], args].concat();
        run(&repo, &args).json()["snapshots"].as_array().unwrap().len()
    };
    assert_eq!(count(&["--since", "2025-04-02"]), 2);
    assert_eq!(count(&["--since", "2025-04-02", "--before", "2025-04-03"]), 1);
    assert_eq!(count(&["--since", "1h"]), 0);
    assert_eq!(count(&["latest", "latest~2"]), 2);
    assert_eq!(run(&repo, &["snapshots", "feed"]).code, 1);
    assert_eq!(run(&repo, &["tag", "add", "x", "latest~1"]).code, 0);
    let by_tags = run(&repo, &["snapshots", "--group-by", "tags"]);
    let heads: Vec<&str> = by_tags.out.lines().filter(|l| !l.starts_with(' ') && !l.is_empty()).collect();
    assert_eq!(heads, ["no tags", "tagged x", "3 snapshots"], "{}", by_tags.out);
    assert!(by_tags.out.contains(&top) && by_tags.out.contains("Host"), "{}", by_tags.out);
    assert!(run(&repo, &["snapshots", "-g", ""]).out.starts_with("ID"));
    assert_eq!(count(&["--latest", "1", "-g", "tags"]), 2);
    assert_eq!(run(&repo, &["snapshots", "-g", "colour"]).code, 2);
    assert_eq!(
        run(&repo, &["snapshots", "--tag", "x", "--json"]).json()["snapshots"][0]["time"],
        "2025-04-02T00:00:00Z"
    );
    assert_eq!(run(&repo, &["forget", "@2025-04-01"]).code, 0);
    assert_eq!(count(&[]), 2);
}

#[test]
fn found_across_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, _) = days(dir.path());
    let found = run(&repo, &["find", "log", "a*"]);
    assert_eq!(found.code, 0, "{}", found.err);
    assert!(found.out.contains("sub/a\\x1b[2J") && !found.out.contains('\u{1b}'), "{}", found.out);
    assert!(found.out.lines().all(|line| line.len() <= 80 || line.contains('/')), "{}", found.out);
    let value = run(&repo, &["find", "log", "--json"]).json();
    let versions = value["paths"][0]["versions"].as_array().unwrap().clone();
    let firsts: Vec<&Value> = versions.iter().map(|v| &v["first"]["time"]).collect();
    assert_eq!(firsts, ["2025-04-01T00:00:00Z", "2025-04-02T00:00:00Z", "2025-04-03T00:00:00Z"]);
    let nothing = run(&repo, &["find", "nowhere"]);
    assert_eq!((nothing.code, nothing.out.as_str()), (1, ""));
    assert!(nothing.err.contains("nothing fits in 3 snapshots"), "{}", nothing.err);
    assert_eq!(run(&repo, &["find", "a/../b"]).code, 2);
    assert_eq!(run(&repo, &["find", "--type", "dir", "--snapshot", "latest", "sub"]).code, 0);
}

#[test]
fn differences() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, top) = days(dir.path());
    let diff = run(&repo, &["diff", "latest~2", "latest"]);
    let lines: Vec<&str> = diff.out.lines().collect();
    assert!(lines[0].starts_with("M  ") && lines[0].contains("/log  (10 B"), "{}", diff.out);
    assert!(lines[1].starts_with("+  ") && lines[1].contains("/new.txt  (1 B)"), "{}", diff.out);
    assert!(lines.contains(&"added     1 file (1 B)"), "{}", diff.out);
    assert_eq!(run(&repo, &["diff", "latest", "latest"]).out, "nothing differs\n");
    assert_eq!(run(&repo, &["diff", "-q", "latest", "latest"]).out, "");
    let below = format!("{top}/sub");
    assert_eq!(run(&repo, &["diff", "latest~2", "latest", &below]).out, "nothing differs\n");
    let lines = run(&repo, &["diff", "--json", "latest~2", "latest"]).json_lines();
    assert_eq!((lines.len(), &lines[2]["added"]["files"]), (3, &1.into()));
    let twice = run(&repo, &["diff", "latest~1:/x", "latest", "/y"]);
    assert_eq!(twice.code, 2);
    let missing = run(&repo, &["diff", "--json", "latest:/none", "latest:/none"]);
    assert_eq!((missing.code, missing.json()["message_type"] == "error"), (1, true));
}

#[test]
fn what_things_take() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, top) = days(dir.path());
    let whole = run(&repo, &["stats"]);
    assert!(whole.out.contains("3 of h, 2025-04-01 to 2025-04-03"), "{}", whole.out);
    assert_eq!(run(&repo, &["stats", "--json"]).json()["files"], 8);
    let rows = run(&repo, &["stats", "--snapshots", "--json"]).json();
    assert_eq!(rows["snapshots"].as_array().unwrap().len(), 3);
    let two = run(&repo, &["stats", "latest", "latest~1"]);
    assert!(two.out.contains("forgetting all of these would free"), "{}", two.out);
    let inside = run(&repo, &["stats", "--json", &format!("latest:{top}")]).json();
    let mut names: Vec<&str> =
        inside["entries"].as_array().unwrap().iter().map(|e| e["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!((names, &inside["all"]["files"]), (vec!["log", "new.txt", "sub"], &Value::from(3)));
    assert_eq!(run(&repo, &["stats", "latest", "latest:/x"]).code, 2);
    assert_eq!(run(&repo, &["stats", "latest:/none"]).code, 1);
    assert_eq!(run(&repo, &["stats", "--snapshots", "latest"]).code, 2);
}

/// Weeks of a model with a hostile name, and an adapter that came with the last.
fn weeks(dir: &Path) -> (std::path::PathBuf, String) {
    let (repo, source) = (dir.join("vault"), dir.join("source"));
    fs::create_dir_all(&source).unwrap();
    quick(&repo, "p");
    let top = source.to_str().unwrap().to_owned();
    for week in 1..=3_u8 {
        let of = |name: &str, value: u8| (name.to_owned(), 5000, [value, 1, 9].repeat(2000)[..5000].to_vec());
        let tensors = [of("embeddings.w", 1), of("h.2.mlp.w", week.min(2)), of("h.10.attn\u{1b}[2J.w", 3)];
        fs::write(source.join("<b>&\u{1b}[2J.safetensors"), safetensors(&tensors)).unwrap();
        if week == 3 {
            fs::write(source.join("adapter.safetensors"), safetensors(&[of("h.0.lora_A", 99)])).unwrap();
        }
        let day = format!("2025-04-0{week}");
        assert_eq!(run(&repo, &["snapshot", "-q", &top, "--time", &day]).code, 0);
    }
    (repo, top)
}

#[test]
fn models_by_layer_and_by_tensor() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, top) = weeks(dir.path());
    let diff = run(&repo, &["diff", "latest~2", "latest", "--tensors"]);
    assert_eq!(diff.code, 0, "{}", diff.err);
    assert!(!diff.out.contains('\u{1b}'), "{}", diff.out);
    let layers: Vec<&str> = diff.out.lines().filter_map(|line| line.split("  ").next()).collect();
    let at = |layer: &str| layers.iter().position(|found| *found == layer);
    assert!(at("h.2") > at("embeddings") && at("h.10") > at("h.2") && at("all") > at("h.10"), "{}", diff.out);
    assert!(
        diff.out.contains("+  ") && diff.out.contains("/adapter.safetensors  (1 tensor, 4.9 KiB)"),
        "{}",
        diff.out
    );
    assert!(diff.out.contains("33.34 %"), "one byte of three: {}", diff.out);
    assert!(
        diff.out.ends_with("11.11 % of elements changed, largest 1.00e0, mean 1.11e-1, relative 10.98 %\n"),
        "{}",
        diff.out
    );
    let each = run(&repo, &["diff", "latest~2", "latest", &top, "--tensors", "--each"]);
    assert!(
        each.out.contains("M  U8") && each.out.contains("=  U8") && each.out.contains("h.10.attn\\x1b[2J.w"),
        "{}",
        each.out
    );
    let same = run(&repo, &["diff", "latest~1", "latest~1", "--tensors"]);
    assert_eq!((same.code, same.out.as_str()), (0, "no model differs\n"));
    for (args, code) in [
        (&["diff", "latest", "latest", "--each"][..], 2),
        (&["diff", "latest", "latest", "--tensors", "--metadata"], 2),
        (&["diff", "latest:/none", "latest:/none", "--tensors"], 1),
    ] {
        assert_eq!(run(&repo, args).code, code, "{args:?}");
    }
}

#[test]
fn what_models_cost_and_a_picture_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (repo, top) = weeks(dir.path());
    let picture = dir.path().join("weeks.svg");
    fs::write(&picture, "an older one").unwrap();
    let told = run(&repo, &["stats", "--models", "--svg", picture.to_str().unwrap()]);
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(told.out.contains("unchanged") && told.out.contains("/adapter.safetensors"), "{}", told.out);
    assert!(told.out.contains("2 versions, ") && told.out.contains("all models: 3 versions"), "{}", told.out);
    assert!(!told.out.contains('\u{1b}'), "{}", told.out);
    let svg = fs::read_to_string(&picture).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert!(!svg.contains("<b>") && !svg.contains('\u{1b}') && svg.contains("&lt;b&gt;&amp;"), "{svg}");
    assert!(svg.contains("2025-04-03") && svg.contains("embeddings") && svg.contains("attention"), "{svg}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".part")), "{left:?}");
    let one = format!("latest:{top}/adapter.safetensors");
    let only = run(&repo, &["stats", "--models", &one, "--svg", "-"]);
    assert!(only.out.starts_with("<svg ") && only.out.ends_with("</svg>\n"), "{}", only.out);
    let json = run(&repo, &["stats", "--models", "--json"]).json();
    assert_eq!(json["models"][0]["versions"][2]["stored_bytes"], 0, "{json}");
    for (args, code) in [
        (&["stats", "--svg", "x.svg"][..], 2),
        (&["stats", "--models", "--snapshots"], 2),
        (&["stats", "--models", "--json", "--svg", "-"], 2),
        (&["stats", "--models", "--svg", "/nowhere/at/all.svg"], 1),
        (&["stats", "--models", "latest:/none"], 1),
    ] {
        assert_eq!(run(&repo, args).code, code, "{args:?}");
    }
}
