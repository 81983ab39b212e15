//! Beside a service: `chatdb.py --live` commits some fifty times a second. It runs inside a few lines of Python that tell how
//! long each commit took.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::writer::told;
use super::{SECONDS, say, snapshots};

/// Runs the program in its first argument with the others, and prints the milliseconds of the last commit whenever it pauses.
const TIMED: &str = "
import runpy, sqlite3, sys, time
connect, sleep, last = sqlite3.connect, time.sleep, [0.0]
class Timed(sqlite3.Connection):
    def commit(self):
        began = time.monotonic()
        super().commit()
        last[0] = time.monotonic() - began
def pause(seconds):
    print('took', last[0], flush=True)
    sleep(seconds)
sqlite3.connect = lambda *a, **k: connect(*a, factory=Timed, **k)
time.sleep = pause
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
";
/// Chats to begin with: a database of about 55 MB.
const CHATS: &str = "5000";

/// Measures it alone and beside whole snapshots: each the first of its repository, and one after another into one.
pub fn run(dir: &Path) {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/tools/chatdb.py");
    if !program.exists() {
        return say("no chatdb.py here: the rows of a service are left out");
    }
    let source = dir.join("service");
    let mut command = Command::new("python3");
    command.args(["-c", TIMED]).arg(&program).arg(&source);
    command.args(["--chats", CHATS, "--days", "0", "--live"]).stdout(Stdio::piped());
    let mut service = command.spawn().expect("python3");
    let lines = BufReader::new(service.stdout.take().expect("because it was asked for")).lines();
    let took = Arc::new(Mutex::new(Vec::new()));
    let seen = took.clone();
    let reader = std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let seconds = line.strip_prefix("took ").and_then(|s| s.parse().ok());
            let seconds = seconds.map(Duration::from_secs_f64);
            seen.lock().unwrap_or_else(PoisonError::into_inner).extend(seconds);
        }
    });
    let taken = || std::mem::take(&mut *took.lock().unwrap_or_else(PoisonError::into_inner));
    while took.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let path = source.join("live.db");
    let snapshot = snapshots(dir, &path);
    let measure = |what: &str, work: &mut dyn FnMut()| {
        taken();
        let (began, mut turns) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(SECONDS) {
            work();
            turns += 1;
        }
        say(&format!("service {what:<18}{}  ({turns})", told(&mut taken(), began.elapsed().as_secs_f64())));
    };
    measure("alone", &mut || std::thread::sleep(Duration::from_millis(500)));
    measure("beside first ones", &mut || {
        let store = tempfile::tempdir_in(dir).expect("a directory");
        snapshots(store.path(), &path)();
    });
    measure("beside later ones", &mut || drop(snapshot()));
    service.kill().expect("a process");
    service.wait().expect("a process");
    reader.join().expect("a thread");
}
