//! `check`: what is damaged, which files it touches, what repairs it.

use ballast::error::Error;
use ballast::op::check::{
    self, CheckOptions, CheckReport, Counts, Fault, FaultKind, Method, Note, NoteKind, Repair, Touches,
};
use ballast::repo::Repository;
use serde_json::{Value, json};

use crate::args::CheckArgs;
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, duration, name, rate, safe, size};
use crate::printer::{Printer, Style, wrap};

/// Objects of one fault that are named one by one.
const SHOWN_OBJECTS: usize = 6;
/// Faults that are shown one by one.
const SHOWN_FAULTS: usize = 50;
/// Columns of text that is broken into lines.
const COLUMNS: usize = 78;

/// Runs it.
pub fn run(args: &CheckArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let options = CheckOptions {
        read_data: args.read_data,
        subset: args.read_data_subset,
        max_age_secs: args.max_age,
        threads: args.threads,
    };
    let report = if args.without_key {
        let store = connect::store(p)?;
        if !Repository::exists(store.as_ref())? {
            return Err(Error::NoRepository { location: store.location() }.into());
        }
        let meter = Meter::start(p);
        let outcome = check::scrub(store.as_ref(), &options, &meter);
        meter.end(0, &[]);
        outcome?
    } else {
        let repo = connect::open(p)?;
        let meter = Meter::start(p);
        let outcome = check::run(&repo, &options, &meter);
        meter.end(0, &[]);
        outcome?
    };
    if p.global.json {
        let value = as_json(&report)?;
        p.json(&value);
    } else {
        print(&report, p);
    }
    Ok(if report.is_sound() { Exit::Done } else { Exit::Failed })
}

/// How a repair is called.
fn command(repair: Repair, fault: &Fault) -> String {
    match repair {
        Repair::Config => "ballast repair config".into(),
        Repair::Index => "ballast repair index".into(),
        Repair::Snapshots => "ballast repair snapshots".into(),
        Repair::Packs => {
            let ids: Vec<_> = fault.packs.iter().map(ballast::id::PackId::short).collect();
            format!("ballast repair packs {}", ids.join(" "))
        }
    }
}

fn as_json(report: &CheckReport) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(report).map_err(|e| Failure::failed(e.to_string()))?;
    for (at, fault) in report.faults.iter().enumerate() {
        let commands: Vec<_> = fault.repair.iter().map(|r| command(*r, fault)).collect();
        value["faults"][at]["repair"] = json!(commands);
    }
    value["damaged"] = json!(!report.is_sound());
    Ok(value)
}

fn print(report: &CheckReport, p: &mut Printer<'_>) {
    let style = p.style();
    for line in looked_at(report, style) {
        p.say(&line);
    }
    for note in &report.notes {
        for line in marked("note", &note_text(note), style) {
            p.say(&line);
        }
    }
    for fault in report.faults.iter().take(SHOWN_FAULTS) {
        p.say("");
        for line in fault_lines(fault, report.method, style) {
            p.data(&line);
        }
    }
    let more = report.faults.len().saturating_sub(SHOWN_FAULTS);
    if more > 0 {
        p.data(&format!(
            "and {}; all of them with --json",
            counted(more as u64, "more fault", "more faults")
        ));
    }
    if !report.is_sound() {
        p.say("");
        for line in cure(&report.faults) {
            p.say(&line);
        }
    }
    let last = verdict(report);
    if report.is_sound() { p.say(&style.bold(&last)) } else { p.data(&style.bold(&last)) }
}

