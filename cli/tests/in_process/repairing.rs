//! `repair`: what it says, and how it ends.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Command, quick};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    found.sort();
    let (dirs, mut files): (Vec<_>, Vec<_>) = found.into_iter().partition(|path| path.is_dir());
    files.extend(dirs.iter().flat_map(|dir| self::files(dir)));
    files
}

/// Writes `bytes` in the middle of a file.
fn spoil(path: &Path, bytes: &[u8]) {
    use std::os::unix::fs::{FileExt, PermissionsExt};
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let middle = file.metadata().unwrap().len() / 2;
    file.write_all_at(bytes, middle).unwrap();
}

#[test]
fn a_damaged_repository_is_repaired_step_by_step() {
    let dir = tempfile::tempdir().unwrap();
    let top = dir.path().canonicalize().unwrap();
    let (vault, source) = (top.join("vault"), top.join("source"));
    fs::create_dir(&source).unwrap();
    // Does not compress.
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take(260_000)
    .flatten()
    .collect();
    for n in 0..2usize {
        let file = fs::File::create(source.join(format!("f{n}"))).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &noise[n * 500_000..][..1_500_000], 0).unwrap();
    }
    let run = |args: &[&str]| Command::at(&vault, "p").run(args);
    let text = source.to_str().unwrap();
    drop(quick(&vault, "p"));
    assert_eq!(run(&["snapshot", text]).code, 0);

    let whole = run(&["repair", "config"]);
    assert_eq!((whole.code, whole.out.as_str()), (0, "config is whole: nothing to do\n"));
    fs::remove_file(vault.join("config")).unwrap();
    let dry = run(&["repair", "config", "--dry-run"]);
    assert!(dry.out.contains("would be written again") && !vault.join("config").exists(), "{}", dry.out);
    assert!(run(&["repair", "config"]).out.contains("written again from the key file"));

    spoil(&files(&vault.join("index"))[0], b"????");
    let index = run(&["repair", "index"]);
    assert_eq!(index.code, 0, "{}", index.err);
    assert!(index.out.contains("named by no index object: listed"), "{}", index.out);
    assert_eq!(run(&["repair", "index"]).out, "the index is whole: nothing to do\n");

    let largest = files(&vault.join("data")).into_iter().max_by_key(|p| p.metadata().unwrap().len()).unwrap();
    spoil(&largest, b"????");
    let unknown = run(&["repair", "packs"]);
    assert!(unknown.code == 0 && unknown.out.contains("--read-data"), "{}", unknown.out);
    let none = run(&["repair", "packs", "ffffff00"]);
    assert!(none.code == 1 && none.err.contains("no pack begins with"), "{}", none.err);
    let packs = run(&["repair", "packs", "--read-data"]);
    assert_eq!(packs.code, 3, "{}", packs.err);
    assert!(
        packs.out.contains("lost, and needed by snapshots: ") && packs.out.contains("--from"),
        "{}",
        packs.out
    );
    assert!(packs.out.lines().all(|line| line.contains(text) || line.len() <= 80), "{}", packs.out);

    let marked = run(&["repair", "snapshots", "--json"]);
    assert_eq!(marked.code, 0, "{}", marked.err);
    assert_eq!(marked.json()["forgotten"].as_array().unwrap().len(), 1);
    let listed = run(&["ls", "-l"]);
    assert!(listed.out.contains("(damaged: "), "{}", listed.out);
    let back = top.join("back");
    let target = back.to_str().unwrap();
    let left_out = run(&["restore", &format!("latest:{text}"), "-t", target]);
    assert!(left_out.code == 3 && left_out.err.contains("bytes are lost; not restored"), "{}", left_out.err);
    assert!(files(&back).iter().all(|path| path.extension().is_none()));
    let salvaged = run(&["restore", &format!("latest:{text}"), "-t", target, "--salvage"]);
    assert_eq!(salvaged.code, 3);
    let damaged =
        files(&back).into_iter().find(|path| path.extension().is_some_and(|e| e == "damaged")).unwrap();
    let name = damaged.file_stem().unwrap().to_str().unwrap();
    let dump = run(&["dump", &format!("latest:{text}/{name}")]);
    assert!(dump.code == 1 && dump.out.is_empty() && dump.err.contains("--salvage"), "{}", dump.err);
}
