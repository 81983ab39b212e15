//! What was done, for people: what is not there is not mentioned.

use ballast::op::snapshot::SnapshotReport;

use crate::output::{count, counted, duration, rate, safe, size};
use crate::printer::Style;

/// The summary, line by line.
pub fn lines(r: &SnapshotReport, style: Style) -> Vec<String> {
    let mut out = vec![headline(r, style)];
    let mut say = |label: &str, text: String| out.push(format!("  {label:<11} {text}"));

    let mut files = format!(
        "{} new, {} changed, {} unchanged",
        count(r.files_new),
        count(r.files_changed),
        count(r.files_unchanged)
    );
    if r.directories > 0 || r.others > 0 {
        files.push_str(&format!("; {}", counted(r.directories, "directory", "directories")));
    }
    if r.others > 0 {
        files.push_str(&format!(", {}", counted(r.others, "link or device", "links and devices")));
    }
    say("files", files);

    let speed = rate(r.read_bytes, r.seconds).map(|rate| format!(" ({rate})")).unwrap_or_default();
    say("size", format!("{} in all, {} read{speed}", size(r.total_bytes), size(r.read_bytes)));
    let would = if r.dry_run { "would store" } else { "stored" };
    say(would, format!("{} for {} that {} new{}", size(r.stored_bytes), size(r.new_bytes), are(r), ratio(r)));
    if let Some(free) = r.free_bytes {
        say("free", format!("{} left in the repository", size(free)));
    }
    if !r.read_again.is_empty() {
        let mut causes: Vec<_> = r.read_again.iter().collect();
        causes.sort_by_key(|(_, files)| std::cmp::Reverse(**files));
        let causes: Vec<_> =
            causes.iter().map(|(why, n)| format!("{} ({})", safe(why), count(**n))).collect();
        say("read again", causes.join(", "));
    }
    if r.adopted_packs > 0 {
        let packs = counted(r.adopted_packs, "pack", "packs");
        say("taken over", format!("{packs} ({}) of a run that was cut short", size(r.adopted_bytes)));
    }
    if r.excluded > 0 {
        let paths = counted(r.excluded, "path", "paths");
        say("left out", format!("{paths} ({}) by your rules", size(r.excluded_bytes)));
    }
    if r.outside_links > 0 {
        let links = counted(r.outside_links, "link leads", "links lead");
        let bytes = size(r.outside_bytes);
        say("not inside", format!("{links} elsewhere ({bytes}); --follow-outside takes that in"));
    }
    if r.problem_count > 0 {
        let problems = counted(r.problem_count, "problem, named", "problems, named");
        say("problems", format!("{problems} above on standard error: exit code 3"));
    }
    out
}

fn headline(r: &SnapshotReport, style: Style) -> String {
    let took = duration(r.seconds);
    let compared = match &r.parent {
        Some(parent) => format!(", compared with {}", parent.short()),
        None => ", the first of these paths".into(),
    };
    match &r.snapshot {
        Some(id) => format!("{} saved in {took}{compared}", style.bold(&format!("snapshot {}", id.short()))),
        None => format!("{}, nothing was stored; {took}{compared}", style.bold("dry run")),
    }
}

fn are(r: &SnapshotReport) -> &'static str {
    if r.dry_run { "would be" } else { "were" }
}

fn ratio(r: &SnapshotReport) -> String {
    // Of a handful of bytes it says nothing: a snapshot itself takes a kilobyte.
    if r.new_bytes < 64 << 10 {
        return String::new();
    }
    format!(" (ratio {:.2})", r.stored_bytes as f64 / r.new_bytes as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ballast::id::SnapshotId;

    #[test]
    fn what_there_is_is_said_and_nothing_else() {
        let small = SnapshotReport {
            snapshot: Some(SnapshotId([0xab; 32])),
            files_new: 1,
            total_bytes: 5,
            read_bytes: 5,
            new_bytes: 5,
            stored_bytes: 45,
            seconds: 0.1,
            ..SnapshotReport::default()
        };
        assert_eq!(
            lines(&small, Style::default()),
            [
                "snapshot abababab saved in 0.10 s, the first of these paths",
                "  files       1 new, 0 changed, 0 unchanged",
                "  size        5 B in all, 5 B read (50 B/s)",
                "  stored      45 B for 5 B that were new",
            ]
        );
        let full = SnapshotReport {
            parent: Some(SnapshotId([1; 32])),
            directories: 1,
            others: 2,
            read_again: [("new inode\u{1b}".to_owned(), 2), ("touched".to_owned(), 1200)].into(),
            new_bytes: 3 << 20,
            stored_bytes: 2 << 20,
            adopted_packs: 3,
            excluded: 1,
            outside_links: 2,
            problem_count: 1,
            free_bytes: Some(1 << 40),
            ..small
        };
        let text = lines(&full, Style::default()).join("\n");
        for part in [
            "compared with 01010101",
            "1 directory, 2 links and devices",
            "touched (1,200), new inode\\x1b (2)",
            "2.0 MiB for 3.0 MiB that were new (ratio 0.67)",
            "3 packs (0 B) of a run",
            "1 path (0 B) by your rules",
            "2 links lead elsewhere",
            "1 problem, named above",
            "1.0 TiB left",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
