//! Arguments of the verbs for stored databases: `verify`, `sqlite`.

use std::ffi::OsString;

use clap::Args;

use super::LookArgs;

const VERIFY: &str = "\
Examples:
  ballast verify latest                 every database of the latest snapshot
  ballast verify latest:/srv/open-webui those below a directory
  ballast verify 4f1c:/srv/app/chat.db  one

Each is restored to a private temporary file in TMPDIR (else /tmp), one after
the other, and removed at once: there must be room for the largest. The result
is written to the ledger: `ballast ledger` shows it.

Exit codes: 0 all are whole; 3 one is not, or could not be verified (each is
named); 1 failed; 2 usage; 10 no repository; 12 wrong password;
130 interrupted.";

/// Prove that stored SQLite databases are good: restore each, and ask it
///
/// Runs SQLite's `integrity_check` and `foreign_key_check` on a temporary copy, and compares it
/// with what was recorded when it was captured. Files that only begin like a database are
/// verified too, and it is said that they are plain bytes.
#[derive(Debug, Args)]
#[command(after_help = VERIFY)]
pub struct VerifyArgs {
    /// Snapshot: the beginning of its id, or `latest`; after a colon a path inside it
    #[arg(value_name = "SNAPSHOT[:PATH]", default_value = "latest")]
    pub snapshot: OsString,

    /// Do not look for rows that name rows which are not there
    ///
    /// Many programs leave such rows behind; a good copy has them, too.
    #[arg(long)]
    pub no_foreign_keys: bool,

    /// Do not write the result to the ledger
    #[arg(long)]
    pub no_record: bool,

    #[command(flatten, next_help_heading = "Which snapshot is the latest")]
    pub filter: LookArgs,
}

const SQLITE: &str = "\
Examples:
  ballast sqlite latest:/srv/open-webui/webui.db
      page size, tables, rows; what changed since the snapshot before
  ballast sqlite latest:/srv/open-webui/webui.db \\
      \"SELECT id, title FROM chat ORDER BY updated_at DESC LIMIT 20\"
  ballast sqlite latest:/srv/open-webui/webui.db --json \\
      \"SELECT chat FROM chat WHERE id = '3f2a'\" | jq -r '.rows[0][0]'

A temporary copy in TMPDIR (else /tmp) is asked, and removed; nothing can be
changed. A terminal gets a table, with long values cut; a pipe gets a line for
each row, values separated by tabs, NULL as \\N, tabs, line ends and backslashes
as \\t, \\n and \\\\, bytes as x'..'. --json has every value exactly.

Exit codes: 0 done; 1 failed; 2 usage, or no statement that only reads;
10 no repository; 12 wrong password; 130 interrupted.";

/// Look into a stored SQLite database, or ask it
#[derive(Debug, Args)]
#[command(after_help = SQLITE)]
pub struct SqliteArgs {
    /// Snapshot (the beginning of its id, or `latest`), a colon, and the database's path
    #[arg(value_name = "SNAPSHOT:PATH")]
    pub snapshot: OsString,

    /// One SQL statement that only reads
    pub statement: Option<String>,

    /// Compare with this snapshot instead of the one before
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "statement")]
    pub since: Option<String>,

    #[command(flatten, next_help_heading = "Which snapshot is the latest")]
    pub filter: LookArgs,
}
