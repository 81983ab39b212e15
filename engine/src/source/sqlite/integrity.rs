//! A database asked for its own integrity.

use super::copy::{Copy, Refusal};

/// Findings of each kind that are kept.
const KEPT: usize = 10;
/// Findings that are counted, at most: SQLite stops there.
const COUNTED: u32 = 1000;
/// Characters of one finding: names in it may be as long as their author wanted.
const LONGEST: usize = 300;

/// What a database says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Integrity {
    /// What `integrity_check` found, the first of it; empty if all is well.
    pub findings: Vec<String>,
    /// How much it found, up to a thousand.
    pub finding_count: u64,
    /// Rows that name a row that is not there, the first of them, in words.
    pub foreign_keys: Vec<String>,
    /// How many there are, up to a thousand.
    pub foreign_key_count: u64,
    /// Why foreign keys could not be looked at, if they could not.
    pub foreign_keys_unknown: Option<String>,
}

/// `PRAGMA integrity_check` and, if asked for, `foreign_key_check`. What SQLite calls corrupt while it is asked
/// is a finding too.
pub fn integrity(copy: &Copy, foreign_keys: bool) -> Result<Integrity, Refusal> {
    let mut found = Integrity::default();
    match check(copy, &mut found) {
        Err(Refusal::Damaged(why)) => found.find(why),
        done => done?,
    }
    if foreign_keys && found.finding_count == 0 {
        match check_foreign_keys(copy, &mut found) {
            Err(Refusal::Damaged(why)) => found.find(why),
            // A key that names columns which are no key is an error of the schema, not of the data.
            Err(Refusal::Cannot(why)) => found.foreign_keys_unknown = Some(short(&why)),
            done => done?,
        }
    }
    Ok(found)
}

impl Integrity {
    fn find(&mut self, what: String) {
        self.finding_count += 1;
        if self.findings.len() < KEPT {
            self.findings.push(short(&what));
        }
    }
}

fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

fn check(copy: &Copy, found: &mut Integrity) -> Result<(), Refusal> {
    let mut statement = copy.connection().prepare(&format!("PRAGMA integrity_check({COUNTED})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let line = String::from_utf8_lossy(row.get_ref(0)?.as_bytes().unwrap_or_default()).into_owned();
        if line != "ok" {
            // One row may hold several lines.
            line.lines().for_each(|line| found.find(line.to_owned()));
        }
    }
    Ok(())
}

fn check_foreign_keys(copy: &Copy, found: &mut Integrity) -> Result<(), Refusal> {
    let mut statement = copy.connection().prepare("PRAGMA foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name = |column| -> Result<String, Refusal> {
            Ok(String::from_utf8_lossy(
                row.get_ref(column)?.as_bytes_or_null().ok().flatten().unwrap_or_default(),
            )
            .into_owned())
        };
        found.foreign_key_count += 1;
        if found.foreign_keys.len() < KEPT {
            let which = match row.get::<_, Option<i64>>(1)? {
                Some(rowid) => format!("row {rowid}"),
                None => "a row".to_owned(),
            };
            let words = format!("{which} of {} names a row of {} that is not there", name(0)?, name(2)?);
            found.foreign_keys.push(short(&words));
        }
        if found.foreign_key_count >= u64::from(COUNTED) {
            break;
        }
    }
    Ok(())
}
