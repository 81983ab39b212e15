//! Logs to standard error: `-v`, `-vv`, or `BALLAST_LOG` (`debug`, `ballast::repo=trace`).
//! With `--json` each is a line of `"message_type":"log"`.

use std::io::{self, Write};

use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::printer::{Printer, Voice};

/// Does anybody want logs? Then no bar is drawn between them.
pub fn wanted(p: &Printer<'_>) -> bool {
    p.global.verbose > 0 || p.io.env.get("BALLAST_LOG").is_some()
}

/// Starts logging, if it is wanted and this process is ours.
pub fn start(p: &Printer<'_>) {
    if !p.io.owns_process || !wanted(p) {
        return;
    }
    let ours = |level: Level| Targets::new().with_target("ballast", level).with_target("ballast_cli", level);
    let targets = match p.io.env.text("BALLAST_LOG") {
        None if p.global.verbose == 1 => ours(Level::INFO),
        None => ours(Level::DEBUG),
        // A bare level means ours: nobody wants sled's.
        Some(text) => match (text.parse::<Level>(), text.parse::<Targets>()) {
            (Ok(level), _) => ours(level),
            (_, Ok(targets)) => targets,
            (_, Err(error)) => {
                p.warn(&format!("BALLAST_LOG is not understood and ignored: {error}"));
                return;
            }
        },
    };
    let voice = p.voice();
    let writer = match p.global.json {
        true => BoxMakeWriter::new(move || Event(voice.clone())),
        false => BoxMakeWriter::new(io::stderr),
    };
    let layer = fmt::layer().with_writer(writer).with_ansi(false).compact().with_filter(targets);
    // It fails only where a host program has set its own.
    drop(tracing_subscriber::registry().with(layer).try_init());
}

/// What is written at once is one event.
struct Event(Voice);

impl Write for Event {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.tell("log", String::from_utf8_lossy(bytes).trim());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
