//! What is printed: a row for each run, then what is asked beside what was reached.

use std::fmt;

use super::child::Took;
use super::vault::Added;

/// One run.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its name.
    pub what: String,
    /// What it added.
    pub added: Added,
    /// What zstd at the same offset takes, in bytes.
    pub reference: Option<u64>,
    /// What restic adds, in bytes.
    pub restic: Option<u64>,
}

/// Prints the head of the table of runs.
#[allow(clippy::print_stdout, reason = "a table")]
pub fn head(restic: Option<&str>) {
    println!(
        "| run | file MB | stored kB | of it alone | as difference | padding beside | height | wall s | CPU s \
         | peak MiB | zstd 3, same offset, kB | {}, kB |",
        restic.unwrap_or("(no restic)")
    );
    println!("|{}", "---|".repeat(12));
}

fn kb(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e3)
}

fn mb(bytes: f64) -> String {
    format!("{:.3} MB", bytes / 1e6)
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Added { file_bytes, stored_bytes, packs, took } = &self.added;
        let others = [self.reference, self.restic].map(|bytes| bytes.map_or("–".into(), kb));
        write!(
            f,
            "| {} | {:.1} | {} | {} | {} | {} | {} | {:.2} | {:.2} | {:.0} | {} | {} |",
            self.what,
            *file_bytes as f64 / 1e6,
            kb(*stored_bytes),
            kb(packs.alone_bytes),
            kb(packs.delta_bytes),
            kb(packs.padding_bytes),
            packs.highest,
            took.wall,
            took.cpu,
            took.peak_mib,
            others[0],
            others[1],
        )
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Day 0 and those after it.
    pub days: Vec<Row>,
    /// Touched, and not a byte changed.
    pub touched: Option<Row>,
    /// The day after a VACUUM.
    pub vacuumed: Option<Row>,
    /// What was restored: name, what it took, bytes.
    pub restored: Vec<(String, Took, u64)>,
}

/// What a line of the summary measures, of each of the three.
type Figure<'a> = &'a dyn Fn(&Row) -> Option<f64>;

impl Summary {
    /// Length of the newest copy.
    pub fn last_bytes(&self) -> u64 {
        self.days.last().map_or(0, |row| row.added.file_bytes)
    }

    /// A line: what, at most how many bytes, and those of the three.
    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        what: &str,
        asked: f64,
        bytes: [Option<f64>; 3],
    ) -> fmt::Result {
        let show = |bytes: Option<f64>| bytes.map_or("–".into(), mb);
        let short = bytes[0].is_some_and(|bytes| bytes > asked);
        writeln!(
            f,
            "| {what} | ≤ {} | {}{} | {} | {} |",
            mb(asked),
            show(bytes[0]),
            if short { " **short**" } else { "" },
            show(bytes[1]),
            show(bytes[2]),
        )
    }
}

/// Mean of a figure; none if it is missing somewhere.
fn mean(rows: &[Row], figure: Figure<'_>) -> Option<f64> {
    let sum: Option<f64> = rows.iter().map(figure).sum();
    sum.filter(|_| !rows.is_empty()).map(|sum| sum / rows.len() as f64)
}

/// The three figures of runs, put together by `of`.
fn three(of: &dyn Fn(Figure<'_>) -> Option<f64>) -> [Option<f64>; 3] {
    [
        of(&|row| Some(row.added.stored_bytes as f64)),
        of(&|row| row.reference.map(|bytes| bytes as f64)),
        of(&|row| row.restic.map(|bytes| bytes as f64)),
    ]
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | asked | stored | zstd 3, same offset | restic |\n|---|---|---|---|---|")?;
        let Some((first, days)) = self.days.split_first() else { return Ok(()) };
        let size = first.added.file_bytes as f64;
        let one = |row: &Row| three(&|figure| figure(row));
        self.line(f, "the first copy", 27.5e6, one(first))?;
        let week = &days[..days.len().min(7)];
        let means = three(&|figure| mean(week, figure));
        self.line(f, &format!("mean of days 1–{}", week.len()), 1.3e6, means)?;
        if let [Some(ours), Some(reference), _] = means {
            let share = ours / reference;
            let short = if share > 0.72 { " **short**" } else { "" };
            writeln!(f, "| … to zstd at the same offset | ≤ 0.72 | {share:.2}{short} | 1 | |")?;
        }
        let scaled = |figure: Figure<'_>| {
            mean(days, &|row| figure(row).map(|bytes| bytes * size / row.added.file_bytes as f64))
        };
        let what = format!("mean of {} days, scaled by growth", days.len());
        self.line(f, &what, 2.0e6, three(&scaled))?;
        let greatest = |figure: Figure<'_>| days.iter().filter_map(figure).reduce(f64::max);
        self.line(f, "the greatest day", 5.0e6, three(&greatest))?;
        if let Some(row) = &self.vacuumed {
            self.line(f, "after VACUUM", 1.5e6, one(row))?;
        }
        if let Some(row) = &self.touched {
            self.line(f, "touched, equal", 10e3, one(row))?;
        }
        for (what, took, bytes) in &self.restored {
            let rate = *bytes as f64 / 1e9 / took.wall;
            let short = if rate < 0.5 { " **short**" } else { "" };
            writeln!(f, "| restore of {what} | ≥ 0.5 GB/s | {rate:.2} GB/s{short} | | |")?;
            writeln!(f, "| … | | {:.2} s, CPU {:.2} s, {:.0} MiB | | |", took.wall, took.cpu, took.peak_mib)?;
        }
        let highest = self.days.iter().map(|row| row.added.packs.highest).max().unwrap_or(0);
        writeln!(f, "\nThe greatest height is {highest}. What was restored is byte for byte what was taken.")
    }
}
