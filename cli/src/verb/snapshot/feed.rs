//! What a snapshot takes from a pipe: standard input, or what a command prints.
//!
//! A thread reads, so that a stop is obeyed while nothing comes. A command is not left behind: when the run
//! ends before it, it is asked to end, and killed if it does not within [`GRACE`]. Where nobody sits at a terminal it
//! has a process group of its own, and all of that goes; at a terminal it shares ours, so that it may ask for a password
//! there, and Ctrl-C reaches all of it.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use ballast::source::stream::{Feed, Tap};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::exit::Failure;
use crate::output::name;
use crate::printer::Printer;

/// Read at once.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces that wait.
const WAITING: usize = 4;
/// How often it is looked whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// So long a command may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(2);

struct Pipe {
    name: String,
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
    stop: Arc<AtomicBool>,
    command: Option<Running>,
}

/// Standard input.
pub fn stdin(p: &mut Printer<'_>) -> Result<Tap, Failure> {
    if p.io.terminals.stdin {
        p.note("reading from the terminal; Ctrl-D ends it");
    }
    let input = std::mem::replace(&mut p.io.stdin, Box::new(io::empty()));
    pipe(p, "standard input".into(), input, None)
}

/// What a command prints.
pub fn command(words: &[OsString], p: &Printer<'_>) -> Result<Tap, Failure> {
    let [program, arguments @ ..] = words else {
        return Err(Failure::usage(
            "--stdin-from-command names no command",
            "write it behind two dashes: --stdin-from-command -- pg_dump mydb",
        ));
    };
    let shown: Vec<String> = words.iter().map(|word| name(word.as_encoded_bytes())).collect();
    let shown = format!("`{}`", shown.join(" "));
    let own_group = !p.io.terminals.stdin;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    if own_group {
        command.process_group(0);
    }
    die_with_us(&mut command);
    let mut child = command.spawn().map_err(|e| {
        Failure::failed(format!("{shown} cannot be run: {e}"))
            .with_hint("give the program's path, and its arguments as words of their own; for a pipeline: -- sh -c '...'")
    })?;
    let output = child.stdout.take();
    let running = Running { child, own_group, ended: None };
    let Some(output) = output else { return Err(Failure::failed(format!("{shown} has no output"))) };
    pipe(p, shown, Box::new(output), Some(running))
}

fn pipe(
    p: &Printer<'_>,
    name: String,
    input: Box<dyn Read + Send>,
    command: Option<Running>,
) -> Result<Tap, Failure> {
    let (sender, pieces) = sync_channel(WAITING);
    let thread = std::thread::Builder::new().name("ballast-pipe".into());
    thread
        .spawn(move || forward(input, &sender))
        .map_err(|e| Failure::failed(format!("no thread for reading {name}: {e}")))?;
    let stop = p.io.stop.clone();
    Ok(Tap::new(Pipe { name, pieces, piece: Vec::new(), at: 0, stop, command }))
}

/// Until the end, which is an empty piece, an error, or nobody to listen.
fn forward(mut input: Box<dyn Read + Send>, sender: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = match input.read(&mut piece) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            read => read,
        };
        let last = !matches!(read, Ok(1..));
        let piece = read.map(|n| {
            piece.truncate(n);
            piece
        });
        if sender.send(piece).is_err() || last {
            return;
        }
    }
}

impl Feed for Pipe {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::other("stopped"));
            }
            match self.pieces.recv_timeout(LOOK) {
                Ok(Ok(piece)) if piece.is_empty() => return Ok(0),
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(io::Error::other("whoever read it is gone"));
                }
            }
        }
        let n = out.len().min(self.piece.len() - self.at);
        out[..n].copy_from_slice(&self.piece[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }

    fn finish(&mut self) -> Result<(), String> {
        let Some(command) = &mut self.command else { return Ok(()) };
        loop {
            match command.look() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    let how = match (status.code(), status.signal()) {
                        (Some(code), _) => format!("ended with exit code {code}"),
                        (None, Some(signal)) => format!("was killed by signal {signal}"),
                        (None, None) => "did not end well".into(),
                    };
                    return Err(format!("{how}, so no snapshot was made of what it printed"));
                }
                Ok(None) if self.stop.load(Ordering::Relaxed) => return Err("stopped".into()),
                Ok(None) => std::thread::sleep(LOOK),
                Err(e) => return Err(format!("was lost: {e}")),
            }
        }
    }
}

struct Running {
    child: Child,
    own_group: bool,
    ended: Option<ExitStatus>,
}

impl Running {
    fn look(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended)
    }

    fn signal(&self, signal: Signal) {
        let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) else { return };
        // It may have ended just now, which is as good.
        let _ = if self.own_group { kill_process_group(pid, signal) } else { kill_process(pid, signal) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.look(), Ok(None)) {
            return;
        }
        self.signal(Signal::TERM);
        let until = Instant::now() + GRACE;
        while matches!(self.look(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(LOOK);
        }
        // Also what is left of its group, when it has ended itself.
        if self.own_group || self.ended.is_none() {
            self.signal(Signal::KILL);
        }
        drop(self.child.wait());
    }
}

/// The command is asked to end when we are gone, however we went.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn die_with_us(command: &mut Command) {
    // SAFETY: between fork and exec one system call is made, which allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?));
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_us(_command: &mut Command) {}
