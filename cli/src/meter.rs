//! Progress for programs: with `--json`, lines of `"message_type":"status"` on standard error, at each
//! new part of the work and then once a second at most (`docs/json.md`).
//!
//! Lines come of what the run tells, not of a thread of its own: where nothing moves, nothing is said.
//! The names of the fields are restic's where it has them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use ballast::entropy::Clock;
use ballast::error::Problem;
use serde_json::{Map, Value, json};

use crate::printer::Voice;

/// Two lines of one part of the work are at least so far apart.
const EVERY_NS: i64 = 1_000_000_000;
/// Paths in one line.
const CURRENT_FILES: usize = 4;
/// Characters of a path in a line; what is longer ends in an ellipsis.
const PATH_CHARS: usize = 1024;

/// Counts, and says so every now and then.
pub struct Status {
    voice: Voice,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    began_ns: i64,
    /// No line before this moment.
    next_ns: i64,
    phase: &'static str,
    phase_ns: i64,
    unit: &'static str,
    files: u64,
    bytes: u64,
    total_files: Option<u64>,
    total_bytes: Option<u64>,
    problems: u64,
    /// The last that were named, the newest at the end.
    current: VecDeque<String>,
}

impl Status {
    /// From now on.
    pub fn new(voice: Voice, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now_ns();
        let state = State { began_ns: now, phase_ns: now, unit: "files", ..State::default() };
        Self { voice, clock, state: Mutex::new(state) }
    }

    /// A new part of the work: it is always told.
    pub fn phase(&self, name: &'static str, files: Option<u64>, bytes: Option<u64>) {
        let now = self.clock.now_ns();
        let mut state = self.lock();
        *state = State {
            phase: name,
            phase_ns: now,
            unit: "files",
            total_files: files,
            total_bytes: bytes,
            began_ns: state.began_ns,
            problems: state.problems,
            ..State::default()
        };
        self.say(&mut state, now);
    }

    /// What is counted as files in this part.
    pub fn unit(&self, plural: &'static str) {
        self.lock().unit = plural;
    }

    /// More to do.
    pub fn found(&self, files: u64, bytes: u64) {
        let mut state = self.lock();
        state.total_files = Some(state.total_files.unwrap_or(0).saturating_add(files));
        state.total_bytes = Some(state.total_bytes.unwrap_or(0).saturating_add(bytes));
        self.perhaps(&mut state);
    }

    /// So much is done.
    pub fn advance(&self, files: u64, bytes: u64) {
        let mut state = self.lock();
        state.files = state.files.saturating_add(files);
        state.bytes = state.bytes.saturating_add(bytes);
        self.perhaps(&mut state);
    }

    /// The path at hand.
    pub fn current(&self, path: &str) {
        let mut state = self.lock();
        if state.current.len() == CURRENT_FILES {
            state.current.pop_front();
        }
        state.current.push_back(path.to_owned());
        self.perhaps(&mut state);
    }

    /// One more problem; it has a line of its own.
    pub fn problem(&self) {
        self.lock().problems += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn perhaps(&self, state: &mut State) {
        let now = self.clock.now_ns();
        // A clock that was set back does not silence the run.
        if now >= state.next_ns || now < state.next_ns.saturating_sub(EVERY_NS) {
            self.say(state, now);
        }
    }

    fn say(&self, state: &mut State, now: i64) {
        state.next_ns = now.saturating_add(EVERY_NS);
        self.voice.object("status", state.line(now));
    }
}

impl State {
    fn line(&self, now: i64) -> Map<String, Value> {
        let since = |then: i64| now.saturating_sub(then).max(0) as f64 / 1e9;
        let rate = match since(self.phase_ns) {
            secs if secs > 0.0 && self.bytes > 0 => Some(self.bytes as f64 / secs),
            _ => None,
        };
        // What was done may be more than what was known of: then that is the least there is.
        let total_bytes = self.total_bytes.map(|total| total.max(self.bytes));
        let total_files = self.total_files.map(|total| total.max(self.files));
        let left = total_bytes.zip(rate).map(|(total, rate)| ((total - self.bytes) as f64 / rate).ceil());
        let share = total_bytes.filter(|total| *total > 0).map(|total| self.bytes as f64 / total as f64);
        let line = json!({
            "phase": self.phase,
            "unit": self.unit,
            "files_done": self.files,
            "total_files": total_files,
            "bytes_done": self.bytes,
            "total_bytes": total_bytes,
            "percent_done": share,
            "bytes_per_second": rate.map(|rate| rate as u64),
            "seconds_elapsed": since(self.began_ns) as u64,
            "seconds_remaining": left.map(|secs| secs as u64),
            "problem_count": self.problems,
            "current_files": self.current.iter().map(|path| cut(path)).collect::<Vec<_>>(),
        });
        match line {
            Value::Object(line) => line,
            _ => Map::new(),
        }
    }
}

fn cut(path: &str) -> String {
    match path.char_indices().nth(PATH_CHARS) {
        Some((at, _)) => format!("{}…", &path[..at]),
        None => path.to_owned(),
    }
}

/// A problem as a line of its own.
pub fn problem(problem: &Problem) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("path".into(), problem.path.as_str().into());
    object.insert("kind".into(), json!(problem.kind));
    object.insert("message".into(), problem.message.as_str().into());
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::atomic::{AtomicI64, Ordering};

