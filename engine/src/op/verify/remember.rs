//! The result, in the ledger: design §3a, W1, W5 and W6.

use super::{Verdict, Verified, VerifyReport};
use crate::error::{Error, Result};
use crate::format::ledger::Event;
use crate::format::record::{METHOD_DATABASE, VerifiedV1};
use crate::format::verified::{
    DATABASE_BAD, DATABASE_GOOD, DATABASE_UNKNOWN, EXT_DATABASES, MAX_RECORDED_DATABASES, VerifiedDatabaseV1,
    VerifiedDatabasesV1,
};
use crate::format::wire::{Bytes, Extension, Stamp, Text, encode};
use crate::repo::Repository;
use crate::repo::clerk::Clerk;
use crate::repo::ledger::Append;

/// A database with a longer path is only counted: an entry has an end.
const MAX_PATH_BYTES: usize = 8 << 10;

/// Appends the entry; gives its number. A snapshot that was forgotten meanwhile gets none.
pub fn write(repo: &Repository, report: &VerifyReport, asked: &[u8], began: Stamp) -> Result<u64> {
    let event = Event::Verified(VerifiedV1 {
        method: METHOD_DATABASE,
        began,
        snapshot: Some(report.snapshot),
        good: Vec::new(),
        bad: Vec::new(),
        extensions: vec![Extension {
            tag: EXT_DATABASES,
            critical: false,
            data: Bytes(encode(&record(report, asked))),
        }],
    });
    let mut clerk = Clerk::begin(repo, "verify")?;
    loop {
        if clerk.ledger().is_forgotten(&report.snapshot) {
            let what = format!("snapshot {}, forgotten meanwhile", report.snapshot.short());
            return Err(Error::Overtaken { what });
        }
        if clerk.append(&event)? == Append::Done {
            return Ok(clerk.ledger().head());
        }
    }
}

fn record(report: &VerifyReport, asked: &[u8]) -> VerifiedDatabasesV1 {
    let mut databases: Vec<VerifiedDatabaseV1> = Vec::new();
    for first in [true, false] {
        let fits =
            |one: &&Verified| (one.verdict != Verdict::Good) == first && one.raw_path.len() <= MAX_PATH_BYTES;
        let chosen = report.databases.iter().filter(fits);
        databases.extend(chosen.take(MAX_RECORDED_DATABASES - databases.len()).map(|one| {
            VerifiedDatabaseV1 {
                path: Bytes(one.raw_path.clone()),
                verdict: match one.verdict {
                    Verdict::Good => DATABASE_GOOD,
                    Verdict::Bad => DATABASE_BAD,
                    Verdict::Unknown => DATABASE_UNKNOWN,
                },
                finding: Text(one.findings.first().cloned().unwrap_or_default()),
            }
        }));
    }
    VerifiedDatabasesV1 {
        path: Bytes(asked[..asked.len().min(MAX_PATH_BYTES)].to_vec()),
        good: report.good,
        bad: report.bad,
        unknown: report.unknown,
        databases,
    }
}
