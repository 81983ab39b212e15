//! One statement of the user's, asked of a copy: it may read, and nothing else.

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::ValueRef;
use rusqlite::{Batch, ErrorCode};

use super::copy::{Copy, Refusal};

/// Pragmas that only tell.
const TELLING: [&str; 22] = [
    "application_id",
    "auto_vacuum",
    "collation_list",
    "compile_options",
    "data_version",
    "encoding",
    "foreign_key_check",
    "foreign_key_list",
    "freelist_count",
    "function_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "page_count",
    "page_size",
    "quick_check",
    "schema_version",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A number.
    Real(f64),
    /// Text, which need not be UTF-8.
    Text(&'a [u8]),
    /// Bytes.
    Blob(&'a [u8]),
}

/// Why a statement gave no (more) rows.
#[derive(Debug)]
pub enum Unanswered<E> {
    /// The statement is none, more than one, or does more than reading.
    Statement(String),
    /// The database.
    Copy(Refusal),
    /// Who takes the rows wants no more.
    Taker(E),
}

impl<E> From<rusqlite::Error> for Unanswered<E> {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::AuthorizationForStatementDenied | ErrorCode::ReadOnly) => {
                Self::Statement("it does more than reading".into())
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::OperationInterrupted) => {
                Self::Copy(error.into())
            }
            _ => Self::Statement(error.to_string()),
        }
    }
}

/// Where rows go.
pub trait Rows<E> {
    /// Once, before the first row.
    fn columns(&mut self, names: &[&str]) -> Result<(), E>;
    /// One row; as many cells as columns.
    fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), E>;
}

/// Runs `sql`; gives the number of rows.
pub fn ask<E>(copy: &mut Copy, sql: &str, rows: &mut dyn Rows<E>) -> Result<u64, Unanswered<E>> {
    copy.connection_mut().authorizer(Some(|context: AuthContext<'_>| allow(&context)))?;
    let connection = copy.connection();
    let mut batch = Batch::new(connection, sql);
    let none = || Unanswered::Statement("there is no statement in it".into());
    let mut statement = batch.next()?.ok_or_else(none)?;
    if batch.next()?.is_some() {
        return Err(Unanswered::Statement("it is more than one statement".into()));
    }
    if !statement.readonly() {
        return Err(Unanswered::Statement("it does more than reading".into()));
    }
    rows.columns(&statement.column_names().collect::<Vec<_>>()).map_err(Unanswered::Taker)?;
    let columns = statement.column_count();
    let mut found = statement.query([])?;
    let mut count = 0;
    while let Some(row) = found.next()? {
        let mut cells = Vec::with_capacity(columns);
        for at in 0..columns {
            cells.push(match row.get_ref(at)? {
                ValueRef::Null => Cell::Null,
                ValueRef::Integer(n) => Cell::Integer(n),
                ValueRef::Real(n) => Cell::Real(n),
                ValueRef::Text(text) => Cell::Text(text),
                ValueRef::Blob(bytes) => Cell::Blob(bytes),
            });
        }
        rows.row(&cells).map_err(Unanswered::Taker)?;
        count += 1;
    }
    Ok(count)
}

/// Reading, and nothing that opens, makes or sets anything: `ATTACH` counts as reading for SQLite.
fn allow(context: &AuthContext<'_>) -> Authorization {
    let allowed = match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => !function_name.eq_ignore_ascii_case("load_extension"),
        AuthAction::Pragma { pragma_name, .. } => {
            TELLING.iter().any(|name| pragma_name.eq_ignore_ascii_case(name))
        }
        _ => false,
    };
    if allowed { Authorization::Allow } else { Authorization::Deny }
}
