//! What is said on the way with `--json`: every line one object, each thing once.

use std::io::Write;

use serde_json::Value;

use crate::support::{Command, quick};

#[test]
fn what_happens_on_the_way_is_lines_on_standard_error() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("vault");
    drop(quick(&place, "p"));
    std::fs::create_dir(dir.path().join("source")).unwrap();
    let mut file = std::fs::File::create(dir.path().join("source/a\u{1b}[2J\nb")).unwrap();
    file.write_all(&[7; 100_000]).unwrap();
    let (source, nowhere) = (dir.path().join("source"), dir.path().join("no\u{1b}where"));
    let args = ["snapshot", "--json", source.to_str().unwrap(), nowhere.to_str().unwrap()];

    let run = Command::at(&place, "p").run(&args);
    assert_eq!(run.code, 3, "{}", run.err);
    let lines = run.err_lines();
    let of = |word: &str| lines.iter().filter(|l| l["message_type"] == word).collect::<Vec<&Value>>();
    let phases: Vec<_> = of("status").iter().map(|line| line["phase"].as_str().unwrap()).collect();
    for phase in ["opening", "reading", "finishing"] {
        assert!(phases.contains(&phase), "{phases:?}");
    }
    assert_eq!(of("status").last().unwrap()["problem_count"], 1);
    let problems = of("problem");
    assert_eq!(problems.len(), 1, "also told by the report, and said once: {}", run.err);
    assert_eq!(
        (&problems[0]["kind"], &run.json()["problems"][0]),
        (&"missing".into(), &{
            let mut told = problems[0].clone();
            told.as_object_mut().unwrap().remove("message_type");
            told
        })
    );
    assert!(!run.err.contains('\u{1b}') && !run.out.contains('\u{1b}'));

    let quiet = Command::at(&place, "p").run(&[&args[..], &["-q"]].concat());
    let words: Vec<_> = quiet.err_lines().iter().map(|line| line["message_type"].clone()).collect();
    assert_eq!(words, ["problem"], "{}", quiet.err);
    let people = Command::at(&place, "p").run(&[&args[..1], &args[2..], &["--no-cache"]].concat());
    assert!(people.err.starts_with("problem: "), "{}", people.err);
}
