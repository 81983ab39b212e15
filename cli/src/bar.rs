//! Progress for people: a bar with rate and time left, on standard error, on a
//! terminal only. Problems and notes are printed above it, as they come. With `--json` all of it
//! is lines of JSON instead (`meter`).

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ballast::error::Problem;
use ballast::progress::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use crate::exit::Exit;
use crate::logs;
use crate::meter::{self, Status};
use crate::output::{count, name};
use crate::printer::{Printer, Voice};

/// Problems that people are shown one by one; the rest is only counted.
const SHOWN_PROBLEMS: usize = 100;
/// The same for programs: a bound of memory, about 16 MiB of long paths.
const TOLD_PROBLEMS: usize = 10_000;

const WITH_TOTAL: &str =
    "{spinner} {prefix} {bar:16} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left\n  {files} {wide_msg}";
const WITHOUT_TOTAL: &str = "{spinner} {prefix} {bytes} {bytes_per_sec}, {elapsed}\n  {files} {wide_msg}";
const FILES_ONLY: &str = "{spinner} {prefix} {files} {elapsed}\n  {wide_msg}";

/// Draws, prints, and says whether to stop.
pub struct Meter {
    bar: ProgressBar,
    voice: Voice,
    status: Option<Status>,
    quiet: bool,
    stop: Arc<AtomicBool>,
    told_to_stop: AtomicBool,
    files: Arc<[AtomicU64; 2]>,
    bytes: [AtomicU64; 2],
    shape: AtomicU8,
    /// What is counted in this phase.
    unit: Arc<Mutex<&'static str>>,
    shown: Mutex<HashSet<String>>,
}

impl Meter {
    /// For one run of a verb. From here on Ctrl-C asks the run to end cleanly.
    pub fn start(p: &Printer<'_>) -> Self {
        if p.io.owns_process {
            catch_signals(&p.io.stop);
            allow_descriptors();
            // Without it files are read, not mapped: slower by a copy, never wrong.
            if let Err(error) = ballast::source::install_sigbus_guard() {
                tracing::warn!(%error, "files are read without mapping them");
            }
        }
        let (quiet, json) = (p.global.quiet, p.global.json);
        let visible = p.io.terminals.stderr && !quiet && !json && !logs::wanted(p) && p.io.owns_process;
        let target =
            if visible { ProgressDrawTarget::stderr_with_hz(8) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if visible {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self {
            bar,
            voice: p.voice(),
            status: (json && !quiet).then(|| Status::new(p.voice(), p.io.surroundings.clock.clone())),
            quiet,
            stop: p.io.stop.clone(),
            told_to_stop: AtomicBool::new(false),
            files: Arc::new([AtomicU64::new(0), AtomicU64::new(0)]),
            bytes: [AtomicU64::new(0), AtomicU64::new(0)],
            shape: AtomicU8::new(u8::MAX),
            unit: Arc::new(Mutex::new("files")),
            shown: Mutex::default(),
        }
    }

    /// Takes the bar away and prints those of a report's problems that nobody has seen yet.
    pub fn end(self, problem_count: u64, problems: &[Problem]) {
        self.bar.finish_and_clear();
        for problem in problems {
            self.problem(problem);
        }
        let shown = self.shown.lock().unwrap_or_else(|e| e.into_inner()).len() as u64;
        if problem_count > shown {
            let more = count(problem_count - shown);
            self.voice.tell("warning", &format!("{more} more problems, not shown one by one"));
        }
    }

    /// Takes the bar away: what comes now goes to the same terminal.
    pub fn hide(&self) {
        self.bar.finish_and_clear();
    }

    fn above(&self, word: &str, message: &str) {
        self.bar.suspend(|| self.voice.tell(word, message));
    }

    /// Chooses the line by what is known.
    fn reshape(&self) {
        let [done, total] = [0, 1].map(|i| self.bytes[i].load(Ordering::Relaxed));
        let (shape, template) = match (done, total) {
            (_, 1..) => (0, WITH_TOTAL),
            (1.., 0) => (1, WITHOUT_TOTAL),
            (0, 0) => (2, FILES_ONLY),
        };
        if total > 0 {
            self.bar.set_length(total.max(done));
        }
        if self.shape.swap(shape, Ordering::Relaxed) != shape {
            let (files, unit) = (self.files.clone(), self.unit.clone());
            let style =
                ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let style = style.progress_chars("=> ").with_key(
                "files",
                move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let [done, total] = [0, 1].map(|i| files[i].load(Ordering::Relaxed));
                    let unit = *unit.lock().unwrap_or_else(|e| e.into_inner());
                    let _ = match total {
                        0 if done == 0 => Ok(()),
                        0 => write!(out, "{} {unit}", count(done)),
                        _ => write!(out, "{}/{} {unit}", count(done), count(total.max(done))),
                    };
                },
            );
            self.bar.set_style(style);
        }
    }
}

impl Progress for Meter {
    fn phase(&self, name: &'static str, files: Option<u64>, bytes: Option<u64>) {
        tracing::info!(name, files, bytes, "phase");
        for (pair, total) in [(&*self.files, files), (&self.bytes, bytes)] {
            pair[0].store(0, Ordering::Relaxed);
            pair[1].store(total.unwrap_or(0), Ordering::Relaxed);
        }
        self.unit("files");
        if let Some(status) = &self.status {
            status.phase(name, files, bytes);
        }
        self.bar.reset();
        self.bar.set_prefix(name);
        self.bar.set_message("");
        self.reshape();
    }

