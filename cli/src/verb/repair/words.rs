//! Reports of `repair` as people read them: what was found, what was done, what to do next.

use ballast::id::PackId;
use ballast::op::repair::SnapshotLosses;
use ballast::op::repair::config::ConfigReport;
use ballast::op::repair::index::IndexReport;
use ballast::op::repair::packs::{Fate, PacksReport};
use ballast::op::repair::snapshots::SnapshotsReport;

use crate::output::{counted, safe, size};

/// Things of a kind that are named one by one.
const NAMED: usize = 20;

fn dry(lines: &mut Vec<String>, dry_run: bool) {
    if dry_run {
        lines.push("dry run: nothing was changed".into());
    }
}

fn ids(lines: &mut Vec<String>, packs: &[PackId]) {
    lines.extend(packs.iter().take(NAMED).map(|id| format!("  pack {}", id.short())));
    more(lines, packs.len() as u64, NAMED);
}

fn more(lines: &mut Vec<String>, all: u64, named: usize) {
    let rest = all.saturating_sub(named as u64);
    if rest > 0 {
        lines.push(format!("  and {rest} more"));
    }
}

fn n_packs(n: usize) -> String {
    counted(n as u64, "pack", "packs")
}

/// `repair index`.
pub fn index(r: &IndexReport) -> Vec<String> {
    let mut lines = Vec::new();
    let does = if r.dry_run { "would be " } else { "" };
    for (id, reason) in r.damaged.iter().take(NAMED) {
        lines.push(format!("index object {}: {}", id.short(), safe(short(reason))));
    }
    if !r.listed.is_empty() {
        lines.push(format!("{}, named by no index object: {does}listed", n_packs(r.listed.len())));
    }
    if !r.corrected.is_empty() {
        lines.push(format!("{}, wrong in the index: {does}corrected", n_packs(r.corrected.len())));
        ids(&mut lines, &r.corrected);
    }
    if !r.gone.is_empty() {
        lines.push(format!("{}, gone: {does}taken out of the index", n_packs(r.gone.len())));
        ids(&mut lines, &r.gone);
    }
    if r.live > 0 {
        lines.push(format!("{} of runs under way: left to them", counted(r.live, "pack", "packs")));
    }
    if !r.replaced.is_empty() {
        let objects = counted(r.replaced.len() as u64, "index object", "index objects");
        let rest = r.replaced.len() as u64 - r.deleted_indexes;
        let when = if rest > 0 && !r.dry_run { "; `ballast prune` deletes what is left" } else { "" };
        lines.push(format!("{objects} {does}replaced{when}"));
    }
    if lines.is_empty() && !r.needs_packs() {
        lines.push("the index is whole: nothing to do".into());
    }
    for (id, reason, described) in r.unreadable.iter().take(NAMED) {
        let known = if *described { ", but the index does" } else { "" };
        lines.push(format!("pack {} cannot say what it holds{known}:", id.short()));
        lines.push(format!("  {}", safe(short(reason))));
    }
    if !r.bad.is_empty() {
        lines.push(format!("{} with bytes that are not those of their names:", n_packs(r.bad.len())));
        ids(&mut lines, &r.bad);
    }
    dry(&mut lines, r.dry_run);
    if r.needs_packs() {
        let named: Vec<PackId> =
            r.unreadable.iter().map(|(id, ..)| *id).chain(r.bad.iter().copied()).collect();
        let words: Vec<String> = named.iter().take(3).map(PackId::short).collect();
        let all = if named.len() > 3 { "--read-data".to_owned() } else { words.join(" ") };
        lines.push(format!("next: `ballast repair packs {all}`"));
    } else if !r.gone.is_empty() {
        lines.push("next: `ballast repair packs --from PATH`, where the files still stand".into());
    }
    lines
}

/// What stands behind the object's own name, which the line begins with.
fn short(reason: &str) -> &str {
    reason.split_once(" is damaged: ").map_or(reason, |(_, reason)| reason)
}

