//! `sqlite`: what is in a stored database, or what it answers.

mod rows;

use ballast::format::wire::{Bytes, Stamp};
use ballast::op::sqlite::{self, DatabaseReport, Since, SqliteOptions, Stored};
use ballast::source::sqlite::CopyPlace;
use serde_json::json;

use crate::args::SqliteArgs;
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, name, safe, size};
use crate::printer::Printer;
use crate::table::Table;
use crate::{time, whom};

/// Runs it.
pub fn run(args: &SqliteArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (word, path) = whom::snapshot_and_path(&args.snapshot)?;
    let Some(path) = path else {
        return Err(Failure::usage("no database was named", format!("write {word}:/path/of/the/database")));
    };
    let filter = whom::look(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let snapshot = whom::find(p, &repo, &word, &filter)?.id;
    let since = args.since.as_ref().map(|word| whom::ids(p, &repo, std::slice::from_ref(word), &filter));
    let since = since.transpose()?.and_then(|ids| ids.first().copied());
    let options = SqliteOptions { snapshot, path, since, place: CopyPlace::default() };
    if let Some(statement) = &args.statement {
        return rows::ask(&repo, &options, statement, p);
    }
    let meter = Meter::start(p);
    let outcome = sqlite::inspect(&repo, &options, &meter);
    meter.end(0, &[]);
    connect::notices(p, &repo);
    let report = outcome?;
    if p.global.json {
        let mut value = serde_json::to_value(&report).map_err(|e| Failure::failed(e.to_string()))?;
        value["path"] = json!(Bytes(report.raw_path));
        p.json(&value);
    } else {
        print(&report, p);
    }
    Ok(Exit::Done)
}

fn print(r: &DatabaseReport, p: &mut Printer<'_>) {
    let f = &r.facts;
    let head = format!("{} in snapshot {}", name(&r.raw_path), r.snapshot.short());
    let head = p.style().bold(&head);
    p.data(&head);
    let mut say = |label: &str, text: String| p.data(&format!("  {label:<12} {text}"));
    let stored = match r.stored {
        Stored::Image => "an image of one committed state",
        Stored::Plain => "plain bytes",
        Stored::PlainLive => "plain bytes of a database in use: perhaps no state it ever had",
    };
    say("stored", format!("{stored}, {}", size(r.bytes)));
    let free = match f.free_pages {
        0 => String::new(),
        n => format!(", {} of them unused", count(n.into())),
    };
    say("pages", format!("{} of {} bytes{free}", count(f.pages.into()), f.page_size));
    say("text", safe(&f.encoding));
    say("versions", format!("user_version {}, application_id {:#010x}", f.user_version, f.application_id));
    if r.stored == Stored::Image {
        say(
            "journal",
            match r.wal_bytes {
                Some(bytes) => {
                    format!("write-ahead log of {} when it was captured; it is in the image", size(bytes))
                }
                None => "no write-ahead log lay beside it".into(),
            },
        );
    }
    match &r.since {
        None => say("changed", "no earlier snapshot has it".into()),
        Some(since) => {
            let when = time::local(Stamp::from_ns(since.time_ns), &p.io.zone);
            let text = format!("{} (snapshot {}, {when})", changed(since), since.snapshot.short());
            p.data(&format!("  {:<12} {text}", "changed"));
        }
    }
    p.data("");
    let mut table = Table::new(&["Table", ">Rows", ">Pages", ">Size", ">Changed pages"]);
    for one in &r.tables {
        let pages = if one.pages > 0 { count(one.pages) } else { String::new() };
        let bytes = one.pages.saturating_mul(f.page_size.into());
        let changed = if one.changed_pages > 0 { count(one.changed_pages) } else { String::new() };
        let rows = one.rows.map_or("?".into(), count);
        let bytes = if bytes > 0 { size(bytes) } else { String::new() };
        table.row([one.name.clone(), rows, pages, bytes, changed]);
    }
    if let Some(other) = r.since.as_ref().and_then(|s| s.other_pages).filter(|n| *n > 0) {
        table.row(["(unused pages)".into(), String::new(), String::new(), String::new(), count(other)]);
    }
    table.lines().iter().for_each(|line| p.data(line));
}

fn changed(since: &Since) -> String {
    match since.page_size_was {
        Some(0) => return "everything: it was no database then".into(),
        Some(was) => return format!("everything: its pages had {was} bytes then"),
        None => {}
    }
    if since.changed_pages + since.added_pages + since.removed_pages == 0 {
        return "nothing".into();
    }
    let mut out = counted(since.changed_pages, "page", "pages");
    for (n, word) in [(since.added_pages, "new"), (since.removed_pages, "gone")] {
        if n > 0 {
            out.push_str(&format!(", {} {word}", count(n)));
        }
    }
    format!("{out}: {}", size(since.changed_bytes))
}