    fn unit(&self, plural: &'static str) {
        *self.unit.lock().unwrap_or_else(|e| e.into_inner()) = plural;
        if let Some(status) = &self.status {
            status.unit(plural);
        }
    }

    fn found(&self, files: u64, bytes: u64) {
        self.files[1].fetch_add(files, Ordering::Relaxed);
        self.bytes[1].fetch_add(bytes, Ordering::Relaxed);
        if let Some(status) = &self.status {
            status.found(files, bytes);
        }
        self.reshape();
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.files[0].fetch_add(files, Ordering::Relaxed);
        let before = self.bytes[0].fetch_add(bytes, Ordering::Relaxed);
        self.bar.inc(bytes);
        if let Some(status) = &self.status {
            status.advance(files, bytes);
        }
        if before == 0 {
            self.reshape();
        }
    }

    fn current(&self, path: &str) {
        if let Some(status) = &self.status {
            status.current(path);
        }
        if !self.bar.is_hidden() {
            self.bar.set_message(name(path.as_bytes()));
        }
    }

    fn problem(&self, problem: &Problem) {
        let most = if self.voice.json { TOLD_PROBLEMS } else { SHOWN_PROBLEMS };
        let mut shown = self.shown.lock().unwrap_or_else(|e| e.into_inner());
        if shown.len() >= most || !shown.insert(problem.to_string()) {
            return;
        }
        if self.voice.json {
            self.voice.object("problem", meter::problem(problem));
        } else {
            self.above("problem", &problem.to_string());
        }
        if let Some(status) = &self.status {
            status.problem();
        }
    }

    fn note(&self, message: &str) {
        if !self.quiet {
            self.above("note", message);
        }
    }

    fn stop_requested(&self) -> bool {
        let stop = self.stop.load(Ordering::Relaxed);
        if stop && !self.told_to_stop.swap(true, Ordering::Relaxed) {
            self.above("note", "stopping; once more to stop at once");
        }
        stop
    }
}

/// As many open files as the system lets us have: queued files and deep trees hold directories.
pub fn allow_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.unwrap_or(65_536).min(65_536);
    if now.current.is_some_and(|current| current < wanted) {
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: now.maximum });
        tracing::debug!(wanted, ?raised, "open files");
    }
}

/// The first signal asks, a second one ends the process at once. Where a signal cannot be
/// caught it does what it always did.
fn catch_signals(stop: &Arc<AtomicBool>) {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // In this order: the shutdown looks at what an earlier signal has set.
        drop(flag::register_conditional_shutdown(signal, Exit::Interrupted.code().into(), stop.clone()));
        drop(flag::register(signal, stop.clone()));
    }
}
