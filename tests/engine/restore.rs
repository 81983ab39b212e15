//! `restore`, `dump` and `ls`: what was stored comes back bit for bit, whatever stands in the
//! target, and nothing outside of it is touched.
#![allow(
    clippy::disallowed_methods,
    reason = "files that are not a repository's are written as anyone would"
)]
#![allow(clippy::print_stdout, reason = "a test that is skipped says so")]

#[path = "restore/archive.rs"]
mod archive;
#[path = "restore/attacks.rs"]
mod attacks;
#[path = "restore/build.rs"]
mod build;
#[path = "restore/compare.rs"]
mod compare;
#[path = "restore/damage.rs"]
mod damage;
#[path = "restore/delete.rs"]
mod delete;
#[path = "restore/durable.rs"]
mod durable;
#[path = "restore/killed.rs"]
mod killed;
#[path = "restore/nameless.rs"]
mod nameless;
#[path = "restore/options.rs"]
mod options;
#[path = "restore/over.rs"]
mod over;
#[path = "restore/properties.rs"]
mod properties;
#[path = "restore/reading.rs"]
mod reading;
#[path = "restore/resume.rs"]
mod resume;
#[path = "restore/roundtrip.rs"]
mod roundtrip;
#[path = "restore/strip.rs"]
mod strip;
