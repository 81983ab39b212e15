//! One database: restored to a private place, and asked.

use std::time::Instant;

use super::find::Found;
use super::{Verdict, Verified, VerifyOptions};
use crate::error::{Error, Result};
use crate::format::record::SqliteCaptureV1;
use crate::format::tree::{CAPTURE_PLAIN_LIVE, CAPTURE_SQLITE, EXT_SQLITE, Node};
use crate::format::wire::decode;
use crate::progress::Progress;
use crate::repo::reader::Reader;
use crate::source::sqlite::{Copy, Refusal, integrity};

/// Restores it and asks. Only what ends the run is an error.
pub fn judge(
    reader: &Reader,
    found: Found,
    options: &VerifyOptions,
    progress: &dyn Progress,
) -> Result<Verified> {
    let begun = Instant::now();
    let Found { path, node } = found;
    let mut verified = Verified {
        path: String::from_utf8_lossy(&path).into_owned(),
        raw_path: path,
        captured: node.capture == CAPTURE_SQLITE,
        live: node.capture == CAPTURE_PLAIN_LIVE,
        bytes: node.size,
        verdict: Verdict::Good,
        findings: Vec::new(),
        finding_count: 0,
        foreign_key_violations: 0,
        foreign_keys_unknown: None,
        seconds: 0.0,
    };
    let outcome = restore(reader, &node, options, progress)?;
    let outcome = outcome.and_then(|mut copy| {
        copy.until(&|| progress.stop_requested(), |copy| ask(copy, &node, options, &mut verified))
    });
    progress.check()?;
    if let Err(refusal) = outcome {
        verified.verdict = match refusal {
            Refusal::Damaged(_) => Verdict::Bad,
            Refusal::Cannot(_) | Refusal::GivenUp => Verdict::Unknown,
        };
        verified.finding_count += 1;
        verified.findings.insert(0, refusal.to_string());
    }
    verified.seconds = begun.elapsed().as_secs_f64();
    Ok(verified)
}

/// To a file of our own.
fn restore(
    reader: &Reader,
    node: &Node,
    options: &VerifyOptions,
    progress: &dyn Progress,
) -> Result<Result<Copy, Refusal>> {
    let attempt = || -> Result<Result<Copy, Refusal>> {
        if let Some(lost) = node.lost() {
            let words = format!("{} of its {} bytes are lost", lost.bytes(), node.size);
            return Ok(Err(Refusal::Damaged(words)));
        }
        let (pieces, len) = reader.pieces(&node.content)?;
        Ok(match options.place.blank(len) {
            Err(why) => Err(Refusal::Cannot(why)),
            Ok(file) => {
                reader.extract(&pieces, len, &file, progress)?;
                options.place.open(&file)
            }
        })
    };
    match attempt() {
        Err(error @ (Error::Missing { .. } | Error::Corrupt { .. } | Error::Store(_))) => {
            Ok(Err(Refusal::Damaged(error.to_string())))
        }
        Err(error @ Error::Io { .. }) => Ok(Err(Refusal::Cannot(error.to_string()))),
        done => done,
    }
}

fn ask(copy: &Copy, node: &Node, options: &VerifyOptions, verified: &mut Verified) -> Result<(), Refusal> {
    let found = integrity(copy, options.foreign_keys)?;
    verified.findings = found.findings;
    verified.findings.extend(found.foreign_keys);
    verified.finding_count = found.finding_count + found.foreign_key_count;
    verified.foreign_key_violations = found.foreign_key_count;
    verified.foreign_keys_unknown = found.foreign_keys_unknown;
    if let Some(difference) = difference(copy, node)? {
        verified.finding_count += 1;
        verified.findings.insert(0, difference);
    }
    if verified.finding_count > 0 {
        verified.verdict = Verdict::Bad;
    }
    Ok(())
}

/// In what the copy is not the state that was captured.
fn difference(copy: &Copy, node: &Node) -> Result<Option<String>, Refusal> {
    let record = node.extension(EXT_SQLITE).map(|data| decode::<SqliteCaptureV1>(data));
    let record = match record {
        Some(Ok(record)) if node.capture == CAPTURE_SQLITE => record,
        Some(Err(error)) => return Ok(Some(error.to_string())),
        _ => return Ok(None),
    };
    let header = copy.header();
    let bytes = u64::from(record.page_size).saturating_mul(record.pages.into());
    let differs = if header.page_size != record.page_size || copy.bytes() != bytes {
        "length or page size"
    } else if header.change_counter != record.change_counter || header.schema_cookie != record.schema_cookie {
        "its counters of changes"
    } else if (header.application_id, header.user_version) != (record.application_id, record.user_version) {
        "application id or user version"
    } else if record.schema_hash != [0; 32] && copy.schema_hash()? != record.schema_hash {
        "its schema"
    } else {
        return Ok(None);
    };
    Ok(Some(format!("it is not the state that was captured: {differs} differs")))
}
