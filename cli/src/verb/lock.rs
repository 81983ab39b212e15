//! `lock`: leases of runs that write, and removing what killed ones have left.

use ballast::error::Error;
use ballast::format::config::STORE_ATOMIC_CREATE;
use ballast::op::lock::{self, LeaseInfo, RemoveOptions};
use ballast::repo::lease::Judgement;
use serde_json::json;

use crate::args::{LockCommand, UnlockArgs};
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::{duration, safe};
use crate::printer::Printer;
use crate::table::Table;

/// Runs one of them.
pub fn run(command: &LockCommand, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    match command {
        LockCommand::List => list(p),
        LockCommand::Remove(args) => remove(args, p),
    }
}

fn word(state: Judgement) -> &'static str {
    match state {
        Judgement::Alive => "alive",
        Judgement::Lapsed => "lapsed",
        Judgement::Gone => "process gone",
    }
}

fn silent(lease: &LeaseInfo) -> String {
    format!("{} ago", duration(lease.silent_secs.max(0) as f64))
}

fn list(p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let leases = lock::list(&repo)?;
    connect::notices(p, &repo);
    if p.global.json {
        p.json(&json!({ "leases": leases }));
    } else if leases.is_empty() {
        p.data("no leases: nobody writes to this repository");
    } else {
        let mut table = Table::new(&["Session", "State", "Who", ">Pid", "Doing", ">From entry", "Last beat"]);
        for lease in &leases {
            let held =
                |show: &dyn Fn(&lock::Holder) -> String| lease.holder.as_ref().map(show).unwrap_or_default();
            table.row([
                lease.session.short(),
                word(lease.state).into(),
                lease.holder.as_ref().map_or("cannot be read".into(), |h| format!("{}@{}", h.user, h.host)),
                held(&|h| h.pid.to_string()),
                held(&|h| h.operation.clone()),
                held(&|h| h.start.to_string()),
                silent(lease),
            ]);
        }
        table.lines().iter().for_each(|line| p.data(line));
        if leases.iter().any(|lease| lease.state != Judgement::Alive) {
            p.note("`ballast unlock` removes those that nobody holds any more");
        }
    }
    Ok(Exit::Done)
}

/// `lock remove`, and `unlock`.
pub fn remove(args: &UnlockArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let repo = connect::open(p)?;
    let sessions: Vec<String> = args.sessions.iter().map(|s| s.to_ascii_lowercase()).collect();
    let named = !sessions.is_empty();
    let options = RemoveOptions { sessions, alive_too: args.all };
    let report = lock::remove(&repo, &options).map_err(|error| {
        let missing = matches!(error, Error::NotFound { .. });
        let failure = Failure::from(error);
        if missing { failure.with_hint("`ballast lock list` lists what there is") } else { failure }
    })?;
    connect::notices(p, &repo);
    for lease in &report.left {
        let told = format!("lease {} is left: {}", lease.session.short(), describe(lease));
        p.warn(&format!("{told}; if you know better, --all removes it too"));
    }
    let at_work = report.removed.iter().any(|lease| lease.state == Judgement::Alive);
    if at_work && repo.config().store_mode != STORE_ATOMIC_CREATE {
        p.warn("here leases protect data: run no prune before the runs that held these have ended");
    }
    for lease in &report.removed {
        p.say(&format!("lease {} removed: {}", lease.session.short(), describe(lease)));
    }
    if report.removed.is_empty() && report.left.is_empty() {
        p.say("no leases: nothing to remove");
    }
    if p.global.json {
        p.report(&report)?;
    }
    Ok(Exit::with_problems(named && !report.left.is_empty()))
}

fn describe(lease: &LeaseInfo) -> String {
    let state = match lease.state {
        Judgement::Alive => "may be at work",
        other => word(other),
    };
    let who = match &lease.holder {
        Some(h) => {
            format!("{} of {}@{}, process {}", safe(&h.operation), safe(&h.user), safe(&h.host), h.pid)
        }
        None => "a run whose lease cannot be read".into(),
    };
    format!("{who}, {state}, last beat {}", silent(lease))
}