    use crate::io::ErrOut;

    #[derive(Default)]
    struct Hand(AtomicI64);

    impl Clock for Hand {
        fn now_ns(&self) -> i64 {
            self.0.load(Ordering::Relaxed)
        }
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn take(&self) -> Vec<Value> {
            let bytes = std::mem::take(&mut *self.0.lock().unwrap());
            String::from_utf8(bytes).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
        }
    }

    fn begun() -> (Status, Arc<Hand>, Lines) {
        let (clock, lines) = (Arc::new(Hand::default()), Lines::default());
        let voice = Voice::programs(ErrOut::new(lines.clone()));
        (Status::new(voice, clock.clone()), clock, lines)
    }

    #[test]
    fn a_line_a_second_and_one_for_each_part() {
        let (status, clock, lines) = begun();
        status.phase("reading", None, None);
        status.found(10, 1000);
        for _ in 0..1000 {
            status.advance(0, 0);
            status.current("/a");
        }
        let first = lines.take();
        assert_eq!(first.len(), 1, "the clock stands: {first:?}");
        assert_eq!((&first[0]["total_bytes"], &first[0]["seconds_remaining"]), (&Value::Null, &Value::Null));

        clock.0.store(EVERY_NS - 1, Ordering::Relaxed);
        status.advance(1, 100);
        assert!(lines.take().is_empty());
        clock.0.store(2 * EVERY_NS, Ordering::Relaxed);
        status.advance(1, 100);
        status.advance(1, 0);
        let second = lines.take();
        assert_eq!(second.len(), 1, "{second:?}");
        let line = &second[0];
        assert_eq!((&line["files_done"], &line["bytes_done"]), (&2.into(), &200.into()));
        assert_eq!((&line["bytes_per_second"], &line["seconds_remaining"]), (&100.into(), &8.into()));
        assert_eq!((&line["percent_done"], &line["seconds_elapsed"]), (&json!(0.2), &2.into()));

        status.problem();
        status.phase("finishing", Some(1), None);
        let third = lines.take();
        assert_eq!(
            (third.len(), &third[0]["phase"], &third[0]["bytes_done"]),
            (1, &"finishing".into(), &0.into())
        );
        assert_eq!((&third[0]["problem_count"], &third[0]["current_files"]), (&1.into(), &json!([])));
    }

    #[test]
    fn more_than_was_known_of_is_no_share_above_one() {
        let (status, clock, lines) = begun();
        status.phase("reading", Some(1), Some(10));
        clock.0.store(EVERY_NS, Ordering::Relaxed);
        status.advance(3, 40);
        let line = lines.take().pop().unwrap();
        assert_eq!(
            (&line["percent_done"], &line["total_bytes"], &line["total_files"]),
            (&json!(1.0), &40.into(), &3.into())
        );
        assert_eq!(line["seconds_remaining"], 0);
    }

    #[test]
    fn a_line_is_bounded_and_a_clock_set_back_silences_nobody() {
        let (status, clock, lines) = begun();
        clock.0.store(100 * EVERY_NS, Ordering::Relaxed);
        status.phase("reading", None, None);
        let long = "語".repeat(5000);
        for n in 0..50 {
            status.current(&format!("{n}{long}"));
        }
        lines.take();
        clock.0.store(EVERY_NS, Ordering::Relaxed);
        status.advance(1, 1);
        let line = lines.take().pop().unwrap();
        let files = line["current_files"].as_array().unwrap();
        assert_eq!(files.len(), CURRENT_FILES);
        assert!(files[3].as_str().unwrap().starts_with("49語"));
        assert!(files.iter().all(|path| path.as_str().unwrap().chars().count() == PATH_CHARS + 1));
        assert_eq!((&line["seconds_elapsed"], &line["bytes_per_second"]), (&1.into(), &Value::Null));
    }
}
