//! `snapshot`: the main job.

mod feed;
mod sources;
mod summary;

use ballast::error::{Error, ProblemKind};
use ballast::op::snapshot::{self, Early, Named, Parent, SnapshotOptions, SnapshotReport};
use ballast::repo::Repository;
use ballast::repo::snapshots::Filter;
use ballast::source::sqlite::{SqliteMode, SqliteOptions};

use super::init;
use crate::args::{SnapshotArgs, Sqlite};
use crate::bar::{self, Meter};
use crate::connect;
use crate::exit::{Exit, Failure};
use crate::output::name;
use crate::printer::Printer;
use crate::{time, whom};

/// Runs it.
pub fn run(args: SnapshotArgs, p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let time_ns = args.time.as_deref().map(|text| moment(text, p)).transpose()?;
    let paths = sources::paths(&args, p)?;
    for path in &paths {
        whom::absolute(p.io, path)?;
    }
    // Without one all paths are absolute, or we would not be here.
    let cwd = p.io.cwd.clone().unwrap_or_else(|| "/".into());
    // It is on the files that are read, not on the repository.
    let read_limit = p.limits.read.take();
    let now_ns = p.io.surroundings.clock.now_ns();
    let sqlite = SqliteOptions {
        mode: match args.sqlite {
            Sqlite::Auto => SqliteMode::Auto,
            Sqlite::Off => SqliteMode::Off,
            Sqlite::Require => SqliteMode::Require,
        },
        temp_dir: p.io.env.get("TMPDIR").map_or_else(std::env::temp_dir, Into::into),
        ..SqliteOptions::default()
    };
    let mut options = SnapshotOptions {
        paths,
        cwd,
        excludes: args.exclude.clone(),
        exclude_files: args.exclude_file.clone(),
        any_case_excludes: args.iexclude.clone(),
        any_case_exclude_files: args.iexclude_file.clone(),
        exclude_if_present: args.exclude_if_present.clone(),
        exclude_larger_than: args.exclude_larger_than,
        exclude_caches: args.exclude_caches,
        one_file_system: args.one_file_system,
        follow_outside: args.follow_outside,
        force: args.force,
        ignore_inode: args.ignore_inode,
        ignore_ctime: args.ignore_ctime,
        sqlite,
        dry_run: args.dry_run,
        tags: args.tags.iter().filter(|t| !t.is_empty()).cloned().collect(),
        host: args.host.clone(),
        description: args.description.clone(),
        time_ns,
        utc_offset_secs: time::offset_secs(time_ns.unwrap_or(now_ns), &p.io.zone),
        readers: args.read_concurrency,
        read_limit,
        threads: args.threads,
        ..SnapshotOptions::default()
    };
    let mut early = Early::new(&options)?;
    let repo = open(&args, p, &options, &mut early)?;
    connect::note_missing_cache(p);
    options.parent = match &args.parent {
        None => Parent::Automatic,
        Some(word) if word == "none" => Parent::None,
        Some(word) => {
            let (word, _) = whom::snapshot_and_path(word.as_ref())?;
            Parent::Given(whom::find(p, &repo, &word, &Filter::default())?.id)
        }
    };
    options.base = match &args.base {
        None => None,
        Some(word) => {
            let (word, path) = whom::snapshot_and_path(word.as_ref())?;
            let snapshot = whom::find(p, &repo, &word, &Filter::default())?.id;
            Some(Named { snapshot, path: path.unwrap_or_else(|| b"/".to_vec()) })
        }
    };
    options.stream = sources::stream(&args, p)?;
    let options_host = name(args.host.as_deref().unwrap_or(&repo.identity().host).as_bytes());
    let meter = Meter::start(p);
    let outcome = snapshot::run_begun(&repo, &options, early, &meter);
    let seen = outcome.as_ref().ok();
    meter.end(seen.map_or(0, |r| r.problem_count), seen.map_or(&[], |r| &r.problems));
    connect::notices(p, &repo);
    // A command that is still running ends here.
    drop(options);
    let report = outcome?;
    if let Some(host) = &report.parent_host {
        let (own, other) = (options_host, name(host.as_bytes()));
        p.note(&format!(
            "no snapshot of host {own} has these paths; compared with one of {other}. Where host names change from \
             run to run, as in containers, set BALLAST_HOST"
        ));
    }
    render(&report, p)?;
    Ok(Exit::with_problems(report.problem_count > 0 || report.total_bytes == 0))
}

fn moment(text: &str, p: &Printer<'_>) -> Result<i64, Failure> {
    time::parse(text, &p.io.zone).ok_or_else(|| {
        Failure::usage(
            format!("\"{text}\" is no time"),
            "write it as 2025-04-05, \"2025-04-05 10:00\", 2025-04-05T10:00:00Z or @1743847200",
        )
    })
}

/// The repository, with the walk begun while its keys are derived; with `--init` a new one where there is none.
fn open(
    args: &SnapshotArgs,
    p: &mut Printer<'_>,
    options: &SnapshotOptions,
    early: &mut Early,
) -> Result<Repository, Failure> {
    let store = connect::store(p)?;
    if !args.init || Repository::exists(store.as_ref())? {
        let (own, clock) = (store.local_path(), p.io.surroundings.clock.clone());
        return connect::open_while(p, store, || {
            bar::allow_descriptors();
            early.begin(options, own, clock);
        });
    }
    if args.dry_run {
        let missing = Error::NoRepository { location: store.location() };
        return Err(
            Failure::from(missing).with_hint("a dry run creates nothing: leave out --dry-run, or run init")
        );
    }
    let repo = connect::init(p, store, "")?;
    p.note(&format!("repository {} created", repo.config().repo_id.short()));
    for line in init::advice(&repo) {
        p.note(&line);
    }
    Ok(repo)
}

fn render(report: &SnapshotReport, p: &mut Printer<'_>) -> Result<(), Failure> {
    if p.global.json {
        return p.report(report);
    }
    for line in summary::lines(report, p.style()) {
        p.say(&line);
    }
    let told = report.problems.iter().any(|problem| problem.kind == ProblemKind::Empty);
    if report.total_bytes == 0 && !told {
        p.warn("this snapshot holds not a single byte; are these the right paths?");
    }
    Ok(())
}