/// `repair packs`.
pub fn packs(r: &PacksReport) -> Vec<String> {
    let mut lines = Vec::new();
    for pack in r.packs.iter().take(NAMED) {
        lines.push(format!("pack {}: {}", pack.pack.short(), safe(&faults(&pack.faults))));
        let saved = counted(pack.saved_blobs, "blob", "blobs");
        let fate = match (pack.fate, r.dry_run) {
            (Fate::Whole, _) => "nothing to do".to_owned(),
            (Fate::Gone, _) => "nothing to save; `ballast repair index` takes it out of the index".into(),
            (Fate::Unknown, _) => "nothing says what is in it; `ballast prune` deletes it".into(),
            (Fate::Condemned, true) => format!("{saved} would be saved, then it would go"),
            (Fate::Condemned, false) => format!("{saved} saved; `ballast prune` deletes it"),
            (Fate::Stays, true) => format!("{saved} would be saved; it would stay"),
            (Fate::Stays, false) => format!("{saved} saved; it stays, as snapshots need the rest"),
        };
        lines.push(format!("  {fate}"));
    }
    more(&mut lines, r.packs.len() as u64, NAMED);
    if r.packs.is_empty() {
        lines.push(match r.read_packs {
            0 => "no pack is known to be bad; --read-data reads them all to find out".into(),
            n => format!("read {}: every one is whole", counted(n, "pack", "packs")),
        });
    }
    if r.searched_files > 0 {
        let files = counted(r.searched_files, "file", "files");
        let chunks = counted(r.healed_chunks, "lost chunk", "lost chunks");
        let done = if r.dry_run { "would be stored again" } else { "stored again" };
        lines.push(format!("{files} read: {chunks}, {}, found and {done}", size(r.healed_bytes)));
    }
    if r.new_bytes > 0 {
        lines.push(format!("{} written", size(r.new_bytes)));
    }
    if !r.lost.is_empty() {
        let kinds: Vec<String> =
            r.lost.iter().map(|(kind, n)| counted(*n, kind, &format!("{kind}s"))).collect();
        lines.push(format!("lost, and needed by snapshots: {}", kinds.join(", ")));
        losses(&mut lines, r.snapshots.iter());
    }
    for (id, reason) in r.unreadable.iter().take(NAMED) {
        lines.push(format!("snapshot {} cannot be judged: {}", id.short(), safe(short(reason))));
    }
    dry(&mut lines, r.dry_run);
    if r.dry_run && r.healed_chunks > 0 {
        lines.push("what is found in files would not be lost any more".into());
    } else if !r.lost.is_empty() {
        lines.push("next: `ballast repair packs --from PATH` or a new `ballast snapshot`, where the".into());
        lines.push("files still stand; then `ballast repair snapshots` marks what is left".into());
    } else if !r.unreadable.is_empty() {
        lines.push("next: `ballast repair snapshots`".into());
    }
    lines
}

fn faults(faults: &[String]) -> String {
    if faults.is_empty() { "is whole".to_owned() } else { faults.join("; ") }
}

fn losses<'a>(lines: &mut Vec<String>, snapshots: impl Iterator<Item = &'a SnapshotLosses>) {
    // The newest is the one that is asked for.
    let mut all: Vec<&SnapshotLosses> = snapshots.collect();
    all.reverse();
    for hit in all.iter().take(NAMED) {
        if hit.whole {
            lines.push(format!("snapshot {}: all of it", hit.snapshot.short()));
            continue;
        }
        let files = counted(hit.files, "file", "files");
        let dirs = match hit.directories {
            0 => String::new(),
            n => format!(", names in {}", counted(n, "directory", "directories")),
        };
        lines.push(format!("snapshot {}: {} of {files}{dirs}", hit.snapshot.short(), size(hit.lost_bytes)));
        for touched in hit.first.iter().take(NAMED) {
            lines.push(match touched.directory {
                true => format!("  {}/", safe(&touched.path).trim_end_matches('/')),
                false => {
                    let (lost, all) = (size(touched.lost_bytes), size(touched.size));
                    format!("  {}  ({lost} of {all})", safe(&touched.path))
                }
            });
        }
        more(lines, hit.files + hit.directories, NAMED.min(hit.first.len()));
    }
    more(lines, all.len() as u64, NAMED);
}

/// `repair snapshots`.
pub fn snapshots(r: &SnapshotsReport) -> Vec<String> {
    let mut lines = Vec::new();
    losses(&mut lines, r.repaired.iter().map(|one| &one.losses));
    for one in r.repaired.iter().take(NAMED) {
        if let Some(new) = one.new {
            lines.push(format!("snapshot {} takes the place of {}", new.short(), one.old.short()));
        }
    }
    for (id, reason) in r.unreadable.iter().take(NAMED) {
        let fate = if r.forgotten.contains(id) { "forgotten" } else { "can only be forgotten" };
        lines.push(format!("snapshot {} cannot be read; {fate}:", id.short()));
        lines.push(format!("  {}", safe(short(reason))));
    }
    for (id, reason) in r.failed.iter().take(NAMED) {
        lines.push(format!("snapshot {} was left as it is: {}", id.short(), safe(short(reason))));
    }
    if lines.is_empty() {
        let all = counted(r.snapshots, "snapshot", "snapshots");
        lines.push(format!("{all} looked at: nothing that they need is lost"));
    }
    dry(&mut lines, r.dry_run);
    if r.unreadable.iter().any(|(id, _)| !r.forgotten.contains(id)) {
        lines.push("next: `ballast repair snapshots --forget-unreadable`, if no copy of them is left".into());
    } else if !r.repaired.is_empty() && !r.dry_run {
        lines.push("next: `ballast restore --salvage` gives what is left of damaged files".into());
    }
    lines
}

/// `repair config`.
pub fn config(r: &ConfigReport) -> Vec<String> {
    let mut lines = vec![match (&r.damage, r.written) {
        (None, _) => "config is whole: nothing to do".to_owned(),
        (Some(damage), true) => format!("{}: written again from the key file", safe(damage)),
        (Some(damage), false) => format!("{}: would be written again", safe(damage)),
    }];
    for (id, reason) in &r.damaged_keys {
        lines.push(format!("key {} is damaged: {}", id.short(), safe(short(reason))));
    }
    dry(&mut lines, r.dry_run);
    if !r.damaged_keys.is_empty() {
        lines.push("next: `ballast key import` brings a key back from its printed page, or".into());
        lines.push("`ballast key add` makes another; then `ballast key remove` the damaged one".into());
    }
    lines
}
