//! `verify`: is each stored database whole?

use ballast::format::wire::Bytes;
use ballast::op::verify::{self, Verdict, Verified, VerifyOptions, VerifyReport};
use serde_json::{Value, json};

use crate::args::VerifyArgs;
use crate::bar::Meter;
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{count, counted, duration, name, safe, size};
use crate::printer::Printer;
use crate::whom;

/// Runs it.
pub fn run(args: &VerifyArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let (word, path) = whom::snapshot_and_path(&args.snapshot)?;
    let filter = whom::look(p.io, &args.filter)?;
    let repo = connect::open(p)?;
    let snapshot = whom::find(p, &repo, &word, &filter)?.id;
    let options = VerifyOptions {
        path: path.filter(|path| path != b"/"),
        foreign_keys: !args.no_foreign_keys,
        record: !args.no_record,
        ..VerifyOptions::all_of(snapshot)
    };
    let meter = Meter::start(p);
    let outcome = verify::run(&repo, &options, &meter);
    let seen = outcome.as_ref().ok();
    meter.end(seen.map_or(0, |r| r.problem_count), seen.map_or(&[], |r| &r.problems));
    connect::notices(p, &repo);
    let report = outcome?;
    if let Some(why) = &report.not_recorded {
        p.warn(&format!("the result is not recorded in the repository: {why}"));
    }
    if p.global.json {
        let value = as_json(&report)?;
        p.json(&value);
    } else {
        print(&report, p);
    }
    Ok(Exit::with_problems(report.problem_count > 0))
}

fn as_json(report: &VerifyReport) -> Result<Value, Failure> {
    let mut value = serde_json::to_value(report).map_err(|e| Failure::failed(e.to_string()))?;
    for (at, one) in report.databases.iter().enumerate() {
        value["databases"][at]["path"] = json!(Bytes(one.raw_path.clone()));
    }
    Ok(value)
}

fn print(r: &VerifyReport, p: &mut Printer<'_>) {
    let style = p.style();
    if r.databases.is_empty() {
        p.say(&format!("no database in snapshot {}", r.snapshot.short()));
        return;
    }
    for one in &r.databases {
        let line = line(one);
        if one.verdict == Verdict::Good {
            p.say(&line)
        } else {
            p.data(&line)
        }
        if one.verdict != Verdict::Good {
            for finding in &one.findings {
                p.data(&format!("      {}", safe(finding)));
            }
            let more = one.finding_count.saturating_sub(one.findings.len() as u64);
            if more > 0 {
                p.data(&format!("      and {} more", count(more)));
            }
        }
        if let Some(why) = &one.foreign_keys_unknown {
            p.say(&format!("      foreign keys could not be checked: {}", safe(why)));
        }
    }
    let all = counted(r.databases.len() as u64, "database", "databases");
    let took = duration(r.seconds);
    let head = format!("{all} of snapshot {} verified", r.snapshot.short());
    p.say(&format!("{} in {took}", style.bold(&head)));
    p.say(&format!("  size       {}, one after the other in {}", size(r.bytes), r.temp_dir));
    if let Some(entry) = r.ledger_entry {
        p.say(&format!("  recorded   in ledger entry {entry}"));
    }
    let verdict = match (r.bad, r.unknown) {
        (0, 0) => "all of them are whole".to_owned(),
        (0, n) => format!("{} could not be verified", count(n)),
        (n, 0) => format!("{} NOT WHOLE", count(n)),
        (n, m) => format!("{} NOT WHOLE, {} could not be verified", count(n), count(m)),
    };
    let verdict = style.bold(&verdict);
    if r.bad + r.unknown == 0 { p.say(&verdict) } else { p.data(&verdict) }
}

fn line(one: &Verified) -> String {
    let word = match one.verdict {
        Verdict::Good => "ok",
        Verdict::Bad => "BAD",
        Verdict::Unknown => "?",
    };
    let how = match (one.captured, one.live) {
        (true, _) => "",
        (false, false) => "; plain bytes, not a captured image",
        (false, true) => "; plain bytes of a database in use, without its log",
    };
    let took = duration(one.seconds);
    format!("{word:<4}  {}  ({}, {took}{how})", name(&one.raw_path), size(one.bytes))
}
