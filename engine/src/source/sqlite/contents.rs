//! What is in a database: its tables, and which pages belong to which.

use std::collections::HashMap;

use serde::Serialize;

use super::copy::{Copy, Refusal};

/// Tables that are told one by one.
const MAX_TABLES: usize = 10_000;
/// A page may be met more than once only in a damaged file.
const VISITS_PER_PAGE: u64 = 2;

/// What a database says of itself as a whole.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// Bytes a page.
    pub page_size: u32,
    /// Pages.
    pub pages: u32,
    /// Of them unused.
    pub free_pages: u32,
    /// `UTF-8`, `UTF-16le` or `UTF-16be`.
    pub encoding: String,
    /// `PRAGMA application_id`.
    pub application_id: u32,
    /// `PRAGMA user_version`.
    pub user_version: u32,
}

/// One table.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its rows; `None` if that takes a module that is not here, or cannot be counted.
    pub rows: Option<u64>,
    /// Its pages, those of its indexes among them.
    pub pages: u64,
    /// Those that differ.
    pub changed_pages: u64,
}

/// A set of pages, by number from 1 on.
#[derive(Debug, Default)]
pub struct PageSet {
    bits: Vec<u64>,
    len: u64,
}

impl PageSet {
    /// One more.
    pub fn insert(&mut self, page: u64) {
        let (at, bit) = (usize::try_from(page / 64).unwrap_or(usize::MAX), 1u64 << (page % 64));
        if at >= self.bits.len() {
            self.bits.resize(at.saturating_add(1), 0);
        }
        self.len += u64::from(self.bits[at] & bit == 0);
        self.bits[at] |= bit;
    }

    /// Is it in?
    pub fn contains(&self, page: u64) -> bool {
        let at = usize::try_from(page / 64).unwrap_or(usize::MAX);
        self.bits.get(at).is_some_and(|bits| bits & (1 << (page % 64)) != 0)
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// None?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What the first page and a few pragmas say.
pub fn facts(copy: &Copy) -> Result<Facts, Refusal> {
    let one = |sql: &str| -> Result<u32, Refusal> {
        Ok(copy.connection().query_row(sql, [], |row| row.get::<_, i64>(0))? as u32)
    };
    let header = copy.header();
    Ok(Facts {
        page_size: header.page_size,
        pages: one("PRAGMA page_count")?,
        free_pages: one("PRAGMA freelist_count")?,
        encoding: copy.connection().query_row("PRAGMA encoding", [], |row| row.get(0))?,
        application_id: header.application_id,
        user_version: header.user_version,
    })
}

/// Tables in the order of their names, SQLite's own too, with rows and pages. `changed`: pages of which
/// is told to which table they belong. Second: how many of those belong to none, as unused pages do; `None` if
/// this SQLite cannot tell whose a page is.
pub fn tables(copy: &Copy, changed: &PageSet) -> Result<(Vec<Table>, Option<u64>), Refusal> {
    let db = copy.connection();
    let text = |row: &rusqlite::Row<'_>, at| -> Result<String, rusqlite::Error> {
        Ok(String::from_utf8_lossy(row.get_ref(at)?.as_bytes_or_null().ok().flatten().unwrap_or_default())
            .into_owned())
    };
    let mut all = vec![Table { name: "sqlite_schema".into(), ..Table::default() }];
    // Of each tree, its table.
    let mut owners = HashMap::from([("sqlite_schema".to_owned(), 0), ("sqlite_master".to_owned(), 0)]);
    let mut statement = db.prepare(
        "SELECT type, name, tbl_name FROM sqlite_schema WHERE type IN ('table', 'index') ORDER BY type DESC, name",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (kind, name, table) = (text(row, 0)?, text(row, 1)?, text(row, 2)?);
        if kind == "table" && all.len() <= MAX_TABLES {
            owners.insert(name.clone(), all.len());
            all.push(Table { name, ..Table::default() });
        } else if let (true, Some(at)) = (kind == "index", owners.get(&table).copied()) {
            owners.entry(name).or_insert(at);
        }
    }
    drop(rows);
    for table in &mut all {
        table.rows = match rows_of(copy, &table.name) {
            Err(Refusal::GivenUp) => return Err(Refusal::GivenUp),
            rows => rows.ok(),
        };
    }
    let ownerless = attribute(copy, &mut all, &owners, changed)?;
    all[1..].sort_by(|a, b| a.name.cmp(&b.name));
    Ok((all, ownerless))
}

fn rows_of(copy: &Copy, table: &str) -> Result<u64, Refusal> {
    let sql = format!("SELECT count(*) FROM main.\"{}\"", table.replace('"', "\"\""));
    let rows: i64 = copy.connection().query_row(&sql, [], |row| row.get(0))?;
    Ok(rows.unsigned_abs())
}

fn attribute(
    copy: &Copy,
    all: &mut [Table],
    owners: &HashMap<String, usize>,
    changed: &PageSet,
) -> Result<Option<u64>, Refusal> {
    let Ok(mut statement) = copy.connection().prepare("SELECT name, pageno FROM dbstat") else {
        return Ok(None);
    };
    let mut left = copy.bytes() / u64::from(copy.header().page_size) * VISITS_PER_PAGE;
    let mut ownerless = changed.len();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        left = left.checked_sub(1).ok_or_else(|| Refusal::Damaged("its trees share pages".into()))?;
        let name = row.get_ref(0)?.as_bytes_or_null().ok().flatten().unwrap_or_default();
        let at = std::str::from_utf8(name).ok().and_then(|name| owners.get(name));
        let Some(table) = at.and_then(|at| all.get_mut(*at)) else { continue };
        table.pages += 1;
        let page = u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0);
        if changed.contains(page) {
            table.changed_pages += 1;
            ownerless = ownerless.saturating_sub(1);
        }
    }
    Ok(Some(ownerless))
}

#[cfg(test)]
mod tests {
    use super::PageSet;

    #[test]
    fn pages_count_once() {
        let mut set = PageSet::default();
        assert!(set.is_empty() && !set.contains(1));
        for page in [1, 64, 1, 1_000_000] {
            set.insert(page);
        }
        assert_eq!(set.len(), 3);
        assert!(set.contains(64) && !set.contains(63) && !set.contains(u64::MAX));
    }
}
