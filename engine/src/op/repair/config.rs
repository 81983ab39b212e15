//! `repair config`: the config object, written anew from the copy sealed in the key file.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::format::config::Features;
use crate::id::{KeyId, SessionId};
use crate::repo::Repository;
use crate::repo::lease::Lease;

/// What was found and done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ConfigReport {
    /// Nothing was changed.
    pub dry_run: bool,
    /// What was wrong with it; `None`: it is whole, and was not touched.
    pub damage: Option<String>,
    /// It was written anew.
    pub written: bool,
    /// Key files that are damaged, with the reason.
    pub damaged_keys: Vec<(KeyId, String)>,
}

/// Repairs the config. One that opens is never touched. The ledger is not asked: it may be damaged too.
pub fn run(repo: &Repository, dry_run: bool) -> Result<ConfigReport> {
    let mut report = ConfigReport { dry_run, ..ConfigReport::default() };
    let damaged = repo.keys()?.into_iter().filter_map(|key| Some((key.id, key.damage?)));
    report.damaged_keys = damaged.collect();
    let missing = match repo.config_object() {
        Ok(_) => return Ok(report),
        Err(Error::Store(error)) if error.is_not_found() => true,
        // What cannot be read now is perhaps whole.
        Err(error @ Error::Store(_)) => return Err(error),
        Err(error) => {
            report.damage = Some(error.to_string());
            false
        }
    };
    if missing {
        report.damage = Some("config is missing".into());
    }
    let read_only = repo.config().features.read_only;
    if let Some(names) = Features::names("read-only", read_only, Features::KNOWN.read_only) {
        return Err(Error::ReadOnlyFeatures { names });
    }
    if dry_run {
        return Ok(report);
    }
    let _lease = Lease::take(repo, SessionId(repo.surroundings().random()?), "repair")?;
    repo.write_config_again(missing)?;
    report.written = true;
    Ok(report)
}