fn looked_at(r: &CheckReport, style: Style) -> Vec<String> {
    let c = &r.counts;
    let took = duration(r.seconds);
    let what = match r.method {
        Method::Structure => "structure checked",
        Method::Data => "structure and data checked",
        Method::Names => "names checked, without a key",
    };
    let mut out = vec![format!("{} in {took}", style.bold(what))];
    let mut say = |label: &str, text: String| out.push(format!("  {label:<10} {text}"));
    say("snapshots", format!("{}, {} ledger", count(c.snapshots), counted_entries(c.ledger_entries)));
    let packs = counted(c.packs, "pack", "packs");
    let index = counted(c.index_objects, "index object", "index objects");
    say("stored", format!("{} in {packs}, {index}", size(c.pack_bytes)));
    if r.method != Method::Names {
        say("blobs", format!("{}, {} of them needed", count(c.blobs), count(c.needed_blobs)));
    }
    if r.method != Method::Structure {
        say("read", read(r, c));
    }
    if let Some(last) = r.ledger_entries.last() {
        say("remembered", format!("in ledger entry {last}"));
    }
    out
}

fn counted_entries(n: u64) -> String {
    counted(n, "entry in the", "entries in the")
}

fn read(r: &CheckReport, c: &Counts) -> String {
    let speed = rate(c.bytes_read, r.seconds).map(|rate| format!(", {rate}")).unwrap_or_default();
    if r.method == Method::Names {
        return format!("{}{speed}", size(c.bytes_read));
    }
    let left = match c.packs_left_out {
        0 => String::new(),
        n => format!("; {} left out", counted(n, "pack", "packs")),
    };
    let packs = counted(c.packs_read, "pack", "packs");
    format!("{} in {packs}, {} of plaintext verified{speed}{left}", size(c.bytes_read), size(c.plain_bytes))
}

fn note_text(note: &Note) -> String {
    let mut text = note.message.clone();
    if let Some(words) = text.strip_prefix(&note.count.to_string()) {
        text = format!("{}{words}", count(note.count));
    }
    if note.bytes > 0 {
        text.push_str(&format!(" ({})", size(note.bytes)));
    }
    let cure = match note.kind {
        NoteKind::SpareKey => "; `ballast key remove` it, and add another",
        NoteKind::CondemnedPacks | NoteKind::ForgottenSnapshots | NoteKind::Unreferenced => {
            "; `ballast prune` frees it"
        }
        NoteKind::UnlistedPacks => "; the next snapshot takes over what is whole",
        NoteKind::Unknown => "; check with the version that wrote them",
        _ => "",
    };
    text.push_str(cure);
    text
}

/// `word: text`, broken into lines that stand one below the other.
fn marked(word: &str, text: &str, style: Style) -> Vec<String> {
    let indent = " ".repeat(word.len() + 2);
    let lines = wrap(&safe(&short(text)), COLUMNS - indent.len());
    let mut first = true;
    let open = |line: &String| match std::mem::take(&mut first) {
        true => format!("{} {line}", style.word(word)),
        false => format!("{indent}{line}"),
    };
    lines.iter().map(open).collect()
}

fn fault_lines(fault: &Fault, method: Method, style: Style) -> Vec<String> {
    let mut out = marked("fault", &format!("{}: {}", objects(fault), fault.reason), style);
    let mut say =
        |text: &str| {
            out.extend(wrap(&safe(text), COLUMNS - 9).into_iter().enumerate().map(|(at, line)| {
                if at == 0 { format!("       {line}") } else { format!("         {line}") }
            }));
        };
    let touches = &fault.touches;
    if fault.lost_blobs > 0 {
        let blobs = counted(fault.lost_blobs, "blob", "blobs");
        say(&format!("loses {blobs} that snapshots need"));
    }
    for id in touches.whole_snapshots.iter().take(10) {
        say(&format!("all of snapshot {}", id.short()));
    }
    let more = touches.whole_snapshots.len().saturating_sub(10);
    if more > 0 {
        say(&format!("and of {} more snapshots", count(more as u64)));
    }
    if touches.files > 0 {
        let least = if touches.at_least { "at least " } else { "" };
        let files = counted(touches.files, "file", "files");
        let snapshots = counted(touches.snapshots, "snapshot", "snapshots");
        say(&format!("touches {least}{files} in {snapshots}:"));
        for touched in &touches.first {
            out.push(format!("         {}:{}", touched.snapshot.short(), name(&touched.path)));
        }
        let more = touches.files - touches.first.len() as u64;
        if more > 0 {
            out.push(format!("         and {} more", count(more)));
        }
    } else if method != Method::Names && nothing_lost(fault) {
        out.push("       no file is touched".into());
    }
    let indent = "               ";
    let mut first = true;
    for repair in &fault.repair {
        let word = if std::mem::take(&mut first) { "repair: " } else { "then:   " };
        let lines = wrap(&command(*repair, fault), COLUMNS - indent.len());
        out.push(format!("       {word}{}", lines.join(&format!("\n{indent}"))));
    }
    out
}

