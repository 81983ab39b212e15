//! `version`: what this binary is made of.

use std::collections::BTreeMap;

use ballast::crypto::aead;
use ballast::format::FORMAT_VERSION;
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::printer::Printer;

const VERSION: &str = env!("CARGO_PKG_VERSION");
const TARGET: &str = env!("BALLAST_TARGET");
/// Kinds of stores that are compiled in.
const FEATURES: [&str; 1] = ["store-local"];

/// Runs it.
pub fn run(p: &mut Printer<'_>) -> Result<Exit, Failure> {
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let backends = aead::backends();
    if p.global.json {
        let backends: BTreeMap<_, _> = backends.into_iter().collect();
        p.json(&json!({
            "version": VERSION,
            "format": FORMAT_VERSION,
            "target": TARGET,
            "build": build,
            "features": FEATURES,
            "backends": backends,
        }));
        return Ok(Exit::Done);
    }
    p.data(&format!("ballast {VERSION}"));
    p.data(&format!("format:    {FORMAT_VERSION}"));
    p.data(&format!("target:    {TARGET} ({build})"));
    p.data(&format!("features:  {}", FEATURES.join(" ")));
    for (backend, present) in backends {
        p.data(&format!("back-end:  {backend}: {}", if present { "yes" } else { "no" }));
    }
    Ok(Exit::Done)
}
