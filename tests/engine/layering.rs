//! Holds `use crate::` lines to the table of `docs/architecture.md`: a row may use only the
//! rows above it, siblings in row 1 do not see one another, and verbs do not import verbs.

use std::fs;
use std::path::{Path, PathBuf};

/// Rooms by row.
const ROWS: [&[&str]; 5] = [
    &["error", "id", "entropy", "progress", "limit", "pagecache"],
    &["format", "crypto", "codec", "chunk", "store"],
    &["repo"],
    &["source"],
    &["op"],
];

/// Rooms of row 1 that others of row 1 may see after all, with the reason.
const SHARED: [(&str, &str, &str); 2] = [
    ("crypto", "format", "lengths, limits and records of what is sealed"),
    ("codec", "format", "encoding tags and the limit of a frame"),
];

fn row(room: &str) -> Option<usize> {
    ROWS.iter().position(|rooms| rooms.contains(&room))
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the engine's sources are there") {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Rooms that a file names by `crate::`, with the second component where there is one.
fn imports(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim_start).filter(|l| !l.starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + 7..];
            let word = |s: &str| -> String {
                s.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
            };
            let first = word(rest);
            let second = rest[first.len()..].strip_prefix("::").map(word).unwrap_or_default();
            if first.is_empty() {
                found.push((rest.chars().take(1).collect(), second));
            } else {
                found.push((first, second));
            }
        }
    }
    found
}

/// Everything wrong with one file of the engine.
fn faults(relative: &Path, text: &str) -> Vec<String> {
    let parts: Vec<_> = relative.components().map(|c| c.as_os_str().to_string_lossy().into_owned()).collect();
    let room = parts[0].trim_end_matches(".rs").to_owned();
    if room == "lib" {
        return Vec::new();
    }
    let verb = parts.get(1).map(|p| p.trim_end_matches(".rs").to_owned());
    let Some(own) = row(&room) else {
        return vec![format!("{}: in no row of the table", relative.display())];
    };
    let mut faults = Vec::new();
    for (target, second) in imports(text) {
        let fault = match row(&target) {
            _ if target == room && room == "op" => {
                (verb.as_deref() != Some(second.as_str())).then(|| format!("one verb uses another, {second}"))
            }
            _ if target == room => None,
            None => Some(format!("uses crate::{target}, which is in no row")),
            Some(theirs) if theirs < own => None,
            Some(theirs) if theirs == own && own == 0 => Some(format!("uses its sibling {target}")),
            Some(_) if SHARED.iter().any(|(from, to, _)| *from == room && *to == target) => None,
            Some(_) => Some(format!("uses {target}, which is not above it")),
        };
        // Row 0 is vocabulary: ids need errors, errors need nothing.
        let vocabulary = own == 0 && row(&target) == Some(0) && target != "op";
        if let Some(fault) = fault.filter(|_| !vocabulary) {
            faults.push(format!("{}: {fault}", relative.display()));
        }
    }
    faults
}

#[test]
fn every_room_uses_only_what_is_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 50, "the engine's sources were not found");
    let all: Vec<String> = files
        .iter()
        .flat_map(|path| {
            let relative = path.strip_prefix(&root).expect("below the root");
            faults(relative, &fs::read_to_string(path).expect("readable source"))
        })
        .collect();
    assert!(all.is_empty(), "\n{}", all.join("\n"));
}

#[test]
fn the_rule_finds_what_it_forbids() {
    let bad = |file: &str, text: &str| !faults(Path::new(file), text).is_empty();
    assert!(bad("format/pack.rs", "use crate::store::Store;"));
    assert!(bad("store/local.rs", "use crate::format::pack;"));
    assert!(bad("repo/mod.rs", "use crate::op::snapshot;"));
    assert!(bad("source/walk.rs", "use crate::op::ls;"));
    assert!(bad("op/dump.rs", "use crate::op::restore;"));
    assert!(bad("op/restore/plan.rs", "let x = crate::op::ls::run();"));
    assert!(bad("chunk/mod.rs", "use crate::*;"));
    assert!(bad("error.rs", "use crate::repo::Repository;"));
    assert!(bad("attic.rs", ""));
    assert!(!bad(
        "op/restore/plan.rs",
        "use crate::op::restore::options::Overwrite; use crate::repo::reader;"
    ));
    assert!(!bad("crypto/aead.rs", "use crate::format::envelope::TAG_LEN;"));
    assert!(!bad("store/mod.rs", "// use crate::op::ls;\nuse crate::id::ObjectName;"));
}