fn nothing_lost(fault: &Fault) -> bool {
    fault.touches.whole_snapshots.is_empty()
        && !matches!(fault.kind, FaultKind::Ledger | FaultKind::Keys)
        && fault.touches.snapshots == 0
}

/// The objects of a fault, the first few of many.
fn objects(fault: &Fault) -> String {
    let mut shown: Vec<_> = fault.objects.iter().take(SHOWN_OBJECTS).cloned().collect();
    let more = fault.objects.len() - shown.len();
    if more > 0 {
        shown.push(format!("and {} more", count(more as u64)));
    }
    shown.join(", ")
}

/// Ids of 32 bytes as people read them: eight digits.
fn short(text: &str) -> String {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_hex) {
        let len = rest[at..].find(|c| !is_hex(c)).unwrap_or(rest.len() - at);
        out.push_str(&rest[..at]);
        out.push_str(if len == 64 { &rest[at..at + 8] } else { &rest[at..at + len] });
        rest = &rest[at + len..];
    }
    out.push_str(rest);
    out
}

/// All repairs in the order that loses least, each once.
fn cure(faults: &[Fault]) -> Vec<String> {
    let mut all: Vec<Repair> = faults.iter().flat_map(|f| f.repair.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    let mut out = vec!["Copy the repository before you mend it. Then, in this order:".to_owned()];
    if faults.iter().any(|f| f.lost_blobs > 0) {
        out.push("  ballast snapshot ...        what its sources still have is stored again".into());
    }
    for repair in all {
        let (verb, why) = match repair {
            Repair::Config => ("ballast repair config", "from its copy in the key file"),
            Repair::Index => ("ballast repair index", "makes it anew from the packs"),
            Repair::Packs => ("ballast repair packs ID...", "saves what can be read of them"),
            Repair::Snapshots => ("ballast repair snapshots", "takes out what is lost for good"),
        };
        out.push(format!("  {verb:<27} {why}"));
    }
    if faults.iter().any(|f| f.kind == FaultKind::Ledger) {
        out.push("A ledger is not mended: bring the entry back from a copy of the repository.".into());
    }
    out
}

fn verdict(report: &CheckReport) -> String {
    if report.is_sound() {
        return "no damage found".into();
    }
    let Touches { files, snapshots, at_least, .. } = report.touches;
    let faults = counted(report.faults.len() as u64, "fault", "faults");
    if report.method == Method::Names {
        return format!("{faults}; with the password `ballast check` names the files that are touched");
    }
    let least = if at_least { "at least " } else { "" };
    let are = if files == 1 { "is" } else { "are" };
    let files = counted(files, "file", "files");
    let mut line =
        format!("{faults}; {least}{files} in {} {are} touched", counted(snapshots, "snapshot", "snapshots"));
    let whole = report.touches.whole_snapshots.len() as u64;
    if whole > 0 {
        line.push_str(&format!(", {} wholly", counted(whole, "snapshot", "snapshots")));
    }
    line
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_shortened_and_nothing_else() {
        let id = "0a".repeat(32);
        assert_eq!(super::short(&format!("data/{id}: face {id}")), "data/0a0a0a0a: face 0a0a0a0a");
        assert_eq!(super::short("deadbeef café ab"), "deadbeef café ab");
    }
}
